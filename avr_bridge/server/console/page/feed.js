// What the bridge tells of its calls: server-sent events, read with `fetch`, which can carry the
// token in a header. Comes back by itself when the connection is lost, and notices when nothing comes.

const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 10000;

// The bridge tells something every 2 s. Counted in ticks, not by a clock: where timers are late, in a
// tab behind others or on a machine that slept, what came meanwhile is read before so many are over.
const TICK_MS = 1000;
const SILENT_TICKS = 7;
// A connection may be dead without an end, where a router forgot it: then only a new one helps.
const GIVE_UP_TICKS = 30;

// Tells: each message under its own `type` (`hello`, `pulse`, `moment`), `silent` {} where none has come
// for long, `heard` {} before the next one, `lost` {}, and `refused` {status, words}, after which it stops.
export class Feed extends EventTarget {
  #quiet_ticks = 0;
  #silent = false;

  constructor(url, headers) {
    super();
    this.url = url;
    this.headers = headers;
  }

  async run() {
    let pause_ms = FIRST_PAUSE_MS;
    for (;;) {
      const attempt = new AbortController();
      const { signal } = attempt;
      this.#quiet_ticks = 0;
      const ticking = setInterval(() => this.#tick(attempt), TICK_MS);
      try {
        const response = await fetch(this.url, { headers: this.headers, cache: 'no-store', signal });
        if (response.status === 401 || response.status === 403) {
          this.#tell('refused', { status: response.status, words: await response.text() });
          return;
        }
        if (response.ok) {
          pause_ms = FIRST_PAUSE_MS;
          await this.#read(response.body.pipeThrough(new TextDecoderStream()).getReader());
        }
      } catch {
        // The bridge is gone or comes anew: told below.
      } finally {
        clearInterval(ticking);
      }
      if (signal.aborted) continue; // it is still silent, until something else is known
      this.#silent = false;
      this.#tell('lost', {});
      await new Promise((resolve) => setTimeout(resolve, pause_ms));
      pause_ms = Math.min(2 * pause_ms, LONGEST_PAUSE_MS);
    }
  }

  async #read(reader) {
    let text = '';
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      this.#heard();
      const events = (text + value).split('\n\n');
      text = events.pop();
      for (const event of events) {
        if (!event.startsWith('data: ')) continue;
        const message = JSON.parse(event.slice('data: '.length));
        this.#tell(message.type, message);
      }
    }
  }

  // Where nobody sees it, nothing is claimed: there timers and what is read may come in any order.
  #tick(attempt) {
    this.#quiet_ticks = document.hidden ? 0 : this.#quiet_ticks + 1;
    if (this.#quiet_ticks >= SILENT_TICKS && !this.#silent) {
      this.#silent = true;
      this.#tell('silent', {});
    }
    if (this.#quiet_ticks >= GIVE_UP_TICKS) attempt.abort();
  }

  #heard() {
    this.#quiet_ticks = 0;
    if (!this.#silent) return;
    this.#silent = false;
    this.#tell('heard', {});
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
