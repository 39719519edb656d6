// What goes wrong gets a clear answer, costs no slot and nobody else notices.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { Server, binary, browser, freePort, root, temporary, until, watch } from './support.mjs';

let server;
let chromium;
let page;

before(async () => {
  server = await Server.start({ VISAVIS_SERVER__MAX_SESSIONS: '4' });
  chromium = await browser();
  page = await (await chromium.newContext()).newPage();
  await page.goto(`${server.url}/healthz`);
});
after(async () => {
  await chromium?.close();
  await server?.stop();
});

/** A true Chromium offer. */
const realOffer = (kinds = ['audio', 'video']) => page.evaluate(async (kinds) => {
  const pc = new RTCPeerConnection();
  for (const kind of kinds) pc.addTransceiver(kind, { direction: 'recvonly' });
  const { sdp } = await pc.createOffer();
  pc.close();
  return sdp;
}, kinds);

const offer = (sdp, more = {}) => server.post('/offer', { sdp, type: 'offer', ...more });
const occupied = async () => (await server.get('/readyz')).sessions;

test('offers that cannot be answered are refused in words and cost no slot', async () => {
  const sdp = await realOffer();
  const cases = {
    garbage: ['x', 400, 'bad_sdp'],
    empty: ['', 400, 'bad_sdp'],
    'a megabyte': [`v=0\r\n${'a=x\r\n'.repeat(200_000)}`, 413, 'too_large'],
    'no video': [await realOffer(['audio']), 400, 'no_video'],
    'no audio': [await realOffer(['video']), 400, 'no_audio'],
    'unknown audio codecs': [sdp.replace(/opus\/48000/g, 'opera/48000'), 400, 'no_common_codec'],
    'no fingerprint': [sdp.replace(/a=fingerprint.*\r\n/g, ''), 400, 'bad_sdp'],
    'a NUL': [`${sdp}a=\0\r\n`, 400, 'bad_sdp'],
  };
  for (const [name, [text, status, slug]] of Object.entries(cases)) {
    const reply = await offer(text);
    assert.equal(reply.status, status, `${name}: ${JSON.stringify(reply)}`);
    assert.equal(reply.code, -1, name);
    assert.equal(reply.error, slug, name);
    assert.ok(reply.msg.length > 10, name);
  }
  assert.equal((await offer(sdp, { avatar: '../x' })).status, 404);
  assert.equal((await offer(sdp, { avatar: 'x'.repeat(10_000) })).status, 404);
  assert.equal((await offer(sdp, { avatar: 'a\0b' })).error, 'unknown_avatar');
  assert.equal((await offer(sdp, { sessionid: '00000000-0000-4000-8000-000000000000' })).error, 'unknown_session');
  assert.equal(await occupied(), 0);
});

test('JSON that is none, texts that cannot be said, sessions that are not', async () => {
  const raw = (route, body) => fetch(server.url + route, { method: 'POST', body }).then(async (r) => ({ status: r.status, ...(await r.json()) }));
  for (const route of ['/human', '/interrupt_talk', '/is_speaking']) {
    const reply = await raw(route, '{"sessionid":');
    assert.deepEqual([reply.status, reply.code], [200, -1], `${route}: the envelope of LiveTalking`);
    assert.equal((await server.post(route, { sessionid: 12345, type: 'echo', text: 'x' })).error, 'unknown_session');
    assert.equal((await server.post(route, { sessionid: '../x\0', type: 'echo', text: 'x' })).error, 'unknown_session');
  }
  const { sessionid, viewer } = await offer(await realOffer());
  const say = (text, type = 'echo') => server.post('/human', { sessionid, type, text });
  assert.equal((await say('')).error, 'empty_text');
  assert.equal((await say('a'.repeat(4_001))).error, 'text_too_long');
  assert.equal((await say('a\u0007b')).error, 'control_characters');
  assert.equal((await say('x', 'dance')).error, 'bad_type');
  assert.equal((await say('a'.repeat(4_000))).code, 0);
  await server.post('/interrupt_talk', { sessionid });
  assert.equal((await say('🎉👩‍👩‍👧')).code, 0, 'emoji alone are taken, and end the turn in silence');
  const refused = [];
  for (let n = 0; n < 30; n++) refused.push((await say('Again.')).status);
  assert.ok(refused.includes(429), 'a flood of words is answered as one');
  assert.equal((await fetch(`${server.url}/v1/sessions/${sessionid}?viewer=nobody`, { method: 'DELETE' })).status, 404);
  assert.equal((await fetch(`${server.url}/v1/sessions/${sessionid}?viewer=${viewer}`, { method: 'DELETE' })).status, 200);
  await until('the slot', async () => (await occupied()) === 0);
});

test('fifty offers at once with four slots: four answers, clear refusals, all slots back', async () => {
  const sdp = await realOffer();
  const replies = await Promise.all(Array.from({ length: 50 }, () => offer(sdp)));
  const answered = replies.filter((r) => r.code === 0);
  assert.equal(answered.length, 4);
  for (const reply of replies.filter((r) => r.code !== 0)) {
    assert.equal(reply.status, 503);
    assert.ok(['server_full', 'busy'].includes(reply.error), reply.error);
  }
  const full = await fetch(`${server.url}/offer`, { method: 'POST', body: JSON.stringify({ sdp, type: 'offer' }) });
  assert.equal(full.status, 503);
  assert.ok(Number(full.headers.get('retry-after')) >= 1);
  // Nobody ever connects: the connect timeout of 15 s and the grace of 5 s free them.
  await until('the slots', async () => (await occupied()) === 0, 25_000);
});

