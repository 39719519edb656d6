// The files of deploy/ as they are, with the real nginx and the real coturn, and Chromium behind them.
//
// Only names, ports and paths are replaced, and each replacement must find what it replaces.

import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { Server, binary, browser, freePort, inbound, root, sleep, stunAnswers, until, watch } from './support.mjs';

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'visavis-deploy-'));
const started = [];
let server;
let chromium;

before(async () => {
  const certificate = ['-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', '/CN=localhost'];
  const names = ['-addext', 'subjectAltName=DNS:localhost', '-keyout', path.join(folder, 'key.pem'), '-out', path.join(folder, 'cert.pem')];
  execFileSync('openssl', ['req', ...certificate, ...names], { stdio: 'pipe' });
  server = await Server.start({
    VISAVIS_SERVER__TRUSTED_PROXIES: '[127.0.0.1]', VISAVIS_XIAOZHI__ENABLED: 'true', VISAVIS_AUDIO_PROXY__ENABLED: 'true',
    VISAVIS_AUDIO_PROXY__TOKEN: 'north', VISAVIS_SERVER__OFFERS_PER_MINUTE: '1000',
  });
});

afterEach(async () => {
  await chromium?.close();
  chromium = undefined;
  await Promise.all(started.splice(0).map(async (child) => {
    if (child.exitCode !== null) return;
    child.kill('SIGTERM');
    await once(child, 'exit');
  }));
});

after(async () => {
  await server?.stop();
  fs.rmSync(folder, { recursive: true });
});

/** `text` with each of `changes`, all of which must be there. */
function replaced(text, changes) {
  return changes.reduce((changed, [from, to]) => {
    assert.ok(changed.includes(from), `the file has no ${from}`);
    return changed.replaceAll(from, to);
  }, text);
}

/** nginx with `sites` in its http section, and nothing of Debian's. */
async function nginx(sites, port) {
  const own = fs.mkdtempSync(path.join(folder, 'nginx-'));
  fs.writeFileSync(path.join(own, 'site.conf'), sites);
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${own}/${kind};`).join(' ');
  fs.writeFileSync(path.join(own, 'nginx.conf'), `${process.getuid() === 0 ? 'user root;' : ''} daemon off; pid ${own}/pid; error_log stderr;
    events {} http { access_log off; ${temporary} include ${own}/site.conf; }`);
  const child = spawn('nginx', ['-p', own, '-c', path.join(own, 'nginx.conf')]);
  started.push(child);
  let log = '';
  child.stderr.on('data', (data) => (log += data));
  await until('nginx', async () => {
    assert.equal(child.exitCode, null, log);
    return new Promise((resolve) => {
      const probe = net.connect(port, '127.0.0.1', () => resolve(true)).on('error', () => resolve(false));
      probe.on('connect', () => probe.destroy());
    });
  });
}

/** deploy/nginx.conf in front of the server; the ports of http and https. */
async function behindNginx() {
  const [plain, tls] = [await freePort(), await freePort()];
  await nginx(replaced(fs.readFileSync(path.join(root, 'deploy/nginx.conf'), 'utf8'), [
    ['talk.example;', 'localhost;'], ['listen 80;', `listen 127.0.0.1:${plain};`], ['listen 443 ssl;', `listen 127.0.0.1:${tls} ssl;`],
    ['/etc/letsencrypt/live/talk.example/fullchain.pem', path.join(folder, 'cert.pem')],
    ['/etc/letsencrypt/live/talk.example/privkey.pem', path.join(folder, 'key.pem')],
    ['server 127.0.0.1:8010;', `server 127.0.0.1:${server.port};`],
  ]), tls);
  return { plain, url: `https://localhost:${tls}` };
}

