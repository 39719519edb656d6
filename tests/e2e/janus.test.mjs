// A Janus audiobridge room (seed 000): what is heard in it, what is said in it, and by whom it is answered.
//
// Janus is Debian's own, the participant is aiortc (janus_device.py), ears, chat and voice are the local services of seed 000
// as stand-ins. The numbers are those of the check-list in docs/janus.md.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { Model, cleanUp } from './audio_proxy_peers.mjs';
import { Device, Janus, Proxy, SECRET, loudness } from './janus.mjs';
import { Services, share, tone } from './services.mjs';
import { Server, binary, browser, likeness, root, sleep, until, watch, wav } from './support.mjs';

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'visavis-room-'));
const reference = path.join(folder, 'reference.wav');
const mandarin = path.join(folder, 'mandarin.wav');
const narrow = path.join(folder, 'narrow.wav');
const plain = path.join(folder, 'plain.wav');
/** For the long forms: minutes instead of seconds. */
const long = Boolean(process.env.JANUS_LONG);
const running = [];
let janus;

function keep(started) {
  running.push(started);
  return started;
}

before(async () => {
  fs.writeFileSync(reference, tone(300, 3, 16_000));
  fs.writeFileSync(path.join(folder, 'reference.txt'), '参考文本');
  const sound = path.join(root, 'tests/corpus/sound/mandarin.ogg');
  const ffmpeg = (...args) => execFileSync('ffmpeg', ['-v', 'error', '-y', '-i', sound, ...args]);
  ffmpeg('-ar', '48000', '-ac', '2', mandarin);
  ffmpeg('-ar', '8000', '-ac', '1', narrow);
  ffmpeg('-ar', '16000', '-ac', '1', '-fflags', '+bitexact', '-flags', '+bitexact', '-map_metadata', '-1', plain);
  janus = await Janus.start();
});

afterEach(async () => {
  await Promise.all(running.splice(0).reverse().map((started) => started.stop()));
  await cleanUp();
});

after(async () => {
  await janus.stop();
  fs.rmSync(folder, { recursive: true });
});

/** The local services, and what makes the server ask them. */
async function minds(options) {
  const services = keep(await Services.start(options));
  const env = {
    VISAVIS_ASR__PROVIDER: 'services', VISAVIS_ASR__SERVICES__BASE_URL: `${services.url}/api/v1`, VISAVIS_ASR__LANGUAGE: 'zh',
    VISAVIS_LLM__PROVIDER: 'services', VISAVIS_LLM__SERVICES__BASE_URL: `${services.url}/api/v1`,
    VISAVIS_TTS__PROVIDER: 'megatts3', VISAVIS_TTS__MEGATTS3__URL: services.url,
    VISAVIS_TTS__MEGATTS3__REFERENCE_AUDIO: reference, VISAVIS_TTS__MEGATTS3__OUTPUT_DIR: path.join(folder, 'made'),
  };
  const of = (route) => services.asked.filter((asked) => asked.route === route);
  return { services, env, of };
}

async function agent(env = {}, flags = [], url = janus.url) {
  const started = await Server.start(
    { JANUS_URL: url, JANUS_API_SECRET: SECRET, ...env },
    '0.0.0.0',
    ['janus', ...flags],
  );
  return keep(started);
}

const inRoom = (name) => until('the avatar in the room', async () => (await janus.agents(name))[0]?.setup === true, 15_000);
const session = async (server) => (await server.sessions())[0];
const stt = '/api/v1/speech-to-text';
const chat = '/api/v1/chat/qwen';

/** What of `heard` is loud: its beginning and end in seconds, the longest hole of silence in ms, its level. */
function part(samples, from = 0, floor = 0.02) {
  const loud = loudness(samples.subarray(from));
  const [first, last] = [loud.findIndex((rms) => rms > floor), loud.findLastIndex((rms) => rms > floor)];
  if (first < 0) return null;
  let hole = 0;
  let longest = 0;
  for (const rms of loud.slice(first, last + 1)) {
    hole = rms > floor ? 0 : hole + 20;
    longest = Math.max(longest, hole);
  }
  const inside = samples.subarray(from + (first + 3) * 320, from + (last - 2) * 320);
  const level = Math.sqrt(inside.reduce((sum, s) => sum + s * s, 0) / inside.length);
  return { first, last, at: from + first * 320, seconds: (last - first + 1) / 50, hole: longest, level, inside };
}

