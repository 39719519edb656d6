// WHEP: players that know nothing of us watch a session, as many as like, and one encoder serves them.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { Server, root, sleep, until } from './support.mjs';

let server;

before(async () => {
  server = await Server.start({ VISAVIS_WEBRTC__STUN: '["stun:192.0.2.1:3478"]' });
});

after(() => server.stop());

/** A player of aiortc's. */
function player(session, seconds) {
  const python = path.join(root, 'target/python-peer/bin/python');
  const args = [path.join(root, 'tests/e2e/whep_peer.py'), server.url, session, String(seconds)];
  return new Promise((resolve, reject) => {
    execFile(python, args, { timeout: 60_000 }, (error, stdout, stderr) => {
      if (error) reject(new Error(stderr || String(error)));
      else resolve(JSON.parse(stdout));
    });
  });
}

/** Pictures that were encoded so far. */
async function encoded() {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  const counts = [...text.matchAll(/^visavis_encode_seconds_count\{.*\} (\d+)$/gm)];
  return counts.reduce((sum, [, count]) => sum + Number(count), 0);
}

test('players watch one session, hear it, and share its encoder', async () => {
  const first = player('', 12);
  await until('a session', async () => (await server.sessions()).length === 1);
  const [{ id }] = await server.sessions();
  const others = [player(id, 6), player(id, 6)];
  await until('three viewers', async () => (await server.sessions())[0].viewers === 3);
  await sleep(1_500);
  const [before, began] = [await encoded(), performance.now()];
  await server.post('/human', { sessionid: id, type: 'echo', text: 'All of you hear this.' });
  await sleep(3_000);
  const fps = ((await encoded()) - before) / ((performance.now() - began) / 1_000);
  assert.ok(fps > 20 && fps < 30, `${fps} pictures are encoded a second for three viewers`);
  for (const seen of await Promise.all([first, ...others])) {
    assert.match(seen.location, new RegExp(`^/whep/${id}/[0-9a-f-]{36}$`));
    assert.deepEqual(seen.links, ['<stun:192.0.2.1:3478>; rel="ice-server"']);
    assert.ok(Math.abs(seen.fps - 25) < 2, `${seen.fps} pictures a second`);
    assert.ok(seen.contrast > 20 && seen.loudest > 0.05, 'a face, and a voice');
    assert.deepEqual([seen.trickled, seen.restarted, seen.left, seen.twice], [204, 501, 200, 404]);
  }
  await until('the slot', async () => (await server.sessions()).length === 0);
});

test('what is no WHEP is refused in words', async () => {
  const send = async (route, type, body, method = 'POST') => {
    const reply = await fetch(server.url + route, { method, headers: { 'content-type': type }, body });
    return [reply.status, (await reply.json()).code];
  };
  assert.deepEqual(await send('/whep', 'application/json', '{}'), [415, 'unsupported_media_type']);
  assert.deepEqual(await send('/whep', 'application/sdp', 'v=0'), [400, 'bad_sdp']);
  assert.deepEqual(await send('/whep?session=7', 'application/sdp', 'v=0'), [404, 'unknown_session']);
  assert.deepEqual(await send('/whep?avatar=nobody', 'application/sdp', 'v=0'), [400, 'bad_sdp']);
  assert.deepEqual(await send('/whep', 'application/sdp', 'v'.repeat(70_000)), [413, 'too_large']);
  const gone = `/whep/${crypto.randomUUID()}/${crypto.randomUUID()}`;
  assert.deepEqual(await send(gone, 'application/trickle-ice-sdpfrag', '', 'PATCH'), [404, 'unknown_session']);
  assert.equal((await fetch(`${server.url}/whep`)).status, 405);
  assert.deepEqual(await server.sessions(), []);
});
