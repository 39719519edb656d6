// A client that shares no code with us or with Chromium plays the stream, too.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import path from 'node:path';
import { test } from 'node:test';
import { Server, root, until } from './support.mjs';

test('aiortc decodes pictures and voice, reads captions, and its leaving frees the slot', async () => {
  const server = await Server.start();
  const python = path.join(root, 'target/python-peer/bin/python');
  const peer = path.join(root, 'tests/e2e/aiortc_peer.py');
  const text = 'An independent client hears this.';
  const output = await new Promise((resolve, reject) => {
    execFile(python, [peer, server.url, '6', text], { timeout: 60_000 }, (error, stdout, stderr) => {
      if (error) reject(new Error(stderr || String(error)));
      else resolve(stdout);
    });
  });
  const seen = JSON.parse(output);
  assert.equal(seen.state, 'connected');
  assert.ok(Math.abs(seen.fps - 25) < 1, `${seen.fps} pictures a second`);
  assert.equal(seen.width, 512);
  assert.ok(seen.contrast > 20, 'the picture is not flat');
  assert.deepEqual(seen.video_steps, [3_600], 'stamps step by 3600, without a gap');
  assert.ok(seen.loudest > 0.05 && seen.quietest < 0.001, 'there is voice, and silence around it');
  assert.equal(seen.caption.trim(), text);
  assert.ok(['hello', 'state', 'turn', 'caption', 'transcript'].every((type) => seen.types.includes(type)), seen.types.join());
  await until('the slot', async () => (await server.sessions()).length === 0);
  await server.stop();
});
