// Recordings: the avatar speaks them with its own mouth, or hears them as a question.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { Server, binary, browser, heard, listen, root, sessionOf, sleep, until, watch } from './support.mjs';

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'visavis-recording-'));
const sentence = path.join(folder, 'sentence.wav');
let server;
let chromium;
let page;
let session;

before(async () => {
  execFileSync(binary, ['say', 'What is the capital of France?', '-o', sentence], { cwd: root });
  server = await Server.start({ VISAVIS_LLM__LOCAL__RESPONSES: '["This is my answer."]' });
  chromium = await browser();
  const context = await chromium.newContext({ locale: 'en-US', bypassCSP: true });
  await context.addInitScript(() => {
    globalThis.told = [];
    // Packets of 20 ms that are more than silence: what the browser plays of them may be stretched.
    globalThis.loud = 0;
    globalThis.onPeerTrack = ({ receiver }) => {
      const { readable, writable } = receiver.createEncodedStreams();
      const note = new TransformStream({
        transform(frame, controller) {
          if (receiver.track.kind === 'audio' && frame.data.byteLength > 20) globalThis.loud += 1;
          controller.enqueue(frame);
        },
      });
      readable.pipeThrough(note).pipeTo(writable);
    };
    const create = RTCPeerConnection.prototype.createDataChannel;
    RTCPeerConnection.prototype.createDataChannel = function (...args) {
      const channel = create.apply(this, args);
      channel.addEventListener('message', ({ data }) => globalThis.told.push(JSON.parse(data)));
      globalThis.channel = channel;
      return channel;
    };
  });
  page = await watch(context, `${server.url}/`);
  session = await sessionOf(page);
});

after(async () => {
  await chromium?.close();
  await server?.stop();
  fs.rmSync(folder, { recursive: true });
});

const told = () => page.evaluate(() => globalThis.told);
const forget = () => page.evaluate(() => globalThis.told.splice(0));
const ended = () => until('the end', async () => (await told()).some((m) => m.type === 'turn' && m.event === 'ended'), 40_000);

/** A form as `curl -F` sends it. One a second is taken. */
async function upload(file, more = {}, to = session) {
  await sleep(1_050);
  const form = new FormData();
  if (to) form.append('sessionid', to);
  for (const [name, value] of Object.entries(more)) form.append(name, value);
  if (file) form.append('file', new Blob([file]), 'recording');
  const reply = await fetch(`${server.url}/humanaudio`, { method: 'POST', body: form });
  return { status: reply.status, ...(await reply.json()) };
}

/** Two seconds of a tone of 440 Hz. */
function tone(name, ...options) {
  const file = path.join(folder, name);
  execFileSync('ffmpeg', ['-v', 'error', '-f', 'lavfi', '-i', 'sine=440:duration=2', ...options, file]);
  return fs.readFileSync(file);
}

/** How often rendering had nothing when a slice was due, while the server runs. */
async function gaps() {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  return Number(/^visavis_underruns_total (\d+)/m.exec(text)?.[1] ?? 0);
}

/** Of most of a recording: over each ten rises from below zero, where it is loud. */
function pitch(sound) {
  const rises = [];
  for (let n = 1; n < sound.length; n++) {
    if (sound[n - 1] < 0 && sound[n] >= 0 && sound[n] - sound[n - 1] > 0.005) rises.push(n - sound[n] / (sound[n] - sound[n - 1]));
  }
  const spans = rises.slice(10).map((at, n) => (at - rises[n]) / 10).sort((a, b) => a - b);
  return 16_000 / spans[Math.floor(spans.length / 2)];
}

for (const [kind, ...options] of [
  ['tone.wav', '-ar', '8000'],
  ['tone.mp3', '-ar', '44100', '-ac', '2'],
  ['tone.ogg', '-ar', '48000', '-c:a', 'libopus'],
  ['tone.flac', '-ar', '96000', '-sample_fmt', 's32'],
  ['tone.webm', '-ar', '48000', '-ac', '2', '-c:a', 'libopus'],
  ['tone.m4a', '-ar', '44100', '-c:a', 'aac'],
]) {
  test(`${kind} is heard as long and as high as it is`, async () => {
    const file = tone(kind, ...options);
    await forget();
    await listen(page);
    await page.evaluate(() => {
      globalThis.loud = 0;
    });
    const reply = await upload(file);
    assert.equal(reply.code, 0, JSON.stringify(reply));
    await ended();
    await sleep(500);
    const packets = await page.evaluate(() => globalThis.loud);
    // None is lost; where a busy machine leaves a gap, the silence after it begins with packets that are not small yet.
    assert.ok(packets >= 98 && packets <= 102 + 2 * (await gaps()), `${packets} packets of 20 ms`);
    const hz = pitch(await heard(page));
    assert.ok(Math.abs(hz - 440) < 2, `${hz} Hz`);
    const turns = (await told()).filter((m) => m.type === 'turn').map((m) => m.event);
    assert.deepEqual(turns, ['started', 'ended']);
    assert.ok(!(await told()).some((m) => m.type === 'caption' || m.type === 'transcript'), 'it has no words');
  });
}

