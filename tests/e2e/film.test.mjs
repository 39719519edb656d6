// A folder that LiveTalking's tools could have left is listed, chosen by /offer, plays as it was filmed, and its lips move by a
// network of Wav2Lip's shapes, or one of its own of Ultralight's, while there is a voice, in each of two sessions that share it.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { Server, browser, root, sleep, temporary, until } from './support.mjs';

const films = path.dirname(temporary('films'));
const network = path.join(root, 'tests/corpus/wav2lip/talker.onnx');
const env = {
  VISAVIS_AVATARS__FILMS: films,
  VISAVIS_AVATARS__NETWORK: network,
  VISAVIS_AVATARS__HUBERT: path.join(root, 'tests/corpus/ultralight/hubert.onnx'),
  VISAVIS_AVATARS__SPOOL: path.join(films, '.spool'),
};
const evil = path.join(films, 'was-run');

let server;
let chromium;

/** Made by a program that knows LiveTalking's layout and nothing of ours. */
const make = (id, ...options) =>
  execFileSync('python3', [path.join(root, 'tests/e2e/livetalking_avatar.py'), path.join(films, id), ...options]);

before(async () => {
  make('anna');
  make('musi', '--kind', 'musetalk');
  make('uli', '--kind', 'ultralight');
  fs.copyFileSync(path.join(root, 'tests/corpus/ultralight/talker.onnx'), path.join(films, 'uli/ultralight.onnx'));
  make('evil', '--frames', '2');
  fs.writeFileSync(path.join(films, 'evil/coords.pkl'), `cos\nsystem\n(S'touch ${evil}'\ntR.`);
  server = await Server.start(env);
  chromium = await browser();
});
afterEach(async () => {
  for (const context of chromium.contexts()) await context.close();
  // These pages say no good-bye.
  for (const { id } of await server.sessions()) await fetch(`${server.url}/v1/sessions/${id}`, { method: 'DELETE' });
  await until('the slots', async () => (await server.sessions()).length === 0, 20_000);
});
after(async () => {
  await chromium?.close();
  await server?.stop();
  fs.rmSync(films, { recursive: true, force: true });
});

/** A page of nobody's that offers as LiveTalking's clients do, and notes places of every picture that it is shown. */
async function watch(avatar) {
  const context = await chromium.newContext({ bypassCSP: true });
  const page = await context.newPage();
  await page.goto(`${server.url}/livez`);
  const answer = await page.evaluate(async (avatar) => {
    const pc = new RTCPeerConnection();
    pc.addTransceiver('video', { direction: 'recvonly' });
    pc.addTransceiver('audio', { direction: 'recvonly' });
    const video = Object.assign(document.createElement('video'), { muted: true, autoplay: true });
    document.body.replaceChildren(video);
    pc.ontrack = ({ track }) => {
      if (track.kind === 'video') video.srcObject = new MediaStream([track]);
    };
    const canvas = new OffscreenCanvas(256, 320);
    const paper = canvas.getContext('2d', { willReadFrequently: true });
    globalThis.pictures = [];
    const look = () => {
      paper.drawImage(video, 0, 0);
      const at = (x, y) => [...paper.getImageData(x, y, 1, 1).data.slice(0, 3)];
      // Where the head is: from 53 to 213 down, its mouth at 76 %.
      globalThis.pictures.push({ size: [video.videoWidth, video.videoHeight], mouth: at(128, 176), cheek: at(128, 100), wall: at(10, 10), shirt: at(128, 300) });
      video.requestVideoFrameCallback(look);
    };
    video.requestVideoFrameCallback(look);
    await pc.setLocalDescription(await pc.createOffer());
    await new Promise((done) => {
      const check = () => pc.iceGatheringState === 'complete' && done();
      pc.onicegatheringstatechange = check;
      check();
    });
    const { sdp, type } = pc.localDescription;
    const answer = await (await fetch('/offer', { method: 'POST', body: JSON.stringify({ sdp, type, avatar }) })).json();
    if (answer.sdp) await pc.setRemoteDescription(answer);
    globalThis.pc = pc;
    return answer;
  }, avatar);
  return { page, answer, session: answer.sessionid };
}

const pictures = (page) => page.evaluate(() => globalThis.pictures.splice(0));
const near = (found, wanted) => found.every((value, n) => Math.abs(value - wanted[n]) < 24);
const dark = ({ mouth }) => mouth[0] < 130 && mouth[1] < 70;

