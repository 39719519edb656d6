// Seed 002's signalling: every message of `/ws/signaling` in every shape that its clients have, and what becomes of the
// connections. The client is Chromium with the messages of the seed's own (seed002/client.js). The numbers are those of the
// reference's check-list. What is heard and said is tested in xiaozhi-signalling-media.test.mjs.
//
// Longer: XIAOZHI_CYCLES=500 node --test tests/e2e/xiaozhi-signalling.test.mjs

import assert from 'node:assert/strict';
import dgram from 'node:dgram';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { Server, freePort, hearingBrowser, root, sleep, temporary, until, writeWav } from './support.mjs';

const CYCLES = Number(process.env.XIAOZHI_CYCLES ?? 100);
const PAGE = path.join(root, 'tests/e2e/seed002');
const UUID4 = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const WITH = { VISAVIS_XIAOZHI__ENABLED: 'true', VISAVIS_SERVER__PAGE: PAGE, VISAVIS_ASR__PROVIDER: 'off' };

let server;
let chromium;
let others = [];

before(async () => {
  server = await Server.start(WITH);
  const silence = temporary('silence.wav');
  writeWav(silence, new Float32Array(16_000));
  chromium = await hearingBrowser(silence);
});

// Also when the test failed: what lives keeps the test run alive.
afterEach(async () => {
  for (const context of chromium.contexts()) await context.close();
  await Promise.all(others.map((other) => other.stop()));
  others = [];
});

after(async () => {
  await chromium?.close();
  await server?.stop();
});

/** A server of the test's own. */
async function another(env) {
  const own = await Server.start({ ...WITH, ...env });
  others.push(own);
  return own;
}

/** A page with the seed's client, not yet connected. */
async function open(at = server) {
  const context = await chromium.newContext({ permissions: ['microphone'] });
  const page = await context.newPage();
  await page.goto(at.url);
  await page.waitForFunction(() => globalThis.visit);
  return page;
}

/** A socket alone: opens it, sends `messages`, returns what came until `count` messages are there. */
async function talk(messages, { query = '', count = messages.length + 1, at = server } = {}) {
  const page = await open(at);
  return page.evaluate(async ({ messages, query, count }) => {
    globalThis.signaling = new SignalingClient();
    await signaling.connect(`ws://${location.host}/ws/signaling${query}`);
    messages.forEach((message) => signaling.send(message));
    const until = performance.now() + 5_000;
    while (signaling.messages.length < count && performance.now() < until) await new Promise((r) => setTimeout(r, 5));
    return signaling.messages;
  }, { messages, query, count });
}

const viewers = async (at = server) => (await at.sessions()).reduce((sum, session) => sum + session.viewers, 0);
const nobody = (at = server) => until('nobody', async () => (await at.sessions()).length === 0);

// check 1
test('the server speaks first, and gives a name to who has none', async () => {
  const [unnamed] = await talk([]);
  assert.equal(unnamed.type, 'connected');
  assert.match(unnamed.client_id, UUID4);
  assert.match(unnamed.session_id, UUID4);
  assert.equal(unnamed.server_info.container_ip, `127.0.0.1:${server.port}`);
  assert.ok(Math.abs(unnamed.server_info.timestamp - Date.now() / 1_000) < 5);
  const [named] = await talk([], { query: '?client_id=client_abc1234' });
  assert.equal(named.client_id, 'client_abc1234');
});

// check 2
for (const shape of ['payload', 'flat', 'nested']) {
  test(`an offer is answered: ${shape}`, async () => {
    const page = await open();
    const answer = await page.evaluate((shape) => visit({ shape, name: 'client_shape01' }), shape);
    assert.equal(answer.payload.type, 'answer');
    assert.equal(answer.client_id, 'client_shape01');
    const { messages, direction } = await page.evaluate(() => ({
      messages: signaling.messages.map((m) => m.type),
      direction: connection.pc.getTransceivers()[0].currentDirection,
    }));
    assert.deepEqual(messages.slice(0, 3), ['connected', 'connected', 'answer'], 'it is welcomed again before the answer');
    assert.ok(messages.includes('ice_candidate'), 'our addresses come by themselves, too');
    assert.equal(direction, 'sendrecv');
    const ours = await page.evaluate(() => signaling.messages.find((m) => m.type === 'ice_candidate').payload);
    assert.match(ours.candidate, /^candidate:.* 127\.0\.0\.1 \d+ typ host/);
    assert.ok(answer.payload.sdp.includes(ours.candidate), 'and stand in the answer');
    assert.equal(ours.sdpMid, '0');
    assert.equal(ours.sdpMLineIndex, 0);
  });
}

// check 3
for (const [candidates, early] of [
  ['object', false], ['underscore', false], ['nested', false], ['text', false], ['bare', false], ['prefixed', false], ['object', true],
]) {
  test(`its addresses are checked: ${candidates}${early ? ', before the offer' : ''}`, async () => {
    const page = await open();
    // Without an address of ours it can only be found by our own checks. Its microphone is granted, so its addresses are open.
    await page.evaluate((options) => visit(options), { candidates, early, blind: true, mic: true });
    const errors = await page.evaluate(() => signaling.messages.filter((m) => m.type === 'error'));
    assert.deepEqual(errors, [], 'the end of the candidates is no error');
  });
}

