// Offers by their video codecs: what is known gets the right answer, what is not is refused alone, and the voice is heard.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { Server, browser, root, until } from './support.mjs';

let server;
let chromium;

before(async () => {
  server = await Server.start({ VISAVIS_SERVER__PAGE: path.join(root, 'tests/e2e/livetalking'), VISAVIS_SERVER__OFFERS_PER_MINUTE: '1000' });
  chromium = await browser();
});
after(async () => {
  await chromium?.close();
  await server?.stop();
});

const h264 = (profile, mode) => ({ mime: 'video/H264', fmtp: [`profile-level-id=${profile}`, `packetization-mode=${mode}`] });

/** What the offer names, and what is to come of it: a codec, or none. */
const OFFERS = [
  ['VP8 alone', [{ mime: 'video/VP8' }], 'video/VP8'],
  ['H.264 alone', [{ mime: 'video/H264' }], 'video/H264'],
  ['H.264 baseline alone', [h264('42001f', 1)], 'video/H264'],
  ['VP9 before VP8', [{ mime: 'video/VP9' }, { mime: 'video/VP8' }], 'video/VP8'],
  ['VP9 alone', [{ mime: 'video/VP9' }], null],
  ['AV1 alone', [{ mime: 'video/AV1' }], null],
  ['H.264 high and main alone', [h264('64001f', 1), h264('4d001f', 1)], null],
  ['H.264 in single packets alone', [h264('42e01f', 0), h264('42001f', 0)], null],
];

for (const [n, [name, wanted, expected]] of OFFERS.entries()) {
  // Refused or not, the video line comes first as often as the audio line does.
  const order = n % 2 === 0 ? ['video', 'audio'] : ['audio', 'video'];
  test(`${name}: ${expected ?? 'a voice without pictures'}`, async () => {
    const page = await (await chromium.newContext()).newPage();
    await page.goto(`${server.url}/index.html`);
    const { offered, answer } = await page.evaluate(connect, { order, wanted });
    assert.ok(offered > 0, 'this browser has what the test is about');
    assert.equal(answer.type, 'answer', JSON.stringify(answer));
    const lines = sections(answer.sdp);
    assert.deepEqual(lines.map(({ kind }) => kind), order);
    assert.deepEqual(lines.map(({ mid }) => mid), ['0', '1'], 'each line has its name');
    const bundle = /^a=group:BUNDLE (.*)$/m.exec(answer.sdp)[1].trim().split(' ');
    const taken = lines.filter(({ port }) => port !== 0);
    assert.deepEqual(taken.map(({ kind }) => kind), expected ? order : ['audio']);
    assert.deepEqual([...bundle].sort(), taken.map(({ mid }) => mid), 'the bundle has what is taken, and nothing else');
    for (const { kind, port, text } of lines) assert.equal(/a=candidate/.test(text), port !== 0, `${kind}: candidates`);

    await until('the connection', () => page.evaluate(() => globalThis.peer.connectionState === 'connected'));
    await page.evaluate((sessionid) => globalThis.fetch('/human', {
      method: 'POST', body: JSON.stringify({ sessionid, type: 'echo', text: 'Nine merry butterflies.' }),
    }), answer.sessionid);
    const media = () => page.evaluate(arrived);
    await until('the voice', async () => (await media()).energy > 0.01, 15_000);
    if (expected) await until('pictures', async () => (await media()).pictures > 25, 15_000);
    const { codec, pictures } = await media();
    assert.deepEqual([codec, pictures > 0], [expected, expected !== null]);
    await page.evaluate(() => globalThis.peer.close());
    await page.context().close();
  });
}

test('aiortc hears the voice when its pictures are refused', async () => {
  const python = path.join(root, 'target/python-peer/bin/python');
  const output = await new Promise((resolve, reject) => {
    execFile(python, [path.join(root, 'tests/e2e/voice_peer.py'), server.url], { timeout: 60_000 }, (error, stdout, stderr) => {
      if (error) reject(new Error(stderr || String(error)));
      else resolve(JSON.parse(stdout));
    });
  });
  assert.deepEqual([output.state, output.video_port, output.pictures], ['connected', 0, 0]);
  assert.ok(output.loudest > 0.05, JSON.stringify(output));
});

/** The media lines of a description. */
function sections(sdp) {
  return sdp.split(/^(?=m=)/m).slice(1).map((text) => {
    const [, kind, port] = /^m=(\w+) (\d+)/.exec(text);
    return { kind, port: Number(port), mid: /^a=mid:(.*)$/m.exec(text)?.[1].trim(), text };
  });
}

// The functions below run in the page.

/** Offers sound, and pictures in the codecs `wanted` and no others. */
async function connect({ order, wanted }) {
  const peer = new RTCPeerConnection();
  globalThis.peer = peer;
  const is = ({ mime, fmtp = [] }) => ({ mimeType, sdpFmtpLine = '' }) => mimeType === mime && fmtp.every((part) => sdpFmtpLine.includes(part));
  const codecs = wanted.flatMap((codec) => RTCRtpReceiver.getCapabilities('video').codecs.filter(is(codec)));
  for (const kind of order) {
    const transceiver = peer.addTransceiver(kind, { direction: 'recvonly' });
    if (kind === 'video') transceiver.setCodecPreferences(codecs);
  }
  peer.ontrack = ({ track }) => {
    const element = document.getElementById(track.kind);
    element.srcObject = new MediaStream([track]);
    element.play().catch(() => {});
  };
  await peer.setLocalDescription();
  const { sdp, type } = peer.localDescription;
  const reply = await fetch('/offer', { method: 'POST', body: JSON.stringify({ sdp, type }) });
  const answer = await reply.json();
  if (answer.type === 'answer') await peer.setRemoteDescription({ type: 'answer', sdp: answer.sdp });
  return { offered: codecs.length, answer };
}

/** What has come, and in which codec. */
async function arrived() {
  const stats = await globalThis.peer.getStats();
  const of = (kind) => [...stats.values()].find((report) => report.type === 'inbound-rtp' && report.kind === kind);
  const video = of('video');
  return {
    energy: of('audio')?.totalAudioEnergy ?? 0,
    pictures: video?.framesDecoded ?? 0,
    codec: video?.codecId ? stats.get(video.codecId).mimeType : null,
  };
}
