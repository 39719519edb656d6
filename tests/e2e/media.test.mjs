// What reaches a real browser: pictures and packets at their pace, the voice as it was made, lips that move with it, both
// in step, and silence when it is asked for.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, test } from 'node:test';
import {
  Server, binary, browser, heard, inbound, likeness, listen, long, root, sleep, temporary, until, watch, wav,
} from './support.mjs';
import { beep, median, noteBeeps, sorted, watchFlash } from './skew.mjs';

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

/** A page of its own, whose probes may load what the page's own policy forbids. */
async function open(query = '', init = undefined) {
  const context = await chromium.newContext({ viewport: { width: 1280, height: 800 }, locale: 'en-US', bypassCSP: true });
  if (init) await context.addInitScript(init);
  return watch(context, `${server.url}/${query}`);
}

const send = (page, text, button = 'Say it') => page.getByRole('textbox').first().fill(text)
  .then(() => page.getByRole('button', { name: button, exact: true }).click());

for (const codec of ['vp8', 'h264']) {
  test(`${codec} plays at 25 pictures and 50 packets a second without a loss`, async () => {
    const page = await open(`?codec=${codec}`);
    await sleep(1_500);
    const first = await inbound(page);
    await sleep(long ? 60_000 : 10_000);
    const last = await inbound(page);
    const seconds = (last.video.timestamp - first.video.timestamp) / 1_000;
    const fps = (last.video.framesDecoded - first.video.framesDecoded) / seconds;
    const packets = (last.audio.packetsReceived - first.audio.packetsReceived) / seconds;
    const used = await page.evaluate(async () => {
      const stats = [...(await globalThis.peers.at(-1).getStats()).values()];
      const video = stats.find((s) => s.type === 'inbound-rtp' && s.kind === 'video');
      return stats.find((s) => s.id === video.codecId).mimeType;
    });
    console.log(`${codec}: ${fps.toFixed(2)} pictures and ${packets.toFixed(2)} packets a second in ${seconds.toFixed(0)} s, lost ${last.video.packetsLost + last.audio.packetsLost}`);
    assert.equal(used.toLowerCase(), `video/${codec}`);
    assert.ok(Math.abs(fps - 25) <= 0.5, `${fps} pictures a second`);
    assert.ok(Math.abs(packets - 50) <= 0.5, `${packets} packets a second`);
    assert.equal(last.video.packetsLost + last.audio.packetsLost, 0);
    await page.context().close();
  });
}

test('the voice arrives as it was made, and the lips move while it sounds', async () => {
  const text = 'Nine merry butterflies move over the blue river, and nobody hears them.';
  const file = temporary('said.wav');
  execFileSync(binary, ['say', text, '-o', file], { cwd: root });
  const said = wav(file);

  const page = await open();
  await listen(page);
  await page.evaluate(watchMouth);
  await sleep(2_500);
  await send(page, text);
  await sleep(2_000 + (said.length / 16_000) * 1_000);
  const recording = await heard(page);
  const first = likeness(said, recording).likeness;
  let alike = first;
  // On a busy machine the browser stretches what comes late: once in three it must come as it was made.
  for (let again = 0; alike < 0.9 && again < 2; again += 1) {
    await listen(page);
    await send(page, text);
    await sleep(2_000 + (said.length / 16_000) * 1_000);
    alike = likeness(said, await heard(page)).likeness;
  }
  assert.ok(alike >= 0.9, `what was heard resembles what was said by ${first.toFixed(3)}, then ${alike.toFixed(3)}`);

  // The mouth's own motion against the forehead's, which only sways: at rest and while speaking.
  const motion = await page.evaluate(() => globalThis.mouthMotion);
  const loud = loudness(recording);
  assert.ok(loud.length > 100);
  const resting = motion.filter((m) => m.t < 2_000).map((m) => m.mouth);
  const speaking = motion.filter((m) => m.t > 3_500 && m.t < 3_500 + (said.length / 16) * 0.7).map((m) => m.mouth);
  const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];
  assert.ok(median(speaking) > 3 * median(resting), `mouth ${median(speaking).toFixed(2)} speaking, ${median(resting).toFixed(2)} at rest`);
  await page.context().close();
});

