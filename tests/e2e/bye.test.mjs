// How a conversation ends for the page: it is told why, and does what a person expects then.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { Server, browser, root, sleep, until, watch } from './support.mjs';

let model;
let server;
let chromium;

before(async () => {
  // A model that wants to hang up, then says good-bye.
  model = http.createServer(async (request, reply) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const { messages } = JSON.parse(Buffer.concat(chunks));
    const called = messages.at(-1).role === 'tool';
    const call = { index: 0, id: 'call_1', type: 'function', function: { name: 'end_call', arguments: '{}' } };
    const delta = called ? { content: 'Good bye, then.' } : { tool_calls: [call] };
    const chunk = { choices: [{ index: 0, delta, finish_reason: called ? 'stop' : 'tool_calls' }] };
    reply.writeHead(200, { 'content-type': 'text/event-stream' });
    reply.end(`data: ${JSON.stringify(chunk)}\n\ndata: [DONE]\n\n`);
  });
  await new Promise((resolve) => model.listen(0, '127.0.0.1', resolve));
  server = await Server.start({
    VISAVIS_LLM__PROVIDER: 'openai',
    VISAVIS_LLM__OPENAI__BASE_URL: `http://127.0.0.1:${model.address().port}/v1`,
    VISAVIS_LLM__TOOLS__BUILT_IN: '["end_call"]',
  });
  chromium = await browser();
});

after(async () => {
  await chromium?.close();
  await server?.stop();
  model?.close();
});

const open = async () => watch(await chromium.newContext({ locale: 'en-US' }), `${server.url}/`);
const count = async () => (await server.sessions()).length;
const over = (page) => page.getByText('The conversation has ended.');
const live = (page) => until('a picture', () => page.evaluate(() => globalThis.peers.at(-1).connectionState === 'connected'));

async function type(page, text, button) {
  await page.getByRole('textbox').first().fill(text);
  await page.getByRole('button', { name: button, exact: true }).click();
}

test('when the avatar hangs up the page says so, stays where it is, and begins again when asked', async () => {
  const page = await open();
  await type(page, 'That is all, thank you.', 'Ask');
  await over(page).waitFor({ timeout: 20_000 });
  await page.locator('.log .theirs', { hasText: 'Good bye' }).waitFor();
  await sleep(3_000);
  assert.equal(await count(), 0, 'it does not come back by itself');
  await page.getByRole('button', { name: 'Begin again' }).click();
  await live(page);
  await over(page).waitFor({ state: 'hidden' });
  assert.equal(await count(), 1);
  await page.context().close();
  await until('the slot', async () => (await count()) === 0);
});

test('after somebody ended it, words begin a new conversation and are said in it', async () => {
  const page = await open();
  const [{ id }] = await server.sessions();
  await fetch(`${server.url}/v1/sessions/${id}`, { method: 'DELETE' });
  await over(page).waitFor({ timeout: 2_000 });
  await type(page, 'One more thing.', 'Say it');
  await until('another session', async () => (await server.sessions()).some((session) => session.id !== id));
  await until('its voice', async () => (await server.sessions())[0].state === 'speaking', 15_000);
  await page.context().close();
  await until('the slot', async () => (await count()) === 0);
});

test('when the server stops the page says so at once, and is there again when it is', async () => {
  const page = await open();
  const notice = page.locator('.notice', { hasText: 'going down' });
  const stopped = server.stop('SIGTERM');
  await notice.waitFor({ timeout: 2_000 });
  assert.equal(await stopped, 0);
  await server.run();
  await live(page);
  await notice.waitFor({ state: 'detached', timeout: 30_000 });
  assert.equal(await count(), 1);
  await page.context().close();
});

for (const client of ['project', 'documented']) {
  test(`when the server stops, the ${client} client of LiveTalking's, which is told nothing, sees its connection closed within a second`, async () => {
    const own = await Server.start({ VISAVIS_SERVER__PAGE: path.join(root, 'tests/e2e/livetalking') });
    const page = await (await chromium.newContext()).newPage();
    await page.goto(`${own.url}/index.html`);
    await page.evaluate((name) => globalThis[name](), client);
    await until('pictures', () => page.evaluate(() => globalThis.shown().width > 0));
    // `connectionState` is no measure: it stays `connected` while ICE is and DTLS is closed (W3C webrtc-pc, section 4.3.3), and
    // Chromium misses ICE only 5 s later.
    await page.evaluate(() => {
      globalThis.endings = [];
      for (const { transport } of globalThis.peer.getReceivers()) {
        transport.onstatechange = () => transport.state === 'closed' && globalThis.endings.push(Date.now());
      }
    });
    const told = Date.now();
    assert.equal(await own.stop('SIGTERM'), 0);
    await until('close_notify', () => page.evaluate(() => globalThis.endings.length > 0), 5_000);
    const after = (await page.evaluate(() => globalThis.endings[0])) - told;
    console.log(`${client}: DTLS closed ${after} ms after SIGTERM`);
    assert.ok(after < 1_000, `${after} ms`);
    await page.context().close();
  });
}

test('when the server stops, aiortc says that its connection is closed within a second', async () => {
  const own = await Server.start();
  const peer = spawn(path.join(root, 'target/python-peer/bin/python'), [path.join(root, 'tests/e2e/ended_peer.py'), own.url]);
  let said = '';
  peer.stdout.on('data', (data) => (said += data));
  peer.stderr.pipe(process.stderr);
  const ended = once(peer, 'exit');
  await until('a picture', () => said.includes('\n'));
  const told = Date.now();
  await own.stop('SIGTERM');
  const [code] = await ended;
  assert.equal(code, 0, said);
  const [, state, at] = said.trim().split('\n');
  console.log(`aiortc: ${state} ${at - told} ms after SIGTERM`);
  assert.equal(state, 'closed');
  assert.ok(at - told < 1_000, `${at - told} ms`);
});
