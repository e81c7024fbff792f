// What the bridge tells of its calls: server-sent events, read with `fetch`, which can carry the
// token in a header. Comes back by itself when the connection is lost.

const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 10000;

// Tells: each message under its own `type` (`hello`, `pulse`, `moment`), `lost` {}, and `refused`
// {status, words}, after which it stops.
export class Feed extends EventTarget {
  #stopped = false;

  constructor(url, headers) {
    super();
    this.url = url;
    this.headers = headers;
  }

  async run() {
    let pause_ms = FIRST_PAUSE_MS;
    while (!this.#stopped) {
      try {
        const response = await fetch(this.url, { headers: this.headers, cache: 'no-store' });
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
      }
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
      const events = (text + value).split('\n\n');
      text = events.pop();
      for (const event of events) {
        if (!event.startsWith('data: ')) continue;
        const message = JSON.parse(event.slice('data: '.length));
        this.#tell(message.type, message);
      }
    }
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
