// LiveTalking's clients, unchanged: its page (pictures first, waits for its addresses, a muted picture beside the sound) and
// the one of seed 004's document (sound first, no wait), with its routes, in Chromium.

import assert from 'node:assert/strict';
import os from 'node:os';
import path from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { Site, ask, shown, speaks } from './livetalking/site.mjs';
import { Server, root, sleep, until } from './support.mjs';

let site;

before(async () => {
  site = await Site.start();
});
afterEach(() => site?.clear());
after(() => site?.stop());

/** What the stand-in of a voice was asked. */
const asked = async () => (await site.log()).filter((entry) => entry.text);

for (const client of ['project', 'documented']) {
  test(`the ${client} client plays pictures and sound of one stream`, async () => {
    const page = await site.open(client, { avatar: 'mira' });
    assert.match(page.answer.sessionid, /^[0-9a-f-]{36}$/);
    assert.equal(page.answer.type, 'answer');
    const [{ width, height }] = (await site.server.get('/v1/avatars')).filter(({ id }) => id === 'mira');
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
  const page = await site.open('project', { refaudio: 'anna', reftext: 'is for recordings' });
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
  const page = await site.open('project');
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
      const reply = await site.server.post(route, { sessionid, ...more });
      assert.deepEqual([reply.status, reply.code], [200, -1], `${route} ${JSON.stringify(sessionid)}`);
      assert.ok(reply.msg, route);
    }
  }
});

const own = Object.values(os.networkInterfaces()).flat().find(({ family, internal }) => family === 'IPv4' && !internal)?.address;

test('a page that is loaded without https, by an address of the network, plays', { skip: own ? false : 'no network' }, async () => {
  const open = await Server.start({ VISAVIS_SERVER__PAGE: path.join(root, 'tests/e2e/livetalking') }, '0.0.0.0');
  try {
    const page = await (await site.chromium.newContext()).newPage();
    await page.goto(`http://${own}:${open.port}/index.html`);
    assert.equal(await page.evaluate(() => globalThis.isSecureContext), false);
    await page.evaluate(() => globalThis.project());
    await until('pictures', async () => (await shown(page)).width > 0, 30_000);
    await page.evaluate(() => globalThis.peer.close());
  } finally {
    await open.stop();
  }
});

test('the admin routes speak to this machine alone', async () => {
  const page = await site.open('project');
  const { config } = (await site.admin('config')).data;
  assert.deepEqual([config.tts, config.REF_FILE, config.transport, config.max_session, config.fps], ['openai', 'alloy', 'webrtc', 8, 25]);
  assert.ok(!JSON.stringify(config).includes('test-key'));
  const sessions = (await site.admin('sessions')).data.sessions.map(({ sessionid }) => sessionid);
  assert.ok(sessions.includes(page.answer.sessionid));
  for (const what of ['config', 'sessions']) {
    const reply = await site.admin(what, { 'x-forwarded-for': '192.0.2.7' });
    assert.deepEqual([reply.code, reply.error], [-1, 'forbidden']);
  }
});

test('other sites are refused unless they are listed, and all of them only if that is asked for', async () => {
  const preflight = (url, origin) => fetch(`${url}/offer`, {
    method: 'OPTIONS',
    headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'content-type' },
  });
  const allowed = (reply) => reply.headers.get('access-control-allow-origin');
  const listed = await preflight(site.server.url, 'https://listed.example');
  assert.deepEqual([listed.status, allowed(listed), listed.headers.get('vary')], [204, 'https://listed.example', 'Origin']);
  assert.match(listed.headers.get('access-control-allow-methods'), /POST.*OPTIONS/);
  assert.match(listed.headers.get('access-control-allow-headers'), /content-type/i);
  for (const origin of ['https://elsewhere.example', 'http://listed.example', 'https://listed.example:444', 'https://listed.example.evil.example', 'null']) {
    const reply = await preflight(site.server.url, origin);
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
  assert.deepEqual((await site.log()).filter((entry) => entry.wrong || entry.leak), []);
});
