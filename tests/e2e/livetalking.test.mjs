// LiveTalking's clients, unchanged: its page (pictures first, waits for its addresses, a muted picture beside the sound) and
// the one of seed 004's document (sound first, no wait), with its routes, in Chromium.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { Server, binary, browser, root, sleep, until, wav } from './support.mjs';

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'visavis-livetalking-'));
const python = path.join(root, 'target/python-peer/bin/python');
let voice;
let server;
let chromium;

before(async () => {
  film('idle', 'blue', 50);
  film('point', 'green', 50);
  film('hello', 'red', 4);
  film('../outside', 'white', 1);
  execFileSync('ffmpeg', ['-v', 'error', '-f', 'lavfi', '-i', 'sine=880:duration=2', '-ar', '44100', path.join(folder, 'actions/hello.mp3')]);
  voice = spawn(python, [path.join(root, 'tests/voices/standins.py')], { stdio: ['pipe', 'pipe', 'inherit'] });
  const [port] = await once(voice.stdout, 'data');
  voice.url = `http://127.0.0.1:${String(port).trim()}`;
  server = await Server.start({
    VISAVIS_SERVER__PAGE: path.join(root, 'tests/e2e/livetalking'),
    VISAVIS_SERVER__CORS: '[https://listed.example]',
    VISAVIS_ACTIONS__DIR: path.join(folder, 'actions'),
    VISAVIS_AVATARS__SPOOL: path.join(folder, 'spool'),
    VISAVIS_TTS__PROVIDER: 'openai',
    VISAVIS_TTS__OPENAI__BASE_URL: `${voice.url}/ok/v1`,
    VISAVIS_TTS__OPENAI__API_KEY: 'test-key',
  });
  chromium = await browser();
});

afterEach(async () => {
  for (const context of chromium.contexts()) {
    // A tab that is closed says nothing, and its place is kept for a while.
    for (const page of context.pages()) await page.evaluate(() => globalThis.peer?.close());
    await context.close();
  }
});
after(async () => {
  await chromium?.close();
  await server?.stop();
  voice?.stdin.end();
  fs.rmSync(folder, { recursive: true });
});

/** A folder of pictures of one colour. */
function film(name, colour, pictures) {
  const dir = path.join(folder, 'actions', name);
  fs.mkdirSync(dir, { recursive: true });
  execFileSync('ffmpeg', ['-v', 'error', '-f', 'lavfi', '-i', `color=${colour}:size=320x240:rate=25`, '-frames:v', String(pictures), path.join(dir, '%08d.png')]);
}

/** A page with one of both clients, connected. */
async function open(client, offer) {
  const context = await chromium.newContext({ bypassCSP: true });
  const page = await context.newPage();
  await page.goto(`${server.url}/index.html`);
  page.answer = await page.evaluate(([client, offer]) => globalThis[client](offer), [client, offer]);
  return page;
}

const shown = (page) => page.evaluate(() => globalThis.shown());
const ask = (page, route, body) => page.evaluate(([route, body]) => globalThis.ask(route, body), [route, body]);
const speaks = async (page) => (await ask(page, '/is_speaking')).data;
/** What the stand-in of a voice was asked. */
const asked = async () => (await (await fetch(`${voice.url}/log`)).json()).filter((entry) => entry.text);

/** Waits for a colour: `blue`, `green`, `red`, or `face`, which is none of them. */
function colour(page, wanted) {
  return until(`${wanted} pictures`, async () => {
    const { red, green, blue, width } = await shown(page);
    const is = { red: red > 150 && green < 90 && blue < 90, green: green > 80 && red < 80 && blue < 80, blue: blue > 150 && red < 90 && green < 90 };
    return width > 0 && (wanted === 'face' ? !Object.values(is).some(Boolean) : is[wanted]);
  }, 20_000);
}

for (const client of ['project', 'documented']) {
  test(`the ${client} client plays pictures and sound of one stream`, async () => {
    const page = await open(client, { avatar: 'mira' });
    assert.match(page.answer.sessionid, /^[0-9a-f-]{36}$/);
    assert.equal(page.answer.type, 'answer');
    const [{ width, height }] = (await server.get('/v1/avatars')).filter(({ id }) => id === 'mira');
    await until('pictures', async () => (await shown(page)).width > 0, 30_000);
    const first = await shown(page);
    assert.deepEqual([first.width, first.height], [width, height]);
    await sleep(2_000);
    const later = await shown(page);
    assert.ok(later.at > first.at + 1 && later.heard > first.heard + 1, `${JSON.stringify(first)} ${JSON.stringify(later)}`);
    const streams = await page.evaluate(() => globalThis.streams);
    assert.equal(streams.audio, streams.video, 'one stream, so that the browser plays both in step');
    assert.equal((await ask(page, '/human', { type: 'echo', text: 'Good morning.', interrupt: true })).code, 0);
    await until('the voice', () => speaks(page));
    assert.deepEqual(await ask(page, '/interrupt_talk'), { code: 0, msg: 'ok' });
    await until('silence', async () => !(await speaks(page)), 3_000);
    });
}

