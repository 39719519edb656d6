// Films of sessions: begun and ended by LiveTalking's route, whole, found again, and playable whatever happens to the server.

import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { afterEach, test } from 'node:test';
import { Server, root, sleep, temporary, until } from './support.mjs';

const cleanups = [];

afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

async function start(env = {}) {
  const dir = temporary('films');
  const server = await Server.start({ VISAVIS_RECORD__DIR: dir, ...env });
  cleanups.push(() => server.stop('SIGKILL'));
  return { server, dir };
}

/** Somebody who watches for some seconds: resolves with the session's id. */
async function viewer(server, seconds) {
  const python = path.join(root, 'target/python-peer/bin/python');
  const child = execFile(python, [path.join(root, 'tests/e2e/whep_peer.py'), server.url, '', String(seconds)], () => {});
  const gone = new Promise((resolve) => child.on('exit', resolve));
  cleanups.push(() => child.kill('SIGKILL') && gone);
  await until('a viewer', async () => (await server.sessions())[0]?.viewers === 1, 30_000);
  const [{ id }] = await server.sessions();
  return { id, gone, kill: () => child.kill('SIGKILL') };
}

const record = (server, sessionid, type) => server.post('/record', { sessionid, type });

function probe(file) {
  const args = ['-v', 'error', '-count_packets', '-show_entries', 'format=duration:stream=codec_name,width,nb_read_packets', '-of', 'json', file];
  const { streams, format } = JSON.parse(execFileSync('ffprobe', args));
  return { streams: Object.fromEntries(streams.map((s) => [s.codec_name, s])), seconds: Number(format.duration) };
}

/** The loudest moment of a film, in decibels below full scale. */
function loudness(file) {
  const { stderr } = execFileSyncBoth('ffmpeg', ['-hide_banner', '-i', file, '-af', 'volumedetect', '-f', 'null', '-']);
  return Number(/max_volume: (-?[\d.]+) dB/.exec(stderr)[1]);
}

function execFileSyncBoth(program, args) {
  const log = temporary('log');
  execFileSync(program, args, { stdio: ['ignore', 'ignore', fs.openSync(log, 'w')] });
  return { stderr: fs.readFileSync(log, 'utf8') };
}

async function download(server, id, headers = {}) {
  const reply = await fetch(`${server.url}/record/${id}`, { headers });
  return { status: reply.status, headers: reply.headers, bytes: Buffer.from(await reply.arrayBuffer()) };
}

test('a film has both tracks, is as long as it took, and comes in parts', async () => {
  const { server } = await start();
  const { id } = await viewer(server, 30);
  const began = performance.now();
  assert.deepEqual(await record(server, id, 'start_record'), { status: 200, code: 0, msg: 'ok' });
  const rolling = performance.now();
  assert.equal((await record(server, id, 'start_record')).error, 'recording');
  assert.equal((await download(server, id)).status, 409);
  await server.post('/human', { sessionid: id, type: 'echo', text: 'This is filmed.' });
  await sleep(4_000);
  const asked = performance.now();
  const ended = await record(server, id, 'end_record');
  assert.deepEqual([ended.code, ended.data.url], [0, `/record/${id}`]);
  assert.equal((await record(server, id, 'end_record')).error, 'not_recording');

  const whole = await download(server, id);
  assert.deepEqual([whole.status, whole.headers.get('content-type')], [200, 'video/mp4']);
  assert.match(whole.headers.get('content-disposition'), /^attachment; filename="[0-9a-f-]{36}\.mp4"$/);
  const file = temporary('film.mp4');
  fs.writeFileSync(file, whole.bytes);
  const { streams, seconds } = probe(file);
  const took = (asked - rolling) / 1_000;
  assert.ok(Math.abs(seconds - took) < 0.2, `${seconds} s of film of ${took} s; the first picture took ${rolling - began} ms`);
  assert.ok(Math.abs(ended.data.seconds - seconds) < 0.05, `${ended.data.seconds} s were promised`);
  assert.ok(streams.h264.width > 0 && Math.abs(streams.h264.nb_read_packets - 25 * seconds) < 5, JSON.stringify(streams));
  assert.ok(Math.abs(streams.opus.nb_read_packets - 50 * seconds) < 10, JSON.stringify(streams));
  assert.ok(loudness(file) > -20, 'a voice is in it');

  const part = await download(server, id, { range: 'bytes=100-199' });
  assert.deepEqual([part.status, part.headers.get('content-range')], [206, `bytes 100-199/${whole.bytes.length}`]);
  assert.ok(part.bytes.equals(whole.bytes.subarray(100, 200)));
  const beyond = await download(server, id, { range: `bytes=${whole.bytes.length + 1}-` });
  assert.ok([200, 416].includes(beyond.status), `${beyond.status}`);
});

