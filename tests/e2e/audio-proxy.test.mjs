// /audio_proxy (seed 003): an external client in Python on one side, MiniCPM servers without the model on the other.
//
// Numbers of checks are those of the list that the seed's protocol was written down with. VISAVIS_LONG=1 also takes the minutes
// that some of them ask for.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import { execFileSync } from 'node:child_process';
import { after, afterEach, test } from 'node:test';
import { Model, Outside, cleanUp, many, proxy, samplesOf } from './audio_proxy_peers.mjs';
import { binary, root, sleep, temporary, until } from './support.mjs';

const LONG = Boolean(process.env.VISAVIS_LONG);
const V4 = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

afterEach(cleanUp);

/** One of each. */
async function threesome(env = {}, mode = {}) {
  const [model] = await Model.start();
  await model.set(mode);
  const server = await proxy([model], env);
  const outside = await Outside.connect(server.proxy);
  return { model, server, outside };
}

/** Speech that ears take for speech. */
let recorded;
function speech() {
  if (!recorded) {
    const file = temporary('speech.wav');
    execFileSync(binary, ['say', 'Wait a moment please, I would like to ask you something else about the weather tomorrow.', '-o', file], { cwd: root, stdio: 'ignore' });
    recorded = fs.readFileSync(file).subarray(44);
  }
  return recorded.toString('base64');
}
after(() => (recorded = undefined));

/** Level in dB below full scale of the tone at `hz`, and of all the rest relative to it. */
function tone(samples, hz) {
  let [a, b, all] = [0, 0, 0];
  for (let n = 0; n < samples.length; n++) {
    const angle = (2 * Math.PI * hz * n) / 16_000;
    a += samples[n] * Math.sin(angle);
    b += samples[n] * Math.cos(angle);
    all += samples[n] ** 2;
  }
  const power = (2 * (a * a + b * b)) / samples.length ** 2;
  return { db: 10 * Math.log10(power / (32_768 ** 2 / 2)), restDb: 10 * Math.log10(Math.max(all / samples.length - power, 1e-9) / power), phase: Math.atan2(b, a) };
}

test('checks 1, 2, 6, 8: a conversation in its order, with all options, without echo and end mark', async () => {
  const { model, outside } = await threesome({ MINICPM__VOICE_CLONE_PROMPT: 'as she speaks', MINICPM__VAD_THRESHOLD: '0.5' });
  await outside.do({ do: 'text', text: '{"type":"anything"}' });
  await outside.speak(1.2);
  await outside.hearing(1.5);
  await until('the end of the answer', async () => (await model.order('sse end')).length > 0);
  const seen = await model.seen();
  assert.deepEqual(seen.faults, []);
  // check 1
  const [first, second, ...rest] = seen.order.map(({ what }) => what);
  assert.deepEqual([first, second], ['stop', 'init_options']);
  assert.deepEqual(rest.slice(0, 2).sort(), ['completions', 'ws']);
  const uids = new Set(seen.order.filter(({ uid }) => uid).map(({ uid }) => uid));
  assert.equal(uids.size, 1);
  assert.match([...uids][0], V4);
  // check 2
  assert.deepEqual(seen.options, {
    hd_video: true, use_audio_prompt: 1, vad_threshold: 0.5, voice_clone_prompt: 'as she speaks',
    assistant_prompt: 'You are a helpful AI assistant.',
  });
  // check 6: what was said has 300 Hz, the answer 1 kHz.
  const heard = outside.samples();
  assert.ok(tone(heard.subarray(1_600, 22_400), 1_000).db > -13.5, 'the answer is heard');
  assert.ok(tone(heard.subarray(1_600, 22_400), 300).db < -50, 'and what was said is not');
  // check 8
  assert.deepEqual(outside.texts(), ['piece 0 ', 'piece 1 ', 'piece 2 ']);
  const order = outside.events.filter((e) => e.said || e.pcm);
  let sound = 0;
  for (const event of order) {
    if (event.pcm) sound += Buffer.from(event.pcm, 'base64').length / 2;
    // A text is followed by what says it; the filter holds back a millisecond.
    else assert.ok(Math.abs(sound - outside.texts().indexOf(event.said.content) * 8_533) < 200, `${event.said.content} after ${sound}`);
  }
  for (const { pcm } of outside.sounds()) assert.ok(Buffer.from(pcm, 'base64').length % 2 === 0 && pcm.length < 43_000);
});

