// Networks that go for a while, and change: a viewer is back within seconds, in the same conversation.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Setting, cannot, cannotLose } from './netns.mjs';
import { inbound, long, sleep, until } from './support.mjs';

/** How long a network loses packets, in seconds. */
const LOSSY_S = long ? 60 : 10;

let here;
let server;
let network;

Setting.forAll((made) => {
  here = made;
  ({ server, network } = made);
});

const decoded = async (page) => (await inbound(page)).video?.framesDecoded ?? 0;
const status = (page) => page.locator('.status').textContent();

/** How long until pictures come again, ms. */
async function untilPictures(page, patience) {
  const before = await decoded(page);
  return until('pictures', async () => (await decoded(page)) > before + 5, patience);
}

/** Loses the network of a page for `lost` ms by `cut`, and has it come back by `mend`. */
async function outage(t, lost, cut, mend) {
  const page = await here.visit();
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

/** What `does` comes to while the network drops what `rule` matches; good-byes are heard again. */
async function losing(rule, does) {
  network.block(rule);
  try {
    return await does();
  } finally {
    network.unblock();
  }
}

test('ten seconds without any packet end nothing', { skip: cannot }, (t) => outage(t, 10_000, () => network.block(), () => network.unblock()));

test('ten seconds without a cable end nothing', { skip: cannot }, (t) => outage(t, 10_000, () => network.in('ip', 'link', 'set', 'eth0', 'down'), () => {
  network.in('ip', 'link', 'set', 'eth0', 'up');
  network.in('ip', 'route', 'replace', 'default', 'via', network.server);
}));

test('a viewer whose address changes goes on', { skip: cannot }, async (t) => {
  const page = await here.visit();
  const [{ id }] = await server.sessions();
  network.move();
  const back = await untilPictures(page, 15_000);
  t.diagnostic(`pictures ${Math.round(back)} ms after the change`);
  assert.ok(back < 6_000, `${back} ms`);
  assert.deepEqual([(await server.sessions())[0].id, (await server.sessions())[0].viewers], [id, 1]);
});

test('a NAT that maps a viewer to another port is followed, without a word from the page', { skip: cannot }, async (t) => {
  const page = await here.visit();
  const restarts = async () => Number(/^visavis_ice_restarts_total (\d+)$/m.exec(await (await fetch(`${server.url}/metrics`)).text())?.[1] ?? 0);
  const before = await restarts();
  const port = await page.evaluate(async () => {
    const report = await globalThis.peers.at(-1).getStats();
    const transport = [...report.values()].find(({ type }) => type === 'transport');
    return report.get(report.get(transport.selectedCandidatePairId).localCandidateId).port;
  });
  network.remap(port, port > 60_000 ? port - 1_000 : port + 1_000);
  here.stopping.push(() => network.unblock());
  const back = await untilPictures(page, 10_000);
  await sleep(8_000);
  const still = await untilPictures(page, 1_000);
  t.diagnostic(`pictures ${Math.round(back)} ms after the change, and ${Math.round(still)} ms to the next ones 8 s later`);
  assert.ok(back < 4_000, `${back} ms`);
  assert.equal(await page.evaluate(() => globalThis.peers.length), 1);
  t.diagnostic(`${(await restarts()) - before} restarts`);
});

test('a network that loses three packets in ten, each way, connects everybody', { skip: cannotLose }, async (t) => {
  const took = await losing('meta l4proto udp numgen random mod 10 < 3', async () => {
    const visits = [];
    for (let n = 0; n < 6; n += 1) {
      const began = performance.now();
      await here.visit();
      visits.push(Math.round(performance.now() - began));
    }
    return visits;
  });
  t.diagnostic(`pictures after ${took.join(', ')} ms`);
  assert.ok(Math.max(...took) < 10_000, `${took} ms`);
});

for (const codec of ['vp8', 'h264']) {
  test(`a network that loses one packet in twenty, each way, shows ${codec} without a stop of a second`, { skip: cannotLose }, async (t) => {
    const page = await here.visit(`http://${network.server}:${server.port}/?codec=${codec}`);
    const [{ id }] = await server.sessions();
    await server.post('/human', { sessionid: id, type: 'echo', text: 'One in twenty is lost, and nobody minds. '.repeat(20) });
    await until('the voice', async () => (await server.sessions())[0].state === 'speaking');
    await sleep(1_000);
    const first = await inbound(page);
    const shown = await losing('numgen random mod 100 < 5', () => page.evaluate(async (seconds) => {
      const video = document.querySelector('video');
      const times = [performance.now()];
      const note = () => {
        times.push(performance.now());
        video.requestVideoFrameCallback(note);
      };
      video.requestVideoFrameCallback(note);
      await new Promise((resolve) => setTimeout(resolve, seconds * 1_000));
      return [...times, performance.now()];
    }, LOSSY_S));
    const last = await inbound(page);
    const gap = Math.max(...shown.slice(1).map((at, n) => at - shown[n]));
    const fps = (shown.length - 2) / LOSSY_S;
    const of = (name) => last.audio[name] - first.audio[name];
    const concealed = of('concealedSamples') / of('totalSamplesReceived');
    t.diagnostic(`${codec}: ${fps.toFixed(1)} pictures a second, at most ${Math.round(gap)} ms between two; ${(100 * concealed).toFixed(1)} % of the sound made up, ${of('packetsLost')} packets of it lost`);
    assert.ok(of('packetsLost') > LOSSY_S, 'the network loses packets');
    // On a busy machine the browser itself has fewer pictures, and its sound has gaps.
    assert.ok(gap < 1_000 && fps > 8, `${fps} pictures a second, ${gap} ms between two`);
    assert.ok(concealed < 0.3, `${concealed} of the sound is made up`);
  });
}