/** Asks for a WebSocket at `url` in plain HTTP, as a client does; the refusal. */
function refusedSocket(url) {
  return new Promise((resolve, reject) => {
    const headers = { Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': 'AAAAAAAAAAAAAAAAAAAAAA==' };
    http.get(url, { headers }, async (reply) => {
      let body = '';
      for await (const piece of reply) body += piece;
      resolve({ status: reply.statusCode, upgrade: reply.headers.upgrade, body: JSON.parse(body) });
    }).on('upgrade', () => reject(new Error('it was opened'))).on('error', reject);
  });
}

test('behind nginx with TLS everything works: page, microphone, sockets, events, uploads', async () => {
  const { plain, url } = await behindNginx();
  chromium = await browser();
  const context = await chromium.newContext({ ignoreHTTPSErrors: true });
  const page = await watch(context, `${url}/`);
  assert.ok(await page.evaluate(() => isSecureContext && !!navigator.mediaDevices?.getUserMedia), 'the page may ask for a microphone');
  const first = await inbound(page);
  await sleep(4_000);
  const later = await inbound(page);
  const fps = (later.video.framesDecoded - first.video.framesDecoded) / ((later.video.at - first.video.at) / 1_000);
  assert.ok(Math.abs(fps - 25) < 2, `${fps} pictures a second`);

  const [{ id }] = await server.sessions();
  const said = 'This came through the proxy.';
  // Events as they happen, and not when a buffer is full.
  const events = await page.evaluate(async ([session, text]) => {
    const source = new EventSource(`/sse?sessionid=${session}`);
    const told = [];
    source.onmessage = ({ data }) => told.push({ at: performance.now(), ...JSON.parse(data) });
    await new Promise((resolve) => (source.onopen = resolve));
    await fetch('/human', { method: 'POST', body: JSON.stringify({ sessionid: session, type: 'echo', text }) });
    for (let n = 0; n < 100 && told.length < 2; n++) await new Promise((resolve) => setTimeout(resolve, 100));
    source.close();
    return told;
  }, [id, said]);
  assert.deepEqual(events.map(({ status, text }) => [status, text]), [['start', said], ['end', said]]);
  assert.ok(events[1].at - events[0].at > 500, 'the end comes when it has been said');

  const opened = await page.evaluate((token) => Promise.all(['/ws/signaling', '/xiaozhi/v1/?device-id=1', `/audio_proxy?token=${token}`].map((route) =>
    new Promise((resolve) => {
      const socket = new WebSocket(location.origin.replace('http', 'ws') + route);
      socket.onopen = () => resolve('open') ?? socket.close();
      socket.onerror = () => resolve(`${route} failed`);
    }))), 'north');
  assert.deepEqual(opened, ['open', 'open', 'open']);

  const recording = path.join(folder, 'recording.wav');
  execFileSync(binary, ['say', 'A recording that is long enough to be more than a buffer of nginx. '.repeat(4), '-o', recording], { cwd: root });
  const upload = await page.evaluate(async ([session, bytes]) => {
    const form = new FormData();
    form.append('sessionid', session);
    form.append('file', new Blob([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))]), 'recording.wav');
    return (await fetch('/humanaudio', { method: 'POST', body: form })).json();
  }, [id, fs.readFileSync(recording).toString('base64')]);
  assert.equal(upload.code, 0, upload.msg);

  // Devices are told the name by which the world knows us.
  const told = await page.evaluate(async () => (await fetch('/xiaozhi/ota/', { method: 'POST', headers: { 'device-id': '1' }, body: '{}' })).json());
  assert.equal(told.websocket.url, `${url.replace('https', 'wss')}/xiaozhi/v1/`);

  const moved = await fetch(`http://localhost:${plain}/?lang=zh`, { redirect: 'manual' });
  assert.deepEqual([moved.status, moved.headers.get('location')], [301, 'https://localhost/?lang=zh']);
  assert.deepEqual(page.faults, []);
});

test('too many offers are turned away by nginx', async () => {
  const { url } = await behindNginx();
  chromium = await browser();
  const page = await (await chromium.newContext({ ignoreHTTPSErrors: true })).newPage();
  await page.goto(`${url}/healthz`);
  const statuses = await page.evaluate(() => Promise.all(Array.from({ length: 30 }, async () =>
    (await fetch('/offer', { method: 'POST', body: '{"sdp":"v=0","type":"offer"}' })).status)));
  assert.ok(statuses.includes(429) && statuses.includes(400), statuses.join());
});

test('the shortest nginx configuration is enough for all but WebSockets, and they say what to add', async () => {
  const port = await freePort();
  await nginx(`server { listen 127.0.0.1:${port}; location / { proxy_pass http://127.0.0.1:${server.port}; } }`, port);
  chromium = await browser();
  const page = await watch(await chromium.newContext(), `http://127.0.0.1:${port}/`);
  const first = await inbound(page);
  await sleep(2_000);
  assert.ok((await inbound(page)).video.framesDecoded > first.video.framesDecoded + 30);
  // What only this machine may ask, the whole world would ask through such a proxy.
  for (const route of ['/v1/sessions', '/metrics']) assert.equal((await fetch(`http://127.0.0.1:${port}${route}`)).status, 403, route);
  for (const route of ['/ws/signaling', '/audio_proxy?token=north']) {
    const refused = await refusedSocket(`http://127.0.0.1:${port}${route}`);
    assert.deepEqual([refused.status, refused.upgrade, refused.body.code], [426, 'websocket', 'upgrade_required'], route);
    assert.match(refused.body.msg, /proxy_set_header Upgrade \$http_upgrade/);
  }
});

