// /audio_proxy (seed 003): an external client in Python on one side, MiniCPM servers without the model on the other.
//
// Numbers of checks are those of the list that the seed's protocol was written down with; the others are in
// audio-proxy-faults.test.mjs.

import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { Outside, cleanUp, pcm, proxy, speech, threesome, tone } from './audio_proxy_peers.mjs';
import { sleep, until } from './support.mjs';

const V4 = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

afterEach(cleanUp);

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
