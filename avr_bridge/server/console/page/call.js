// One call, as avr-core places it: JSON messages on a WebSocket, `init` first, then frames of 20 ms.
// Sound comes from `mouth-worklet.js` and goes to `ear-worklet.js`; what is seen of it is the
// page's work: this only tells, by events.

const NORMAL = 1000;
// What the bridge sent ahead of its goodbye is still played.
const PLAY_OUT_MS = 400;

// Tells: `began` {}, `said` {pcm, at_s}, `played` {pcm, rms, peak, sound, waiting, gaps, at_s},
// `transcript` {role, text}, `interruption` {}, `fault` {message}, `ended` {code, reason, byUs}.
export class Call extends EventTarget {
  #context;
  #mouth;
  #ear;
  #stream;
  #socket;
  #over = false;

  // `url`: the bridge's WebSocket. `microphone`: a MediaStream, or null for a caller who is silent.
  constructor(url, microphone) {
    super();
    this.uuid = crypto.randomUUID();
    this.url = url;
    this.#stream = microphone;
  }

  // Resolves when the bridge is connected; rejects with words for people.
  async place() {
    try {
      await this.#prepareSound();
      await this.#connect();
    } catch (error) {
      this.#end(0, error.message);
      throw error;
    }
  }

  // Seconds of the sound's clock, by which `at_s` is told.
  get now_s() {
    return this.#context?.currentTime ?? 0;
  }

  mute(muted) {
    this.#mouth.port.postMessage({ muted });
  }

  press(digit) {
    this.#send({ type: 'dtmf_digit', digit });
  }

  hangUp() {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.close(NORMAL);
    this.#end(NORMAL, '', true);
  }

  async #prepareSound() {
    this.#context = new AudioContext({ latencyHint: 'interactive' });
    const worklets = ['mouth-worklet.js', 'ear-worklet.js'];
    await Promise.all(
      worklets.map((name) => this.#context.audioWorklet.addModule(new URL(name, import.meta.url))),
    ).catch(() => {
      throw new Error('The bridge cannot be reached, or serves no console any more.');
    });
    const mono = { channelCount: 1, channelCountMode: 'explicit' };
    // It says nothing to the loudspeaker; some browsers run only what leads there.
    this.#mouth = new AudioWorkletNode(this.#context, 'mouth', { ...mono, outputChannelCount: [1] });
    this.#mouth.connect(this.#context.destination);
    this.#ear = new AudioWorkletNode(this.#context, 'ear', {
      numberOfInputs: 0,
      outputChannelCount: [1],
    });
    if (this.#stream) this.#context.createMediaStreamSource(this.#stream).connect(this.#mouth);
    this.#ear.connect(this.#context.destination);
    this.#mouth.port.onmessage = ({ data }) => this.#said(data);
    this.#ear.port.onmessage = ({ data }) => this.#tell('played', data);
    await this.#context.resume();
  }

  #connect() {
    return new Promise((resolve, reject) => {
      this.#socket = new WebSocket(this.url);
      this.#socket.onopen = () => {
        this.#send({ type: 'init', uuid: this.uuid });
        this.#tell('began', {});
        resolve();
      };
      this.#socket.onmessage = ({ data }) => this.#receive(JSON.parse(data));
      this.#socket.onclose = ({ code, reason }) => {
        this.#end(code, reason);
        reject(
          new Error('The bridge cannot be reached, or refuses the call: then its log says why.'),
        );
      };
    });
  }

  #said({ pcm, at_s }) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    this.#send({ type: 'audio', audio: toBase64(new Uint8Array(pcm.buffer)) });
    this.#tell('said', { pcm, at_s });
  }

  #receive(message) {
    if (this.#over) return;
    if (message.type === 'audio') {
      const pcm = new Int16Array(fromBase64(message.audio).buffer);
      this.#ear.port.postMessage({ pcm }, [pcm.buffer]);
    } else if (message.type === 'interruption') {
      this.#ear.port.postMessage({ interruption: true });
      this.#tell('interruption', {});
    } else if (message.type === 'transcript') {
      this.#tell('transcript', { role: message.role, text: message.text });
    } else if (message.type === 'error') {
      this.#tell('fault', { message: message.message });
    }
  }

  #send(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #end(code, reason, byUs = false) {
    if (this.#over) return;
    this.#over = true;
    this.#mouth?.port.postMessage({ over: true });
    this.#stream?.getTracks().forEach((track) => track.stop());
    setTimeout(() => this.#context?.close(), byUs ? 0 : PLAY_OUT_MS);
    this.#tell('ended', { code, reason, byUs });
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

function toBase64(bytes) {
  return btoa(String.fromCharCode(...bytes));
}

function fromBase64(text) {
  return Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
}