test('through coturn alone, with the names and passwords that we make, the page plays', async () => {
  const host = Object.values(os.networkInterfaces()).flat().find((i) => i.family === 'IPv4' && !i.internal)?.address;
  assert.ok(host, 'this test needs an address beside the loopback');
  const [port, tls] = [await freePort(), await freePort()];
  const [key, certificate] = [path.join(folder, 'turn-key.pem'), path.join(folder, 'turn-cert.pem')];
  const names = ['-subj', '/CN=relay', '-addext', `subjectAltName=IP:${host}`, '-addext', 'basicConstraints=critical,CA:FALSE'];
  execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', ...names, '-keyout', key, '-out', certificate], { stdio: 'pipe' });
  const conf = path.join(folder, 'turnserver.conf');
  fs.writeFileSync(conf, replaced(fs.readFileSync(path.join(root, 'deploy/turnserver.conf'), 'utf8'), [
    ['listening-port=3478', `listening-port=${port}\nlistening-ip=${host}\nrelay-ip=${host}`], ['REPLACE-ME', 'south'], ['realm=talk.example', 'realm=localhost'],
    ['allowed-peer-ip=203.0.113.9', `allowed-peer-ip=${host}`],
    ['no-tls\n', `tls-listening-port=${tls}\ncert=${certificate}\npkey=${key}\n`],
  ]));
  const turn = spawn('turnserver', ['-c', conf, '--log-file', 'stdout', '--pidfile', path.join(folder, 'turn.pid')]);
  started.push(turn);
  let log = '';
  turn.stdout.on('data', (data) => (log += data));
  await stunAnswers(host, port);
  const urls = `["turn:${host}:${port}?transport=udp"]`;
  const own = await Server.start({ VISAVIS_WEBRTC__TURN__URLS: urls, VISAVIS_WEBRTC__TURN__SECRET: 'south' }, host);
  const wrong = await Server.start({ VISAVIS_WEBRTC__TURN__URLS: urls, VISAVIS_WEBRTC__TURN__SECRET: 'north' }, host);
  try {
    chromium = await browser();
    // A wrong password is said in words, on the page and by the doctor.
    for (const [locale, words] of [['en-US', /relay \(TURN\) refuses the password/], ['zh-CN', /中继（TURN）拒绝了/]]) {
      const refused = await (await chromium.newContext({ locale })).newPage();
      await refused.goto(`${wrong.url}/?ice=relay`);
      await refused.getByText(words).waitFor({ timeout: 10_000 });
      await refused.context().close();
    }
    const all = `["turn:${host}:${port}?transport=udp", "turn:${host}:${port}?transport=tcp", "turns:${host}:${tls}"]`;
    const doctor = (secret, trusted) => spawnSync(binary, ['doctor', '--json'], {
      cwd: root,
      env: {
        ...process.env, VISAVIS_SERVER__LISTEN: `${host}:${own.port}`, VISAVIS_WEBRTC__TURN__URLS: all,
        VISAVIS_WEBRTC__TURN__SECRET: secret, ...(trusted && { SSL_CERT_FILE: trusted }),
      },
    });
    const relays = (...how) => JSON.parse(doctor(...how).stdout).findings.filter(({ what }) => what === 'relay');
    assert.deepEqual(relays('south', certificate).map(({ mark }) => mark), ['good', 'good', 'good']);
    assert.deepEqual(relays('north', certificate).map(({ code }) => code), ['turn_auth', 'turn_auth', 'turn_auth']);
    assert.equal(relays('south').at(-1).code, 'turn_untrusted');
    const page = await watch(await chromium.newContext(), `${own.url}/?ice=relay`);
    await until('sound and pictures', async () => (await inbound(page)).video?.framesDecoded > 25);
    const pair = await page.evaluate(async () => {
      const stats = [...(await globalThis.peers.at(-1).getStats()).values()];
      const chosen = stats.find((s) => s.type === 'candidate-pair' && s.nominated && s.state === 'succeeded');
      return stats.find((s) => s.id === chosen.localCandidateId).candidateType;
    });
    assert.equal(pair, 'relay');
    assert.match(log, /session|allocation/i);
  } finally {
    await own.stop();
    await wrong.stop();
  }
});
