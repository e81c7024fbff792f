// The call as a WAV file: left the caller, right the agent, 8 kHz, 16 bit. In memory only.

const RATE_HZ = 8000;
const LONGEST_S = 20 * 60; // 38 MB

export class Recording {
  #sides = [[], []];
  #samples = [0, 0];

  said(pcm) {
    this.#add(0, pcm);
  }

  played(pcm) {
    this.#add(1, pcm);
  }

  get samples() {
    return Math.min(...this.#samples);
  }

  #add(side, pcm) {
    if (this.#samples[side] >= LONGEST_S * RATE_HZ) return;
    this.#sides[side].push(pcm);
    this.#samples[side] += pcm.length;
  }

  wav() {
    const samples = this.samples;
    const bytes = new DataView(new ArrayBuffer(44 + 4 * samples));
    const text = (at, words) => [...words].forEach((sign, i) => bytes.setUint8(at + i, sign.charCodeAt(0)));
    text(0, 'RIFF');
    bytes.setUint32(4, 36 + 4 * samples, true);
    text(8, 'WAVEfmt ');
    [16, 0x00020001, RATE_HZ, 4 * RATE_HZ].forEach((word, i) => bytes.setUint32(16 + 4 * i, word, true));
    bytes.setUint32(32, 0x00100004, true);
    text(36, 'data');
    bytes.setUint32(40, 4 * samples, true);
    this.#sides.forEach((pieces, side) => {
      let at = 0;
      for (const piece of pieces) {
        for (let i = 0; i < piece.length && at < samples; i += 1, at += 1) {
          bytes.setInt16(44 + 4 * at + 2 * side, piece[i], true);
        }
      }
    });
    return new Blob([bytes.buffer], { type: 'audio/wav' });
  }
}
