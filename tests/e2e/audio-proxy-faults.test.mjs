// /audio_proxy (seed 003) on bad days, and what it allows. VISAVIS_LONG=1 takes the minutes that some checks ask for.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import { afterEach, test } from 'node:test';
import { Model, Outside, cleanUp, many, proxy, samplesOf, threesome, tone } from './audio_proxy_peers.mjs';
import { sleep, until } from './support.mjs';

const LONG = Boolean(process.env.VISAVIS_LONG);

afterEach(cleanUp);

test('checks 9, 10: several turns under one name, however long nobody says anything', async () => {
  const { model, outside } = await threesome();
  const silence = LONG ? 120 : 12;
  for (let turn = 1; turn <= 3; turn++) {
    if (turn === 2) await outside.do({ do: 'send', s: silence, amp: 0 });
    await outside.speak(1.2);
    await outside.hearing(turn * 1.6 - 0.1);
    await until('the next question', async () => (await model.order('completions')).length === turn + 1);
  }
  const asked = await model.order('completions');
  const ends = await model.order('sse end');
  assert.equal(new Set(asked.map(({ uid }) => uid)).size, 1);
  assert.equal(asked.length, 4, 'three answers, and the next one is waited for');
  assert.ok(asked[1].t - ends[0].t < 0.2, `asked again after ${asked[1].t - ends[0].t} s`);
  assert.deepEqual([(await model.seen()).faults, outside.errors()], [[], []]);
});

test('check 11: events in every dress, and what the server reports', async () => {
  const { model, outside } = await threesome({}, { samples: 1_200, chunks: 2 });
  const fast = { chunk: 8_000, every: 0.1 };
  const asked = (n) => until(`question ${n}`, async () => (await model.order('completions')).length === n);
  for (const [n, sse] of ['bytes', 'crlf', 'comments', 'tight'].entries()) {
    await asked(n + 1);
    await model.set({ sse });
    await outside.speak(1.1, fast);
    await until('both pieces', () => outside.texts().length === 2 * (n + 1));
    assert.deepEqual([outside.texts().slice(-2), outside.errors(), sse], [['piece 0 ', 'piece 1 '], [], sse]);
  }
  await asked(5);
  await model.set({ error: 'out of memory' });
  await outside.speak(1.2, fast);
  await outside.event((e) => e.said?.type === 'error' && e.said.content.includes('out of memory'));
  await model.set({ error: '' });
  await asked(6);
  await outside.speak(1.2, fast);
  await until('the next answer', () => outside.texts().length === 10);
});

test('check 12: an answer that is cut, a server that dies and comes back: the outside stays', async () => {
  const { model, outside } = await threesome();
  await until('the first question', async () => (await model.order('completions')).length === 1);
  await model.set({ cut: 2, busy: 2 });
  await outside.speak(1.2);
  await outside.event((e) => e.said?.type === 'error' && e.said.content.includes('broke off'));
  await until('another question', async () => (await model.order('completions')).length === 4);
  await model.set({ cut: 0 });
  const [, second, third, fourth] = (await model.order('completions')).map(({ t }) => t);
  const pauses = [second - (await model.order('sse end', 'sse gone'))[0].t, third - second, fourth - third];
  assert.ok([0.5, 1, 2].every((pause, n) => Math.abs(pauses[n] - pause) < 0.3), `pauses of ${pauses} s`);
  await outside.speak(1.2);
  await until('the second answer', () => outside.texts().includes('piece 2 '));
  // The upload alone is closed.
  await model.set({ close_ws: 1011 });
  await outside.speak(0.5, { silence: 0.6 });
  await until('the upload', async () => (await model.order('ws')).length === 2);
  await model.post('/_die');
  await sleep(1_000);
  await Model.run([model]);
  await until('all of it again', async () => (await model.order('completions', 'ws', 'init_options').catch(() => [])).length >= 3, 20_000);
  const texts = outside.texts().length;
  await outside.speak(1.2);
  await until('an answer', () => outside.texts().length >= texts + 3);
  assert.deepEqual((await model.seen()).faults, []);
  assert.equal(outside.events.some((e) => 'closed' in e), false);
  // A server that closes without a reason ends the conversation (code 1005).
  await model.set({ close_ws: 1005 });
  await outside.do({ do: 'send', s: 1.1 });
  assert.equal(await outside.closed(), 1011);
  assert.match(outside.errors().at(-1), /closed the conversation/);
});

