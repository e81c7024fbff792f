// What the page shows of the bridge: whether it takes calls, those that are up, its settings.

import { clock } from './strip.js';
import { inWords } from './words.js';

const find = (id) => document.getElementById(id);

// Of the table of calls: a busy bridge tells hundreds of moments a second.
const DRAW_EVERY_MS = 200;

const NOT_HEARD = {
  lost: 'Not connected to the bridge: its calls are not known.',
  silent: 'The bridge does not answer: its calls are not known.',
};
const LOOK = { 'caller speaks': 'caller', 'agent speaks': 'agent', thinking: 'gap', tool: 'gap' };

export class BridgeView {
  #calls = new Map(); // by uuid: the row, what was told, when the call began here
  #hello = null;
  #pulse = null;
  #silent = false;
  #ours = null; // the page's own call, while it is up: its uuid, when it began, whether the feed tells of it
  #drawing = null;

  constructor() {
    setInterval(() => this.#showAges(), 1000);
    find('filter').addEventListener('input', () => this.#showSettings());
    find('changed').addEventListener('change', () => this.#showSettings());
  }

  // The feed's beginning: all calls that run.
  hello(hello, own) {
    this.#hello = hello;
    find('model').textContent = hello.model;
    find('model').hidden = false;
    this.#calls.clear();
    if (this.#ours) this.#ours.told = false; // it may be another process now
    for (const view of hello.calls) this.#take(view, own);
    this.#showCalls();
    this.pulse(hello.pulse);
  }

  pulse(pulse) {
    this.#pulse = pulse;
    const { refuses } = pulse;
    this.#showState(refuses ? `refuses calls: ${refuses}` : 'ready', refuses ? 'refuses' : 'ready');
    this.#showCounts();
  }

  // The page's own call, by its uuid; null when it is over.
  ours(uuid) {
    this.#ours = uuid && { uuid, began_ms: performance.now(), told: this.#calls.has(uuid) };
    this.#showCounts();
    this.#showCalls();
  }

  // It is connected, and nothing comes: the bridge hangs, or the way to it is dead.
  silent() {
    this.#silent = true;
    this.#showState('does not answer', 'lost');
    this.#drawCalls();
  }

  // Something comes again: what was kept back, or a new beginning.
  heard() {
    this.#silent = false;
    if (this.#hello === null) return;
    this.pulse(this.#pulse);
    this.#drawCalls();
  }

  // What was told is of the past; what runs there is not known.
  lost() {
    this.#hello = null;
    this.#silent = false;
    this.#showState('not connected', 'lost');
    this.#calls.clear();
    this.#showCalls();
  }

  moment({ call, view }, own) {
    if (view) this.#take(view, own);
    else this.#calls.delete(call);
    this.#showCalls();
  }

  settings({ sections }) {
    this.sections = sections;
    this.#showSettings();
  }

  // Why the bridge's calls are not known, if so: a key of `NOT_HEARD`.
  get #unknown() {
    if (this.#silent) return 'silent';
    return this.#hello === null ? 'lost' : null;
  }

  // Whether the page's own call is one of another process, as far as one can tell.
  get #elsewhere() {
    return this.#unknown === null && this.#ours !== null && !this.#ours.told;
  }

  #showState(words, state) {
    const chip = find('bridge');
    if (chip.dataset.state === state && chip.lastElementChild.textContent === words) return;
    chip.dataset.state = state;
    chip.lastElementChild.textContent = words;
  }

  #take(view, own) {
    const began_ms = performance.now() - view.age_ms;
    this.#calls.set(view.call, { view, began_ms, own: view.call === own });
    if (view.call === this.#ours?.uuid) this.#ours.told = true;
  }

  #showCalls() {
    this.#drawing ??= setTimeout(() => {
      this.#drawing = null;
      this.#drawCalls();
    }, DRAW_EVERY_MS);
  }

  #drawCalls() {
    const calls = this.#unknown === null ? [...this.#calls.values()] : [];
    if (this.#elsewhere) calls.push({ view: callElsewhere(this.#ours.uuid), began_ms: this.#ours.began_ms, own: true });
    calls.sort((a, b) => Number(b.own) - Number(a.own));
    const rows = calls.map(({ view, began_ms, own }) => {
      const row = document.createElement('tr');
      const head = cell('th', `${view.call.slice(0, 8)}${own ? ' (yours)' : ''}`);
      head.scope = 'row';
      head.title = view.call;
      const state = document.createElement('span');
      state.className = `pill ${LOOK[view.state] ?? ''}`;
      state.textContent = view.tool ? `${view.state}: ${view.tool}` : view.state;
      const about = document.createElement('td');
      about.append(state);
      const since = cell('td', clock((performance.now() - began_ms) / 1000));
      since.dataset.began_ms = began_ms;
      const wait = view.latency_ms === null ? '' : inWords(view.latency_ms);
      const cost = view.cost_usd === null ? '' : `$${view.cost_usd.toFixed(4)}`;
      const rest = [view.turns, wait, view.interruptions, cost, view.transport];
      row.append(head, about, since, ...rest.map((value) => cell('td', String(value))));
      return row;
    });
    find('calls').replaceChildren(...rows);
    find('calls-card').classList.toggle('filled', rows.length > 0);
    this.#showCounts();
  }

  // The table is told of each call at once, the others' number only now and then: the sum is never
  // less than the calls that the page knows.
  #showCounts() {
    find('calls-card').classList.toggle('unknown', this.#unknown !== null);
    if (this.#unknown !== null) {
      find('calls-note').textContent = NOT_HEARD[this.#unknown];
      return;
    }
    const { worker, workers, max_calls } = this.#hello;
    const { calls, calls_of_all, lag_ms } = this.#pulse;
    const elsewhere = Number(this.#elsewhere);
    const listed = this.#calls.size + elsewhere;
    const together = this.#calls.size + Math.max(calls_of_all - calls, elsewhere);
    const limit = max_calls ? `, of ${max_calls} at the most` : '';
    const late = lag_ms >= 20 ? ` The event loop is ${Math.round(lag_ms)} ms late.` : '';
    find('calls-count').textContent = String(listed);
    find('calls-note').textContent =
      workers > 1
        ? `Process ${worker} of ${workers}: the calls of the others are not shown here. Your own is; where another ` +
          `carries it, the bridge's events and numbers of it are missing. All together carry ${together}${limit}.${late}`
        : (max_calls ? `${listed}${limit}.` : '') + late;
  }

  #showAges() {
    for (const since of find('calls').querySelectorAll('td[data-began_ms]')) {
      since.textContent = clock((performance.now() - Number(since.dataset.began_ms)) / 1000);
    }
  }

  #showSettings() {
    const wanted = find('filter').value.trim().toLowerCase();
    const onlyChanged = find('changed').checked && !wanted;
    const rows = [];
    for (const { settings } of this.sections ?? []) {
      for (const { name, value, default: usual, changed, help } of settings) {
        const text = `${name} ${value} ${help}`.toLowerCase();
        if ((onlyChanged && !changed) || !text.includes(wanted)) continue;
        const row = document.createElement('tr');
        const head = cell('th', '');
        head.scope = 'row';
        head.append(Object.assign(document.createElement('code'), { textContent: name }));
        head.title = help;
        row.append(head, cell('td', value ?? ''), cell('td', usual ?? ''));
        row.children[1].classList.toggle('set', changed);
        rows.push(row);
      }
    }
    find('settings').replaceChildren(...rows);
    find('settings-card').classList.toggle('filled', rows.length > 0);
  }
}

// What the page knows by itself of its own call, where the feed does not tell of it.
function callElsewhere(call) {
  const unknown = { turns: '', latency_ms: null, interruptions: '', cost_usd: null };
  return { call, state: 'in a call', tool: null, transport: 'websocket', ...unknown };
}

function cell(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}
