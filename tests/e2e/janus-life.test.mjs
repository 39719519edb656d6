// The life of the avatar's part in a Janus room: refused, cut off, haunted by its own ghost, removed, unheard, and back again.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { afterEach, test } from 'node:test';
import { Device, Janus, Proxy, ROOM_SECRET, SECRET, loudness } from './janus.mjs';
import { Services } from './services.mjs';
import { Server, sleep, temporary, until } from './support.mjs';
import { tone } from './services.mjs';

const long = Boolean(process.env.JANUS_LONG);
const running = [];

function keep(started) {
  running.push(started);
  return started;
}

afterEach(async () => {
  for (const started of running.splice(0).reverse()) await started.stop();
});

async function agent(url, env = {}, flags = []) {
  const quiet = { VISAVIS_ASR__PROVIDER: 'off', VISAVIS_TTS__PROVIDER: 'none', JANUS_URL: url, JANUS_API_SECRET: SECRET };
  return keep(await Server.start({ ...quiet, ...env }, '0.0.0.0', ['janus', ...flags]));
}

const inRoom = (janus, timeout = 15_000) => until('the avatar in the room', async () => (await janus.agents())[0]?.setup === true, timeout);
const session = async (server) => (await server.sessions())[0].id;
const said = (proxy, request) => proxy.said.filter(({ janus, body }) => (body?.request ?? janus) === request);

async function metric(server, name) {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  return Number(text.split('\n').find((line) => line.startsWith(`${name} `))?.split(' ')[1] ?? 0);
}

/** What a process holds. */
function held({ process: { pid } }) {
  return {
    files: fs.readdirSync(`/proc/${pid}/fd`).length,
    threads: fs.readdirSync(`/proc/${pid}/task`).length,
    kib: Number(/VmRSS:\s+(\d+)/.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))[1]),
  };
}

// check 6
test('a wrong secret, a wrong pin and a missing room are told, and not tried in a hurry', async () => {
  const rooms = 'room-1234: { secret = "adminpwd", sampling_rate = 16000, pin = "4321" }';
  const janus = keep(await Janus.start({ rooms }));
  const proxy = keep(await Proxy.start(janus));
  const stranger = await agent(proxy.url, { JANUS_API_SECRET: 'wrong' });
  await sleep(5_000);
  assert.match(stranger.log, /403: Unauthorized/);
  assert.ok((await metric(stranger, 'visavis_janus_errors_total{code="403"}')) >= 2);
  const tries = said(proxy, 'create').length;
  assert.ok(tries >= 2 && tries <= 6, `${tries} tries in 5 s`);
  await stranger.stop();
  const guesser = await agent(proxy.url, {}, ['--pin', '1111']);
  await until('489', () => /489: /.test(guesser.log));
  assert.equal((await janus.agents()).length, 0);
  assert.equal((await guesser.sessions()).length, 0, 'no session is held for a room that cannot be joined');
  await guesser.stop();
  const knower = await agent(proxy.url, {}, ['--pin', '4321']);
  await inRoom(janus);
  await knower.stop();
  const purist = await agent(proxy.url, { VISAVIS_JANUS__CREATE: 'false' }, ['--room', '77']);
  await until('485', () => /485: /.test(purist.log));
  assert.equal((await janus.ask('exists', { room: 77 })).exists, false);
  await purist.stop();
  await agent(proxy.url, {}, ['--room', '77']);
  await until('a room of our own', async () => (await janus.ask('exists', { room: 77 })).exists === true);
});

// check 7: 75 s against the 60 s of Janus, or 12 s against 8
test('a session without a word lives, and one that is not waited for is told so', async () => {
  const janus = keep(await Janus.start({ sessionTimeout: long ? 60 : 8 }));
  const proxy = keep(await Proxy.start(janus));
  const server = await agent(proxy.url);
  await inRoom(janus);
  const before = await session(server);
  await sleep(long ? 75_000 : 12_000);
  assert.ok(said(proxy, 'keepalive').length >= 2);
  assert.ok(!proxy.told.some(({ janus: kind }) => kind === 'timeout'));
  assert.equal(said(proxy, 'join').length, 1);
  assert.equal(await session(server), before);
  assert.ok((await metric(server, 'visavis_janus_keepalive_seconds_count')) >= 2);
});

