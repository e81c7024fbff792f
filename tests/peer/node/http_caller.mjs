// A call as avr-core's first generation placed it: raw sound up in the body of a POST request,
// raw sound down in its answer, both at once. By axios, or by Node's own `http`.

import http from 'node:http';
import { PassThrough } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';

import axios from 'axios';

import { Ear, options, print, speak } from './line.mjs';

const END_WITHIN_MS = 5000;

const headers = { 'Content-Type': 'audio/x-raw' };
if (options.uuid) headers['X-UUID'] = options.uuid;

async function byAxios(body) {
  const response = await axios.post(options.url, body, {
    headers,
    responseType: 'stream',
    proxy: false,
  });
  return { status: response.status, type: response.headers['content-type'], stream: response.data };
}

function byHttp(body) {
  return new Promise((resolve, reject) => {
    const request = http.request(options.url, { method: 'POST', headers }, (response) => {
      const type = response.headers['content-type'];
      resolve({ status: response.statusCode, type, stream: response });
    });
    request.on('error', reject);
    body.pipe(request);
  });
}

const errors = [];
const ear = new Ear();
const mouth = new PassThrough();
const answer = { status: null, type: null, ended: false };
const answered = (options.client === 'axios' ? byAxios : byHttp)(mouth)
  .then(async ({ status, type, stream }) => {
    Object.assign(answer, { status, type });
    for await (const chunk of stream) ear.hear(chunk);
    answer.ended = true;
  })
  .catch((error) => errors.push(String(error)));

const frames = await speak(options, (frame) => {
  if (answer.ended || errors.length > 0) return false;
  mouth.write(frame);
  return true;
});
const endedByPeer = answer.ended || errors.length > 0;
mouth.end();
await Promise.race([answered, sleep(END_WITHIN_MS, null, { ref: false })]);
print({ ...ear.report(), frames, ...answer, endedByPeer, errors });
process.exit();