/**
 * What is between some 300 Hz and 1.5 kHz. Below, Opus for speech takes out what moves with the pitch, and with it phases move;
 * above, two recordings of the same are not alike once they are half a sample apart.
 */
function band(samples) {
  const mean = (x, reach) => {
    const sums = new Float64Array(x.length + 1);
    x.forEach((s, n) => (sums[n + 1] = sums[n] + s));
    const at = (n) => sums[Math.max(0, Math.min(x.length, n))];
    return Float32Array.from(x, (_, n) => (at(n + reach + 1) - at(n - reach)) / (2 * reach + 1));
  };
  const low = mean(mean(samples, 2), 2);
  const rumble = mean(mean(low, 20), 20);
  return low.map((s, n) => s - rumble[n]);
}

test('it joins with its secret and name, speaks all the time, and says good-bye in order', async () => {
  const proxy = keep(await Proxy.start(janus, { media: true }));
  const { env } = await minds();
  const server = await agent(env, [], proxy.url);
  // check 1
  const took = await inRoom();
  assert.ok(took < 2_000, `${took} ms from the server's start`);
  assert.ok(proxy.said.every(({ apisecret }) => apisecret === SECRET));
  assert.equal(proxy.said.find(({ body }) => body?.request === 'join').body.display, 'Agent');
  assert.equal((await server.sessions()).length, 1);
  // check 4: what is idle is not still; check 5: its packets
  const device = keep(await Device.start(janus));
  await device.ask('stats');
  const before = proxy.packets.length;
  await sleep(long ? 300_000 : 8_000);
  const stats = await device.ask('stats');
  assert.ok(stats.frames / stats.span > 49 && stats.gap < 0.5, JSON.stringify(stats));
  assert.ok(!proxy.told.some(({ janus: kind, receiving }) => kind === 'media' && receiving === false));
  const packets = proxy.packets.slice(before);
  const rate = ((packets.length - 1) * 1_000) / (packets.at(-1).at - packets[0].at);
  assert.ok(Math.abs(rate - 50) < (long ? 0.05 : 0.5), `${rate} packets a second`);
  assert.deepEqual([...new Set(packets.map(({ type }) => type))], [111]);
  assert.ok(packets.every(({ extended }) => !extended), 'no level is told, so none is believed');
  for (let n = 1; n < packets.length; n++) {
    assert.equal((packets[n].number - packets[n - 1].number) & 65_535, 1);
    assert.equal((packets[n].stamp - packets[n - 1].stamp) >>> 0, 960, 'every packet is 20 ms');
  }
  const drift = packets.at(-1).at - packets[0].at - (packets.length - 1) * 20;
  assert.ok(Math.abs(drift) < 20 + (long ? 0 : 20), `${drift} ms of drift`);
  const bursts = packets.map(({ at }, n) => packets.slice(n).findIndex((later) => later.at - at > 5)).filter((count) => count > 0);
  assert.ok(Math.max(...bursts) <= 3, `${Math.max(...bursts)} packets at once`);
  // check 20
  assert.equal(await server.stop(), 0);
  const words = proxy.said.slice(-4).map(({ janus: kind, body }) => body?.request ?? kind);
  assert.deepEqual(words, ['leave', 'hangup', 'detach', 'destroy']);
  assert.deepEqual(proxy.closes, [1_000]);
  assert.equal((await janus.agents()).length, 0);
  const ours = proxy.told.find(({ data }) => data?.id).data.id;
  assert.ok(!new RegExp(`imeout expired.*${ours}`).test(janus.log));
});