// check 8
test('events that overtake their acks and strangers among them are no matter', async () => {
  const janus = keep(await Janus.start());
  const proxy = keep(await Proxy.start(janus, { reorder: true }));
  const server = await agent(proxy.url);
  await inRoom(janus);
  assert.equal(said(proxy, 'join').length, 1);
  assert.equal(await server.stop(), 0);
  assert.deepEqual(proxy.said.slice(-4).map(({ janus: kind, body }) => body?.request ?? kind), ['leave', 'hangup', 'detach', 'destroy']);
});

// check 9: 20 times in the long form, or JANUS_CYCLES times
test('a Janus that is killed and comes back finds the avatar in the room, and nothing is left behind', async () => {
  const janus = keep(await Janus.start());
  const server = await agent(janus.url);
  await inRoom(janus);
  const conversation = await session(server);
  const once = async (away) => {
    await janus.kill();
    await sleep(away);
    await janus.run();
    return inRoom(janus, 15_000);
  };
  const took = [await once(long ? 8_000 : 3_000)];
  await sleep(500);
  const before = held(server);
  const cycles = Number(process.env.JANUS_CYCLES ?? (long ? 20 : 2));
  for (let n = 0; n < cycles; n++) took.push(await once(long ? 2_000 : 500));
  await sleep(1_000);
  const after = held(server);
  console.log(`back within ${Math.max(...took).toFixed(0)} ms; ${JSON.stringify(before)} → ${JSON.stringify(after)}`);
  assert.ok(Math.max(...took) < 10_000);
  assert.ok(after.files <= before.files + 2 && after.threads <= before.threads + 2, JSON.stringify([before, after]));
  assert.equal(await session(server), conversation, 'the conversation goes on');
  const device = keep(await Device.start(janus));
  const stats = await device.ask('stats');
  assert.ok(stats.frames > 5);
});

/** A server that plays a tone of many seconds into the room, and what asks it to. */
async function sounding(url, env = {}) {
  const services = keep(await Services.start({ hz: 700, seconds: 6 }));
  const reference = temporary('reference.wav');
  fs.writeFileSync(reference, tone(300, 3, 16_000));
  const server = await agent(url, {
    VISAVIS_TTS__PROVIDER: 'megatts3', VISAVIS_TTS__MEGATTS3__URL: services.url, VISAVIS_TTS__MEGATTS3__REFERENCE_AUDIO: reference,
    VISAVIS_TTS__MEGATTS3__OUTPUT_DIR: path.dirname(reference), ...env,
  });
  const play = async () => server.post('/human', { sessionid: await session(server), type: 'echo', text: '请说一段很长的话。' });
  return { server, play };
}

// check 10
test('where Janus keeps the session, a cut WebSocket is not heard', async () => {
  const janus = keep(await Janus.start({ reclaim: 20 }));
  const proxy = keep(await Proxy.start(janus, { media: true }));
  const { server, play } = await sounding(proxy.url);
  await inRoom(janus);
  const [{ id }] = await janus.agents();
  const device = keep(await Device.start(janus));
  await play();
  await until('the tone', async () => loudness((await device.heard()).samples).some((rms) => rms > 0.1));
  const before = held(server);
  for (let n = 0; n < (long ? 100 : 3); n++) {
    const claims = said(proxy, 'claim').length;
    await sleep(300);
    proxy.cut();
    await until('a claim', () => said(proxy, 'claim').length > claims, 5_000);
  }
  await sleep(long ? 1_000 : 2_500);
  assert.equal((await janus.agents())[0].id, id, 'the same participant');
  const after = held(server);
  console.log(`${JSON.stringify(before)} → ${JSON.stringify(after)}`);
  assert.ok(after.files <= before.files + 2 && after.threads <= before.threads + 2, 'nothing is left behind');
  assert.equal(said(proxy, 'join').length, 1);
  const { samples } = await device.heard();
  const loud = loudness(samples);
  const [first, last] = [loud.findIndex((rms) => rms > 0.05), loud.findLastIndex((rms) => rms > 0.05)];
  assert.ok(last - first > 250, `${(last - first) / 50} s of the tone`);
  let hole = 0;
  for (const rms of loud.slice(first, last)) {
    hole = rms > 0.05 ? 0 : hole + 20;
    assert.ok(hole < 100, 'a gap is heard');
  }
  assert.ok((await metric(server, 'visavis_janus_reconnects_total{why="claimed"}')) >= 3);
});

