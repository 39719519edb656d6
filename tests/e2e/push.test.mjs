// Sessions that are sent away: by WHIP to a server that follows the RFC, by RTMP to Debian's nginx. Both come back.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import dgram from 'node:dgram';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterEach, test } from 'node:test';
import { Server, freePort, root, sleep, temporary, until } from './support.mjs';

const run = promisify(execFile);
const cleanups = [];

afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

async function stop(child, signal = 'SIGTERM') {
  if (child.exitCode !== null || child.signalCode) return;
  child.kill(signal);
  await once(child, 'exit');
}

/** A STUN server that sees everybody at 192.0.2.1:32853 (RFC 8489 §14.2). */
async function stun() {
  const socket = dgram.createSocket('udp4').bind(0, '127.0.0.1');
  await once(socket, 'listening');
  socket.on('message', (request, from) => {
    const mapped = Buffer.from([0, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]);
    socket.send(Buffer.concat([Buffer.from([1, 1, 0, 12]), request.subarray(4, 20), mapped]), from.port, from.address);
  });
  cleanups.push(() => socket.close());
  return `stun:127.0.0.1:${socket.address().port}`;
}

/** The WHIP server of whip_server.py. */
class Whip {
  static async start() {
    const whip = new Whip();
    [whip.port, whip.stun] = [await freePort(), await stun()];
    await whip.run();
    cleanups.push(() => stop(whip.process, 'SIGKILL'));
    return whip;
  }

  async run() {
    const python = path.join(root, 'target/python-peer/bin/python');
    this.process = spawn(python, [path.join(root, 'tests/e2e/whip_server.py'), String(this.port), 'north', this.stun], { stdio: 'inherit' });
    await until('the WHIP server', () => this.status().then(() => true, () => false), 30_000);
  }

  url(route = 'whip/live') {
    return `http://127.0.0.1:${this.port}/${route}`;
  }

  async status() {
    return (await fetch(this.url('status'))).json();
  }

  /** The newest resource of that name, once pictures of it come at their pace. */
  async playing(name, at = -1) {
    let found;
    await until(`pictures of ${name}`, async () => {
      found = (await this.status()).resources.filter((resource) => resource.name === name).at(at);
      return found?.state === 'connected' && found.fps > 15;
    }, 40_000);
    return found;
  }
}

async function pushing(env) {
  const prefixed = Object.entries(env).map(([key, value]) => [`VISAVIS_PUSH__${key}`, value]);
  const server = await Server.start({ VISAVIS_SERVER__SHUTDOWN_GRACE: '0s', ...Object.fromEntries(prefixed) });
  cleanups.push(() => server.stop('SIGKILL'));
  return server;
}

const say = (server, sessionid, text) => server.post('/human', { sessionid, type: 'echo', text });

test('session 0 is sent by WHIP, is spoken to by its number, and leaves with a DELETE', async () => {
  const whip = await Whip.start();
  const server = await pushing({ TO: 'whip', URL: whip.url(), TOKEN: 'north' });
  const { size } = await whip.playing('live');
  assert.deepEqual(size, [512, 512]);
  for (const id of ['0', 0]) assert.equal((await say(server, id, 'They hear this elsewhere.')).code, 0);
  await until('the voice', async () => (await whip.status()).resources[0].loudest > 0.05, 20_000);
  await until('our address', async () => (await whip.status()).patched.length > 0);
  assert.match((await whip.status()).patched[0], /a=candidate:1 1 udp \d+ 192\.0\.2\.1 32853 typ srflx/);
  for (const id of [1, '1', '00x', -1, 4_294_967_296]) assert.equal((await say(server, id, 'Nobody.')).error, 'unknown_session', `${id}`);
  const { data } = await (await fetch(`${server.url}/api/admin/sessions`)).json();
  assert.deepEqual(data.sessions.map(({ sessionid, transport }) => [sessionid, transport]), [['0', 'rtcpush']]);
  assert.equal(await server.stop('SIGTERM'), 0);
  const { resources, refused } = await whip.status();
  assert.deepEqual([resources.length, resources[0].deleted, refused], [1, true, []]);
});

test('a WHIP server that was away is found again, and the conversation goes on', async () => {
  const whip = await Whip.start();
  const server = await pushing({ TO: 'whip', URL: whip.url(), TOKEN: 'north' });
  await whip.playing('live');
  const [{ id }] = await server.sessions();
  await stop(whip.process);
  await sleep(2_000);
  await whip.run();
  const back = performance.now();
  await whip.playing('live');
  const took = performance.now() - back;
  assert.ok(took < 15_000, `back ${took} ms after the server`);
  assert.equal((await server.sessions())[0].id, id);
});

test('other sessions begin when they are asked for, each at an address of its own, and end when nothing is said', async () => {
  const whip = await Whip.start();
  const server = await pushing({ TO: 'whip', URL: whip.url('moved/live'), TOKEN: 'north', SESSIONS: '2', IDLE: '4s' });
  await whip.playing('live');
  assert.equal((await server.sessions()).length, 1);
  assert.equal((await say(server, 1, 'Now there are two.')).code, 0);
  await whip.playing('live1').catch(() => assert.fail('no second resource'));
  assert.equal((await server.sessions()).length, 2);
  assert.equal((await say(server, 2, 'Three.')).error, 'unknown_session');
  await until('the end of the second', async () => (await server.sessions()).length === 1, 30_000);
  assert.ok((await whip.status()).resources.find(({ name }) => name === 'live1').deleted);
});

