// Words for what the bridge tells. Pure.

const STATES = {
  connecting: 'Waiting for the model',
  listening: 'The agent listens',
  'caller speaks': 'You speak',
  thinking: 'The agent thinks',
  'agent speaks': 'The agent speaks',
};

// Of a call's `view`, for the caller.
export function stateWords(view) {
  return view.state === 'tool' ? `A tool runs: ${view.tool}` : (STATES[view.state] ?? view.state);
}

const LOST = 1006; // of WebSockets: the connection is gone and nobody has closed it

// Of a call that the caller has not ended; `code` 0 if it failed on this side.
export function endWords(code, reason, began) {
  if (!began) return `The call did not begin${reason ? `: ${reason}` : ''}`;
  if (code === LOST) return 'The connection was lost';
  return `The bridge ended the call: ${reason || `code ${code}`}`;
}

// A length of time, in one form wherever it stands.
export function inWords(ms) {
  const whole_ms = Math.round(ms);
  return whole_ms < 1000 ? `${whole_ms} ms` : `${(whole_ms / 1000).toFixed(2)} s`;
}

const WORDS = {
  call_began: ({ transport }) => `call began (${transport})`,
  session_ready: ({ setup_ms, model, again }) =>
    again ? `another session: ${model}` : `${model} is ready after ${inWords(setup_ms)}`,
  speech_started: () => 'you speak',
  speech_stopped: () => 'you have stopped',
  answer_started: ({ latency_ms }) =>
    latency_ms === null ? 'the agent speaks' : `the agent speaks, ${inWords(latency_ms)} later`,
  answer_over: () => 'the agent has spoken',
  interrupted: ({ stop_ms, heard_ms }) =>
    heard_ms === null
      ? `interrupted, silent after ${inWords(stop_ms)}`
      : `interrupted, silent after ${inWords(stop_ms)}; ${inWords(heard_ms)} of it were heard`,
  transcript: () => null, // it has a place of its own
  key_pressed: () => 'the bridge has a key',
  tool_started: ({ tool }) => `tool ${tool} begins`,
  tool_done: ({ tool, outcome, took_ms }) => `tool ${tool}: ${outcome}, ${inWords(took_ms)}`,
  response_done: ({ status, tokens_in, tokens_out }) =>
    tokens_in === undefined
      ? `answer ${status}`
      : `answer ${status}: ${tokens_in} tokens in, ${tokens_out} out`,
  session_lost: ({ reason }) => `the session was lost: ${reason}`,
  session_renewed: () => 'the session was renewed',
  waited_too_long: ({ watchdog }) => `waited too long: ${watchdog.replaceAll('_', ' ')}`,
  call_ended: ({ reason, detail }) =>
    `the bridge ends the call: ${reason.replaceAll('_', ' ')}${detail ? ` (${detail})` : ''}`,
};

const BAD = new Set(['session_lost', 'waited_too_long']);

// Of a moment, null where it needs none; `bad` where somebody should look into it.
export function wordsOf(moment) {
  const find = WORDS[moment.kind] ?? (() => moment.kind.replaceAll('_', ' '));
  const words = find(moment);
  const failed = moment.kind === 'tool_done' && moment.outcome !== 'ok';
  return { words, bad: BAD.has(moment.kind) || failed };
}