test('what a device says is heard whole, answered, and the answer is heard whole', async () => {
  const { services, env, of } = await minds({ hz: 700, seconds: 2 });
  const server = await agent(env);
  await inRoom();
  const device = keep(await Device.start(janus, { stereo: true }));
  const wideband = wav(plain);
  // check 2, check 19: stereo at 48 kHz
  const said = await device.play(mandarin);
  const lastWord = loudness(wideband).findLastIndex((rms) => rms > 0.02) * 20;
  const spokenUntil = said.began * 1_000 + lastWord;
  await until('the recognition', () => of(stt).length > 0);
  const asked = of(stt)[0];
  const late = performance.timeOrigin + asked.at - spokenUntil;
  assert.ok(late < 1_500, `asked ${late} ms after the last word`);
  const { likeness: alike } = likeness(band(asked.samples), band(wideband));
  assert.ok(alike > 0.9, `${alike} alike`);
  assert.equal(asked.language, 'zh');
  // check 3
  await until('the voice', () => of('/process').length > 0);
  const made = of('/process')[0];
  await sleep(4_000);
  const { samples, at, t } = await device.heard();
  const answer = part(samples, said.at);
  assert.ok(answer && Math.abs(answer.seconds - 2) < 0.2, `${answer?.seconds} s of an answer of 2 s`);
  assert.equal(answer.hole, 0, 'no gap inside');
  assert.ok(share(answer.inside, 700, 16_000) > 0.95, 'it is the tone and nothing else');
  const decibels = 20 * Math.log10(answer.level / (12_000 / 32_768 / Math.SQRT2));
  assert.ok(Math.abs(decibels) < 3.5, `${decibels} dB`);
  const onset = t * 1_000 - ((at - answer.at) / 16) - (performance.timeOrigin + made.at);
  assert.ok(onset < 700, `heard ${onset} ms after the voice had made it`);
  console.log(`asked after ${late.toFixed(0)} ms, ${alike.toFixed(3)} alike; heard after ${onset.toFixed(0)} ms, ${decibels.toFixed(1)} dB`);
  assert.deepEqual(of(chat)[0].body.prompt, services.heard);
  // check 19: a narrow band
  await device.play(narrow);
  await until('the second recognition', () => of(stt).length > 1);
  const { likeness: narrowAlike } = likeness(band(of(stt).at(-1).samples), band(wideband));
  assert.ok(narrowAlike > 0.85, `${narrowAlike} alike through a narrow band`);
  await until('the second answer', () => of('/process').length > 1);
  // It is a session as all others: a page may watch it by its id.
  const { id } = await session(server);
  const watcher = keep({ browser: await browser(), async stop() { await this.browser.close(); } });
  await watch(await watcher.browser.newContext(), `${server.url}/?session=${id}`);
  await until('both in one session', async () => (await session(server)).viewers === 2 && (await server.sessions()).length === 1);
});

test('somebody who cuts in silences it, and what was asked for is let go', async () => {
  const { services, env, of } = await minds({ hz: 700, seconds: 10 });
  const server = await agent({ ...env, VISAVIS_ASR__BARGE_IN_MS: '100' });
  await inRoom();
  const device = keep(await Device.start(janus));
  await device.play(mandarin);
  await until('an answer', async () => (await session(server)).state === 'speaking', 15_000);
  await sleep(1_500);
  // check 18
  const cut = await device.play(mandarin);
  await until('the second question', () => of(chat).length > 1);
  await sleep(500);
  const { samples } = await device.heard();
  const heard = loudness(samples.subarray(cut.at));
  const loud = heard.findIndex((_, n) => heard.slice(n, n + 10).every((rms) => rms < 0.02)) * 20;
  const begins = loudness(wav(plain)).findIndex((rms) => rms > 0.02) * 20;
  console.log(`silent ${loud - begins} ms after the first word of whoever cut in, there and back through the room`);
  assert.ok(loud - begins < 1_300, `${loud - begins} ms`);
  await until('the second answer', async () => (await session(server)).state === 'speaking', 15_000);
  // check 14: the last one who listens leaves in the middle of it
  device.do({ leave: true });
  await until('silence for nobody', async () => (await session(server)).state === 'idle', 3_000);
  const since = device.told.length;
  device.do({ join: true });
  await device.wait('joined', 15_000, since);
  await sleep(1_500);
  const { samples: later } = await device.heard();
  assert.equal(part(later.subarray(later.length - 16_000)), null, 'nothing of before is heard');
  // A request in flight is closed.
  services.fault[chat] = 'hang';
  const before = of(chat).length;
  await device.play(mandarin);
  await until('a question that hangs', () => of(chat).length > before);
  const hanging = of(chat).at(-1);
  await server.post('/interrupt_talk', { sessionid: (await session(server)).id });
  await until('its request to be closed', () => hanging.left, 2_000);
  delete services.fault[chat];
});

