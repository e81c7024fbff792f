// Sound from one rate to another, block by block, with the filter's state kept in between. Used by
// both worklets: microphone to telephone, telephone to loudspeaker. Knows nothing of the browser.
//
// A windowed sinc in polyphase form. What the lower rate cannot carry is 70 dB down before samples
// are left out, so nothing folds back into the voice; taking every sixth sample alone would fold
// all of a voice's hiss into it.

// Of the lower rate: 3.7 kHz of 8 kHz. The telephone's band, 3.4 kHz, passes whole.
const CUTOFF = 0.4625;
// Zero crossings of the sinc on either side; 4 ms at 8 kHz. Steep enough for 3.4 to 4 kHz.
const CROSSINGS = 32;
// Kaiser's window: 70 dB.
const BETA = 7;

export class Resampler {
  // Rates in Hz, whole numbers.
  constructor(fromHz, toHz) {
    const divisor = greatestCommonDivisor(fromHz, toHz);
    this.phases = toHz / divisor;
    this.stepPhases = fromHz / divisor;
    const lower = Math.min(fromHz, toHz);
    this.half = Math.ceil((CROSSINGS * fromHz) / lower);
    this.kernels = kernels(this.phases, this.half, (CUTOFF * lower) / fromHz);
    // Silence before the first sample, as much as the filter looks back.
    this.waiting = new Float32Array(2 * this.half + 4096);
    this.count = this.half - 1;
    this.phase = 0;
  }

  // Takes any number of samples, gives those that are due: Float32Array, about as many times
  // `toHz / fromHz`. What comes out lags behind by `half` samples of the input.
  push(samples) {
    this.#append(samples);
    const { half, phases, kernels } = this;
    const taps = 2 * half;
    const most = Math.ceil((this.count * phases) / this.stepPhases) + 1;
    const out = new Float32Array(most);
    let made = 0;
    let at = 0;
    while (at + taps <= this.count) {
      const kernel = kernels[this.phase];
      let sum = 0;
      for (let tap = 0; tap < taps; tap += 1) sum += kernel[tap] * this.waiting[at + tap];
      out[made] = sum;
      made += 1;
      this.phase += this.stepPhases;
      at += Math.floor(this.phase / phases);
      this.phase %= phases;
    }
    this.waiting.copyWithin(0, at, this.count);
    this.count -= at;
    return out.subarray(0, made);
  }

  #append(samples) {
    if (this.count + samples.length > this.waiting.length) {
      const larger = new Float32Array(2 * (this.count + samples.length));
      larger.set(this.waiting.subarray(0, this.count));
      this.waiting = larger;
    }
    this.waiting.set(samples, this.count);
    this.count += samples.length;
  }
}

// For each phase, the weights of the `2 * half` samples around it.
function kernels(phases, half, cutoff) {
  const all = [];
  for (let phase = 0; phase < phases; phase += 1) {
    const kernel = new Float32Array(2 * half);
    let sum = 0;
    for (let tap = 0; tap < 2 * half; tap += 1) {
      const x = tap - (half - 1) - phase / phases;
      kernel[tap] = sinc(2 * cutoff * x) * kaiser(x / half);
      sum += kernel[tap];
    }
    all.push(kernel.map((weight) => weight / sum));
  }
  return all;
}

function sinc(x) {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

function kaiser(x) {
  return Math.abs(x) >= 1 ? 0 : bessel(BETA * Math.sqrt(1 - x * x)) / bessel(BETA);
}

// I0, as a series.
function bessel(x) {
  let sum = 1;
  let term = 1;
  for (let k = 1; term > 1e-10 * sum; k += 1) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

function greatestCommonDivisor(a, b) {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