const say = async (session, text) => {
  const reply = await server.post('/human', { sessionid: session, type: 'echo', text });
  assert.equal(reply.code, 0);
};
const silent = async (session) => !(await server.post('/is_speaking', { sessionid: session })).data;

test('films are listed beside our own avatars, and one that would run code is reported and left out', async () => {
  const list = await server.get('/v1/avatars');
  const anna = list.find((entry) => entry.id === 'anna');
  assert.deepEqual([anna.width, anna.height, anna.default], [256, 320, false]);
  assert.ok(list.some((entry) => entry.id === 'musi') && list.some((entry) => entry.id === 'mira'));
  assert.ok(!list.some((entry) => entry.id === 'evil'));
  assert.match(server.log, /evil.*os\.system/);
  assert.ok(!fs.existsSync(evil), 'a pickle was run');
  for (const route of [anna.thumbnail, anna.poster]) {
    const reply = await fetch(server.url + route);
    assert.equal(reply.headers.get('content-type'), 'image/jpeg');
    assert.ok((await reply.arrayBuffer()).byteLength > 500);
  }
});

for (const id of ['anna', 'musi', 'uli']) {
  test(`${id} plays as filmed, and the mouth moves with the voice and at no other time`, async () => {
    const { page, session } = await watch(id);
    await page.waitForFunction(() => globalThis.pictures.length > 30, null, { timeout: 30_000 });
    const idle = (await pictures(page)).slice(5);
    assert.deepEqual(idle[0].size, [256, 320]);
    assert.ok(idle.every(({ wall }) => near(wall, [40, 140, 60])), JSON.stringify(idle[0]));
    assert.ok(idle.every((picture) => !dark(picture)), 'the mouth is shut while nobody speaks');
    // The shirt counts pictures: the film runs.
    assert.ok(new Set(idle.map(({ shirt }) => shirt[2] >> 4)).size > 3);

    await say(session, 'Nine merry butterflies move over the blue river, and nobody hears them at all.');
    await page.waitForFunction(() => globalThis.pictures.length > 60, null, { timeout: 30_000 });
    const speaking = await pictures(page);
    const open = speaking.filter(dark).length;
    assert.ok(open > 15, `the mouth is open in ${open} of ${speaking.length} pictures`);
    assert.ok(speaking.every(({ cheek, wall }) => near(cheek, [220, 170, 140]) && near(wall, [40, 140, 60])));

    await until('silence', () => silent(session), 20_000);
    await sleep(1_500);
    await pictures(page);
    await page.waitForFunction(() => globalThis.pictures.length > 25, null, { timeout: 30_000 });
    assert.equal((await pictures(page)).filter(dark).length, 0, 'the filmed mouth is back');
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    const made = metrics.match(new RegExp(`visavis_network_pictures_total\\{network="${id === 'uli' ? 'ultralight' : 'wav2lip'}"\\} (\\d+)`));
    assert.ok(Number(made?.[1]) > 15, 'by its own kind of network');
  });
}

test('two sessions share the network, and an interruption shuts the mouth of one alone', async () => {
  const [one, two] = [await watch('anna'), await watch('musi')];
  const long = 'One and two and three and four and five and six and seven and eight and nine and ten. '.repeat(3);
  await Promise.all([say(one.session, long), say(two.session, long)]);
  for (const { page } of [one, two]) {
    await until('an open mouth', async () => (await pictures(page)).some(dark), 30_000);
  }
  assert.equal((await server.post('/interrupt_talk', { sessionid: one.session })).code, 0);
  await sleep(1_500);
  await Promise.all([pictures(one.page), pictures(two.page)]);
  await sleep(1_500);
  assert.equal((await pictures(one.page)).filter(dark).length, 0, 'interrupted, and still talking');
  assert.ok((await pictures(two.page)).some(dark), 'the other one was interrupted too');
  const metrics = await (await fetch(`${server.url}/metrics`)).text();
  const made = Number(metrics.match(/visavis_network_pictures_total\{network="wav2lip"\} (\d+)/)?.[1]);
  assert.ok(made > 50, `${made} mouths were made`);
});

test('a name that would leave the folder, or that nobody has, is no avatar', async () => {
  for (const avatar of ['../films/anna', 'anna/../anna', '/etc', 'evil', 'nobody']) {
    const { answer } = await watch(avatar);
    assert.equal(answer.code === 0 || answer.sdp !== undefined, false, `${avatar}: ${JSON.stringify(answer)}`);
  }
});