// check 17
test('whatever fails is said or told, and the next turn works', async () => {
  const { services, env, of } = await minds({ hz: 700, seconds: 1 });
  const server = await agent({ ...env, VISAVIS_ASR__TIMEOUT: '4s', VISAVIS_LLM__TIMEOUTS__FIRST_TOKEN: '3s', VISAVIS_TTS__TIMEOUTS__FIRST_SOUND: '3s' });
  await inRoom();
  const device = keep(await Device.start(janus));
  const turn = async () => {
    const { at } = await device.play(mandarin);
    await until('the turn', async () => (await session(server)).state === 'idle', 20_000).catch(() => {});
    await until('an end', async () => {
      await sleep(700);
      return (await session(server)).state === 'idle';
    }, 25_000);
    await sleep(500);
    const { samples } = await device.heard();
    return part(samples, at);
  };
  const works = async () => {
    const heard = await turn();
    assert.ok(heard && share(heard.inside, 700, 16_000) > 0.9, 'the next turn works');
  };
  services.fault[stt] = 500;
  assert.equal(await turn(), null);
  assert.match(server.log, /an utterance was not understood/);
  delete services.fault[stt];
  await works();
  services.fault[chat] = 'cut';
  const apology = await turn();
  assert.ok(apology && share(apology.inside, 700, 16_000) < 0.5, 'a recorded line is heard');
  assert.match(server.log, /answer failed/);
  delete services.fault[chat];
  await works();
  services.fault['/process'] = 500;
  const second = await turn();
  assert.ok(second && share(second.inside, 700, 16_000) < 0.5, 'a recorded line is heard');
  assert.equal(of(stt).length, 5);
});

// check 15
test('--skip-tts answers in text alone, --use-uncensored asks the second chat', async () => {
  const { services, env, of } = await minds();
  const server = await agent(env, ['--skip-tts', '--use-uncensored', '--display', '小助手']);
  await inRoom('小助手');
  const device = keep(await Device.start(janus));
  const { at } = await device.play(mandarin);
  await until('the answer', () => of('/api/v1/chat/uncensored').length > 0);
  const watcher = keep({ browser: await browser(), async stop() { await this.browser.close(); } });
  const page = await watch(await watcher.browser.newContext(), `${server.url}/?session=${(await session(server)).id}`);
  await page.waitForFunction((text) => document.body.textContent.includes(text), services.said, { timeout: 5_000 });
  assert.equal(of('/api/v1/chat/uncensored').length, 1);
  assert.equal(of(chat).length, 0);
  await sleep(1_000);
  const { samples } = await device.heard();
  assert.equal(part(samples, at), null, 'nothing is spoken');
  assert.equal(of('/process').length, 0, 'and no voice is asked');
  services.fault['/api/v1/chat/uncensored'] = 500;
  const { at: again } = await device.play(mandarin);
  await until('a failed answer', () => /answer failed/.test(server.log), 20_000);
  await sleep(1_000);
  assert.equal(part((await device.heard()).samples, again), null, 'nor is an apology');
});

// check 15
test('--use-minicpm has a MiniCPM server hear the room and answer it', async () => {
  const [model] = await Model.start();
  const silent = { VISAVIS_ASR__PROVIDER: 'off', VISAVIS_TTS__PROVIDER: 'none', VISAVIS_AUDIO_PROXY__MINICPM__PORT: String(model.port) };
  const server = await agent(silent, ['--use-minicpm']);
  await inRoom();
  const device = keep(await Device.start(janus));
  const { at } = await device.play(mandarin);
  await until('its answer', async () => (part((await device.heard()).samples, at)?.seconds ?? 0) > 1.2, 20_000);
  const answer = part((await device.heard()).samples, at);
  assert.ok(share(answer.inside, 1_000, 16_000) > 0.9, 'its sine is heard');
  const seen = await model.seen();
  assert.deepEqual(seen.faults, []);
  assert.ok(seen.arrivals.length > 5, 'slices of 200 ms');
  assert.equal(seen.order.find(({ uid }) => uid).uid, 'proxy_client_001');
  assert.equal((await server.sessions()).length, 1);
});

