// A machine on which a picture takes 66 ms to draw, so that there is time for 15 a second: the voice goes on without a gap, picture
// and sound stay in step, and the figures say what is wrong.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Server, browser, inbound, sleep, watch } from './support.mjs';
import { beep, median, noteBeeps, sorted, watchFlash } from './skew.mjs';

let server;
let chromium;

before(async () => {
  server = await Server.start({ TESTING_PICTURE_MS: '66' });
  chromium = await browser();
});
after(async () => {
  await chromium?.close();
  await server?.stop();
});

/** A counter of /metrics, over all its labels. */
async function counter(name) {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  return [...text.matchAll(new RegExp(`^${name}(?:{.*})? (\\d+)$`, 'gm'))].reduce((sum, [, value]) => sum + Number(value), 0);
}

test('at 15 pictures a second the voice has no gap, nothing drifts apart, and /metrics tells', async () => {
  const context = await chromium.newContext({ locale: 'en-US', bypassCSP: true });
  await context.addInitScript(noteBeeps);
  const page = await watch(context, `${server.url}/?avatar=testing-flash`);
  await page.evaluate(watchFlash);
  await sleep(8_000);
  const [{ id }] = await server.sessions();
  const figures = ['visavis_pictures_skipped_total', 'visavis_underruns_total', 'visavis_skipped_ticks_total'];
  const count = () => Promise.all(figures.map(counter));
  const [before, first, began] = [await count(), await inbound(page), performance.now()];
  const { skews, stamps, outputMs } = await beep(page, (text) => server.post('/human', { sessionid: id, type: 'echo', text }), 30);
  const [after, last] = [await count(), await inbound(page)];
  const seconds = (performance.now() - began) / 1_000;
  const [skipped, underruns, ticks] = after.map((value, n) => value - before[n]);
  const packets = (last.audio.packetsReceived - first.audio.packetsReceived) / ((last.audio.timestamp - first.audio.timestamp) / 1_000);
  const apart = sorted(skews.map((skew) => Math.abs(skew - outputMs)));
  const third = Math.floor(skews.length / 3);
  const drift = median(skews.slice(-third)) - median(skews.slice(0, third));
  const steps = stamps.slice(1).map((stamp, n) => (stamp - stamps[n]) / 48);
  console.log(`${(25 - skipped / seconds).toFixed(1)} pictures a second are drawn; ${underruns} underruns, ${ticks} ticks skipped; ${packets.toFixed(1)} packets a second`);
  console.log(`apart: median ${median(apart).toFixed(1)} ms, worst ${apart.at(-1).toFixed(1)} ms of ${apart.length}, drift ${drift.toFixed(1)} ms; from beep to beep ${sorted(steps)[0]} to ${sorted(steps).at(-1)} ms`);
  assert.ok(skipped / seconds > 5, 'the figures tell of pictures that were not drawn');
  assert.ok(Math.abs(packets - 50) <= 1, `${packets} packets a second`);
  // The voice beeps every 480 ms, and a hole in it would begin a beep anew. There are none, but for where the whole machine stalled,
  // which the figures tell; a voice that waited for pictures had ten a second.
  const holes = steps.filter((step) => Math.abs(step - 480) > 40).length;
  assert.ok(underruns < seconds / 2, `${underruns} underruns in ${seconds} s`);
  assert.ok(holes <= 2 * (underruns + ticks), `${holes} holes, ${underruns} underruns, ${ticks} ticks: ${steps}`);
  assert.ok(apart.length >= 10, `${apart.length} beeps were seen and heard`);
  assert.ok(median(apart) <= 80 && apart[Math.floor(apart.length * 0.9)] <= 80 && Math.abs(drift) <= 40, `${apart}`);
  await page.context().close();
});