test('check 13: who leaves in the midst of an answer leaves nothing behind, a hundred times', async () => {
  const { model, server, outside } = await threesome({ LEAD_MS: '60000' }, { chunks: 20, pace: 0.3 });
  await outside.speak(1.2);
  await outside.hearing(0.5);
  await outside.do({ do: 'close' });
  const left = outside.events.at(-1).t;
  await until('all of it closed', async () => {
    const { sockets, streams } = await model.seen();
    return sockets === 0 && streams === 0;
  }, 3_000);
  const closing = (await model.order('stop', 'ws closed', 'sse end', 'sse gone')).slice(1);
  assert.deepEqual([...new Set(closing.map(({ what }) => what))].sort(), ['sse end', 'sse gone', 'stop', 'ws closed']);
  for (const { what, t } of closing) assert.ok(t - left < 1, `${what} after ${t - left} s`);
  await model.set({ pace: 0, chunks: 5 });
  const usage = () => {
    const status = fs.readFileSync(`/proc/${server.process.pid}/status`, 'utf8');
    const number = (key) => Number(status.match(new RegExp(`${key}:\\s+(\\d+)`))[1]);
    return { fds: fs.readdirSync(`/proc/${server.process.pid}/fd`).length, threads: number('Threads'), memory: number('VmRSS') };
  };
  await many('cycles', server.proxy, 20);
  await sleep(1_200);
  const before = usage();
  await many('cycles', server.proxy, 100);
  await sleep(1_200);
  const now = usage();
  assert.ok(now.fds <= before.fds + 2, `descriptors: ${before.fds}, then ${now.fds}`);
  assert.ok(now.threads <= before.threads + 2, `threads: ${before.threads}, then ${now.threads}`);
  assert.ok(now.memory <= before.memory + 8_192, `KiB: ${before.memory}, then ${now.memory}`);
  const metrics = await (await fetch(`${server.url}/metrics`)).text();
  assert.match(metrics, /visavis_audio_proxy_clients 0/);
});

test('check 15: what the server did not hear is counted, and a take-over is told', async () => {
  const { model, server, outside } = await threesome({}, { chunks: 8, pace: 0.4 });
  await outside.speak(1.2);
  await outside.hearing(0.5);
  await outside.do({ do: 'send', s: 1.2, amp: 0 });
  await until('a slice that was skipped', async () => (await model.seen()).acks.skip > 0);
  const metrics = await (await fetch(`${server.url}/metrics`)).text();
  assert.match(metrics, /visavis_minicpm_uploads_total\{ack="skip"\} [1-9]/);
  const stops = (await model.order('stop')).length;
  await model.post('/_steal');
  assert.equal(await outside.closed(), 1013);
  assert.match(outside.errors().at(-1), /taken/);
  await sleep(300);
  assert.equal((await model.order('stop')).length, stops, 'the new owner is not stopped');
});

test('check 16: a server that is not there, or does not want', async () => {
  const [model] = await Model.start();
  await model.set({ init: 400 });
  const server = await proxy([model]);
  const refused = await Outside.connect(server.proxy);
  assert.equal(await refused.closed(3_000), 1011);
  assert.match(refused.errors()[0], /refused \(HTTP 400\)/);
  await model.post('/_die');
  const outside = await Outside.connect(server.proxy);
  const began = outside.events[0].t;
  assert.equal(await outside.closed(5_000), 1011);
  assert.match(outside.errors()[0], /does not answer/);
  assert.ok(outside.events.at(-1).t - began < 3.2, 'within the time to connect');
});

test('check 17: twenty clients and twenty servers keep apart', async () => {
  const models = await Model.start(20);
  // Half of them take the question long after the sound could have come, which must then wait: they forget what was before.
  await Promise.all(models.map((model, n) => model.set({ hz: 400 + 100 * n, chunks: 2, late: n % 2 })));
  const server = await proxy(models, { MAX_CLIENTS: '30' });
  const heard = (await many('crowd', server.proxy, models.length)).map(samplesOf);
  const tones = heard.map((samples) => models.findIndex((_, n) => tone(samples.subarray(800, 12_800), 400 + 100 * n).db > -14));
  assert.deepEqual([...tones].sort((a, b) => a - b), models.map((_, n) => n), 'each has its own');
  for (const model of models) {
    const seen = await model.seen();
    assert.equal(new Set(seen.order.filter((o) => o.uid).map((o) => o.uid)).size, 1);
    assert.deepEqual(seen.faults, []);
  }
});