test('where Janus keeps nothing, a cut WebSocket is a new entrance of the same conversation', async () => {
  const janus = keep(await Janus.start({ reclaim: 0 }));
  const proxy = keep(await Proxy.start(janus));
  const server = await agent(proxy.url);
  await inRoom(janus);
  const [conversation, [{ id }]] = [await session(server), await janus.agents()];
  proxy.cut();
  await until('another participant', async () => {
    const [agent] = await janus.agents();
    return agent?.setup && agent.id !== id;
  });
  assert.equal(said(proxy, 'claim').length, 0);
  assert.equal(await session(server), conversation);
});

// check 11
test('a ghost that has its number is got past', async () => {
  const janus = keep(await Janus.start({ reclaim: 20 }));
  const numbered = { VISAVIS_JANUS__ID: '42' };
  const first = await agent(janus.url, numbered);
  await inRoom(janus);
  assert.equal((await janus.agents())[0].id, 42);
  await first.stop('SIGKILL');
  const second = await agent(janus.url, numbered);
  await until('another number', async () => (await janus.agents()).some(({ id, setup }) => id !== 42 && setup));
  assert.match(second.log, /our number in the janus room is taken/);
  await second.stop();
  const third = await agent(janus.url, { ...numbered, VISAVIS_JANUS__ROOM_SECRET: ROOM_SECRET });
  await until('its own number', () => /joined the janus room .*participant=42/.test(third.log));
  await inRoom(janus);
  assert.equal((await janus.agents()).length, 1, 'the ghost is gone');
});

// check 12
test('removed, muted, or with its room destroyed: it says so and comes back', async () => {
  const janus = keep(await Janus.start());
  const server = await agent(janus.url);
  await inRoom(janus);
  const secret = { secret: ROOM_SECRET };
  await janus.ask('mute_room', secret);
  await until('the muted room', async () => (await metric(server, 'visavis_janus_muted')) === 1);
  await janus.ask('unmute_room', secret);
  await until('the room that is heard', async () => (await metric(server, 'visavis_janus_muted')) === 0);
  const [{ id }] = await janus.agents();
  await janus.ask('kick', { ...secret, id });
  await until('its return', async () => (await janus.agents()).some((agent) => agent.id !== id && agent.setup));
  assert.match(server.log, /removed from the janus room/);
  await janus.ask('destroy', secret);
  await until('a new room', async () => (await janus.agents())[0]?.setup === true, 20_000);
  assert.match(server.log, /the janus room is no more/);
  assert.match(server.log, /made the janus room/);
  await server.stop();
  const proud = await agent(janus.url, { VISAVIS_JANUS__REJOIN: 'false' });
  await inRoom(janus);
  await janus.ask('kick', { id: (await janus.agents())[0].id });
  await until('its leave', async () => (await janus.agents()).length === 0);
  await sleep(3_000);
  assert.equal((await janus.agents()).length, 0);
  assert.match(proud.log, /janus.rejoin is off/);
  assert.equal(await proud.stop(), 0);
});

// check 13
test('a network that lets no packet through is tried again', async () => {
  const janus = keep(await Janus.start());
  const proxy = keep(await Proxy.start(janus, { media: true }));
  proxy.blocked = true;
  const server = await agent(proxy.url);
  await until('the end of patience', () => /the sound of the janus room is gone|janus hung up/.test(server.log), 30_000);
  assert.equal(said(proxy, 'join').length, 1);
  proxy.blocked = false;
  await inRoom(janus);
  assert.ok((await metric(server, 'visavis_janus_reconnects_total{why="media"}')) >= 1);
});

test('an operator who ends the session has it leave, and a new one begins', async () => {
  const janus = keep(await Janus.start());
  const server = await agent(janus.url);
  await inRoom(janus);
  const before = await session(server);
  await fetch(`${server.url}/v1/sessions/${before}`, { method: 'DELETE' });
  await until('a new session', async () => (await server.sessions()).some(({ id }) => id !== before));
  await inRoom(janus);
  assert.equal((await janus.agents()).length, 1);
});
