// xiaozhi's devices: an emulator that shares no code with us (xiaozhi_device.py) talks over their socket.
//
// The numbers are those of the check-list in docs/xiaozhi.md. Ears and voice are the embedded ones; the model is the local
// one, or a stand-in where it has to use a tool.

import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Services, share } from './services.mjs';
import { Server, binary, likeness, root, sleep, until, wav } from './support.mjs';

const answer = 'Here is a calm answer that takes a while to say, so that somebody can cut in on it. It has a second sentence, too.';
const farewell = 'Good-bye, and sleep well.';
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'visavis-xiaozhi-'));
const speech = path.join(folder, 'speech.wav');
const said = path.join(folder, 'said.wav');
let server;

const on = {
  VISAVIS_XIAOZHI__ENABLED: 'true',
  VISAVIS_XIAOZHI__FAREWELL: farewell,
  VISAVIS_LLM__LOCAL__RESPONSES: JSON.stringify([answer]),
};

/** A server of the test's own. */
async function start(t, env) {
  const started = await Server.start({ ...on, ...env });
  t.after(() => started.stop());
  return started;
}

before(async () => {
  execFileSync(binary, ['say', 'What is the weather like today?', '-o', speech], { cwd: root });
  execFileSync(binary, ['say', answer, '-o', said], { cwd: root });
  server = await Server.start(on);
});

after(async () => {
  await empty();
  await server.stop();
  fs.rmSync(folder, { recursive: true });
});

/** Runs one scenario of the emulator against `at`. */
function device(scenario, options = {}, at = server) {
  const python = path.join(root, 'target/python-peer/bin/python');
  const args = [path.join(root, 'tests/e2e/xiaozhi_device.py'), at.url, scenario, JSON.stringify(options)];
  return new Promise((resolve, reject) => {
    execFile(python, args, { timeout: 90_000 }, (error, stdout, stderr) => {
      if (error) reject(new Error(`${scenario}: ${stderr || error}\n${at.log.slice(-2_000)}`));
      else resolve(JSON.parse(stdout));
    });
  });
}

const empty = (at = server) => until('the session to end', async () => (await at.sessions()).length === 0);

/** What the embedded ears make of "What is the weather like today?" */
const isHeard = (text) => /weather.*today/i.test(text);