test('a DataChannel message that is too long, binary or nonsense gets an error and the stream goes on', async () => {
  const context = await chromium.newContext();
  const viewer = await watch(context, `${server.url}/`);
  const errors = await viewer.evaluate(async () => {
    const own = new RTCPeerConnection();
    const channel = await new Promise((resolve) => {
      own.addTransceiver('audio', { direction: 'recvonly' });
      own.addTransceiver('video', { direction: 'recvonly' });
      const channel = own.createDataChannel('visavis');
      channel.onopen = () => resolve(channel);
      own.createOffer().then(async (offer) => {
        await own.setLocalDescription(offer);
        const reply = await fetch('/offer', { method: 'POST', body: JSON.stringify({ sdp: offer.sdp, type: 'offer' }) });
        await own.setRemoteDescription(await reply.json());
      });
    });
    const errors = [];
    channel.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.type === 'error') errors.push(message.code);
    };
    channel.send('x'.repeat(20_000));
    channel.send(new Uint8Array(100));
    channel.send('{"type":"dance"}');
    channel.send('{"type":"echo","text":""}');
    channel.send('{"type":"avatar","id":"../x"}');
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    own.close();
    return errors;
  });
  assert.deepEqual(errors, ['message_too_large', 'binary_message', 'bad_message', 'empty_text', 'unknown_avatar']);
  assert.equal(await viewer.evaluate(() => globalThis.peers[0].connectionState), 'connected');
  await context.close();
  await until('the slots', async () => (await occupied()) === 0, 15_000);
});

test('pages of other sites may not call, unless they are listed', async () => {
  const post = (origin) => fetch(`${server.url}/is_speaking`, {
    method: 'POST', body: '{"sessionid":"x"}', headers: { origin },
  });
  assert.equal((await (await post('https://elsewhere.example')).json()).error, 'foreign_origin');
  const listed = await Server.start({ VISAVIS_SERVER__CORS: '[https://elsewhere.example]' });
  const preflight = await fetch(`${listed.url}/offer`, { method: 'OPTIONS', headers: { origin: 'https://elsewhere.example' } });
  assert.equal(preflight.headers.get('access-control-allow-origin'), 'https://elsewhere.example');
  await listed.stop();
});

/** Runs the binary to its end. */
const run = (args, env = {}, cwd = root) => new Promise((resolve) => {
  execFile(binary, args, { cwd, env: { ...process.env, ...env }, timeout: 60_000 }, (error, stdout, stderr) => {
    resolve({ code: error ? error.code : 0, stdout, stderr });
  });
});

test('a typo in the configuration names its line and the keys that are allowed', async () => {
  const file = temporary('visavis.yaml');
  fs.writeFileSync(file, 'server:\n  listen: 127.0.0.1:0\n  max_sesions: 3\n');
  const { code, stderr } = await run(['serve', '--config', file]);
  assert.equal(code, 78);
  assert.match(stderr, /max_sesions/);
  assert.match(stderr, /max_sessions/);
  assert.match(stderr, /3:|line 3/);
});

test('a port in use is said so, with what to do', async () => {
  const { code, stderr } = await run(['serve', '--listen', `127.0.0.1:${server.port}`]);
  assert.equal(code, 1);
  assert.match(stderr, /cannot listen on 127\.0\.0\.1:\d+/);
});

test('a missing model and a damaged avatar are named', async () => {
  const empty = path.dirname(temporary('x'));
  const noModel = await run(['serve', '--listen', `127.0.0.1:${await freePort()}`], { VISAVIS_MODELS__DIR: empty });
  assert.equal(noModel.code, 1);
  assert.match(noModel.stderr, /models fetch/);

  const avatars = path.dirname(temporary('x'));
  fs.cpSync(path.join(root, 'assets/avatars/mira'), path.join(avatars, 'mira'), { recursive: true });
  fs.cpSync(path.join(root, 'assets/avatars/mira'), path.join(avatars, 'torn'), { recursive: true });
  fs.truncateSync(path.join(avatars, 'torn/head.webp'), 1_000);
  const list = await run(['avatar', 'list'], { VISAVIS_AVATARS__DIR: avatars });
  assert.equal(list.code, 0);
  assert.match(list.stdout, /mira \(default\)/);
  assert.match(list.stdout, /torn: cannot be shown: .*head\.webp/);
  const none = await run(['serve'], { VISAVIS_AVATARS__DIR: empty });
  assert.equal(none.code, 1);
  assert.match(none.stderr, /no avatar/);
});

test('render makes a film with picture and sound, faster than real time', async () => {
  const film = temporary('film.mp4');
  const { code, stdout, stderr } = await run(['render', '--avatar', 'mira', '--text', 'Hello, this is a film.', '-o', film]);
  assert.equal(code, 0, stderr);
  assert.match(stdout, /real time/);
  const probe = await new Promise((resolve, reject) => {
    execFile('ffprobe', ['-v', 'error', '-show_entries', 'stream=codec_name,duration', '-of', 'json', film], (error, out) => {
      if (error) reject(error);
      else resolve(JSON.parse(out));
    });
  });
  const streams = Object.fromEntries(probe.streams.map((s) => [s.codec_name, Number(s.duration)]));
  assert.ok(streams.h264 > 1 && streams.opus > 1, JSON.stringify(streams));
  assert.ok(Math.abs(streams.h264 - streams.opus) < 0.1, JSON.stringify(streams));
});
