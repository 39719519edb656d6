// LiveTalking's stream on the wire, as aiortc takes it apart: stamps, a codec that was forced, keyframes on request, and what
// is left of it where one packet in twenty is lost.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { Server, root } from './support.mjs';

let server;

before(async () => {
  server = await Server.start();
});
after(() => server?.stop());

function peer(codec) {
  const python = path.join(root, 'target/python-peer/bin/python');
  const args = [path.join(root, 'tests/e2e/livetalking_peer.py'), server.url, codec];
  return new Promise((resolve, reject) => {
    execFile(python, args, { timeout: 60_000 }, (error, stdout, stderr) => {
      if (error) reject(new Error(stderr || String(error)));
      else resolve(JSON.parse(stdout));
    });
  });
}

for (const codec of ['vp8', 'h264']) {
  test(`${codec}: even stamps, a keyframe when one is asked for, and pictures in spite of losses`, async () => {
    const seen = await peer(codec);
    console.log(`${codec}: keyframes after ${seen.keyframe_ms.join(', ')} ms; at 5 % loss ${seen.lossy_fps} pictures a second, longest gap ${seen.longest_gap_s.toFixed(2)} s`);
    assert.equal(seen.codec.length, 1);
    for (const [kind, step] of [['audio', 960], ['video', 3_600]]) {
      assert.equal(seen.steps[kind][0], step, kind);
      // A busy machine skips whole frames of time, and nothing between.
      assert.ok(seen.steps[kind].every((found) => found % step === 0 && found < 90_000), `${kind}: ${seen.steps[kind]}`);
    }
    assert.ok(seen.keyframe_ms.every((ms) => ms !== null && ms <= 400), `${seen.keyframe_ms} ms`);
    assert.ok(seen.lossy_fps > 10 && seen.longest_gap_s < 1, `${seen.lossy_fps} pictures a second, ${seen.longest_gap_s} s without`);
  });
}
