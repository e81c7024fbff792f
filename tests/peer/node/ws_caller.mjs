// A call as avr-core's present generation places it: JSON messages on a WebSocket of `ws`.
// `digits` are pressed from `digits_at_ms` on, one each 200 ms.

import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

import WebSocket from 'ws';

import { Ear, options, print, speak } from './line.mjs';

const CLOSE_WITHIN_MS = 5000;
const FRAME_MS = 20;
const KEY_GAP_MS = 200;

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
const interruptions = [];
socket.on('message', (data, isBinary) => {
  const message = isBinary ? { type: '(binary)' } : JSON.parse(String(data));
  types[message.type] = (types[message.type] ?? 0) + 1;
  if (message.type !== 'transcript' && order.at(-1) !== message.type) order.push(message.type);
  if (message.type === 'audio') ear.hear(Buffer.from(message.audio, 'base64'));
  if (message.type === 'interruption') interruptions.push(ear.mark());
  if (message.type === 'transcript') texts.push({ role: message.role, text: message.text });
});

let frames = 0;
const keys = [...(options.digits ?? '')];
let keyAt = options.digits_at_ms / FRAME_MS;
let spoken = 0;
if (socket.readyState === WebSocket.OPEN) {
  socket.send(JSON.stringify({ type: 'init', uuid: options.uuid }));
  frames = await speak(options, (frame) => {
    if (socket.readyState !== WebSocket.OPEN) return false;
    if (keys.length > 0 && spoken >= keyAt) {
      socket.send(JSON.stringify({ type: 'dtmf_digit', digit: keys.shift() }));
      keyAt += KEY_GAP_MS / FRAME_MS;
    }
    spoken += 1;
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
const told = { types, order, texts, interruptions };
print({ ...ear.report(), frames, ...told, extensions, closed, closedByPeer, errors });
