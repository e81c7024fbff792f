// A call as avr-core's present generation places it: JSON messages on a WebSocket of `ws`.

import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

import WebSocket from 'ws';

import { Ear, options, print, speak } from './line.mjs';

const CLOSE_WITHIN_MS = 5000;

const socket = new WebSocket(options.url, { perMessageDeflate: options.deflate });
const errors = [];
socket.on('error', (error) => errors.push(String(error)));
let closed = null;
const end = new Promise((resolve) => {
  socket.on('close', (code, reason) => {
    closed = { code, reason: String(reason) };
    resolve();
  });
});
await Promise.race([once(socket, 'open').catch(() => {}), end]);

const ear = new Ear();
const types = {};
const order = [];
const texts = [];
socket.on('message', (data, isBinary) => {
  const message = isBinary ? { type: '(binary)' } : JSON.parse(String(data));
  types[message.type] = (types[message.type] ?? 0) + 1;
  if (message.type !== 'transcript' && order.at(-1) !== message.type) order.push(message.type);
  if (message.type === 'audio') ear.hear(Buffer.from(message.audio, 'base64'));
  if (message.type === 'transcript') texts.push({ role: message.role, text: message.text });
});

let frames = 0;
if (socket.readyState === WebSocket.OPEN) {
  socket.send(JSON.stringify({ type: 'init', uuid: options.uuid }));
  frames = await speak(options, (frame) => {
    if (socket.readyState !== WebSocket.OPEN) return false;
    socket.send(JSON.stringify({ type: 'audio', audio: frame.toString('base64') }));
    return true;
  });
}
const closedByPeer = socket.readyState !== WebSocket.OPEN;
const extensions = socket.extensions;
socket.close(1000);
await Promise.race([end, sleep(CLOSE_WITHIN_MS, null, { ref: false })]);
if (closed === null) {
  errors.push('no close frame came');
  socket.terminate();
}
print({ ...ear.report(), frames, types, order, texts, extensions, closed, closedByPeer, errors });
