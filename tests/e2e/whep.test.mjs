// WHEP: players that know nothing of us watch a session, as many as like, and one encoder serves them.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { Server, browser, root, sleep, until } from './support.mjs';

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
    assert.deepEqual([seen.trickled, seen.restarted, seen.left, seen.twice], [204, 428, 200, 404]);
  }
  await until('the slot', async () => (await server.sessions()).length === 0);
});

test('a player restarts ICE as RFC 9725 says, and what is about an earlier path is refused', async () => {
  const chromium = await browser();
  try {
    const page = await chromium.newPage();
    await page.goto(`${server.url}/healthz`);
    const seen = await page.evaluate(async () => {
      const type = 'application/trickle-ice-sdpfrag';
      const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
      const pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
      for (const kind of ['audio', 'video']) pc.addTransceiver(kind, { direction: 'recvonly' });
      await pc.setLocalDescription();
      const posted = await fetch('/whep', { method: 'POST', headers: { 'content-type': 'application/sdp' }, body: pc.localDescription.sdp });
      const [location, etag, answer] = [posted.headers.get('location'), posted.headers.get('etag'), await posted.text()];
      await pc.setRemoteDescription({ type: 'answer', sdp: answer });
      const decoded = async () => [...(await pc.getStats()).values()].find(({ type: is, kind }) => is === 'inbound-rtp' && kind === 'video')?.framesDecoded ?? 0;
      const pictures = async () => {
        const before = await decoded();
        for (let n = 0; n < 100 && (await decoded()) < before + 10; n++) await sleep(100);
        return (await decoded()) >= before + 10;
      };
      const first = await pictures();
      pc.restartIce();
      await pc.setLocalDescription();
      const line = (name, sdp) => new RegExp(`^a=${name}:(.*)$`, 'm').exec(sdp)[1].trim();
      const body = ['ice-ufrag', 'ice-pwd'].map((name) => `a=${name}:${line(name, pc.localDescription.sdp)}\r\n`).join('');
      const patch = (condition, what = body) => fetch(location, { method: 'PATCH', headers: { 'content-type': type, ...(condition && { 'if-match': condition }) }, body: what });
      const unconditional = (await patch('')).status;
      const wrong = (await patch('"nobody"')).status;
      const restarted = await patch('*');
      const fragment = await restarted.text();
      const told = { status: restarted.status, type: restarted.headers.get('content-type'), etag: restarted.headers.get('etag') };
      let renewed = answer;
      for (const name of ['ice-ufrag', 'ice-pwd']) renewed = renewed.replaceAll(new RegExp(`^a=${name}:.*$`, 'gm'), `a=${name}:${line(name, fragment)}`);
      await pc.setRemoteDescription({ type: 'answer', sdp: renewed });
      const again = await pictures();
      const candidate = `a=ice-ufrag:${line('ice-ufrag', body)}\r\na=candidate:1 1 udp 2113937151 127.0.0.1 9 typ host\r\n`;
      const statuses = [(await patch(told.etag, candidate)).status, (await patch(etag, candidate)).status];
      await fetch(location, { method: 'DELETE' });
      return { first, again, unconditional, wrong, told, statuses, etag, changed: etag !== told.etag, candidates: fragment.includes('a=candidate:') };
    });
    assert.match(seen.etag, /^"[A-Za-z0-9]+"$/);
    assert.deepEqual([seen.unconditional, seen.wrong, seen.told.status, seen.told.type], [428, 412, 200, 'application/trickle-ice-sdpfrag']);
    assert.deepEqual([seen.first, seen.again, seen.changed, seen.candidates], [true, true, true, true]);
    assert.deepEqual(seen.statuses, [204, 412]);
  } finally {
    await chromium.close();
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