test('each answer has the voice that it asks for, and a session the one of its offer', async () => {
  const page = await open('project', { refaudio: 'anna', reftext: 'is for recordings' });
  const said = async (text) => {
    await until(text, async () => (await asked()).some((entry) => entry.text === text), 20_000);
    return (await asked()).find((entry) => entry.text === text);
  };
  assert.equal((await ask(page, '/human', { type: 'echo', text: 'The first.', tts: { ref_file: 'ben', speed: 1.5, emotion: 'glad' } })).code, 0);
  assert.equal((await ask(page, '/human', { type: 'echo', text: 'The second.' })).code, 0);
  assert.equal((await ask(page, '/human', { type: 'echo', text: 'The third.', tts: { ref_file: '', language: null } })).code, 0);
  const first = await said('The first.');
  assert.deepEqual([first.voice, first.wishes.speed], ['ben', 1.5]);
  for (const text of ['The second.', 'The third.']) {
    const { voice, wishes } = await said(text);
    assert.deepEqual([voice, wishes.speed], ['anna', 1], text);
  }
  const fast = await ask(page, '/human', { type: 'echo', text: 'No.', tts: { speed: 40 } });
  assert.deepEqual([fast.code, fast.error], [-1, 'bad_voice']);
  const long = await ask(page, '/human', { type: 'echo', text: 'No.', tts: { voice: 'x'.repeat(300) } });
  assert.deepEqual([long.code, long.error], [-1, 'bad_request']);
});

test('interrupt: true cuts what is said, and what waits, and is said itself', async () => {
  const page = await open('project');
  await page.evaluate(() => {
    globalThis.lines = [];
    globalThis.events = new EventSource(`/sse?sessionid=${document.getElementById('sessionid').value}`);
    globalThis.events.onmessage = ({ data }) => globalThis.lines.push(JSON.parse(data));
    return new Promise((resolve) => (globalThis.events.onopen = resolve));
  });
  const lines = () => page.evaluate(() => globalThis.lines.map(({ status, text }) => `${status} ${text}`));
  await ask(page, '/human', { type: 'echo', text: 'This one is cut. Of this nobody hears a word.' });
  await ask(page, '/human', { type: 'echo', text: 'This waits for nothing.' });
  await until('the first', async () => (await lines()).includes('start This one is cut.'), 30_000);
  await ask(page, '/human', { type: 'echo', text: 'Now this.', interrupt: true });
  await until('the second', async () => (await lines()).includes('end Now this.'), 30_000);
  const heard = await lines();
  assert.deepEqual(heard.slice(0, 2), ['start This one is cut.', 'end This one is cut.']);
  assert.deepEqual(heard.slice(-2), ['start Now this.', 'end Now this.']);
  assert.ok(!heard.some((line) => line.includes('waits')), heard.join());
});

test('a session that is not here is told as theirs is, whatever its id', async () => {
  for (const sessionid of [0, 123456, '0', '123456', '00000000-0000-4000-8000-000000000000', null, { a: 1 }]) {
    for (const [route, more] of [['/human', { type: 'echo', text: 'Hi.' }], ['/is_speaking'], ['/interrupt_talk'], ['/set_audiotype', { audiotype: 2 }]]) {
      const reply = await server.post(route, { sessionid, ...more });
      assert.deepEqual([reply.status, reply.code], [200, -1], `${route} ${JSON.stringify(sessionid)}`);
      assert.ok(reply.msg, route);
    }
  }
});

const own = Object.values(os.networkInterfaces()).flat().find(({ family, internal }) => family === 'IPv4' && !internal)?.address;

test('a page that is loaded without https, by an address of the network, plays', { skip: own ? false : 'no network' }, async () => {
  const open = await Server.start({ VISAVIS_SERVER__PAGE: path.join(root, 'tests/e2e/livetalking') }, '0.0.0.0');
  try {
    const page = await (await chromium.newContext()).newPage();
    await page.goto(`http://${own}:${open.port}/index.html`);
    assert.equal(await page.evaluate(() => globalThis.isSecureContext), false);
    await page.evaluate(() => globalThis.project());
    await until('pictures', async () => (await shown(page)).width > 0, 30_000);
    await page.evaluate(() => globalThis.peer.close());
  } finally {
    await open.stop();
  }
});