test('checks 3, 4, 5: what is uploaded is what was said, however it is cut, and not before a second is there', async () => {
  const { model, outside } = await threesome({}, { deaf: true });
  // check 5
  const upload = async () => (await model.seen()).arrivals;
  await outside.do({ do: 'send', s: 0.9, chunk: 3_200, every: 0.1 });
  assert.deepEqual(await upload(), []);
  await outside.do({ do: 'send', s: 0.1 });
  const sent = outside.events.at(-1).t;
  await until('an upload', async () => (await upload()).length === 5);
  const late = (await upload())[0] - sent;
  assert.ok(late < 0.1, `${late} s after the second was there`);
  // checks 3 and 4: 1 B, 319 B, 64 kB and odd sizes, all of one stream.
  const sizes = [[1, 0.0001, 0.02], [319, 0.005, 0.5], [65_535, 0.25, 4.1], [12_347, 0.2, 1.3], [65_536, 0.25, 2.05], [7, 0.001, 0.05]];
  const said = [Buffer.from(pcm(0.9, 300, 8_000)), Buffer.from(pcm(0.1, 300, 8_000))];
  const all = Buffer.concat([...Array(9)].map((_, n) => pcm(1, 200 + 50 * n, 7_000)));
  let at = 0;
  for (const [chunk, every, seconds] of sizes) {
    // A piece may end within a sample: the next one goes on there.
    const bytes = Math.round(seconds * 32_000) + (chunk === 12_347 ? 1 : 0);
    const piece = all.subarray(at, Math.min(at + bytes, all.length));
    at += piece.length;
    said.push(piece);
    await outside.do({ do: 'send', pcm: piece.toString('base64'), chunk, every });
  }
  const whole = Buffer.concat(said);
  const expected = Math.ceil(Math.floor(whole.length / 2) / 3_200) * 6_400;
  await until('all of it', async () => (await model.pcm()).length >= expected);
  await sleep(1_700);
  const got = await model.pcm();
  assert.equal(Buffer.compare(got.subarray(0, whole.length & ~1), whole.subarray(0, whole.length & ~1)), 0);
  assert.ok(got.subarray(whole.length & ~1).every((byte) => byte === 0), 'what follows is silence');
  assert.equal(got.length - expected, 5 * 6_400, 'a second of it');
  const seen = await model.seen();
  assert.deepEqual([seen.faults, seen.acks.done * 6_400], [[], got.length]);
});

function pcm(seconds, hz, amp) {
  const bytes = Buffer.alloc(seconds * 32_000);
  for (let n = 0; n < bytes.length / 2; n++) bytes.writeInt16LE(Math.round(amp * Math.sin((2 * Math.PI * hz * n) / 16_000)), n * 2);
  return bytes;
}

test('check 7: twenty pieces at 24 kHz become one sine at 16 kHz', async () => {
  const { outside } = await threesome({}, { chunks: 20 });
  await outside.speak(1.2);
  await outside.hearing(20 * 12_800 / 24_000 - 0.001, 25_000);
  await sleep(500);
  const heard = outside.samples();
  const off = heard.length / 16 - (20 * 12_800) / 24;
  assert.ok(Math.abs(off) <= 5, `${off} ms too long`);
  const middle = heard.subarray(800, heard.length - 800);
  const { db, restDb } = tone(middle, 1_000);
  const expected = 20 * Math.log10(8_000 / 32_768);
  assert.ok(Math.abs(db - expected) <= 0.5, `${db} dB instead of ${expected}`);
  assert.ok(restDb < -49, `what is no sine: ${restDb} dB`);
  // The frequency, from how far the phase moves between two seconds that lie eight apart.
  const turn = tone(heard.subarray(136_000, 152_000), 1_000).phase - tone(heard.subarray(8_000, 24_000), 1_000).phase;
  assert.ok(Math.abs(turn) / (2 * Math.PI * 8) < 1, `${turn} rad in 8 s`);
  let bend = 0;
  for (let n = 1; n < middle.length - 1; n++) bend = Math.max(bend, Math.abs(middle[n - 1] - 2 * middle[n] + middle[n + 1]));
  assert.ok(bend < 8_000 * (Math.PI / 8) ** 2 * 1.05, `a click of ${bend}`);
  // It comes as it is heard, 0.3 s ahead, in messages of at most a second.
  const times = outside.sounds().map(({ t }) => t);
  assert.ok(Math.abs(times.at(-1) - times[0] - (heard.length / 16_000 - 0.4)) < 0.3, `${times.at(-1) - times[0]} s`);
});

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
  for (const sse of ['bytes', 'crlf', 'comments', 'tight']) {
    const { model, outside } = await threesome({}, { sse, samples: 1_200, chunks: 2 });
    await outside.speak(1.1);
    await outside.hearing(0.1);
    await until('both', () => outside.texts().length === 2);
    assert.deepEqual([outside.texts(), outside.errors(), sse], [['piece 0 ', 'piece 1 '], [], sse]);
    await cleanUp();
  }
  const { model, outside } = await threesome({}, { error: 'out of memory' });
  await outside.speak(1.2);
  await outside.event((e) => e.said?.type === 'error' && e.said.content.includes('out of memory'));
  await model.set({ error: '' });
  await outside.speak(1.2, { silence: 1.5 });
  await outside.hearing(1);
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