// check 4
test('a ping is answered at once, also while an offer is', async () => {
  const page = await open();
  const waits = await page.evaluate(async () => {
    await visit({ wait: false });
    const sdp = connection.pc.localDescription.sdp;
    const waits = [];
    for (let round = 0; round < 5; round++) {
      signaling.send({ type: 'offer', payload: { type: 'offer', sdp } });
      const timestamp = 1_000 + round;
      const sent = performance.now();
      signaling.send({ type: 'PING', timestamp, payload: { count: round } });
      const pong = await signaling.expect((m) => m.type === 'pong' && m.timestamp === timestamp, 'pong');
      waits.push(pong.at - sent);
    }
    return waits;
  });
  assert.ok(Math.max(...waits) <= 100, `${waits.map(Math.round)} ms`);
});

// check 5
test('what cannot be taken is told in words, and the next offer works', async () => {
  const page = await open();
  const errors = await page.evaluate(async () => {
    globalThis.signaling = new SignalingClient();
    await signaling.connect(`ws://${location.host}/ws/signaling`);
    for (const message of [
      { type: 'Dance' }, '{"type":', { type: 'offer' }, { type: 'offer', payload: { type: 'offer', sdp: 'garbage' } },
      { type: 'answer', payload: { type: 'answer', sdp: 'v=0' } }, { type: 'ice_candidate' },
      { type: 'ice_candidate', payload: 'no candidate at all' }, { type: 'ice_candidate', payload: null },
    ]) signaling.send(message);
    signaling.socket.send(new Uint8Array(100));
    await new Promise((resolve) => setTimeout(resolve, 500));
    const errors = signaling.messages.slice(1);
    globalThis.connection = new WebRTCAudioConnection(signaling);
    await connection.initialize();
    await connection.connect();
    return errors;
  });
  assert.ok(errors.every((m) => m.type === 'error'));
  const texts = errors.map((m) => m.message);
  assert.deepEqual(texts.slice(0, 2), ['未支持的消息类型: dance', '无效的JSON格式']);
  assert.match(texts[2], /sdp/);
  assert.match(texts[3], /^无效的 SDP/);
  assert.match(texts[4], /answer/);
  assert.match(texts[5], /candidate/);
  assert.equal(texts.length, 6, 'binary messages, odd candidates and the end of them are passed over');
});

// check 6
test('a connection is closed at once, the next one works, and one more takes its place', async () => {
  await nobody();
  const page = await open();
  await page.evaluate(() => visit());
  assert.equal(await viewers(), 1);
  const closed = await page.evaluate(async () => {
    const gone = connection.gone();
    const sent = performance.now();
    signaling.send({ type: 'close' });
    await signaling.expect((m) => m.type === 'closed', 'closed');
    return (await gone) - sent;
  });
  assert.ok(closed <= 1_000, `${closed} ms`);
  await until('it to be gone', async () => (await viewers()) === 0, 1_000);
  const again = () => page.evaluate(async () => {
    globalThis.connection = new WebRTCAudioConnection(signaling);
    await connection.initialize();
    await connection.connect();
  });
  await again();
  await page.evaluate(() => (globalThis.first = connection));
  await again();
  await page.evaluate(() => first.gone());
  await until('one to be left', async () => (await viewers()) === 1, 1_000);
  assert.equal((await server.sessions()).length, 1, 'the conversation goes on');
});

/** What the process holds. */
function holds(pid) {
  const status = fs.readFileSync(`/proc/${pid}/status`, 'utf8');
  const number = (name) => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)[1]);
  return { mib: number('VmRSS') / 1_024, threads: number('Threads'), files: fs.readdirSync(`/proc/${pid}/fd`).length };
}

// check 7
test(`${CYCLES} who come and drop their socket leave nothing behind`, { timeout: 300_000 }, async () => {
  await nobody();
  const page = await open();
  const cycles = (count) => page.evaluate(async (count) => {
    for (let n = 0; n < count; n++) {
      await visit();
      signaling.close();
      // Not said by us: the dropped socket is what ends it.
      await connection.gone();
      connection.close();
      globalThis.peers.length = 0;
    }
  }, count);
  // What is loaded once, and what the allocator keeps for its arenas, is there after a few.
  await cycles(Math.min(20, CYCLES));
  await nobody();
  await sleep(500);
  const before = holds(server.process.pid);
  await cycles(CYCLES);
  await nobody();
  await sleep(1_000);
  const later = holds(server.process.pid);
  const figures = JSON.stringify({ before, later });
  console.log(`${CYCLES} cycles: ${figures}`);
  assert.ok(later.threads <= before.threads + 2, figures);
  assert.ok(later.files <= before.files + 4, figures);
  assert.ok(later.mib <= before.mib + 24, figures);
});

