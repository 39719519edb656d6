// Networks that are bad to a viewer: gone for a while, changed, without UDP, or nothing but a tunnel.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { spawn } from 'node:child_process';
import { after, afterEach, before, test } from 'node:test';
import { Network, cannot } from './netns.mjs';
import { Server, inbound, sleep, until, watch } from './support.mjs';

let network;
let server;
let url;
let chromium;
const started = [];

before(async () => {
  if (cannot) return;
  network = new Network();
  server = await Server.start({ VISAVIS_SERVER__OFFERS_PER_MINUTE: '1000' }, '0.0.0.0');
  url = `http://${network.server}:${server.port}/`;
  chromium = await network.browser();
});

afterEach(async () => {
  for (const context of chromium?.contexts() ?? []) await context.close();
  for (const stop of started.splice(0)) await stop();
  if (server) await until('an empty house', async () => (await server.sessions()).length === 0, 40_000);
});

after(async () => {
  await chromium?.close();
  await server?.stop();
  network?.stop();
});

const visit = async (address = url) => watch(await chromium.newContext({ locale: 'en-US' }), address);
const decoded = async (page) => (await inbound(page)).video?.framesDecoded ?? 0;
const status = (page) => page.locator('.status').textContent();

/** How long until pictures come again, ms. */
async function untilPictures(page, patience) {
  const before = await decoded(page);
  return until('pictures', async () => (await decoded(page)) > before + 5, patience);
}

/** The path that media takes: `udp` or `tcp`. */
const protocol = (page) => page.evaluate(async () => {
  const report = await globalThis.peers.at(-1).getStats();
  const transport = [...report.values()].find(({ type }) => type === 'transport');
  return report.get(report.get(transport.selectedCandidatePairId).remoteCandidateId).protocol;
});

/** Loses the network of a page for `lost` ms by `cut`, and has it come back by `mend`. */
async function outage(t, lost, cut, mend) {
  const page = await visit();
  const [{ id }] = await server.sessions();
  await server.post('/human', { sessionid: id, type: 'echo', text: 'This was said before the network went. '.repeat(20) });
  await until('the voice', async () => (await server.sessions())[0].state === 'speaking');
  cut();
  const gone = performance.now();
  const hushed = await until('the end of an answer that nobody hears', async () => (await server.sessions())[0].state === 'idle', 9_000);
  assert.match(await status(page), /reconnecting|no network/i);
  await sleep(lost - (performance.now() - gone));
  mend();
  const back = await untilPictures(page, 10_000);
  t.diagnostic(`answer cut after ${Math.round(hushed)} ms, pictures ${Math.round(back)} ms after the network's return`);
  assert.ok(back < 3_000, `${back} ms`);
  const [after] = await server.sessions();
  assert.deepEqual([after.id, after.viewers, await page.evaluate(() => globalThis.peers.length)], [id, 1, 1], 'the same conversation, viewer and connection');
  await page.getByRole('textbox').first().fill('I am back.');
  await page.getByRole('button', { name: 'Say it', exact: true }).click();
  await until('the voice again', async () => (await server.sessions())[0].state === 'speaking', 5_000);
}

test('ten seconds without any packet end nothing', { skip: cannot }, (t) => outage(t, 10_000, () => network.block(), () => network.unblock()));

test('ten seconds without a cable end nothing', { skip: cannot }, (t) => outage(t, 10_000, () => network.in('ip', 'link', 'set', 'eth0', 'down'), () => {
  network.in('ip', 'link', 'set', 'eth0', 'up');
  network.in('ip', 'route', 'replace', 'default', 'via', network.server);
}));

test('a viewer whose address changes goes on', { skip: cannot }, async (t) => {
  const page = await visit();
  const [{ id }] = await server.sessions();
  network.move();
  const back = await untilPictures(page, 15_000);
  t.diagnostic(`pictures ${Math.round(back)} ms after the change`);
  assert.ok(back < 6_000, `${back} ms`);
  assert.deepEqual([(await server.sessions())[0].id, (await server.sessions())[0].viewers], [id, 1]);
});

test('where no UDP gets through TCP does, and the page says so', { skip: cannot }, async (t) => {
  network.block('meta l4proto udp');
  started.push(() => network.unblock());
  const began = performance.now();
  const page = await visit();
  t.diagnostic(`first picture after ${Math.round(performance.now() - began)} ms`);
  assert.ok(performance.now() - began < 8_000);
  assert.equal(await protocol(page), 'tcp');
  await page.getByText(/network lets no UDP through/).waitFor({ timeout: 5_000 });
  const first = await inbound(page);
  await sleep(3_000);
  const later = await inbound(page);
  const fps = (later.video.framesDecoded - first.video.framesDecoded) / ((later.video.at - first.video.at) / 1_000);
  assert.ok(Math.abs(fps - 25) < 3, `${fps} pictures a second`);
});

test('the connection test finds what is blocked, in both languages', { skip: cannot }, async () => {
  network.block('meta l4proto udp');
  started.push(() => network.unblock());
  for (const [locale, menu, go, words] of [['en-US', 'Menu', 'Test the connection', /UDP/], ['zh-CN', '菜单', '测试连接', /UDP 不通/]]) {
    const page = await watch(await chromium.newContext({ locale }), url);
    await page.getByRole('button', { name: menu, exact: true }).click();
    await page.getByRole('button', { name: go }).click();
    await page.locator('#trial .bad[data-code=udp_blocked]').waitFor({ timeout: 15_000 });
    const codes = () => page.locator('#trial li').evaluateAll((items) => items.map(({ className, dataset }) => dataset.code || className));
    await until('the test to end', async () => !(await codes()).includes('waits'), 30_000);
    assert.deepEqual(await codes(), ['good', 'insecure_origin', 'good', 'udp_blocked', 'good', 'good']);
    assert.match(await page.locator('#trial').textContent(), words);
    await page.context().close();
  }
});

test('nothing but a tunnel to the port is enough', { skip: cannot }, async () => {
  const own = await Server.start();
  started.push(() => own.stop());
  // The far end of the tunnel, as sshd is one: it alone reaches the server, which listens on the loopback of this machine.
  const far = net.createServer((near) => near.pipe(net.connect(own.port, '127.0.0.1').on('error', () => near.destroy())).pipe(near.on('error', () => {})));
  far.listen(0, network.server);
  await once(far, 'listening');
  started.push(() => far.close());
  // The near end, on the loopback of the browser's machine and on another port.
  const forward = `require('net').createServer((n) => { const f = require('net').connect(${far.address().port}, '${network.server}'); n.on('error', () => f.destroy()); f.on('error', () => n.destroy()); n.pipe(f).pipe(n); }).listen(9999, '127.0.0.1', () => console.log('ready'))`;
  const near = spawn('ip', ['netns', 'exec', network.name, process.execPath, '-e', forward]);
  started.push(() => near.kill());
  await once(near.stdout, 'data');
  const page = await visit('http://localhost:9999/');
  assert.equal(await protocol(page), 'tcp');
  const [session] = await own.sessions();
  assert.equal((await own.post('/human', { sessionid: session.id, type: 'echo', text: 'Through the tunnel.' })).code, 0);
  await page.getByText('Through the tunnel.').first().waitFor();
});