test('a recorded sentence, chosen in the menu, moves the mouth', async () => {
  await forget();
  await sleep(1_050);
  await page.evaluate(() => {
    const video = document.querySelector('video');
    const canvas = Object.assign(document.createElement('canvas'), { width: 256, height: 256 });
    const paint = canvas.getContext('2d', { willReadFrequently: true });
    let before = null;
    globalThis.motion = [];
    const look = () => {
      paint.drawImage(video, 0, 0, 256, 256);
      const { data } = paint.getImageData(97, 143, 61, 36);
      if (before) globalThis.motion.push(data.reduce((sum, v, n) => sum + Math.abs(v - before[n]), 0) / data.length);
      before = data;
      video.requestVideoFrameCallback(look);
    };
    video.requestVideoFrameCallback(look);
  });
  await sleep(1_500);
  const resting = await page.evaluate(() => globalThis.motion.splice(0));
  await page.locator('#menu').click();
  await page.locator('#recording').setInputFiles(sentence);
  await until('the start', async () => (await told()).some((m) => m.event === 'started'));
  await page.evaluate(() => globalThis.motion.splice(0));
  await ended();
  const speaking = await page.evaluate(() => globalThis.motion.splice(0));
  const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];
  assert.ok(median(speaking) > 3 * median(resting), `${median(speaking)} speaking, ${median(resting)} at rest`);
  assert.ok(!(await page.locator('#settings').isVisible()), 'the menu has made way');
});

test('an interruption cuts a recording', async () => {
  await forget();
  assert.equal((await upload(tone('long.wav', '-af', 'apad=whole_dur=20'))).code, 0);
  await until('the start', async () => (await told()).some((m) => m.event === 'started'));
  await server.post('/interrupt_talk', { sessionid: session });
  await until('the cut', async () => (await told()).some((m) => m.event === 'interrupted'), 2_000);
});

test('what is said in a recording is answered, over HTTP and over the channel', async () => {
  const words = (text) => text.toLowerCase().replace(/[^a-z ]/g, '').trim();
  const file = fs.readFileSync(sentence);
  await forget();
  const reply = await upload(file, { type: 'chat' });
  assert.equal(words(reply.text ?? ''), 'what is the capital of france', JSON.stringify(reply));
  await ended();
  assert.ok((await told()).some((m) => m.type === 'caption' && m.text.includes('answer')));

  await forget();
  await page.evaluate(async (text) => {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    globalThis.channel.send(JSON.stringify({ type: 'audio', bytes: bytes.length, as: 'question' }));
    for (let at = 0; at < bytes.length; at += 16_384) globalThis.channel.send(bytes.subarray(at, at + 16_384));
  }, file.toString('base64'));
  await ended();
  const transcript = (await told()).find((m) => m.type === 'transcript' && m.final);
  assert.equal(words(transcript.text), 'what is the capital of france');
});

test('a gesture and a voice are chosen over the channel, and unknown ones are refused', async () => {
  await forget();
  await page.evaluate(() => {
    for (const message of [
      { type: 'action', name: 'nod' },
      { type: 'action', name: 'dance' },
      { type: 'voice', id: 'zm_yunxi' },
      { type: 'voice', id: 'nobody' },
    ]) globalThis.channel.send(JSON.stringify(message));
  });
  await until('the answers', async () => (await told()).filter((m) => m.type === 'error').length === 2);
  const answers = (await told()).filter((m) => m.type === 'error' || m.type === 'voice').map((m) => m.code ?? m.id);
  assert.deepEqual(answers.sort(), ['unknown_action', 'unknown_voice', 'zm_yunxi']);
  assert.equal(await page.locator('#voice').inputValue(), 'zm_yunxi');
  const act = (name) => server.post(`/v1/sessions/${session}/action`, { name });
  assert.equal((await act('smile')).ok, true);
  assert.equal((await act('sing')).code, 'unknown_action');
});

test('what is no recording is refused in words', async () => {
  const small = tone('small.wav');
  const cases = {
    'no file': [null, {}, session, 'bad_request'],
    'no session': [small, {}, '', 'bad_request'],
    'another session': [small, {}, '00000000-0000-4000-8000-000000000000', 'unknown_session'],
    'an empty file': [Buffer.alloc(0), {}, session, 'empty_audio'],
    'a text': [Buffer.from('Dear Sir or Madam'.repeat(99)), {}, session, 'unsupported_media_type'],
    'too long': [tone('longer.ogg', '-c:a', 'libopus', '-af', 'apad=whole_dur=121'), {}, session, 'audio_too_long'],
    'a question too long': [tone('question.ogg', '-c:a', 'libopus', '-af', 'apad=whole_dur=31'), { type: 'chat' }, session, 'audio_too_long'],
    'a question without words': [tone('silence.wav', '-af', 'volume=0'), { type: 'chat' }, session, 'no_words'],
    'another type': [small, { type: 'sing' }, session, 'bad_type'],
  };
  for (const [name, [file, more, to, slug]] of Object.entries(cases)) {
    const reply = await upload(file, more, to);
    assert.deepEqual([reply.status, reply.code, reply.error], [200, -1, slug], `${name}: ${JSON.stringify(reply)}`);
  }
  assert.equal((await server.post('/humanaudio', {})).error, 'unsupported_media_type');
  // The reply comes before all is sent, which `fetch` takes for a broken connection.
  const large = path.join(folder, 'large.wav');
  fs.writeFileSync(large, Buffer.alloc(11 << 20));
  const reply = execFileSync('curl', ['-s', '-F', `sessionid=${session}`, '-F', `file=@${large}`, `${server.url}/humanaudio`]);
  assert.equal(JSON.parse(reply).error, 'too_large');
  await page.locator('#recording').setInputFiles(large);
  await page.locator('.notice', { hasText: '10 MiB' }).waitFor();
});
