// LiveTalking's clients and the number of sessions: a full house says so, a place is free again in time, and many visits leave
// nothing behind.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { Server, browser, long, mortalBrowser, root, sleep, until } from './support.mjs';

const PLACES = 8;
const VISITS = long ? 50 : 4;

let server;
let chromium;

before(async () => {
  server = await Server.start({
    VISAVIS_SERVER__PAGE: path.join(root, 'tests/e2e/livetalking'),
    VISAVIS_SERVER__MAX_SESSIONS: String(PLACES),
    VISAVIS_SERVER__OFFERS_PER_MINUTE: '1000',
  });
  chromium = await browser();
});
after(async () => {
  await chromium?.close();
  await server?.stop();
});

const taken = async () => (await server.get('/readyz')).sessions;

/** A page with one of both clients; with `seen`, once it shows something. */
async function visit(client, { seen = true, context } = {}) {
  const page = await (context ?? await chromium.newContext()).newPage();
  await page.goto(`${server.url}/index.html`);
  page.answer = await page.evaluate((name) => globalThis[name](), client);
  if (seen) await until('pictures', () => page.evaluate(() => globalThis.shown().width > 0));
  return page;
}

test('a full house says so, and has room again after a tab is closed and after a browser is killed', async () => {
  const mortal = await mortalBrowser();
  const doomed = await visit('documented', { context: await mortal.browser.newContext() });
  const pages = [];
  while (pages.length < PLACES - 1) pages.push(await visit(pages.length % 2 ? 'project' : 'documented', { seen: pages.length === 0 }));
  assert.equal(await taken(), PLACES);
  const refused = await visit('project', { seen: false });
  assert.deepEqual([refused.answer.code, refused.answer.error, typeof refused.answer.msg], [-1, 'server_full', 'string']);

  assert.equal(doomed.answer.type, 'answer');
  const killed = performance.now();
  await mortal.kill();
  await Promise.all(pages.slice(1).map((page) => page.evaluate(() => globalThis.peer.close())));
  const closed = performance.now();
  // Of a tab that is closed the server hears nothing more either: this client says no good-bye.
  await pages[0].close();
  await until('the place of the tab', async () => (await taken()) <= 1, 45_000);
  const tab = performance.now() - closed;
  await until('the place of the browser', async () => (await taken()) === 0, 45_000);
  const whole = performance.now() - killed;
  console.log(`free after ${(tab / 1_000).toFixed(1)} s (tab closed) and ${(whole / 1_000).toFixed(1)} s (browser killed)`);
  assert.ok(tab < 35_000 && whole < 35_000, `${tab} ms, ${whole} ms`);
});

test(`${VISITS} visits leave nothing behind`, async () => {
  const state = () => {
    const { pid } = server.process;
    const status = fs.readFileSync(`/proc/${pid}/status`, 'utf8');
    return {
      fds: fs.readdirSync(`/proc/${pid}/fd`).length,
      threads: Number(/Threads:\s+(\d+)/.exec(status)[1]),
      mib: Number(/VmRSS:\s+(\d+)/.exec(status)[1]) / 1_024,
    };
  };
  const visits = async (count) => {
    for (let n = 0; n < count; n += 1) {
      // Those who have left keep their places for 5 s.
      await until('a place', async () => (await taken()) < PLACES);
      const page = await visit(n % 2 ? 'project' : 'documented');
      // One in ten leaves without a word, and keeps its place for 30 s.
      if (n % 10 !== 5) await page.evaluate(() => globalThis.peer.close());
      await page.context().close();
    }
    await until('an empty house', async () => (await taken()) === 0, 40_000);
    await sleep(1_000);
  };
  // The first ones warm up pools and arenas.
  await visits(2);
  const before = state();
  await visits(VISITS);
  await until('their sockets and threads to be gone', () => state().fds <= before.fds + 2 && state().threads <= before.threads + 2, 15_000).catch(() => {});
  const now = state();
  console.log(`${VISITS} visits: ${before.mib.toFixed(1)} to ${now.mib.toFixed(1)} MiB, ${before.threads} to ${now.threads} threads, ${before.fds} to ${now.fds} files`);
  assert.ok(now.threads <= before.threads + 2 && now.fds <= before.fds + 2);
  assert.ok(now.mib - before.mib < 24, `${(now.mib - before.mib).toFixed(1)} MiB more`);
});
