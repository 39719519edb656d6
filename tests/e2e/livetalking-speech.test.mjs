// LiveTalking's `/human` by the clock: how soon a voice is heard, and whether `/is_speaking` says so while it is.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { Server, browser, keepPeers, root, sleep, until } from './support.mjs';

const RATE = 24_000;
const SECONDS = 1.6;

/** When the voice sent its first byte, for each clause. What is said here has one. */
const sent = [];
let voice;
let server;
let chromium;

before(async () => {
  // A voice that takes a moment to begin, and then speaks three times as fast as it is heard.
  const sound = Buffer.alloc(RATE * SECONDS * 2);
  for (let n = 0; n < RATE * SECONDS; n++) sound.writeInt16LE(Math.round(12_000 * Math.sin((2 * Math.PI * 440 * n) / RATE)), n * 2);
  voice = http.createServer(async (request, reply) => {
    for await (const _ of request);
    await sleep(150);
    reply.writeHead(200, { 'content-type': 'audio/pcm' });
    sent.push(Date.now());
    for (let at = 0; at < sound.length; at += 14_400) {
      reply.write(sound.subarray(at, at + 14_400));
      await sleep(100);
    }
    reply.end();
  }).listen(0, '127.0.0.1');
  await once(voice, 'listening');
  server = await Server.start({
    VISAVIS_SERVER__PAGE: path.join(root, 'tests/e2e/livetalking'),
    VISAVIS_TTS__PROVIDER: 'openai',
    VISAVIS_TTS__OPENAI__BASE_URL: `http://127.0.0.1:${voice.address().port}/v1`,
    VISAVIS_TTS__OPENAI__API_KEY: 'k',
    VISAVIS_TTS__OPENAI__FORMAT: 'pcm',
  });
  chromium = await browser();
});
after(async () => {
  await chromium?.close();
  await server?.stop();
  voice?.close();
});

test('an echo is heard 700 ms after the first byte of its voice, and is_speaking is true while it is heard', async () => {
  const page = await (await chromium.newContext({ bypassCSP: true })).newPage();
  await keepPeers(page);
  await page.goto(`${server.url}/index.html`);
  await page.evaluate(() => globalThis.documented());
  await until('pictures', () => page.evaluate(() => globalThis.shown().width > 0));
  await page.evaluate(noteLoudness);
  await page.evaluate(noteState);
  await sleep(2_000);
  for (let round = 0; round < 4; round += 1) {
    await page.evaluate(() => {
      globalThis.loud.length = 0;
      globalThis.changes.length = 0;
    });
    await page.evaluate(() => globalThis.ask('/human', { type: 'echo', text: 'Good morning.' }));
    await until('the end of the answer', () => page.evaluate(() => globalThis.changes.length >= 2), 15_000);
    await sleep(500);
    const { loud, changes } = await page.evaluate(() => ({ loud: globalThis.loud, changes: globalThis.changes }));
    const [heard, hushed] = [loud[0], loud.at(-1)];
    const soon = heard - sent.at(-1);
    const begin = changes[0].at - heard;
    const end = changes[1].at - hushed;
    console.log(`heard ${soon} ms after the voice's first byte, for ${hushed - heard} ms; is_speaking true ${begin} ms and false ${end} ms after that`);
    assert.deepEqual(changes.map(({ speaks }) => speaks), [true, false]);
    assert.ok(Math.abs(hushed - heard - SECONDS * 1_000) < 250, `${hushed - heard} ms were heard`);
    assert.ok(soon <= 700, `${soon} ms`);
    assert.ok(Math.abs(begin) <= 200 && Math.abs(end) <= 200, `${begin} ms and ${end} ms`);
  }
  await page.evaluate(() => globalThis.peer.close());
});

// The functions below run in the page.

/** `loud`: the times at which something was heard, a piece of 8 ms each, behind the jitter buffer. */
async function noteLoudness() {
  const receiver = globalThis.peers.at(-1).getReceivers().find((r) => r.track.kind === 'audio');
  const context = new AudioContext({ sampleRate: 16_000 });
  const code = `registerProcessor('ear', class extends AudioWorkletProcessor {
    process([[channel]]) {
      if (channel?.some((sample) => Math.abs(sample) > 0.05)) this.port.postMessage(Date.now());
      return true;
    }
  })`;
  await context.audioWorklet.addModule(`data:text/javascript,${encodeURIComponent(code)}`);
  const ear = new AudioWorkletNode(context, 'ear');
  globalThis.loud = [];
  ear.port.onmessage = ({ data }) => globalThis.loud.push(data);
  context.createMediaStreamSource(new MediaStream([receiver.track])).connect(ear);
  await context.resume();
}

/** `changes`: what `/is_speaking` says, and when; the middle of what one poll leaves open. It may be asked 20 times a second. */
async function noteState() {
  globalThis.changes = [];
  (async () => {
    let [speaks, asked] = [false, Date.now()];
    for (;;) {
      const now = Date.now();
      const { data } = await globalThis.ask('/is_speaking');
      if (typeof data === 'boolean' && data !== speaks) globalThis.changes.push({ speaks: data, at: Math.round((asked + Date.now()) / 2) });
      [speaks, asked] = [data ?? speaks, now];
      await new Promise((resolve) => setTimeout(resolve, 55));
    }
  })();
}