test('a refusal is waited out as the server asks, and no redirect that changes the request is followed', async () => {
  const whip = await Whip.start();
  await pushing({ TO: 'whip', URL: whip.url('busy/live'), TOKEN: 'north' });
  await whip.playing('live');
  const { refused } = await whip.status();
  assert.deepEqual(refused.map(({ status }) => status), [503, 503]);
  assert.ok(refused[1].at - refused[0].at >= 2, 'Retry-After');
  await pushing({ TO: 'whip', URL: whip.url('whip/other'), TOKEN: 'south' });
  await until('the refusal', async () => (await whip.status()).refused.some(({ status }) => status === 401));
  const lost = await pushing({ TO: 'whip', URL: whip.url('wrong/lost'), TOKEN: 'north' });
  await until('the redirect', () => lost.log.includes('301'));
  assert.ok(!lost.log.includes('north') && !lost.log.includes('wrong/lost'), 'neither token nor address is logged');
  assert.equal((await whip.status()).resources.length, 1);
});

/** Debian's nginx with its RTMP module. */
class Rtmp {
  static async start() {
    const rtmp = new Rtmp();
    rtmp.port = await freePort();
    rtmp.folder = path.dirname(temporary('nginx'));
    const module = '/usr/lib/nginx/modules/ngx_rtmp_module.so';
    fs.writeFileSync(path.join(rtmp.folder, 'nginx.conf'), `load_module ${module}; ${process.getuid() === 0 ? 'user root;' : ''} daemon off; master_process off;
      pid ${rtmp.folder}/pid; error_log stderr; events {}
      rtmp { access_log off; server { listen 127.0.0.1:${rtmp.port}; application live { live on; idle_streams off; } } }`);
    await rtmp.run();
    cleanups.push(() => stop(rtmp.process, 'SIGKILL'));
    return rtmp;
  }

  async run() {
    this.process = spawn('nginx', ['-p', this.folder, '-c', path.join(this.folder, 'nginx.conf')], { stdio: ['ignore', 'ignore', 'inherit'] });
    await until('nginx', () => new Promise((resolve) => {
      const probe = net.connect(this.port, '127.0.0.1', () => resolve(probe.destroy())).on('error', () => resolve(false));
      probe.on('connect', () => resolve(true));
    }));
  }

  url(key) {
    return `rtmp://127.0.0.1:${this.port}/live/${key}`;
  }

  /** Records some seconds of a stream as a player does, once it is there. */
  async play(key, seconds) {
    const file = temporary('played.flv');
    await until(`the stream ${key}`, async () => {
      const args = ['-v', 'error', '-y', '-rw_timeout', '5000000', '-i', this.url(key), '-t', String(seconds), '-c', 'copy', file];
      await run('ffmpeg', args, { timeout: (seconds + 15) * 1_000 }).catch(() => {});
      return fs.existsSync(file) && fs.statSync(file).size > 5_000;
    }, 60_000);
    return file;
  }
}

async function probe(file) {
  const entries = 'stream=codec_name,width,sample_rate,channels,nb_read_packets:format=duration';
  const { stdout } = await run('ffprobe', ['-v', 'error', '-count_packets', '-show_entries', entries, '-of', 'json', file]);
  const { streams } = JSON.parse(stdout);
  return Object.fromEntries(streams.map((stream) => [stream.codec_name, stream]));
}

test('session 0 is sent by RTMP, sound and pictures, and comes back after the server', async () => {
  const rtmp = await Rtmp.start();
  const server = await pushing({ TO: 'rtmp', URL: rtmp.url('a-secret-key') });
  await until('the broadcast', () => server.log.includes('sending'), 20_000);
  const playing = rtmp.play('a-secret-key', 5);
  await sleep(1_000);
  // For as long as is played, however late the player comes.
  for (let n = 0; n < 3; n += 1) await say(server, '0', 'This goes out to all of you who watch.');
  const file = await playing;
  const { h264, aac } = await probe(file);
  assert.equal(h264.width, 512);
  assert.deepEqual([aac.sample_rate, aac.channels], ['44100', 2]);
  // A player that joins waits for a keyframe, 2 s at most.
  assert.ok(h264.nb_read_packets > 55, `${h264.nb_read_packets} pictures in 5 s`);
  assert.ok(Math.abs(aac.nb_read_packets - 5 * 44_100 / 1_024) < 30, `${aac.nb_read_packets} AAC frames in 5 s`);
  const { stderr } = await run('ffmpeg', ['-hide_banner', '-i', file, '-af', 'volumedetect', '-f', 'null', '-']);
  const loudest = Number(/max_volume: (-?[\d.]+) dB/.exec(stderr)[1]);
  assert.ok(loudest > -25, `the voice is at ${loudest} dB`);

  const [{ id }] = await server.sessions();
  await stop(rtmp.process, 'SIGKILL');
  await sleep(1_500);
  await rtmp.run();
  const again = await probe(await rtmp.play('a-secret-key', 2));
  assert.ok(again.h264 && again.aac);
  assert.equal((await server.sessions())[0].id, id);
  assert.equal(await server.stop('SIGTERM'), 0);
  assert.ok(!server.log.includes('a-secret-key'), 'the key is in no log');
});
