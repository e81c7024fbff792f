// The page's beginning: sees to the token, reads the feed, and ties buttons and keys to the call.
// What is shown is in `view.js` and `bridge-view.js`; the call itself in `call.js`.

import { BridgeView } from './bridge-view.js';
import { Call } from './call.js';
import { Feed } from './feed.js';
import { CallView } from './view.js';

const KEYS = [...'123456789*0#'];
const LETTERS = { 2: 'ABC', 3: 'DEF', 4: 'GHI', 5: 'JKL', 6: 'MNO', 7: 'PQRS', 8: 'TUV', 9: 'WXYZ', 0: '+' };
const TOKEN = 'avr-bridge token';

const find = (id) => document.getElementById(id);
const view = new CallView();
const bridgeView = new BridgeView();
let call = null;
let shown = null; // the id of the call that the page shows, also when it is over
let placing = false;

// The token

// May come as `/console#token=...`: what stands behind # is sent to nobody and in no log.
function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get('token');
  if (given === null) return;
  sessionStorage.setItem(TOKEN, given);
  history.replaceState(null, '', location.pathname + location.search);
}

function token() {
  return sessionStorage.getItem(TOKEN);
}

function headers() {
  return token() === null ? {} : { Authorization: `Bearer ${token()}` };
}

function askForToken() {
  const dialog = find('sign-in');
  find('sign-in-fault').textContent = token() === null ? '' : 'That is not the token.';
  sessionStorage.removeItem(TOKEN);
  dialog.addEventListener('cancel', (event) => event.preventDefault());
  dialog.querySelector('form').onsubmit = (event) => {
    event.preventDefault();
    sessionStorage.setItem(TOKEN, find('token').value.trim());
    find('token').value = '';
    dialog.close();
    watch();
  };
  dialog.showModal();
}

// The bridge

function watch() {
  const feed = new Feed(new URL('console/feed', location.href), headers());
  feed.addEventListener('hello', ({ detail }) => {
    bridgeView.hello(detail, shown);
    showSettings();
  });
  feed.addEventListener('pulse', ({ detail }) => bridgeView.pulse(detail));
  feed.addEventListener('silent', () => bridgeView.silent());
  feed.addEventListener('heard', () => bridgeView.heard());
  feed.addEventListener('lost', () => bridgeView.lost());
  feed.addEventListener('moment', ({ detail }) => {
    bridgeView.moment(detail, shown);
    if (detail.call === shown) view.moment(detail, call);
  });
  feed.addEventListener('refused', ({ detail }) => {
    bridgeView.lost();
    if (detail.status === 401) askForToken();
    else notify(detail.words);
  });
  feed.run();
}

async function showSettings() {
  const response = await fetch(new URL('console/settings', location.href), { headers: headers() });
  if (response.ok) bridgeView.settings(await response.json());
}

function notify(words) {
  find('notice').textContent = words;
  find('notice').hidden = !words;
}

// The call

// Root of the bridge, wherever a proxy has put it.
function callUrl() {
  const url = new URL('.', location.href);
  url.protocol = location.protocol.replace('http', 'ws');
  url.search = new URLSearchParams(find('metadata').value.trim()).toString();
  if (token() !== null) url.searchParams.set('token', token());
  return url;
}

async function placeCall() {
  placing = true;
  notify('');
  view.placing();
  try {
    const microphone = await openMicrophone();
    const placed = new Call(callUrl(), microphone);
    view.follow(placed);
    placed.addEventListener('began', () => bridgeView.ours(placed.uuid));
    placed.addEventListener('ended', ({ detail }) => ended(placed, detail));
    call = placed;
    shown = placed.uuid;
    await placed.place();
    offerMicrophones();
  } catch (error) {
    notify(error.message);
    view.idle();
    call = null;
  }
  placing = false;
  showButtons();
}

async function openMicrophone() {
  const wanted = find('microphone').value;
  if (wanted === 'none') return null;
  const audio = { channelCount: 1, echoCancellation: true, noiseSuppression: true, autoGainControl: true };
  if (wanted) audio.deviceId = { exact: wanted };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    find('microphone').value = 'none';
    find('microphone').closest('details').open = true;
    throw new Error(
      `The microphone cannot be had (${error.name}). Let this page use it, or call without one: ` +
        'it is chosen now, under "More".',
    );
  }
}

async function offerMicrophones() {
  const menu = find('microphone');
  const known = new Set([...menu.options].map((option) => option.value));
  for (const device of await navigator.mediaDevices.enumerateDevices()) {
    if (device.kind !== 'audioinput' || !device.label || known.has(device.deviceId)) continue;
    menu.add(new Option(device.label, device.deviceId), menu.options[menu.options.length - 1]);
  }
}

function ended(over, { code, reason, byUs }) {
  if (over !== call) return;
  view.ended(code, reason, byUs);
  bridgeView.ours(null);
  call = null;
  showButtons();
}

function callOrHangUp() {
  if (call) call.hangUp();
  else if (!placing && !find('call').disabled) placeCall();
}

function mute() {
  if (!call) return;
  const muted = find('mute').getAttribute('aria-pressed') !== 'true';
  find('mute').setAttribute('aria-pressed', String(muted));
  find('mute').textContent = muted ? 'Muted' : 'Mute';
  call.mute(muted);
}

function press(digit) {
  const button = find('keypad').querySelector(`[data-digit="${digit}"]`);
  button.classList.add('pressed');
  setTimeout(() => button.classList.remove('pressed'), 150);
  if (!call) return;
  call.press(digit);
  view.pressed(digit, call);
}

function showButtons() {
  const button = find('call');
  button.querySelector('b').textContent = call ? 'Hang up' : 'Call';
  button.classList.toggle('up', call !== null);
  find('mute').disabled = call === null;
  find('mute').setAttribute('aria-pressed', 'false');
  find('mute').textContent = 'Mute';
  for (const key of find('keypad').children) key.disabled = call === null;
}

// Buttons and keys

function buildKeypad() {
  for (const digit of KEYS) {
    const button = document.createElement('button');
    button.type = 'button';
    button.dataset.digit = digit;
    button.append(digit);
    const letters = document.createElement('small');
    letters.textContent = LETTERS[digit] ?? '\u00a0';
    letters.ariaHidden = 'true';
    button.append(letters);
    button.addEventListener('click', () => press(digit));
    find('keypad').append(button);
  }
}

function onKey(event) {
  const writing = event.target.closest?.('input, select, textarea, dialog');
  if (writing || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (!find('shortcuts').checked) return;
  if (KEYS.includes(event.key) && call) press(event.key);
  else if (event.key === 'c') callOrHangUp();
  else if (event.key === 'm') mute();
  else return;
  event.preventDefault();
}

takeToken();
buildKeypad();
showButtons();
find('call').addEventListener('click', callOrHangUp);
find('mute').addEventListener('click', mute);
find('save').addEventListener('click', () => view.save());
document.addEventListener('keydown', onKey);
window.addEventListener('pagehide', () => call?.hangUp());
if (!window.isSecureContext) {
  find('call').disabled = true;
  notify(
    'This browser gives a microphone only to pages by https, or of this very machine. Open the ' +
      'console as http://localhost, or behind a proxy with TLS; calls can be watched all the same.',
  );
}
watch();