test('check 14: who speaks over an answer hears no more of it', async () => {
  const { model, outside } = await threesome({}, { chunks: 20, pace: 0.4 });
  await outside.speak(1.2);
  await outside.hearing(1);
  await outside.do({ do: 'send', pcm: speech(), chunk: 640, every: 0.02, meanwhile: true });
  const began = outside.events.at(-1).t;
  const cut = (await outside.event((e) => e.said?.type === 'interrupted')).t;
  assert.ok(cut - began > 0.5 && cut - began < 1.5, `cut in after ${cut - began} s`);
  await until('the next question', async () => (await model.order('completions')).length === 2, 2_000);
  await sleep(1_000);
  assert.equal(outside.sounds(cut + 0.3).length, 0, 'nothing of it after 300 ms');
  const order = (await model.order('stop', 'completions')).slice(-2);
  assert.deepEqual(order.map(({ what }) => what), ['stop', 'completions']);
  assert.ok(order[1].t - cut < 0.3, `asked again after ${order[1].t - cut} s`);
  // What was said over the answer is not lost on the server.
  const said = Buffer.from(speech(), 'base64').subarray(9_600, 16_000);
  const { slices_before: before } = (await model.order('completions')).at(-1);
  assert.ok((await model.pcm()).subarray(before * 6_400).includes(said), 'the server hears how it began');
  // And the next answer comes.
  await until('another answer', () => outside.sounds(cut + 0.3).length > 10, 15_000);
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
  await Promise.all(models.map((model, n) => model.set({ hz: 400 + 100 * n, chunks: 2 })));
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

test('check 18: the test client of the seed gets text and sound in its ten seconds', async () => {
  const { model, outside } = await threesome();
  const began = Date.now() / 1_000;
  // 0.25 s each 0.1 s, for as long as ten seconds of sound take; a pause lets the server see an end.
  await outside.do({ do: 'send', s: 8, chunk: 8_000, every: 0.1 });
  await outside.do({ do: 'send', s: 2, amp: 0, chunk: 8_000, every: 0.1 });
  const text = await outside.event((e) => e.said?.type === 'text');
  const sound = await outside.event((e) => e.pcm);
  assert.ok(text.t - began < 10 && sound.t - began < 10);
  // The same for ten seconds by the clock, which is 2.5 times too fast.
  await outside.do({ do: 'send', s: 24, chunk: 8_000, every: 0.1 });
  assert.deepEqual([outside.errors(), (await model.seen()).faults], [[], []]);
  assert.equal(outside.events.some((e) => 'closed' in e), false);
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

test('our own back end hears, answers with text and voice, and is silent when it is cut in on', async () => {
  const server = await proxy([], {}, { VISAVIS_LLM__LOCAL__RESPONSES: '["The weather will be fine tomorrow, with a gentle wind from the west and a little sun in the afternoon."]' });
  const outside = await Outside.connect(server.proxy);
  await outside.do({ do: 'send', pcm: speech(), chunk: 8_000, every: 0.1 });
  await outside.event((e) => e.said?.type === 'text', 30_000);
  await outside.hearing(1, 15_000);
  assert.match(outside.texts().join(''), /weather/i);
  assert.equal((await server.sessions()).length, 1);
  const level = Math.sqrt(outside.samples().reduce((sum, s) => sum + s * s, 0) / outside.samples().length);
  assert.ok(level > 300, `a voice: ${level}`);
  // Cutting in.
  await outside.do({ do: 'send', pcm: speech(), chunk: 640, every: 0.02, meanwhile: true });
  const spoke = outside.events.at(-1).t;
  const cut = (await outside.event((e) => e.said?.type === 'interrupted', 8_000)).t;
  // It falls silent when half a second of speech is there, and is given up when there are words.
  const old = outside.sounds().filter(({ t }) => t < cut);
  assert.ok(old.at(-1).t - spoke < 1.5, `silent after ${old.at(-1).t - spoke} s`);
  assert.ok(cut - spoke > 2, `words after ${cut - spoke} s`);
  await outside.do({ do: 'close' });
  await until('the session', async () => (await server.sessions()).length === 0, 2_000);
});
