// How long each answer let the caller wait, as the caller hears it: from the last loud frame of
// the caller to the first frame of the answer. Pure: frames in, waits out.
//
// What the bridge tells begins later: when the model is sure that the caller has stopped, which
// takes it the pause of `OPENAI_TURN_DETECTION_SILENCE_MS`.

const LOUD_RMS = 0.01; // -40 dB: speech at a telephone is far above, a room far below
const LOUD_FRAMES = 4; // 80 ms on end are a word, less is a click
const HEARD_RMS = 0.0008;
const QUIET_S = 0.4; // the agent is silent that long between two answers

export class Waits {
  #loud = 0;
  #spoke_s = null;
  #heard_s = -Infinity;
  #cut = false;

  said(at_s, rms) {
    this.#loud = rms > LOUD_RMS ? this.#loud + 1 : 0;
    if (this.#loud >= LOUD_FRAMES) this.#spoke_s = at_s;
  }

  // A frame that was played. Returns `{from_s, to_s}` where it is the first of an answer, else null;
  // `from_s` is null where the caller had said nothing.
  heard(at_s, rms) {
    if (rms < HEARD_RMS) this.#cut = false;
    if (rms < HEARD_RMS || this.#cut) return null;
    const first = at_s - this.#heard_s > QUIET_S;
    this.#heard_s = at_s;
    if (!first) return null;
    const from_s = this.#spoke_s;
    this.#spoke_s = null;
    return { from_s, to_s: at_s };
  }

  // The answer was stopped: what follows its last frames is another one's.
  interrupted() {
    this.#heard_s = -Infinity;
    this.#cut = true;
  }
}