test('a film survives kill -9, and is found after the restart', async () => {
  const { server, dir } = await start();
  const { id } = await viewer(server, 30);
  await record(server, id, 'start_record');
  const rolling = performance.now();
  await sleep(5_300);
  const filmed = (performance.now() - rolling) / 1_000;
  await server.stop('SIGKILL');
  const { seconds } = probe(path.join(dir, `${id}.mp4`));
  assert.ok(seconds > filmed - 2, `${seconds} s are left of ${filmed}`);
  await server.run();
  assert.equal((await download(server, id)).status, 200);
});

test('a film ends with its session, with the server, and at its longest length', async () => {
  const { server, dir } = await start({ VISAVIS_RECORD__MAX_DURATION: '2s' });
  const short = await viewer(server, 4);
  await record(server, short.id, 'start_record');
  await until('the longest length', async () => (await download(server, short.id)).status === 200);
  assert.ok(Math.abs(probe(path.join(dir, `${short.id}.mp4`)).seconds - 2) < 0.2);
  assert.equal((await record(server, short.id, 'start_record')).code, 0, 'and again, beside the first');
  await short.gone;
  await until('the end of the session', async () => (await server.sessions()).length === 0, 20_000);
  assert.equal((await download(server, short.id)).status, 200, 'the id still opens it');
  assert.ok(probe(path.join(dir, `${short.id}-2.mp4`)).seconds > 0);

  const other = await viewer(server, 30);
  await record(server, other.id, 'start_record');
  await sleep(1_000);
  assert.equal(await server.stop('SIGTERM'), 0);
  assert.ok(probe(path.join(dir, `${other.id}.mp4`)).seconds > 0.8);
});

test('what is no film is refused, and no path leads out of the folder', async () => {
  const { server, dir } = await start({ VISAVIS_RECORD__STORE_MIB: '1' });
  for (const id of ['..%2F..%2Fvisavis.example.yaml', '%2Fetc%2Fpasswd', 'a%00b', 'x', crypto.randomUUID()]) {
    const { status, bytes } = await download(server, id);
    assert.deepEqual([status, JSON.parse(bytes).code], [404, 'unknown_recording'], id);
  }
  assert.equal((await record(server, crypto.randomUUID(), 'start_record')).error, 'unknown_session');
  const { id } = await viewer(server, 20);
  assert.equal((await record(server, id, 'dance')).error, 'bad_type');
  assert.equal((await record(server, id, 'end_record')).error, 'not_recording');
  fs.mkdirSync(dir, { recursive: true });
  fs.writeFileSync(path.join(dir, 'old.mp4'), Buffer.alloc(1 << 20));
  assert.equal((await record(server, id, 'start_record')).error, 'storage_full');
  fs.rmSync(dir, { recursive: true });
  fs.writeFileSync(dir, 'a file where the folder should be');
  assert.equal((await record(server, id, 'start_record')).error, 'internal');
  assert.equal((await server.sessions()).length, 1, 'the session goes on');
});

test('a disk that fills up ends the film and nothing else', { skip: process.getuid() !== 0 && 'mounting needs root' }, async (t) => {
  const dir = temporary('small');
  fs.mkdirSync(dir);
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=200k', 'tmpfs', dir], { stdio: 'ignore' });
  } catch {
    return t.skip('this machine does not let us mount');
  }
  cleanups.push(() => execFileSync('umount', ['-l', dir]));
  const { server } = await start({ VISAVIS_RECORD__DIR: dir, VISAVIS_RECORD__KEEP_FREE_MIB: '0' });
  const { id } = await viewer(server, 60);
  assert.equal((await record(server, id, 'start_record')).code, 0);
  await server.post('/human', { sessionid: id, type: 'echo', text: 'A disk is filled with what is said here, and with every picture of it.' });
  await until('the full disk', async () => (await download(server, id)).status === 200, 30_000);
  assert.ok(probe(path.join(dir, `${id}.mp4`)).seconds > 0.5);
  assert.equal((await server.sessions()).length, 1, 'the session goes on');
  return undefined;
});
