// Talking with the avatar: what a microphone hears is written down, answered, cuts in, or does not.
//
// The person is our own voice in Chromium's microphone; the ears are the embedded ones.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { Server, binary, hearingBrowser, root, sleep, until, watch, wav, writeWav } from './support.mjs';

let server;
let browser;
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'visavis-talk-'));

before(async () => {
  server = await Server.start({ VISAVIS_LLM__LOCAL__RESPONSES: '["This is my answer to what you have said."]' });
});

// Also when the test failed: a browser that lives keeps the test run alive.
afterEach(() => browser?.close());

after(async () => {
  await server.stop();
  fs.rmSync(folder, { recursive: true });
});

/** A WAV file of sentences, each after so many seconds of silence; three more seconds of silence follow. */
function speech(name, ...parts) {
  const file = path.join(folder, `${name}.wav`);
  const pieces = parts.flatMap(([seconds, text]) => {
    execFileSync(binary, ['say', text, '-o', file], { cwd: root });
    return [new Float32Array(seconds * 16_000), wav(file)];
  });
  pieces.push(new Float32Array(3 * 16_000));
  writeWav(file, pieces.flatMap((piece) => [...piece]));
  return file;
}

/** The page in a browser that hears `file`, and all that the server tells it. */
async function open(file, query = '') {
  browser = await hearingBrowser(file);
  const context = await browser.newContext({ permissions: ['microphone'] });
  await context.addInitScript(() => {
    globalThis.told = [];
    const create = RTCPeerConnection.prototype.createDataChannel;
    RTCPeerConnection.prototype.createDataChannel = function (...args) {
      const channel = create.apply(this, args);
      channel.addEventListener('message', ({ data }) => globalThis.told.push({ at: performance.now(), ...JSON.parse(data) }));
      globalThis.channel = channel;
      return channel;
    };
  });
  const watched = await watch(context, `${server.url}/${query}`);
  const told = () => watched.evaluate(() => globalThis.told);
  return { page: watched, told };
}

/** The first message that fits, once it has come. */
async function message(told, what, fits, timeout = 30_000) {
  await until(what, async () => (await told()).some(fits), timeout);
  return (await told()).find(fits);
}

const isTurn = (event) => (m) => m.type === 'turn' && m.event === event;
const isFinal = (m) => m.type === 'transcript' && m.final;
const micButton = (page) => page.locator('#mic');
const words = (text) => text.toLowerCase().replace(/[^a-z ]/g, '').trim();

test('what is said is written down and answered', async () => {
  const { page, told } = await open(speech('question', [1.5, 'What is the capital of France?']));
  await micButton(page).click();
  const final = await message(told, 'the words', isFinal, 40_000);
  assert.equal(words(final.text), 'what is the capital of france');
  await message(told, 'the answer', isTurn('ended'));
  const all = await told();
  assert.ok(all.some((m) => m.type === 'state' && m.state === 'listening'), 'the person sees that they are heard');
  assert.ok(all.some((m) => m.type === 'caption' && m.text.includes('answer')));
  assert.ok(await page.locator('.log .mine', { hasText: /capital/ }).isVisible(), 'the words stand in the conversation');
  assert.equal(await micButton(page).getAttribute('aria-pressed'), 'true');
});

test('speech cuts in on the avatar and replaces what it was saying', async () => {
  const { page, told } = await open(speech('cut', [3, 'Please tell me about the weather tomorrow.']));
  const long = Array.from({ length: 12 }, (_, n) => `This is sentence number ${n + 1} of a long story.`).join(' ');
  await page.evaluate((text) => globalThis.channel.send(JSON.stringify({ type: 'echo', text })), long);
  await message(told, 'the story', isTurn('started'));
  await micButton(page).click();
  const cut = await message(told, 'the cut', isTurn('interrupted'), 40_000);
  assert.ok(cut.heard.length > 0 && cut.heard.length < long.length, 'what was heard of it is remembered');
  const all = await told();
  const final = all.find((m) => m.type === 'transcript' && m.final && /weather/i.test(m.text));
  assert.ok(final, `the words: ${JSON.stringify(all.filter((m) => m.type === 'transcript'))}`);
  await message(told, 'the answer', isTurn('ended'));
});

test('who only shows that they listen does not end the answer: it goes on with the word that was cut', async () => {
  const { page, told } = await open(speech('okay', [3, 'Okay, okay, okay.']));
  const long = 'First we take the blue box. Then we open it slowly. Then we look at what is inside. And last of all we close it again.';
  await page.evaluate((text) => globalThis.channel.send(JSON.stringify({ type: 'echo', text })), long);
  await message(told, 'the story', isTurn('started'));
  await micButton(page).click();
  const ended = await message(told, 'the end', isTurn('ended'), 60_000);
  const all = await told();
  const resumed = all.find((m) => m.type === 'caption' && m.resumed);
  assert.ok(resumed, 'it was held and went on');
  assert.equal(words(ended.heard), words(long), 'nothing of it is lost and nothing doubled');
  assert.ok(!all.some((m) => m.type === 'transcript' && m.final && /okay/i.test(m.text)), 'it is no question');
});

test('without https there is no microphone, and the page says why and where', async () => {
  const { page } = await open(speech('nobody', [1, 'Hello.']));
  await page.evaluate(() => Object.defineProperty(navigator, 'mediaDevices', { value: undefined }));
  await page.evaluate(() => Object.defineProperty(globalThis, 'isSecureContext', { value: false }));
  await micButton(page).click();
  await page.locator('.notice', { hasText: 'https://127.0.0.1' }).waitFor({ timeout: 5_000 });
});

test('held to talk, only what is said while the key is down is heard', async () => {
  const { page, told } = await open(speech('held', [1, 'One two three four five.'], [4, 'Seven eight nine ten.']));
  await page.evaluate(() => localStorage.setItem('visavis.talk', 'hold'));
  await page.locator('body').click({ position: { x: 300, y: 300 } });
  await page.keyboard.down(' ');
  await sleep(4_000);
  await page.keyboard.up(' ');
  const final = await message(told, 'the words', isFinal);
  assert.match(final.text, /1|one/i);
  await sleep(6_000);
  const finals = (await told()).filter(isFinal);
  assert.equal(finals.length, 1, 'what was said after the key was let go is not heard');
});
