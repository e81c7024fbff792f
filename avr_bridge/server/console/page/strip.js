// The line as a picture: both sides' levels over the last seconds, the caller above, the agent
// below, each wait between them with its length, and each interruption. Draws; measures nothing.

import { inWords } from './words.js';

const SHOWN_S = 16;
const FRAME_S = 0.02;
const FLOOR_DB = -54;
const TAIL_S = 2; // kept beyond what is shown
const APART_PX = 3; // words in one row, at least

export class Strip {
  #canvas;
  #levels = { caller: [], agent: [] };
  #marks = [];
  #now_s = () => 0;
  #running = false;
  #colours = {};

  constructor(canvas) {
    this.#canvas = canvas;
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#restyle());
    new ResizeObserver(() => this.draw()).observe(canvas);
    this.#restyle();
  }

  // Of no call.
  clear() {
    this.#levels = { caller: [], agent: [] };
    this.#marks = [];
    this.#now_s = () => 0;
    this.#running = false;
    this.draw();
  }

  // A new call, whose clock `now_s` is.
  start(now_s) {
    this.clear();
    this.#now_s = now_s;
    this.#running = true;
    const draw = () => {
      this.draw();
      if (this.#running) requestAnimationFrame(draw);
    };
    requestAnimationFrame(draw);
  }

  stop() {
    const last_s = this.#now_s();
    this.#now_s = () => last_s;
    this.#running = false;
  }

  // 20 ms of one side, `rms` of full scale.
  level(side, at_s, rms) {
    const levels = this.#levels[side];
    levels.push({ at_s, height: heightOf(rms) });
    while (levels[0].at_s < at_s - SHOWN_S - TAIL_S) levels.shift();
  }

  // The answer began at `to_s`; the caller had fallen silent at `from_s`.
  wait(from_s, to_s) {
    this.#mark({ kind: 'gap', from_s, to_s, words: inWords((to_s - from_s) * 1000) });
  }

  interruption(at_s) {
    this.#mark({ kind: 'cut', from_s: at_s, to_s: at_s, words: 'interrupted' });
  }

  key(at_s, digit) {
    this.#mark({ kind: 'caller', from_s: at_s, to_s: at_s, words: digit });
  }

  #mark(mark) {
    this.#marks.push(mark);
    this.#marks = this.#marks.filter((one) => one.to_s > mark.to_s - SHOWN_S - TAIL_S);
  }

  #restyle() {
    const style = getComputedStyle(document.documentElement);
    for (const name of ['caller', 'agent', 'gap', 'gap-soft', 'cut', 'line', 'soft', 'card']) {
      this.#colours[name] = style.getPropertyValue(`--${name}`).trim();
    }
    this.draw();
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const ratio = devicePixelRatio || 1;
    if (this.#canvas.width !== Math.round(width * ratio)) this.#canvas.width = width * ratio;
    if (this.#canvas.height !== Math.round(height * ratio)) this.#canvas.height = height * ratio;
    const pen = this.#canvas.getContext('2d');
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    const from_s = this.#now_s() - SHOWN_S;
    const view = { pen, width, middle: (height - 16) / 2, from_s, x: (at_s) => ((at_s - from_s) / SHOWN_S) * width };
    this.#drawGaps(view);
    this.#drawGrid(view, height);
    this.#drawLevels(view, 'caller', -1);
    this.#drawLevels(view, 'agent', 1);
    this.#drawWords(view);
  }

  #drawGaps({ pen, middle, x }) {
    pen.fillStyle = this.#colours['gap-soft'];
    for (const { kind, from_s, to_s } of this.#marks) {
      if (kind === 'gap') pen.fillRect(x(from_s), 0, x(to_s) - x(from_s), 2 * middle);
    }
  }

  #drawGrid({ pen, width, middle, from_s, x }, height) {
    pen.strokeStyle = this.#colours.line;
    pen.fillStyle = this.#colours.soft;
    pen.font = '11px system-ui, sans-serif';
    pen.textAlign = 'center';
    pen.beginPath();
    pen.moveTo(0, middle);
    pen.lineTo(width, middle);
    for (let at_s = Math.max(2 * Math.ceil(from_s / 2), 0); x(at_s) < width - 14; at_s += 2) {
      if (x(at_s) < 14) continue;
      pen.moveTo(x(at_s), 2 * middle - 3);
      pen.lineTo(x(at_s), 2 * middle);
      pen.fillText(clock(at_s), x(at_s), height - 3);
    }
    pen.stroke();
  }

  #drawLevels({ pen, middle, from_s, x }, side, direction) {
    const wide = Math.max((FRAME_S / SHOWN_S) * this.#canvas.clientWidth, 1);
    pen.fillStyle = this.#colours[side];
    for (const { at_s, height } of this.#levels[side]) {
      if (at_s < from_s) continue;
      const tall = Math.max(height * (middle - 14), height > 0 ? 1.5 : 0.75);
      pen.fillRect(x(at_s), direction < 0 ? middle - tall : middle, wide * 0.8, tall);
    }
  }

  // The newest first: where two would stand over one another, the older one is left out, and so is
  // one whose place has left the picture.
  #drawWords({ pen, width, middle, x }) {
    pen.font = '600 12px system-ui, sans-serif';
    pen.textAlign = 'center';
    const taken = { above: [], below: [] };
    for (const { kind, from_s, to_s, words } of this.#marks.toReversed()) {
      const at = (x(from_s) + x(to_s)) / 2;
      if (at < 0) continue;
      if (kind !== 'gap') this.#drawStroke(pen, this.#colours[kind], at, middle);
      const half = pen.measureText(words).width / 2;
      const centre = Math.min(Math.max(at, half + 2), width - half - 2);
      const row = kind === 'gap' ? taken.below : taken.above;
      if (row.some((other) => Math.abs(other.centre - centre) < other.half + half + APART_PX)) continue;
      row.push({ centre, half });
      pen.fillStyle = this.#colours[kind];
      pen.fillText(words, centre, kind === 'gap' ? 2 * middle - 8 : 11);
    }
  }

  #drawStroke(pen, colour, at, middle) {
    pen.strokeStyle = colour;
    pen.beginPath();
    pen.moveTo(at, 14);
    pen.lineTo(at, 2 * middle);
    pen.stroke();
  }
}

// 0 to 1, of what is as loud as a voice may be.
export function heightOf(rms) {
  const db = 20 * Math.log10(Math.max(rms, 1e-6));
  return Math.max(0, Math.min(1, (db - FLOOR_DB) / (-6 - FLOOR_DB)));
}

export function rmsOf(pcm) {
  let square = 0;
  for (const sample of pcm) square += sample * sample;
  return Math.sqrt(square / pcm.length) / 32768;
}

export function clock(s) {
  const whole = Math.max(Math.floor(s), 0);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, '0')}`;
}