test('check 17: the second client of a server is refused, or waits in line', async () => {
  const [model] = await Model.start();
  let server = await proxy([model]);
  const first = await Outside.connect(server.proxy);
  await first.do({ do: 'send', s: 1.1, amp: 0 });
  const second = await Outside.connect(server.proxy);
  assert.equal(await second.closed(), 1013);
  assert.match(second.errors()[0], /every model server is in a conversation/);
  await first.speak(1.2);
  await first.hearing(1);
  assert.equal((await model.seen()).session, 1, 'nobody took anything over');
  await server.stop();
  server = await proxy([model], { WHEN_BUSY: 'queue' });
  const sitting = await Outside.connect(server.proxy);
  await sitting.do({ do: 'send', s: 1.1, amp: 0 });
  const [waiting, last] = [await Outside.connect(server.proxy), await Outside.connect(server.proxy)];
  const place = async (outside, n) => outside.event((e) => e.said?.type === 'queued' && e.said.place === n);
  await place(waiting, 1);
  await place(last, 2);
  await sitting.do({ do: 'close' });
  await place(last, 1);
  await waiting.speak(1.2);
  await waiting.hearing(1);
});

test('check 19: an outside that does not read for half a minute holds up nothing', async () => {
  const { model, server, outside } = await threesome({}, { chunks: 400, samples: 24_000, pace: 0.002 });
  const memory = () => Number(fs.readFileSync(`/proc/${server.process.pid}/status`, 'utf8').match(/VmRSS:\s+(\d+)/)[1]);
  await outside.speak(1.2);
  await outside.hearing(1);
  await outside.do({ do: 'read', on: false });
  await outside.do({ do: 'send', s: LONG ? 30 : 8, amp: 0, meanwhile: true });
  const before = memory();
  await sleep(LONG ? 30_000 : 8_000);
  assert.ok(memory() - before < 16_384, `${memory() - before} KiB more`);
  await outside.do({ do: 'read', on: true });
  const back = Date.now() / 1_000;
  await until('it goes on', () => outside.sounds(back + 1).length > 20);
  // And the microphone was heard all the while.
  const { arrivals } = await model.seen();
  assert.ok(back - arrivals.at(-1) < 2.5, `${back - arrivals.at(-1)} s ago`);
  await outside.do({ do: 'close' });
  await until('the good-bye', async () => (await model.seen()).sockets === 0, 2_000);
});

test('limits: too much, too fast, nothing at all, and who may come in', async () => {
  const { server, outside } = await threesome({ TOKEN: 'open sesame', IDLE_TIMEOUT: '2s' });
  await outside.do({ do: 'send', s: 2.1, chunk: 65_537, every: 0 });
  assert.equal(await outside.closed(), 1009);
  const fast = await Outside.connect(server.proxy);
  await fast.do({ do: 'send', s: 12, amp: 0, chunk: 32_000, every: 0 });
  assert.equal(await fast.closed(), 1008);
  assert.match(fast.errors()[0], /faster/);
  await sleep(300);
  const idle = await Outside.connect(server.proxy);
  assert.equal(await idle.closed(), 1008);
  assert.match(idle.errors()[0], /2 s/);
  // Through a proxy that is not trusted nobody is local.
  const through = { 'X-Forwarded-For': '192.0.2.1' };
  const stranger = await Outside.connect(server.proxy, through);
  assert.equal(stranger.events[0].refused, 401);
  assert.equal((await Outside.connect(`${server.proxy}?token=wrong`, through)).events[0].refused, 401);
  assert.ok((await Outside.connect(`${server.proxy}?token=open%20sesame`, through)).events[0].opened);
  const foreign = await Outside.connect(server.proxy, { Origin: 'http://elsewhere.example' });
  assert.equal(foreign.events[0].refused, 403);
});

test('without a token only this machine may come in', async () => {
  const [model] = await Model.start();
  const server = await proxy([model]);
  const stranger = await Outside.connect(server.proxy, { 'X-Forwarded-For': '192.0.2.1', Authorization: 'Bearer ' });
  assert.equal(stranger.events[0].refused, 403);
  assert.match(stranger.events[0].body, /audio_proxy\.token/);
  assert.ok((await Outside.connect(server.proxy)).events[0].opened);
});