test('custom actions: an idle life, a film with its sound, and a gesture while the avatar talks', async () => {
  const actions = [
    { audiotype: 1, imgpath: 'idle' },
    { audiotype: 2, imgpath: 'hello', audiopath: path.join(folder, 'actions/hello.mp3') },
    { audiotype: 3, imgpath: path.join(folder, 'actions/point') },
    { audiotype: 4, gesture: 'nod' },
  ];
  const page = await open('project', { avatar: 'mira', custom_config: JSON.stringify(actions) });
  await colour(page, 'blue');
  const loud = await listenFor(page);

  assert.equal((await ask(page, '/set_audiotype', { audiotype: 2, reinit: true })).code, 0);
  await colour(page, 'red');
  assert.ok(!(await speaks(page)), 'an action is no speech');
  await colour(page, 'blue');
  const pitch = await loud();
  assert.ok(Math.abs(pitch - 880) < 30, `its sound is heard: ${pitch} Hz`);

  const text = 'This is said while the avatar shows something. It goes on and on. And there is still more of it. And more.';
  assert.equal((await ask(page, '/human', { type: 'echo', text })).code, 0);
  await until('the voice', () => speaks(page), 20_000);
  await colour(page, 'face');
  assert.equal((await ask(page, '/set_audiotype', { audiotype: '3' })).code, 0);
  await colour(page, 'green');
  assert.ok(await speaks(page), 'it talks on');
  assert.equal((await ask(page, '/set_audiotype', { audiotype: 0 })).code, 0);
  await colour(page, 'face');
  assert.equal((await ask(page, '/interrupt_talk')).code, 0);
  await colour(page, 'blue');

  // An interruption ends an action, too.
  assert.equal((await ask(page, '/set_audiotype', { audiotype: 3 })).code, 0);
  await colour(page, 'green');
  assert.equal((await ask(page, '/interrupt_talk')).code, 0);
  await colour(page, 'blue');
  assert.equal((await ask(page, '/set_audiotype', { audiotype: 4 })).code, 0);
  for (const audiotype of [5, -1, 'two', 1e12, null]) {
    const { code, error } = await ask(page, '/set_audiotype', { audiotype });
    assert.deepEqual([code, error], [-1, 'unknown_action'], String(audiotype));
  }
  const [session] = (await admin('sessions')).data.sessions.filter(({ sessionid }) => sessionid === page.answer.sessionid);
  assert.deepEqual(session.customopt.map(({ audiotype }) => audiotype), [1, 2, 3, 4]);
});

/** The pitch of what is heard from now on, by the loudest line of its spectrum. */
async function listenFor(page) {
  await page.evaluate(async () => {
    const context = new AudioContext();
    await context.resume();
    const analyser = new AnalyserNode(context, { fftSize: 8_192 });
    context.createMediaStreamSource(document.getElementById('audio').srcObject).connect(analyser);
    const lines = new Float32Array(analyser.frequencyBinCount);
    globalThis.loudest = { level: -Infinity, hz: 0 };
    setInterval(() => {
      analyser.getFloatFrequencyData(lines);
      const level = Math.max(...lines);
      const hz = (lines.indexOf(level) * context.sampleRate) / analyser.fftSize;
      if (level > globalThis.loudest.level) globalThis.loudest = { level, hz };
    }, 50);
  });
  return () => page.evaluate(() => globalThis.loudest.hz);
}

test('an offer whose actions lie elsewhere, or are none, is refused and takes no slot', async () => {
  await until('empty slots', async () => (await server.sessions()).length === 0, 20_000);
  for (const [custom_config, slug] of [
    ['{', 'bad_actions'],
    ['[{"audiotype":2}]', 'bad_actions'],
    [[{ audiotype: 2, imgpath: '../outside' }], 'bad_actions'],
    [[{ audiotype: 2, imgpath: path.join(folder, 'outside') }], 'bad_actions'],
    [[{ audiotype: 2, imgpath: '/etc' }], 'bad_actions'],
    [[{ audiotype: 2, imgpath: 'hello', audiopath: '/etc/passwd' }], 'bad_actions'],
    [[{ audiotype: 2, imgpath: 'hello', audiopath: 'idle/00000001.png' }], 'bad_actions'],
  ]) {
    const page = await open('documented', { custom_config });
    assert.deepEqual([page.answer.code, page.answer.error], [-1, slug], JSON.stringify(custom_config));
    assert.ok(!page.answer.msg.includes(folder), page.answer.msg);
    }
  await until('empty slots', async () => (await server.sessions()).length === 0);
});

const admin = async (what, headers = {}) => (await fetch(`${server.url}/api/admin/${what}`, { headers })).json();

