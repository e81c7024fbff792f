// Opens the console in a real Chromium whose microphone plays a WAV file, does what it is told, and
// prints what it saw: JSON, the only line on standard output. The first argument is JSON too:
//
//   chromium  path of the program
//   url       what is opened first
//   wav       what the microphone plays, once, from the moment when it is opened
//   width, height, scheme, args, and of `ARGS` those to go without: without
//   steps     one after another: {"do": name, ...} with the names of `steps` below

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';

import { chromium } from 'playwright-core';

const options = JSON.parse(process.argv[2]);
const WITHIN_MS = 30_000;
const SAMPLE_MS = 50;

// Nothing that goes out to the network by itself, no GPU, no sandbox: it runs as root in CI.
const ARGS = [
  '--use-fake-device-for-media-stream',
  '--use-fake-ui-for-media-stream',
  '--autoplay-policy=no-user-gesture-required',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

const seen = { faults: [], hosts: [], levels: { caller: 0, agent: 0 }, read: {}, axe: [] };
const browser = await chromium.launch({
  executablePath: options.chromium,
  headless: true,
  args: [
    ...ARGS.filter((arg) => !options.without?.includes(arg)),
    ...(options.wav ? [`--use-file-for-fake-audio-capture=${options.wav}%noloop`] : []),
    ...(options.args ?? []),
  ],
});
const context = await browser.newContext({
  viewport: { width: options.width ?? 1360, height: options.height ?? 900 },
  colorScheme: options.scheme ?? 'light',
  deviceScaleFactor: options.scale ?? 1,
  acceptDownloads: true,
});
const page = await context.newPage();
page.setDefaultTimeout(WITHIN_MS);
page.on('console', (message) => {
  // A refused request is the page's to handle; what it says besides is a fault.
  const refused = message.text().startsWith('Failed to load resource');
  if (['error', 'warning'].includes(message.type()) && !refused) seen.faults.push(message.text());
});
page.on('pageerror', (error) => seen.faults.push(String(error)));
page.on('request', (request) => seen.hosts.push(new URL(request.url()).host));

const has = ([selector, words]) => document.querySelector(selector)?.innerText.includes(words);

const steps = {
  open: ({ url }) => page.goto(url),
  click: ({ what }) => page.click(what),
  key: ({ key }) => page.keyboard.press(key),
  fill: ({ what, text }) => page.fill(what, text),
  choose: ({ what, value }) => page.selectOption(what, value),
  sleep: ({ ms }) => sleep(ms),
  kill: ({ pid, signal }) => process.kill(pid, signal ?? 'SIGKILL'),
  wait: ({ what, words }) => page.waitForFunction(has, [what, words ?? '']),
  scheme: ({ scheme }) => page.emulateMedia({ colorScheme: scheme }),
  size: ({ width, height }) => page.setViewportSize({ width, height }),
  picture: ({ path, full }) => page.screenshot({ path, fullPage: full ?? false }),
  read: async ({ name, what }) => {
    seen.read[name] = await page.locator(what).allInnerTexts();
  },
  measure: async ({ name, script }) => {
    seen.read[name] = await page.evaluate(script);
  },
  save: async ({ what, path }) => {
    const [download] = await Promise.all([page.waitForEvent('download'), page.click(what)]);
    await download.saveAs(path);
  },
  axe: async () => {
    const source = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
    await page.evaluate(source);
    const { violations } = await page.evaluate(() => globalThis.axe.run());
    const told = ({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(' ')}`;
    seen.axe.push(...violations.map(told));
  },
};

// The loudest that each meter showed.
async function sample() {
  const now = await page.evaluate(() =>
    ['caller', 'agent'].map((side) => {
      const bar = document.querySelector(`#level-${side} i`);
      return bar ? Number(bar.style.transform.slice('scaleX('.length, -1) || 0) : 0;
    }),
  );
  seen.levels.caller = Math.max(seen.levels.caller, now[0]);
  seen.levels.agent = Math.max(seen.levels.agent, now[1]);
}

let sampling = true;
const sampled = (async () => {
  while (sampling) {
    await sample().catch(() => {}); // between two pages
    await sleep(SAMPLE_MS);
  }
})();

let failure = null;
try {
  await page.goto(options.url);
  for (const step of options.steps) await steps[step.do](step);
} catch (error) {
  const state = await page.locator('body').innerText().catch(() => '');
  failure = `${error}\n${state}`;
}
sampling = false;
await sampled;
await browser.close();
seen.hosts = [...new Set(seen.hosts)];
if (failure === null) process.stdout.write(`${JSON.stringify(seen)}\n`);
else process.stderr.write(`${failure}\n${JSON.stringify(seen)}\n`);
process.exit(failure === null ? 0 : 1);
