// HTTPS of our own on the port of HTTP, and what the doctor says.

import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import tls from 'node:tls';
import { after, afterEach, test } from 'node:test';
import { Server, binary, browser, inbound, root, until, watch } from './support.mjs';

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'visavis-tls-'));
const started = [];
let chromium;

afterEach(async () => {
  await chromium?.close();
  chromium = undefined;
  for (const stop of started.splice(0).reverse()) await stop();
});

after(() => fs.rmSync(folder, { recursive: true }));

async function serve(env, host) {
  const server = await Server.start(env, host);
  started.push(() => server.stop());
  return server;
}

/** The certificate that is shown at `port`. */
async function certificate(port) {
  const socket = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false });
  await once(socket, 'secureConnect');
  const shown = socket.getPeerCertificate();
  socket.destroy();
  return shown;
}

test('one port speaks HTTP and HTTPS, the page may ask for a microphone, and the certificate is kept', async () => {
  const env = { VISAVIS_TLS__MODE: 'auto', VISAVIS_TLS__DIR: path.join(folder, 'own') };
  const server = await serve(env, '0.0.0.0');
  assert.equal((await fetch(`${server.url}/healthz`)).status, 200);
  const shown = await certificate(server.port);
  const own = Object.values(os.networkInterfaces()).flat().filter(({ family }) => family === 'IPv4').map(({ address }) => address);
  for (const name of ['DNS:localhost', ...own.map((ip) => `IP Address:${ip}`)]) assert.ok(shown.subjectaltname.includes(name), `${name} in ${shown.subjectaltname}`);
  const days = (new Date(shown.valid_to) - new Date(shown.valid_from)) / 86_400_000;
  assert.ok(days > 300 && days < 398, `${days} days`);
  chromium = await browser();
  const page = await watch(await chromium.newContext({ ignoreHTTPSErrors: true }), `https://127.0.0.1:${server.port}/`);
  assert.ok(await page.evaluate(() => isSecureContext && !!navigator.mediaDevices?.getUserMedia), 'a microphone may be asked for');
  await until('pictures', async () => (await inbound(page)).video?.framesDecoded > 25);
  assert.deepEqual(page.faults, []);
  await chromium.close();
  assert.match(server.log, /for a phone in this network: https:\/\/[\d.]+:\d+\//);
  await server.stop();
  await server.run();
  assert.equal((await certificate(server.port)).fingerprint256, shown.fingerprint256, 'who has trusted it need not do so again');
});

test('a certificate of files is the one that is shown, and one that is not there stops the server before it begins', async () => {
  const [cert, key] = ['own-cert.pem', 'own-key.pem'].map((name) => path.join(folder, 'own', name));
  const server = await serve({ VISAVIS_TLS__MODE: 'files', VISAVIS_TLS__CERT: cert, VISAVIS_TLS__KEY: key });
  const body = await new Promise((resolve, reject) => {
    https.get(`https://127.0.0.1:${server.port}/healthz`, { ca: fs.readFileSync(cert) }, (reply) => resolve(reply.statusCode)).on('error', reject);
  });
  assert.equal(body, 200);
  const refused = spawnSync(binary, ['serve'], { cwd: root, env: { ...process.env, VISAVIS_TLS__MODE: 'files', VISAVIS_TLS__CERT: '/none.pem' } });
  assert.equal(refused.status, 78);
  assert.match(refused.stderr.toString(), /tls\.mode is files, and there is no file "\/none\.pem"/);
});

test('connections that say nothing, or nonsense, cost nobody else anything', async () => {
  const server = await serve({});
  const silent = Array.from({ length: 100 }, () => net.connect(server.port, '127.0.0.1').on('error', () => {}));
  started.push(() => silent.forEach((socket) => socket.destroy()));
  const closed = (bytes) => new Promise((resolve) => {
    const socket = net.connect(server.port, '127.0.0.1', () => socket.write(bytes));
    let told = '';
    socket.on('data', (data) => (told += data)).on('close', () => resolve(told)).on('error', () => {});
  });
  // No check of ours, a frame longer than a datagram, TLS where there is none.
  assert.equal(await closed(Buffer.from([0, 4, 0, 1, 0, 0])), '');
  assert.equal(await closed(Buffer.concat([Buffer.from([5, 221]), Buffer.alloc(1_501)])), '');
  assert.match(await closed(Buffer.from([22, 3, 1, 0, 200, 1, 0, 0, 0, 0, 13, 10, 13, 10])), /^(HTTP\/1.1 400|$)/);
  assert.equal((await fetch(`${server.url}/healthz`)).status, 200);
});

test('the doctor says what works, what does not and what to do, in both languages', async () => {
  const server = await serve({ VISAVIS_XIAOZHI__ENABLED: 'true' });
  // Not waited for with a blocked thread: the proxy below is this very process.
  const doctor = (env, ...args) => new Promise((resolve) => {
    execFile(binary, ['doctor', ...args], { cwd: root, env: { ...process.env, LANG: 'C', ...env }, timeout: 60_000 }, (error, stdout) => resolve({ status: error?.code ?? 0, stdout }));
  });
  const at = { VISAVIS_SERVER__LISTEN: `127.0.0.1:${server.port}`, VISAVIS_XIAOZHI__ENABLED: 'true' };
  // A proxy that passes neither the name nor an upgrade on.
  const proxy = http.createServer(async (request, reply) => {
    const { host, connection, upgrade, ...headers } = request.headers;
    const passed = http.request({ port: server.port, host: '127.0.0.1', method: request.method, path: request.url, headers: { ...headers, host: 'hidden:1' } }, (answer) => {
      reply.writeHead(answer.statusCode, answer.headers);
      answer.pipe(reply);
    });
    request.pipe(passed);
  }).listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  started.push(() => proxy.close());
  const told = JSON.parse((await doctor(at, '--json', '--url', `http://127.0.0.1:${proxy.address().port}`)).stdout);
  const marks = Object.fromEntries(told.findings.map(({ what, mark, code }) => [what, code || mark]));
  for (const what of ['files', 'server', 'media_udp', 'media_tcp', 'https']) assert.equal(marks[what], 'good', `${what} in ${JSON.stringify(told)}`);
  assert.equal(marks.relay, 'no_turn');
  assert.equal(told.ok, true);
  assert.deepEqual(told.findings.filter(({ what }) => what === 'proxy').map(({ code }) => code), ['proxy_hides_host', 'ws_no_upgrade']);
  await until('the slot', async () => (await server.sessions()).length === 0);
  const chinese = (await doctor({ ...at, LANG: 'zh_CN.UTF-8' })).stdout;
  assert.match(chinese, /✓ 媒体 UDP/);
  assert.match(chinese, /! 中继（TURN）.*\[no_turn\]/);

  const other = net.createServer((socket) => socket.end('SSH-2.0-x\r\n')).listen(0, '127.0.0.1');
  await once(other, 'listening');
  started.push(() => other.close());
  const taken = await doctor({ VISAVIS_SERVER__LISTEN: `127.0.0.1:${other.address().port}` });
  assert.equal(taken.status, 1);
  assert.match(taken.stdout, /✗ Port: another program has .*\[port_taken\]/);
});
