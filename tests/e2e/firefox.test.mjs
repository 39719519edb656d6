// Firefox: LiveTalking's clients and our own page, pictures and sound.

import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { Firefox, isInstalled } from './firefox.mjs';
import { Server, root, sleep, until } from './support.mjs';

const options = { skip: isInstalled ? false : 'there is no Firefox on this machine' };
let server;
let ours;
let firefox;

before(async () => {
  if (!isInstalled) return;
  // Without a microphone Firefox uses the address of the default route alone, which the server must have, too.
  server = await Server.start({ VISAVIS_SERVER__PAGE: path.join(root, 'tests/e2e/livetalking') }, '0.0.0.0');
  ours = await Server.start({}, '0.0.0.0');
  firefox = await Firefox.start();
});

after(async () => {
  await firefox?.stop();
  await server?.stop();
  await ours?.stop();
});

for (const client of ['project', 'documented']) {
  test(`the ${client} client plays in Firefox, and its voice is heard`, options, async () => {
    await firefox.goto(`${server.url}/index.html`);
    const answer = await firefox.evaluate('(client) => globalThis[client]()', client);
    assert.match(answer.sessionid, /^[0-9a-f-]{36}$/);
    const shown = () => firefox.evaluate('() => globalThis.shown()');
    await until('pictures', async () => (await shown()).width > 0, 30_000);
    const first = await shown();
    await sleep(2_000);
    const later = await shown();
    assert.ok(later.at > first.at + 1 && later.heard > first.heard + 1, `${JSON.stringify(first)} ${JSON.stringify(later)}`);
    assert.ok(later.red + later.green + later.blue > 60, 'a picture that is not black');
    const energy = () => firefox.evaluate(`async () => {
      const reports = [...(await globalThis.peer.getStats()).values()];
      const sound = reports.find((report) => report.type === 'inbound-rtp' && report.kind === 'audio');
      return { energy: sound.totalAudioEnergy, packets: sound.packetsReceived };
    }`);
    const silent = await energy();
    await firefox.evaluate('() => globalThis.ask("/human", { type: "echo", text: "Good morning, everybody." })');
    await until('the voice', async () => (await energy()).energy > silent.energy + 1e-3, 20_000);
    await firefox.evaluate('() => globalThis.peer.close()');
  });
}

test('our own page plays in Firefox', options, async () => {
  await firefox.goto(`${ours.url}/`);
  const video = () => firefox.evaluate('() => { const v = document.querySelector("video"); return { width: v?.videoWidth ?? 0, at: v?.currentTime ?? 0 }; }');
  await until('pictures', async () => (await video()).width > 0, 30_000);
  const first = await video();
  await sleep(2_000);
  assert.ok((await video()).at > first.at + 1, 'it moves');
  await firefox.goto('about:blank');
});