// Most of the time somebody speaks or listens, which takes as long as it does: so several at once.
describe('a device', { concurrency: 4 }, () => {
  // Check 11: versions 1, 2 and 3; check 12: auto and manual.
  for (const [version, mode] of [[1, 'auto'], [2, 'manual'], [3, 'auto']]) {
    test(`a device of version ${version} is heard and answered, ${mode}`, async () => {
      const out = path.join(folder, `heard-${version}.wav`);
      const seen = await device('talk', { wav: speech, version, mode, out });
      assert.ok(isHeard(seen.stt), seen.stt);
      assert.equal(seen.rate, 24_000);
      assert.ok(seen.rms > 0.02, 'there is a voice in the packets');
      assert.ok(seen.ahead > 180 && seen.ahead < 330, `the first five come at once: ${seen.ahead} ms ahead`);
      assert.ok(Math.abs(seen.median - 60) < 5, `then one each ${seen.median} ms`);
      assert.equal(seen.sentences.join(' ').replace(/\s+/g, ' ').trim(), answer);
      // All of the answer is in the packets: as long as the voice takes to say it.
      const seconds = (file, rate) => (fs.statSync(file).size - 44) / 2 / rate;
      assert.ok(Math.abs(seconds(out, 24_000) - seconds(said, 16_000)) < 1, `${seconds(out, 24_000)} s of ${seconds(said, 16_000)} s`);
    });
  }

  test('a wake word is answered, and an abort is silence at once', async () => { // check 12
    const seen = await device('detect', { text: 'Hello, are you there?' });
    assert.equal(seen.stt, 'Hello, are you there?');
    const cut = await device('abort', { text: 'Tell me something long.' });
    assert.ok(cut.stop_ms <= 100, `the stop came after ${cut.stop_ms} ms`);
  });

  test('an open microphone cuts in on the answer', async () => { // check 12
    const seen = await device('realtime', { wav: speech });
    assert.equal(seen.stts.length, 2);
    assert.ok(seen.stts.every(isHeard), seen.stts.join(' | '));
    assert.ok(seen.silent_after_ms !== null && seen.silent_after_ms < 2_000, `silent after ${seen.silent_after_ms} ms`);
  });

  for (const replaces of [true, false]) {
    test(`a device's WebRTC connection is heard, ${replaces ? 'in the place of' : 'beside'} its socket`, async (t) => { // check 10
      const own = await start(t, { VISAVIS_XIAOZHI__WEBRTC__REPLACE_OPUS: String(replaces) });
      const seen = await device('associate', { wav: speech }, own);
      assert.ok(isHeard(seen.stt), seen.stt);
      assert.deepEqual(seen.order.slice(0, 4), ['stt', 'tts:start', 'llm', 'tts:sentence_start']);
      assert.equal(seen.order.at(-1), 'tts:stop');
      assert.ok(seen.webrtc > 0.03, `its level on WebRTC: ${seen.webrtc}`);
      if (replaces) assert.equal(seen.packets, 0, 'nothing on the socket');
      else assert.ok(seen.packets > 30, `${seen.packets} packets on the socket, too`);
      assert.ok(seen.later_packets > 30, 'the socket sounds once the connection is gone');
      assert.equal((await own.sessions()).length <= 1, true);
    });
  }

  test('the model uses what the device can do', async (t) => { // check 13
    const asked = [];
    const model = http.createServer(async (request, response) => {
      let body = '';
      for await (const piece of request) body += piece;
      const prompt = JSON.parse(body);
      asked.push(prompt);
      const send = (delta, finish = null) => response.write(`data: ${JSON.stringify({ choices: [{ index: 0, delta, finish_reason: finish }] })}\n\n`);
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      if (prompt.messages.at(-1).role === 'tool') {
        send({ role: 'assistant', content: `The device says ${prompt.messages.at(-1).content}.` });
        send({}, 'stop');
      } else {
        const call = { name: 'self_audio_speaker_set_volume', arguments: '{"volume":30}' };
        send({ role: 'assistant', tool_calls: [{ index: 0, id: 'c1', type: 'function', function: call }] });
        send({}, 'tool_calls');
      }
      response.end('data: [DONE]\n\n');
    }).listen(0, '127.0.0.1');
    await new Promise((resolve) => model.once('listening', resolve));
    try {
      const own = await start(t, {
        VISAVIS_LLM__PROVIDER: 'openai', VISAVIS_LLM__OPENAI__API_KEY: 'k', VISAVIS_LLM__OPENAI__MODEL: 'm',
        VISAVIS_LLM__OPENAI__BASE_URL: `http://127.0.0.1:${model.address().port}/v1`,
      });
      const seen = await device('mcp', { text: 'Lower the volume to thirty.' }, own);
      assert.deepEqual(seen.calls, [{ name: 'self.audio_speaker.set_volume', arguments: { volume: 30 } }]);
      assert.equal(seen.sentences.join(' ').trim(), 'The device says true.');
      const offered = asked[0].tools.map((tool) => tool.function.name);
      assert.deepEqual(offered, ['self_get_device_status', 'self_audio_speaker_set_volume'], 'both pages of the list');
    } finally {
      model.close();
    }
  });

  test('strangers are told why they are not let in', async (t) => { // checks 14 and 20
    const key = 'north';
    const own = await start(t, {
      VISAVIS_XIAOZHI__AUTH__ENABLED: 'true', VISAVIS_XIAOZHI__AUTH__KEY: key,
    });
    const stranger = { texts: ['认证失败'], code: 1008 };
    assert.deepEqual(await device('refused', {}, own), stranger);
    assert.deepEqual(await device('refused', { headers: { Authorization: 'Bearer x.1700000000' } }, own), stranger);
    assert.deepEqual((await device('refused', { device: '' }, own)).texts, ['端口正常，如需测试连接，请启动digital-human测试']);
    await device('admitted', { key }, own);
    await device('admitted', { key, age: 29 * 86_400 }, own);
    await assert.rejects(device('admitted', { key, age: 31 * 86_400 }, own), 'a token that has expired');
    await assert.rejects(device('admitted', { key: 'south' }, own), 'a token that somebody else signed');
    const told = await device('ota', {}, own);
    assert.equal(told.websocket.url, `ws://127.0.0.1:${own.port}/xiaozhi/v1/`);
    assert.match(told.websocket.token, /^[\w-]{43}\.\d+$/);
  });

  test('who is on the list needs no token, and others are given none', async (t) => { // checks 14 and 20
    const own = await start(t, {
      VISAVIS_XIAOZHI__AUTH__ENABLED: 'true', VISAVIS_XIAOZHI__AUTH__KEY: 'north',
      VISAVIS_XIAOZHI__AUTH__ALLOWED_DEVICES: '["AA:BB:CC:DD:EE:FF"]',
    });
    await device('admitted', { device: 'aa:bb:cc:dd:ee:ff' }, own);
    await assert.rejects(device('ota', { device: '02:00:00:00:00:09' }, own), /认证失败|hello/);
  });

  test('who says nothing is told good-bye', async (t) => { // check 14
    const own = await start(t, { VISAVIS_XIAOZHI__SILENCE: '3s' });
    const seen = await device('silent', {}, own);
    assert.deepEqual(seen.sentences, [farewell]);
    assert.ok(seen.after_s > 3 && seen.after_s < 15, `${seen.after_s} s`);
    assert.equal(seen.code, 1000);
    await empty(own);
    // Without a hello nobody stays either.
    const began = performance.now();
    assert.equal((await device('refused', {}, own)).code, 1008);
    assert.ok(performance.now() - began > 9_000);
  });

  test('odd messages do no harm', async () => {
    const seen = await device('odd');
    assert.ok(!seen.words.includes('stt:'), 'an empty text is no question');
  });

  test('a hundred devices come and go and leave nothing behind', async (t) => {
    const own = await start(t, {});
    const state = () => {
      const pid = own.process.pid;
      const status = fs.readFileSync(`/proc/${pid}/status`, 'utf8');
      return {
        fds: fs.readdirSync(`/proc/${pid}/fd`).length,
        threads: Number(/Threads:\s+(\d+)/.exec(status)[1]),
        mib: Number(/VmRSS:\s+(\d+)/.exec(status)[1]) / 1_024,
      };
    };
    // The first ones warm up pools and arenas.
    await device('cycles', { count: 50 }, own);
    await empty(own);
    await sleep(1_000);
    const before = state();
    await device('cycles', { count: 100 }, own);
    await empty(own);
    await until('the sockets and threads to be gone', () => state().fds <= before.fds + 1 && state().threads <= before.threads + 2, 20_000);
    const grown = state().mib - before.mib;
    assert.ok(grown < 32, `${grown.toFixed(1)} MiB more after a hundred`);
  });

  test('turned off, there is no route', async (t) => {
    const own = await start(t, { VISAVIS_XIAOZHI__ENABLED: 'false' });
    for (const route of ['/xiaozhi/v1/', '/xiaozhi/ota/']) assert.equal((await fetch(own.url + route)).status, 404);
  });

  test('a device hears what the local services of seed 000 make of its words', async (t) => {
    const services = await Services.start({ seconds: 2 });
    const clips = path.join(folder, 'clips');
    try {
      const own = await start(t, {
        VISAVIS_ASR__PROVIDER: 'services', VISAVIS_ASR__SERVICES__BASE_URL: `${services.url}/api/v1`,
        VISAVIS_LLM__PROVIDER: 'services', VISAVIS_LLM__SERVICES__BASE_URL: `${services.url}/api/v1`,
        VISAVIS_LLM__SERVICES__USE_SECOND: 'true',
        VISAVIS_TTS__PROVIDER: 'megatts3', VISAVIS_TTS__MEGATTS3__URL: services.url,
        VISAVIS_TTS__MEGATTS3__REFERENCE_AUDIO: speech, VISAVIS_TTS__MEGATTS3__OUTPUT_DIR: clips,
      });
      const out = path.join(folder, 'services.wav');
      const seen = await device('talk', { wav: speech, mode: 'manual', out }, own);
      assert.equal(seen.stt, services.heard);
      assert.deepEqual(seen.sentences, [services.said]);
      assert.deepEqual(services.asked.map(({ route }) => route), ['/api/v1/speech-to-text', '/api/v1/chat/uncensored', '/process']);
      const [ears, mind, voice] = services.asked;
      assert.ok(likeness(wav(speech), ears.samples).likeness >= 0.9, 'they heard what was said');
      assert.equal(mind.body.prompt, services.heard);
      assert.deepEqual([voice.body.wav_path, voice.body.input_text], [speech, services.said]);
      const heard = wav(out);
      assert.ok(share(heard.subarray(4_800, 43_200), services.hz, 24_000) > 0.95, 'their tone, and nothing else');
      assert.deepEqual(fs.readdirSync(clips), [], 'their files are gone');
    } finally {
      await services.stop();
    }
  });
});