test('limits: a flood, a message that is too long, a page of another site', async () => {
  const page = await open();
  const flood = await page.evaluate(async () => {
    globalThis.signaling = new SignalingClient();
    await signaling.connect(`ws://${location.host}/ws/signaling`);
    for (let n = 0; n < 200; n++) signaling.send({ type: 'ping', timestamp: n });
    while (!signaling.closed) await new Promise((resolve) => setTimeout(resolve, 5));
    return { code: signaling.closed, pongs: signaling.messages.filter((m) => m.type === 'pong').length };
  });
  assert.equal(flood.code, 1008);
  assert.ok(flood.pongs >= 80 && flood.pongs < 100, `${flood.pongs}`);
  const long = await page.evaluate(async () => {
    globalThis.signaling = new SignalingClient();
    await signaling.connect(`ws://${location.host}/ws/signaling`);
    signaling.send(`{"type":"${'x'.repeat(70_000)}"}`);
    while (!signaling.closed) await new Promise((resolve) => setTimeout(resolve, 5));
    return signaling.closed;
  });
  assert.equal(long, 1009);
  const status = await upgrade(server.port, '/ws/signaling', 'https://elsewhere.example');
  assert.equal(status, 403);
  assert.equal(await upgrade(server.port, '/ws/signaling', `http://127.0.0.1:${server.port}`), 101);
});

/** The status with which a socket is opened or refused. */
async function upgrade(port, route, origin) {
  const socket = net.connect(port, '127.0.0.1');
  socket.write(`GET ${route} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nOrigin: ${origin}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
    'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n');
  const reply = await new Promise((resolve, reject) => socket.once('data', resolve).once('error', reject));
  socket.destroy();
  return Number(String(reply).split(' ')[1]);
}

/** A STUN server that sees everybody at 203.0.113.9:4242 (RFC 8489 §14.2). */
async function stun() {
  const socket = dgram.createSocket('udp4');
  socket.on('message', (request, from) => {
    if (request.length !== 20 || request.readUInt32BE(0) !== 0x0001_0000 || request.readUInt32BE(4) !== 0x2112_a442) return;
    const mapped = Buffer.from([0, 0x20, 0, 8, 0, 1, 0x10 ^ 0x21, 0x92 ^ 0x12, 203 ^ 0x21, 0 ^ 0x12, 113 ^ 0xa4, 9 ^ 0x42]);
    socket.send(Buffer.concat([Buffer.from([1, 1, 0, 12]), request.subarray(4), mapped]), from.port, from.address);
  });
  await new Promise((resolve) => socket.bind(0, '127.0.0.1', resolve));
  others.push({ stop: () => new Promise((resolve) => socket.close(resolve)) });
  return `stun:127.0.0.1:${socket.address().port}`;
}

test('what a STUN server sees of us is offered beside our own address', async () => {
  const own = await another({ VISAVIS_XIAOZHI__WEBRTC__STUN_SERVERS: `[{urls: "stun:nowhere.invalid:1"}, {urls: "${await stun()}"}]` });
  const page = await open(own);
  await sleep(500);
  await page.evaluate(() => visit());
  const ours = await page.evaluate(() => signaling.messages.filter((m) => m.type === 'ice_candidate').map((m) => m.payload.candidate));
  assert.deepEqual(ours.map((candidate) => candidate.split(' ')[2]), ['udp', 'udp', 'tcp']);
  assert.match(ours[1], /^candidate:\d+ 1 udp \d+ 203\.0\.113\.9 4242 typ srflx/);
});

const refused = (port) => new Promise((resolve) => {
  const socket = net.connect(port, '127.0.0.1');
  socket.once('connect', () => resolve(false) || socket.destroy()).once('error', () => resolve(true));
});

// check 16
test('turned off there is no port; its path and port are what the configuration says', async () => {
  const port = await freePort();
  const off = await another({ VISAVIS_XIAOZHI__WEBRTC__ENABLED: 'false', VISAVIS_XIAOZHI__WEBRTC__PORT: String(port) });
  assert.ok(await refused(port), 'the port is closed');
  assert.equal(await upgrade(off.port, '/ws/signaling', off.url), 404);
  const own = await another({
    VISAVIS_XIAOZHI__WEBRTC__PORT: String(port),
    VISAVIS_XIAOZHI__WEBRTC__SIGNALING_PATH: '/rtc/door',
    VISAVIS_XIAOZHI__WEBRTC__STUN_SERVERS: '[{urls: "stun:192.0.2.250:3478"}, {urls: "stun:nowhere.invalid:3478"}]',
  });
  assert.equal(await upgrade(own.port, '/ws/signaling', own.url), 404);
  const page = await open(own);
  for (const origin of [undefined, `ws://127.0.0.1:${port}`]) {
    const took = await page.evaluate(async (origin) => {
      const began = performance.now();
      await visit({ path: '/rtc/door', origin });
      return performance.now() - began;
    }, origin);
    assert.ok(took < 3_000, `STUN servers that are not there delay nothing: ${took} ms`);
  }
  const other = await fetch(`http://127.0.0.1:${port}/healthz`);
  assert.equal(other.status, 404, 'nothing else is on that port');
});
