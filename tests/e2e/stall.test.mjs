// Five seconds without a network, while the avatar speaks: nothing is piled up for the viewer, and afterwards it is close to the
// server again: over UDP as close as before, over TCP within a second.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Setting, cannot } from './netns.mjs';
import { inbound, sleep, until } from './support.mjs';

const STALL_MS = 5_000;
const text = 'This goes on while there is no network. '.repeat(30);

let here;
let server;
let network;

Setting.forAll((made) => {
  here = made;
  ({ server, network } = made);
});

/**
 * How old what is played now is, in ms: a receiver says when the sender's clock, which is this machine's, stamped it (webrtc-stats,
 * `estimatedPlayoutTimestamp`, in NTP's era). The middle of what it says during a second.
 */
async function age(page) {
  const seen = { audio: [], video: [] };
  for (let n = 0; n < 10; n += 1) {
    const now = await page.evaluate(async () => {
      const found = [];
      for (const report of (await globalThis.peers.at(-1).getStats()).values()) {
        if (report.type !== 'inbound-rtp' || !report.estimatedPlayoutTimestamp) continue;
        found.push([report.kind, report.timestamp - (report.estimatedPlayoutTimestamp - 2_208_988_800_000)]);
      }
      return found;
    });
    for (const [kind, ms] of now) seen[kind].push(ms);
    await sleep(100);
  }
  const middle = (list) => Math.round([...list].sort((a, b) => a - b)[list.length >> 1] ?? NaN);
  return { audio: middle(seen.audio), video: middle(seen.video) };
}

for (const protocol of ['udp', 'tcp']) {
  test(`after five seconds without a network, ${protocol} is prompt again`, { skip: cannot }, async () => {
    // For UDP a rule that matches nothing, so that both have one to go back to.
    const usual = protocol === 'tcp' ? 'meta l4proto udp' : 'ip daddr 192.0.2.1';
    network.block(usual);
    here.stopping.push(() => network.unblock());
    const page = await here.visit();
    const [{ id }] = await server.sessions();
    const say = () => server.post('/human', { sessionid: id, type: 'echo', text });
    await say();
    await sleep(4_000);
    const before = await age(page);
    const first = await inbound(page);
    network.block();
    await sleep(STALL_MS);
    network.unblock();
    network.block(usual);
    const decoded = (await inbound(page)).video.framesDecoded;
    const back = await until('pictures', async () => (await inbound(page)).video.framesDecoded > decoded + 2, 15_000);
    await sleep(1_000);
    const last = await inbound(page);
    // Were five seconds queued, they would come now.
    const expected = (last.audio.timestamp - first.audio.timestamp - STALL_MS) / 20;
    const extra = last.audio.packetsReceived - first.audio.packetsReceived - expected;
    if ((await server.sessions())[0].state === 'idle') await say();
    const later = [];
    for (let n = 0; n < 4; n += 1) later.push(await age(page));
    const show = ({ audio, video }) => `${audio}/${video}`;
    console.log(`${protocol}: pictures ${Math.round(back)} ms after the network's return; sound/picture are ${show(before)} ms old before, ${later.map(show).join(' ')} after; ${Math.round(extra)} packets of sound too many`);
    assert.ok(extra < 50, `${extra} packets more than a second holds came from before`);
    const end = later.at(-1);
    // Over TCP what was on its way comes late and in order, and a browser keeps more sound back for a while: it was 0.2 to 0.8 s
    // older four seconds afterwards, and less with each second. The goal of 300 ms is missed there.
    const more = protocol === 'udp' ? 300 : 1_000;
    for (const kind of ['audio', 'video']) assert.ok(end[kind] <= before[kind] + more, `${kind}: ${before[kind]} ms, then ${end[kind]} ms`);
  });
}