/** What basic_tts takes, in its order, and what stands there when nothing is said. */
const inputs = [
  ['ref_audio_input', null], ['ref_text_input', ''], ['gen_text_input', null], ['remove_silence', false], ['randomize_seed', true],
  ['seed_input', 0], ['cross_fade_duration_slider', 0.15], ['nfe_slider', 32], ['speed_slider', 0.8],
];

/** The page of F5-TTS: the calls of Gradio 5, in their order, and the values of basic_tts. */
async function gradio() {
  const calls = [];
  const bodyOf = async (request) => Buffer.concat(await request.toArray());
  const server = http.createServer(async (request, response) => {
    const body = await bodyOf(request);
    calls.push({ method: request.method, url: request.url, body });
    const json = (value) => response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value));
    if (request.url === '/gradio_api/upload') return json(['/tmp/gradio/reference.wav']);
    if (request.url === '/gradio_api/info') {
      const parameters = inputs.map(([name, value]) => ({ parameter_name: name, parameter_default: value }));
      return json({ named_endpoints: { '/basic_tts': { parameters } } });
    }
    if (request.url === '/gradio_api/call/basic_tts') return json({ event_id: 'e1' });
    if (request.url === '/gradio_api/call/basic_tts/e1') {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      const file = { path: '/tmp/gradio/made.wav', url: `http://${request.headers.host}/gradio_api/file=/tmp/gradio/made.wav`, meta: { _type: 'gradio.FileData' } };
      response.write('event: heartbeat\ndata: null\n\n');
      return response.end(`event: complete\ndata: ${JSON.stringify([file, null, '参考文本', 7])}\n\n`);
    }
    if (request.url.startsWith('/gradio_api/file=')) return response.writeHead(200, { 'content-type': 'audio/wav' }).end(tone(900, 1));
    return response.writeHead(404).end();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { calls, url: `http://127.0.0.1:${server.address().port}`, async stop() { server.closeAllConnections(); server.close(); } };
}

// check 15, check 16
test('--use-f5tts speaks with the page of F5-TTS, --voice-category chooses whom it imitates', async () => {
  const catalogue = path.join(folder, 'voice_cat.json');
  fs.writeFileSync(catalogue, JSON.stringify({ 御姐配音暧昧: reference, 大叔: 'missing.wav' }));
  const { env } = await minds();
  const page = keep(await gradio());
  const known = { ...env, VISAVIS_TTS__CATALOGUE: catalogue, VISAVIS_TTS__F5__URL: page.url };
  const unknown = spawnSync(binary, ['janus', '--voice-category', '萝莉'], { cwd: root, env: { ...process.env, ...known } });
  assert.equal(unknown.status, 78);
  assert.match(unknown.stderr.toString(), /萝莉.*御姐配音暧昧.*大叔|萝莉.*大叔.*御姐配音暧昧/s);
  await agent(known, ['--use-f5tts']);
  await inRoom();
  const device = keep(await Device.start(janus));
  const { at } = await device.play(mandarin);
  await until('the answer', async () => part((await device.heard()).samples, at)?.seconds > 0.9, 15_000);
  const answer = part((await device.heard()).samples, at);
  assert.ok(share(answer.inside, 900, 16_000) > 0.9, 'what the page made is heard');
  const upload = page.calls.find(({ url }) => url === '/gradio_api/upload');
  assert.ok(upload.body.includes(fs.readFileSync(reference)), 'the recording of the category is imitated');
  const call = page.calls.find(({ method, url }) => method === 'POST' && url === '/gradio_api/call/basic_tts');
  const { data } = JSON.parse(call.body);
  assert.deepEqual(data[0], { path: '/tmp/gradio/reference.wav', meta: { _type: 'gradio.FileData' } });
  assert.deepEqual([data[1], data[2].trim(), ...data.slice(3)], ['参考文本', '今天天气很好。', false, true, 0, 0.15, 32, 1]);
});
