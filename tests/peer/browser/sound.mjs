// What the console's resampler does to tones. Prints, for each pair of rates and each frequency, the
// gain in dB, and how many samples came out; blocks have odd lengths.

const { Resampler } = await import(process.argv[2]);
const BLOCKS = [128, 1, 127, 256, 441];

function measure(from_hz, to_hz, tone_hz) {
  const resampler = new Resampler(from_hz, to_hz);
  const tone = Float32Array.from({ length: from_hz }, (_, i) =>
    Math.sin((2 * Math.PI * tone_hz * i) / from_hz),
  );
  const out = [];
  for (let at = 0, block = 0; at < tone.length; block += 1) {
    const length = BLOCKS[block % BLOCKS.length];
    out.push(...resampler.push(tone.subarray(at, at + length)));
    at += length;
  }
  const steady = out.slice(to_hz / 10, (to_hz * 9) / 10);
  const square = steady.reduce((sum, sample) => sum + sample * sample, 0) / steady.length;
  // What is left besides the tone itself: folded or mirrored sound.
  let [sine, cosine] = [0, 0];
  steady.forEach((sample, i) => {
    sine += sample * Math.sin((2 * Math.PI * tone_hz * i) / to_hz);
    cosine += sample * Math.cos((2 * Math.PI * tone_hz * i) / to_hz);
  });
  const own = (2 * (sine ** 2 + cosine ** 2)) / steady.length ** 2;
  return {
    gain_db: 10 * Math.log10(2 * square + 1e-30),
    rest_db: 10 * Math.log10(2 * Math.max(square - own, 0) + 1e-30),
    samples: out.length,
  };
}

const asked = JSON.parse(process.argv[3]);
process.stdout.write(`${JSON.stringify(asked.map((each) => measure(...each)))}\n`);
