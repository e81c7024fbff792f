// The caller's mouth: from the microphone to frames for the telephone. PCM16 LE, 8 kHz, mono,
// 20 ms: 160 samples, 320 bytes. Without a microphone, and muted, it says silence: a telephone
// line never stops. Sending is the page's work.

import { Resampler } from './resample.js';

const LINE_HZ = 8000;
const FRAME_SAMPLES = 160;
const QUANTUM = 128;

class Mouth extends AudioWorkletProcessor {
  #resampler = new Resampler(sampleRate, LINE_HZ);
  #frame = new Int16Array(FRAME_SAMPLES);
  #filled = 0;
  #silence = new Float32Array(QUANTUM);
  #muted = false;
  #over = false;

  constructor() {
    super();
    this.port.onmessage = ({ data }) => {
      if ('muted' in data) this.#muted = data.muted;
      if (data.over) this.#over = true;
    };
  }

  process([input]) {
    const heard = this.#muted ? undefined : input[0];
    for (const sample of this.#resampler.push(heard ?? this.#silence)) {
      this.#frame[this.#filled] = Math.round(Math.max(-1, Math.min(1, sample)) * 32767);
      this.#filled += 1;
      if (this.#filled === FRAME_SAMPLES) this.#send();
    }
    return !this.#over;
  }

  #send() {
    const pcm = this.#frame;
    this.#frame = new Int16Array(FRAME_SAMPLES);
    this.#filled = 0;
    this.port.postMessage({ pcm, at_s: currentTime }, [pcm.buffer]);
  }
}

registerProcessor('mouth', Mouth);
