// How sessions begin, go on and end around a real page: joining, reloading, restarting, closing, dying.

import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { Server, browser, mortalBrowser, sleep, until, watch } from './support.mjs';

let server;
let chromium;

before(async () => {
  server = await Server.start();
  chromium = await browser();
});
after(async () => {
  await chromium?.close();
  await server?.stop();
});

// A page that is gone leaves its session alive for five seconds more, in case it was a reload.
beforeEach(() => until('an empty house', async () => (await count()) === 0, 40_000));

const context = (options = {}) => chromium.newContext({ viewport: { width: 1280, height: 800 }, locale: 'en-US', ...options });
const count = async () => (await server.sessions()).length;

test('a visit: no fault, no request to another host, words to see, a second viewer of the same stream', async () => {
  const page = await watch(await context(), `${server.url}/`);
  const [session] = await server.sessions();
  await page.getByRole('textbox').first().fill('Hello, I am here.');
  await page.getByRole('button', { name: 'Say it', exact: true }).click();
  await page.getByText('Hello, I am here.').first().waitFor();
  await until('the answer to end', async () => (await server.sessions())[0].state === 'idle', 15_000);

  const second = await watch(await context({ viewport: { width: 390, height: 844 } }), `${server.url}/?session=${session.id}`);
  assert.equal(await count(), 1, 'both watch one session');
  assert.equal((await server.sessions())[0].viewers, 2);
  await second.getByText('Hello, I am here.').first().waitFor();

  assert.deepEqual([page.faults, second.faults], [[], []]);
  assert.deepEqual([page.foreign, second.foreign], [[], []]);
  await second.context().close();
  await page.context().close();
  await until('the slot', async () => (await count()) === 0);
});

test('a page of which a part did not come loads itself again, a few times', async () => {
  const page = await (await context()).newPage();
  let refused = 2;
  let asked = 0;
  await page.route('**/js/latency.js', (route) => {
    asked += 1;
    return refused-- > 0 ? route.abort('connectionreset') : route.continue();
  });
  await page.goto(`${server.url}/`);
  await page.waitForFunction(() => document.querySelector('video')?.videoWidth > 0, null, { timeout: 30_000 });
  assert.ok(asked >= 3, `${asked}`);
  assert.equal(await page.evaluate(() => sessionStorage.getItem('visavis.reloads')), '0');
  await page.context().close();
});

test('the interface follows the browser into Chinese', async () => {
  const page = await watch(await context({ locale: 'zh-CN' }), `${server.url}/`);
  for (const name of ['说出来', '提问']) assert.ok(await page.getByRole('button', { name, exact: true }).isVisible(), name);
  await page.context().close();
});

test('a reload comes back to its session, and a closed tab gives its slot back within 10 s', async () => {
  const page = await watch(await context(), `${server.url}/`);
  const [{ id }] = await server.sessions();
  await page.reload();
  await page.waitForFunction(() => document.querySelector('video')?.videoWidth > 0);
  assert.deepEqual((await server.sessions()).map((s) => s.id), [id]);
  await page.close();
  const took = await until('the slot', async () => (await count()) === 0);
  assert.ok(took < 10_000, `${took} ms`);
});

test('a browser that is killed gives its slot back within 35 s', async () => {
  const mortal = await mortalBrowser();
  await watch(await mortal.browser.newContext(), `${server.url}/`);
  assert.equal(await count(), 1);
  await mortal.kill();
  const took = await until('the slot', async () => (await count()) === 0, 45_000);
  console.log(`a killed browser's slot is free after ${(took / 1_000).toFixed(1)} s`);
  assert.ok(took < 35_000, `${took} ms`);
});

test('the page finds a restarted server by itself and says so', async () => {
  const page = await watch(await context(), `${server.url}/`);
  await server.stop('SIGKILL');
  await page.getByText(/reconnecting|lost|trying/i).first().waitFor({ timeout: 20_000 });
  await server.run();
  // The old connection looks alive for a while.
  await until('a session', async () => (await count()) === 1);
  await until('the stream', () => page.evaluate(() => globalThis.peers.at(-1).connectionState === 'connected'));
  const [session] = await server.sessions();
  assert.equal((await server.post('/human', { sessionid: session.id, type: 'echo', text: 'Here again.' })).code, 0);
  await page.context().close();
});

test('a server that is told to stop refuses, lets the answer end and leaves with 0', async () => {
  const own = await Server.start();
  const page = await watch(await context(), `${own.url}/`);
  const [{ id }] = await own.sessions();
  await own.post('/human', { sessionid: id, type: 'echo', text: 'One last sentence before the end.' });
  await until('the voice', async () => (await own.sessions())[0].state === 'speaking');
  own.process.kill('SIGTERM');
  await sleep(100);
  assert.equal((await fetch(`${own.url}/readyz`)).status, 503);
  await new Promise((resolve) => own.process.once('exit', resolve));
  assert.equal(own.process.exitCode, 0);
  await page.context().close();
});
