// What the page shows of its own call: state, levels, line, transcript, turns, events. Told by the
// call itself, and by the bridge's moments where the feed has them.

import { Recording } from './recording.js';
import { Strip, clock, heightOf, rmsOf } from './strip.js';
import { Tail } from './tail.js';
import { Waits } from './waits.js';
import { endWords, inWords, stateWords, wordsOf } from './words.js';

const CUT_MARK = ' [interrupted]';
// What the page measures and what the bridge tells of one answer come within this.
const SAME_TURN_MS = 1500;
const LEAST_SCALE_MS = 1500;
const MOST_EVENTS = 300;
const SIDES = ['caller', 'agent'];
const FALL = 0.03; // of a meter, in one picture

const find = (id) => document.getElementById(id);

export class CallView {
  #strip = new Strip(find('strip'));
  #recording = new Recording();
  #waits = new Waits();
  #tails = { transcript: new Tail(find('transcript')), turns: new Tail(find('turns')), events: new Tail(find('events')) };
  #turns = [];
  #began_ms = null;
  #timer = null;
  #levels = { caller: 0, agent: 0 };
  #shown = { caller: 0, agent: 0 };

  placing() {
    this.#strip.clear();
    this.#recording = new Recording();
    this.#waits = new Waits();
    this.#turns = [];
    for (const tail of Object.values(this.#tails)) tail.clear();
    find('turns-sum').textContent = '';
    find('save').disabled = true;
    find('timer').textContent = clock(0);
    this.#say('Connecting');
  }

  idle() {
    this.#say('Not in a call');
  }

  follow(call) {
    const on = (type, act) => call.addEventListener(type, ({ detail }) => act(detail));
    on('began', () => this.#began(call));
    on('said', ({ pcm, at_s }) => this.#said(pcm, at_s));
    on('played', (played) => this.#began_ms !== null && this.#played(played));
    on('interruption', () => this.#interrupted(call));
    on('transcript', ({ role, text }) => this.#line(role, text));
    on('fault', ({ message }) => this.#event(message, true));
  }

  ended(code, reason, byUs) {
    clearInterval(this.#timer);
    this.#strip.stop();
    const words = byUs ? 'You hung up' : endWords(code, reason, this.#began_ms !== null);
    this.#event(words, !byUs && code !== 1000);
    this.#say(byUs ? 'Call ended' : words);
    this.#began_ms = null;
    this.#levels = { caller: 0, agent: 0 };
    find('save').disabled = this.#recording.samples === 0;
  }

  // What the bridge tells of this call; `call` is null when it is over.
  moment(moment, call) {
    const { words, bad } = wordsOf(moment);
    if (words !== null) this.#event(words, bad, moment.ago_ms);
    if (moment.view && call !== null) this.#say(stateWords(moment.view));
    if (moment.kind === 'answer_started' && moment.latency_ms !== null) {
      this.#turn({ bridge_ms: moment.latency_ms });
    }
  }

  pressed(digit, call) {
    this.#strip.key(call.now_s, digit);
    this.#event(`you press ${digit}`, false);
  }

  save() {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(this.#recording.wav());
    link.download = 'call.wav';
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }

  // Draw the levels into the meters, as long as there is something to draw.
  #drawLevels() {
    let moving = this.#began_ms !== null;
    for (const side of SIDES) {
      const shown = Math.max(this.#levels[side], this.#shown[side] - FALL);
      this.#shown[side] = Math.max(shown, 0);
      moving ||= shown > 0;
      find(`level-${side}`).firstElementChild.style.transform = `scaleX(${this.#shown[side].toFixed(3)})`;
    }
    if (moving) requestAnimationFrame(() => this.#drawLevels());
  }

  #began(call) {
    this.#began_ms = performance.now();
    this.#timer = setInterval(() => {
      find('timer').textContent = clock(this.#seconds());
      for (const side of SIDES) {
        find(`level-${side}`).ariaValueNow = String(Math.round(100 * this.#shown[side]));
      }
    }, 250);
    this.#drawLevels();
    this.#strip.start(() => call.now_s);
    this.#say('In a call');
  }

  #said(pcm, at_s) {
    const rms = rmsOf(pcm);
    this.#recording.said(pcm);
    this.#levels.caller = heightOf(rms);
    this.#strip.level('caller', at_s, rms);
    this.#waits.said(at_s, rms);
  }

  #played({ pcm, rms, at_s }) {
    this.#recording.played(pcm);
    this.#levels.agent = heightOf(rms);
    this.#strip.level('agent', at_s, rms);
    const wait = this.#waits.heard(at_s, rms);
    if (wait === null || wait.from_s === null) return;
    this.#strip.wait(wait.from_s, wait.to_s);
    this.#turn({ measured_ms: (wait.to_s - wait.from_s) * 1000 });
  }

  #interrupted(call) {
    this.#strip.interruption(call.now_s);
    this.#waits.interrupted();
  }

  #line(role, text) {
    const cut = text.endsWith(CUT_MARK);
    const item = document.createElement('div');
    item.className = role === 'user' ? 'user' : 'agent-line';
    const who = element('b', role === 'user' ? 'You' : 'Agent');
    who.className = role === 'user' ? 'caller' : 'agent';
    item.append(who, element('time', clock(this.#seconds())));
    if (cut) {
      const tag = element('span', 'interrupted');
      tag.className = 'tag cut';
      item.append(tag);
    }
    item.append(element('p', cut ? text.slice(0, -CUT_MARK.length) : text));
    this.#tails.transcript.append(item);
  }

  // One answer: what was measured here, what the bridge tells, or one after the other.
  #turn(found) {
    const now_ms = performance.now();
    let turn = this.#turns.at(-1);
    const known = turn && Object.keys(found).some((name) => name in turn);
    if (!turn || known || now_ms - turn.at_ms > SAME_TURN_MS) {
      turn = { at_ms: now_ms, item: document.createElement('li') };
      this.#turns.push(turn);
      this.#tails.turns.append(turn.item);
    }
    Object.assign(turn, found);
    this.#showTurns();
  }

  #showTurns() {
    const waits = this.#turns.map(waitOf);
    const scale_ms = Math.max(LEAST_SCALE_MS, ...waits);
    this.#turns.forEach((turn, i) => {
      const number = element('span', String(i + 1));
      number.className = 'number';
      const bar = document.createElement('div');
      bar.className = 'bar';
      const fill = document.createElement('i');
      fill.style.transform = `scaleX(${waits[i] / scale_ms})`;
      bar.append(fill);
      const ms = element('span', inWords(waits[i]));
      ms.className = 'ms';
      turn.item.replaceChildren(number, bar, ms);
      if (turn.bridge_ms !== undefined && turn.measured_ms !== undefined) {
        turn.item.append(element('small', `${inWords(turn.bridge_ms)} of it after your pause was noticed`));
      }
    });
    this.#tails.turns.settle(); // each may have become taller
    const sorted = [...waits].sort((a, b) => a - b);
    const median = sorted[Math.floor((sorted.length - 1) / 2)];
    find('turns-sum').textContent = `median ${inWords(median)}, slowest ${inWords(sorted.at(-1))}`;
  }

  #event(words, bad = false, ago_ms = 0) {
    const item = document.createElement('li');
    const text = element('span', words);
    if (bad) text.className = 'bad';
    item.append(element('time', `${Math.max(this.#seconds() - ago_ms / 1000, 0).toFixed(1)} s`), text);
    this.#tails.events.append(item, MOST_EVENTS);
  }

  #seconds() {
    return this.#began_ms === null ? 0 : (performance.now() - this.#began_ms) / 1000;
  }

  #say(words) {
    if (find('state').textContent !== words) find('state').textContent = words;
  }
}

function waitOf(turn) {
  return turn.measured_ms ?? turn.bridge_ms;
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}
