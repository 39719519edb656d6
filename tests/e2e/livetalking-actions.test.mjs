// LiveTalking's custom actions, and speech recognition through its socket, in Chromium.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { Site, ask, colour, speaks } from './livetalking/site.mjs';
import { binary, root, until, wav } from './support.mjs';

let site;

before(async () => {
  site = await Site.start();
});
afterEach(() => site?.clear());
after(() => site?.stop());

test('custom actions: an idle life, a film with its sound, and a gesture while the avatar talks', async () => {
  const actions = [
    { audiotype: 1, imgpath: 'idle' },
    { audiotype: 2, imgpath: 'hello', audiopath: path.join(site.folder, 'actions/hello.mp3') },
    { audiotype: 3, imgpath: path.join(site.folder, 'actions/point') },
    { audiotype: 4, gesture: 'nod' },
  ];
  const page = await site.open('project', { avatar: 'mira', custom_config: JSON.stringify(actions) });
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
  const [session] = (await site.admin('sessions')).data.sessions.filter(({ sessionid }) => sessionid === page.answer.sessionid);
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
  await until('empty slots', async () => (await site.server.sessions()).length === 0, 20_000);
  for (const [custom_config, slug] of [
    ['{', 'bad_actions'],
    ['[{"audiotype":2}]', 'bad_actions'],
    [[{ audiotype: 2, imgpath: '../outside' }], 'bad_actions'],
    [[{ audiotype: 2, imgpath: path.join(site.folder, 'outside') }], 'bad_actions'],
    [[{ audiotype: 2, imgpath: '/etc' }], 'bad_actions'],
    [[{ audiotype: 2, imgpath: 'hello', audiopath: '/etc/passwd' }], 'bad_actions'],
    [[{ audiotype: 2, imgpath: 'hello', audiopath: 'idle/00000001.png' }], 'bad_actions'],
  ]) {
    const page = await site.open('documented', { custom_config });
    assert.deepEqual([page.answer.code, page.answer.error], [-1, slug], JSON.stringify(custom_config));
    assert.ok(!page.answer.msg.includes(site.folder), page.answer.msg);
    }
  await until('empty slots', async () => (await site.server.sessions()).length === 0);
});

test('speech is written down in all three modes', async () => {
  const sentences = ['The weather is lovely today.', 'Where is the nearest station?'];
  const samples = sentences.flatMap((text, n) => {
    const file = path.join(site.folder, `said-${n}.wav`);
    // The voice of this machine, not the stand-in.
    execFileSync(binary, ['say', text, '-o', file], { cwd: root, env: { ...process.env, VISAVIS_TTS__PROVIDER: 'hibari' } });
    return [...Array.from(wav(file), (sample) => Math.round(sample * 32_767)), ...Array(16_000).fill(0)];
  });
  const plain = (words) => words.toLowerCase().replace(/[^a-z]/g, '');
  const page = await site.chromium.newPage();
  await page.goto(`${site.server.url}/index.html`);
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
  const page = await site.chromium.newPage();
  await page.goto(`${site.server.url}/index.html`);
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
  assert.equal((await fetch(`${site.server.url}/api/asr`)).status, 426);
});