test('picture and sound are in step at the browser', async () => {
  const page = await open('?avatar=testing-flash', noteBeeps);
  await page.evaluate(watchFlash);
  // The browser steers picture and sound together only after a few sender reports, and by small steps: it has a minute.
  await sleep(8_000);
  let inStep = false;
  for (let round = 0; round < 3 && !inStep; round += 1) {
    const { skews, outputMs } = await beep(page, (text) => send(page, text), 16);
    assert.ok(skews.length >= 8, `${skews.length} beeps were seen and heard`);
    // A sound is heard when the card has played it.
    const heard = skews.map((skew) => skew - outputMs);
    const late = sorted(heard.map(Math.abs));
    console.log(`A/V skew: median ${median(late).toFixed(1)} ms (${median(heard).toFixed(1)}), worst ${late.at(-1).toFixed(1)} ms of ${late.length}; the card's ${outputMs.toFixed(1)} ms are counted in`);
    // The reports that the browser steers by are exact (rtc::reports has the tests). What is left is the browser's own: it
    // leaves 30 ms alone, has a display tick of 16 ms, and shows a picture late when the machine starves it. The middle must be
    // where nobody sees it (ITU-R BT.1359: 45 ms), and no beep so far out that people notice (125 ms).
    inStep = median(late) <= 45 && late.at(-1) <= 125;
  }
  assert.ok(inStep, 'picture and sound are not in step');
  await page.context().close();
});

test('an interruption is silence on the wire at once, also before the first word', async () => {
  const page = await open('', noteVoice);
  const say = 'This is a long sentence that goes on and on, so that there is something left of it to interrupt. And on. And on.';
  await send(page, say);
  await until('the voice', () => page.evaluate(() => globalThis.voicedAt > 0));
  await sleep(700);
  const { id } = (await server.sessions()).at(-1);
  const tookMs = await page.evaluate(async (sessionid) => {
    const began = performance.now();
    await fetch('/interrupt_talk', { method: 'POST', body: JSON.stringify({ sessionid }) });
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    return globalThis.voicedAt - began;
  }, id);
  console.log(`interrupt to the last voiced packet: ${tookMs.toFixed(0)} ms`);
  // One sample on a shared machine; the benchmark has the p95, which is to be at most 150 ms.
  assert.ok(tookMs < 300, `voice for ${tookMs.toFixed(0)} ms more`);
  assert.equal((await server.post('/is_speaking', { sessionid: id })).data, false);

  await page.evaluate(() => (globalThis.voicedAt = 0));
  await server.post('/human', { sessionid: id, type: 'chat', text: 'Tell me something.' });
  await server.post('/interrupt_talk', { sessionid: id });
  await sleep(1_500);
  assert.equal(await page.evaluate(() => globalThis.voicedAt), 0, 'nothing is sent of an answer that was cut before it began');
  await page.context().close();
});

function loudness(samples) {
  return Array.from({ length: Math.floor(samples.length / 320) }, (_, n) => {
    let sum = 0;
    for (let i = n * 320; i < (n + 1) * 320; i++) sum += samples[i] ** 2;
    return Math.sqrt(sum / 320);
  });
}

// The functions below run in the page.

/** Notes, for each picture, how much the mouth's region differs from the picture before. */
function watchMouth() {
  const video = document.querySelector('video');
  const size = 128;
  const canvas = Object.assign(document.createElement('canvas'), { width: size, height: size });
  const paint = canvas.getContext('2d', { willReadFrequently: true });
  let before = null;
  globalThis.mouthMotion = [];
  const began = performance.now();
  const frame = () => {
    paint.drawImage(video, 0, 0, size, size);
    // Around the mouth of a centred head: 38–62 % across, 56–70 % down.
    const { data } = paint.getImageData(size * 0.38, size * 0.56, size * 0.24, size * 0.14);
    if (before) {
      let sum = 0;
      for (let i = 0; i < data.length; i += 4) sum += Math.abs(data[i] - before[i]);
      globalThis.mouthMotion.push({ t: performance.now() - began, mouth: sum / (data.length / 4) });
    }
    before = data;
    video.requestVideoFrameCallback(frame);
  };
  video.requestVideoFrameCallback(frame);
}

/** `voicedAt`: when the last packet that is more than silence arrived. */
function noteVoice() {
  globalThis.voicedAt = 0;
  globalThis.onPeerTrack = ({ receiver }) => {
    const { readable, writable } = receiver.createEncodedStreams();
    const note = new TransformStream({
      transform(frame, controller) {
        if (receiver.track.kind === 'audio' && frame.data.byteLength > 20) globalThis.voicedAt = performance.now();
        controller.enqueue(frame);
      },
    });
    readable.pipeThrough(note).pipeTo(writable);
  };
}
