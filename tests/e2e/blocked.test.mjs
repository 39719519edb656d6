// Networks that let little through: no UDP, or nothing but a tunnel to the port.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import { test } from 'node:test';
import { Setting, cannot } from './netns.mjs';
import { Server, inbound, sleep, until } from './support.mjs';

let here;
let server;
let network;

Setting.forAll((made) => {
  here = made;
  ({ server, network } = made);
});

/** The path that media takes: `udp` or `tcp`. */
const protocol = (page) => page.evaluate(async () => {
  const report = await globalThis.peers.at(-1).getStats();
  const transport = [...report.values()].find(({ type }) => type === 'transport');
  return report.get(report.get(transport.selectedCandidatePairId).remoteCandidateId).protocol;
});

test('where no UDP gets through TCP does, and the page says so', { skip: cannot }, async (t) => {
  network.block('meta l4proto udp');
  here.stopping.push(() => network.unblock());
  const began = performance.now();
  const page = await here.visit();
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
  here.stopping.push(() => network.unblock());
  const page = await here.visit();
  await page.getByRole('button', { name: 'Menu', exact: true }).click();
  await page.getByRole('button', { name: 'Test the connection' }).click();
  const codes = () => page.locator('#trial li').evaluateAll((items) => items.map(({ className, dataset }) => dataset.code || className));
  await until('the test to end', async () => (await codes()).length === 6 && !(await codes()).includes('waits'), 40_000);
  assert.deepEqual(await codes(), ['good', 'insecure_origin', 'good', 'udp_blocked', 'good', 'good']);
  assert.match(await page.locator('#trial').textContent(), /No UDP gets through\. .*Connected over TCP/s);
  await page.locator('#trial .shut').click();
  await page.getByRole('button', { name: 'Menu', exact: true }).click();
  await page.locator('#settings [name=lang][value=zh]').check();
  assert.match(await page.locator('#trial').textContent(), /UDP 不通。.*网络屏蔽 UDP/s);
  assert.equal((await server.sessions())[0].viewers, 1, 'the test leaves nobody behind');
});

test('nothing but a tunnel to the port is enough', { skip: cannot }, async () => {
  const own = await Server.start();
  here.stopping.push(() => own.stop());
  // The far end of the tunnel, as sshd is one: it alone reaches the server, which listens on the loopback of this machine.
  const far = net.createServer((near) => near.pipe(net.connect(own.port, '127.0.0.1').on('error', () => near.destroy())).pipe(near.on('error', () => {})));
  far.listen(0, network.server);
  await once(far, 'listening');
  here.stopping.push(() => far.close());
  // The near end, on the loopback of the browser's machine and on another port.
  const forward = `require('net').createServer((n) => { const f = require('net').connect(${far.address().port}, '${network.server}'); n.on('error', () => f.destroy()); f.on('error', () => n.destroy()); n.pipe(f).pipe(n); }).listen(9999, '127.0.0.1', () => console.log('ready'))`;
  const near = spawn('ip', ['netns', 'exec', network.name, process.execPath, '-e', forward]);
  here.stopping.push(() => near.kill());
  await once(near.stdout, 'data');
  const page = await here.visit('http://localhost:9999/');
  assert.equal(await protocol(page), 'tcp');
  const [session] = await own.sessions();
  assert.equal((await own.post('/human', { sessionid: session.id, type: 'echo', text: 'Through the tunnel.' })).code, 0);
  await page.getByText('Through the tunnel.').first().waitFor();
});
