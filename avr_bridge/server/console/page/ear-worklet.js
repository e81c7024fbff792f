// The caller's ear: a queue of what the bridge sent, played at its pace. PCM16, 8 kHz, mono.
//
// The bridge sends up to 200 ms ahead and says `interruption` when that is void: then the queue is
// emptied at once. What was played is told in frames of 20 ms, silence included, so that the page
// can draw it, keep it and measure it.

import { Resampler } from './resample.js';

const LINE_HZ = 8000;
const FRAME_SAMPLES = 160;
// Taken from the queue at a time, 1 ms: `interruption` can do nothing about what was taken.
const STEP_SAMPLES = 8;
// What has to be there before playing begins, for a network that is not even. The bridge sends
// more than this at once, so it costs nothing.
const CUSHION_SAMPLES = 480;
// The end of a sound may be less than that: it is played after so long.
const PATIENCE_S = 0.08;
// Sound that stops and goes on within this was not meant to stop.
const GAP_S = 0.25;

class Ear extends AudioWorkletProcessor {
  #resampler = new Resampler(LINE_HZ, sampleRate);
  #queue = [];
  #waiting = 0; // samples in the queue
  #at = 0; // in the first piece of it
  #since_s = 0; // when the first piece came
  #playing = false;
  #stopped_s = -Infinity;
  #gaps = 0;
  #ready = new Float32Array(0);
  #frame = new Int16Array(FRAME_SAMPLES);
  #filled = 0;
  #sound = 0; // samples of the frame that came from the queue
  #square = 0;
  #samples = 0;
  #peak = 0;

  constructor() {
    super();
    this.port.onmessage = ({ data }) => {
      if (data.pcm) this.#take(data.pcm);
      if (data.interruption) this.#drop();
    };
  }

  #take(pcm) {
    if (this.#waiting === 0 && !this.#playing) {
      this.#since_s = currentTime;
      if (currentTime - this.#stopped_s < GAP_S) this.#gaps += 1;
    }
    this.#queue.push(pcm);
    this.#waiting += pcm.length;
  }

  #drop() {
    this.#queue = [];
    this.#waiting = 0;
    this.#at = 0;
    this.#playing = false;
    this.#stopped_s = -Infinity;
  }

  process(_inputs, [output]) {
    const out = output[0];
    let made = 0;
    while (made < out.length) {
      if (this.#ready.length === 0) this.#ready = this.#resampler.push(this.#step());
      const part = this.#ready.subarray(0, out.length - made);
      out.set(part, made);
      made += part.length;
      this.#ready = this.#ready.subarray(part.length);
    }
    for (const sample of out) {
      this.#square += sample * sample;
      this.#peak = Math.max(this.#peak, Math.abs(sample));
    }
    this.#samples += out.length;
    return true;
  }

  // The next millisecond: of the queue, or of silence.
  #step() {
    const step = new Float32Array(STEP_SAMPLES);
    if (!this.#playing) {
      const late = currentTime - this.#since_s >= PATIENCE_S;
      this.#playing = this.#waiting >= CUSHION_SAMPLES || (this.#waiting > 0 && late);
    }
    for (let i = 0; i < STEP_SAMPLES; i += 1) {
      const sample = this.#playing ? this.#next() : 0;
      step[i] = sample / 32768;
      this.#note(sample);
    }
    return step;
  }

  #next() {
    if (this.#waiting === 0) {
      this.#playing = false;
      this.#stopped_s = currentTime;
      return 0;
    }
    const piece = this.#queue[0];
    const sample = piece[this.#at];
    this.#at += 1;
    this.#waiting -= 1;
    this.#sound += 1;
    if (this.#at === piece.length) {
      this.#queue.shift();
      this.#at = 0;
    }
    return sample;
  }

  // `rms` and `peak` are of what left for the loudspeaker meanwhile, behind the filter.
  #note(sample) {
    this.#frame[this.#filled] = sample;
    this.#filled += 1;
    if (this.#filled < FRAME_SAMPLES) return;
    const pcm = this.#frame;
    const rms = this.#samples ? Math.sqrt(this.#square / this.#samples) : 0;
    const told = { pcm, rms, peak: this.#peak, sound: this.#sound, waiting: this.#waiting };
    this.port.postMessage({ ...told, gaps: this.#gaps, at_s: currentTime }, [pcm.buffer]);
    this.#frame = new Int16Array(FRAME_SAMPLES);
    this.#filled = this.#sound = this.#square = this.#samples = this.#peak = 0;
  }
}

registerProcessor('ear', Ear);
