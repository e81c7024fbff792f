// What both callers share: a WAV file spoken in 20 ms frames, and an ear that writes all down.
// PCM16 LE mono, 8 kHz: one frame is 160 samples or 320 bytes.

import { readFileSync, writeFileSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';

const FRAME_MS = 20;
const FRAME_BYTES = 320;

/** The options of one call: JSON in the first argument. */
export const options = JSON.parse(process.argv[2]);

/** The samples of a WAV file: the body of its `data` chunk. */
function readSound(path) {
  const file = readFileSync(path);
  let at = 12;
  while (file.toString('latin1', at, at + 4) !== 'data') {
    const size = file.readUInt32LE(at + 4);
    at += 8 + size + (size % 2);
  }
  const size = file.readUInt32LE(at + 4);
  return file.subarray(at + 8, at + 8 + size);
}

/** Silence for `lead_ms`, then the words, then silence; one frame each 20 ms for `seconds`. */
export async function speak({ wav, lead_ms, seconds }, send) {
  const lead = Buffer.alloc((lead_ms / FRAME_MS) * FRAME_BYTES);
  const said = Buffer.concat([lead, readSound(wav)]);
  const start = performance.now();
  let frames = 0;
  for (; frames * FRAME_MS < seconds * 1000; frames += 1) {
    const frame = Buffer.alloc(FRAME_BYTES);
    said.subarray(frames * FRAME_BYTES, (frames + 1) * FRAME_BYTES).copy(frame);
    if (!send(frame)) break;
    const wait = start + (frames + 1) * FRAME_MS - performance.now();
    if (wait > 0) await sleep(wait);
  }
  return frames;
}

/** What was heard, and what can be said about how it came. */
export class Ear {
  chunks = [];
  bytes = 0;
  uneven = 0;
  ahead_ms = 0;
  first_audio_ms = null;
  first_audio_epoch_ms = null;
  #marks = [];
  #start = performance.now();

  hear(pcm) {
    const now = performance.now() - this.#start;
    this.first_audio_ms ??= now;
    this.first_audio_epoch_ms ??= Date.now();
    for (const mark of this.#marks) mark.next_audio_ms ??= now;
    this.chunks.push(pcm);
    this.bytes += pcm.length;
    this.uneven += pcm.length % FRAME_BYTES === 0 ? 0 : 1;
    this.ahead_ms = Math.max(this.ahead_ms, this.bytes / 16 - (now - this.first_audio_ms));
  }

  /** Remember this moment: the bytes so far, and, once it comes, when the next sound came. */
  mark() {
    const mark = { bytes: this.bytes, ms: performance.now() - this.#start, next_audio_ms: null };
    this.#marks.push(mark);
    return mark;
  }

  report() {
    writeFileSync(options.heard, Buffer.concat(this.chunks));
    const { chunks, bytes, uneven, ahead_ms, first_audio_ms, first_audio_epoch_ms } = this;
    const first = { first_audio_ms, first_audio_epoch_ms };
    return { chunks: chunks.length, bytes, uneven, ahead_ms, ...first };
  }
}

/** Print the result of the call, the only line on standard output. */
export function print(result) {
  process.stdout.write(`${JSON.stringify(result)}\n`);
}