test('the admin routes speak to this machine alone', async () => {
  const page = await open('project');
  const { config } = (await admin('config')).data;
  assert.deepEqual([config.tts, config.REF_FILE, config.transport, config.max_session, config.fps], ['openai', 'alloy', 'webrtc', 8, 25]);
  assert.ok(!JSON.stringify(config).includes('test-key'));
  const sessions = (await admin('sessions')).data.sessions.map(({ sessionid }) => sessionid);
  assert.ok(sessions.includes(page.answer.sessionid));
  for (const what of ['config', 'sessions']) {
    const reply = await admin(what, { 'x-forwarded-for': '192.0.2.7' });
    assert.deepEqual([reply.code, reply.error], [-1, 'forbidden']);
  }
});

test('speech is written down in all three modes', async () => {
  const sentences = ['The weather is lovely today.', 'Where is the nearest station?'];
  const samples = sentences.flatMap((text, n) => {
    const file = path.join(folder, `said-${n}.wav`);
    // The voice of this machine, not the stand-in.
    execFileSync(binary, ['say', text, '-o', file], { cwd: root, env: { ...process.env, VISAVIS_TTS__PROVIDER: 'hibari' } });
    return [...Array.from(wav(file), (sample) => Math.round(sample * 32_767)), ...Array(16_000).fill(0)];
  });
  const plain = (words) => words.toLowerCase().replace(/[^a-z]/g, '');
  const page = await chromium.newPage();
  await page.goto(`${server.url}/index.html`);
  for (const mode of ['2pass', 'offline', 'online']) {
    const replies = await page.evaluate(([samples, mode]) => globalThis.write(samples, mode, { piece: 961 }), [samples, mode]);
    const kind = { '2pass': '2pass-offline', offline: 'offline', online: 'online' }[mode];
    const words = replies.filter((reply) => reply.mode === kind).map((reply) => reply.text).join(' ');
    assert.equal(plain(words), plain(sentences.join('')), `${mode}: ${JSON.stringify(replies)}`);
    assert.deepEqual(replies.map((reply) => reply.is_final), [...Array(replies.length - 1).fill(false), true]);
    assert.equal(replies.at(-1).wav_name, 'h5');
  }
});

test('a flood of listeners is refused, and nonsense is answered', async () => {
  const page = await chromium.newPage();
  await page.goto(`${server.url}/index.html`);
  const [opened, first] = await page.evaluate(async () => {
    const address = `${location.origin.replace('http', 'ws')}/api/asr`;
    const all = await Promise.all(Array.from({ length: 20 }, () => new Promise((resolve) => {
      const socket = new WebSocket(address);
      socket.onopen = () => resolve(socket);
      socket.onerror = () => resolve(null);
    })));
    const open = all.filter(Boolean);
    const answer = new Promise((resolve) => {
      open[0].onmessage = ({ data }) => resolve(JSON.parse(data));
    });
    open[0].send(new Uint8Array(3));
    open[0].send('{"mode":');
    const told = await answer;
    open.forEach((socket) => socket.close());
    return [open.length, told];
  });
  assert.equal(opened, 16);
  assert.ok(first.error, JSON.stringify(first));
  assert.equal((await fetch(`${server.url}/api/asr`)).status, 426);
});

test('other sites are refused unless they are listed, and all of them only if that is asked for', async () => {
  const preflight = (url, origin) => fetch(`${url}/offer`, {
    method: 'OPTIONS',
    headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'content-type' },
  });
  const allowed = (reply) => reply.headers.get('access-control-allow-origin');
  const listed = await preflight(server.url, 'https://listed.example');
  assert.deepEqual([listed.status, allowed(listed), listed.headers.get('vary')], [204, 'https://listed.example', 'Origin']);
  assert.match(listed.headers.get('access-control-allow-methods'), /POST.*OPTIONS/);
  assert.match(listed.headers.get('access-control-allow-headers'), /content-type/i);
  for (const origin of ['https://elsewhere.example', 'http://listed.example', 'https://listed.example:444', 'https://listed.example.evil.example', 'null']) {
    const reply = await preflight(server.url, origin);
    assert.equal(allowed(reply), null, origin);
    assert.equal(reply.headers.get('vary'), 'Origin');
  }
  const everybody = await Server.start({ VISAVIS_SERVER__CORS: '["*"]' });
  try {
    const reply = await preflight(everybody.url, 'https://elsewhere.example');
    assert.deepEqual([allowed(reply), reply.headers.get('access-control-allow-credentials')], ['*', null]);
    const posted = await fetch(`${everybody.url}/is_speaking`, {
      method: 'POST', body: '{"sessionid":7}', headers: { origin: 'https://elsewhere.example' },
    });
    assert.deepEqual([posted.status, allowed(posted), (await posted.json()).code], [200, '*', -1]);
  } finally {
    await everybody.stop();
  }
});

test('nothing that was sent to the voice was wrong', async () => {
  const log = await (await fetch(`${voice.url}/log`)).json();
  assert.deepEqual(log.filter((entry) => entry.wrong || entry.leak), []);
});
