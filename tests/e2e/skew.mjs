// How far picture and sound are apart where a browser plays them: probes for a page that shows the face that flashes.

import { sleep } from './support.mjs';

/** Says so many beeps, and what is found of them: `skews` in ms (positive: the flash is late), and the `stamps` of their RTP packets. */
export async function beep(page, say, count) {
  const before = await page.evaluate(() => ({ skews: globalThis.flashSkews().length, stamps: globalThis.beepStamps.length }));
  await say(Array.from({ length: count }, (_, n) => `word${String.fromCharCode(97 + n)}`).join(' '));
  await sleep(count * 480 + 2_500);
  return page.evaluate(({ skews, stamps }) => ({
    skews: globalThis.flashSkews().slice(skews),
    stamps: globalThis.beepStamps.slice(stamps),
    outputMs: globalThis.outputMs(),
  }), before);
}

export const sorted = (list) => [...list].sort((a, b) => a - b);
export const median = (list) => sorted(list)[list.length >> 1];

// The functions below run in the page.

/** Notes the RTP stamp of each packet with which a beep begins: it is told from silence by its size. */
export function noteBeeps() {
  globalThis.beepStamps = [];
  let loud = false;
  globalThis.onPeerTrack = ({ receiver }) => {
    const { readable, writable } = receiver.createEncodedStreams();
    const note = new TransformStream({
      transform(frame, controller) {
        if (receiver.track.kind === 'audio') {
          const now = frame.data.byteLength > 20;
          if (now && !loud) globalThis.beepStamps.push(frame.getMetadata().rtpTimestamp ?? frame.timestamp);
          loud = now;
        }
        controller.enqueue(frame);
      },
    });
    readable.pipeThrough(note).pipeTo(writable);
  };
}

/** Pairs each flash with its beep, both by the time at which the browser plays them. */
export function watchFlash() {
  const video = document.querySelector('video');
  const canvas = Object.assign(document.createElement('canvas'), { width: 4, height: 4 });
  const paint = canvas.getContext('2d', { willReadFrequently: true });
  const flashes = [];
  let white = false;
  let last = 0;
  const frame = (_, { expectedDisplayTime, rtpTimestamp }) => {
    paint.drawImage(video, 0, 0, 4, 4);
    const bright = paint.getImageData(1, 1, 1, 1).data[0] > 128;
    // A busy page is not told of each picture: a flash began with this one, or with one that is missing before it.
    const missing = (rtpTimestamp - last) / 3_600 - 1;
    if (bright && !white && missing <= 2) flashes.push(expectedDisplayTime - missing * 20);
    white = bright;
    last = rtpTimestamp;
    video.requestVideoFrameCallback(frame);
  };
  video.requestVideoFrameCallback(frame);
  const receiver = globalThis.peers.at(-1).getReceivers().find((r) => r.track.kind === 'audio');
  const played = new Map();
  setInterval(() => {
    const [source] = receiver.getSynchronizationSources();
    if (source) played.set(source.rtpTimestamp, source.timestamp - performance.timeOrigin);
  }, 4);
  /** When the sample of an RTP stamp was played, from the nearest stamp whose time is known. */
  const playedAt = (stamp) => {
    const [near] = [...played.keys()].sort((a, b) => Math.abs(a - stamp) - Math.abs(b - stamp));
    return Math.abs(near - stamp) < 4_800 ? played.get(near) + (stamp - near) / 48 : undefined;
  };
  const beeps = () => globalThis.beepStamps.map(playedAt).filter((at) => at !== undefined);
  globalThis.flashSkews = () => flashes
    .map((flash) => beeps().map((beep) => flash - beep).sort((a, b) => Math.abs(a) - Math.abs(b))[0])
    .filter((skew) => skew !== undefined && Math.abs(skew) < 240);
  // What the sound card adds behind where the receiver tells the time, and which the browser counts in.
  const context = new AudioContext();
  context.resume();
  globalThis.outputMs = () => (context.outputLatency || context.baseLatency) * 1_000;
}
