// What the browser tests share: a server of their own, Chromium, and probes that read media and not states.
//
// The server is the debug build with the `testing` feature; each test file starts one on a port of its own.

import { spawn } from 'node:child_process';
import dgram from 'node:dgram';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { chromium } from 'playwright-core';

export const root = path.resolve(import.meta.dirname, '../..');
export const binary = process.env.VISAVIS_BINARY ?? path.join(root, 'target/debug/visavis');

/** Whether the checks that take minutes are asked for in full (CONTRIBUTING.md). */
export const long = process.env.CHECKS === 'long';

/** A port that was free a moment ago. */
export async function freePort() {
  for (;;) {
    // Below those that the system gives to connections, which may take it before its server does.
    const port = 16_000 + Math.floor(Math.random() * 16_000);
    const server = net.createServer().listen(port, '127.0.0.1');
    try {
      await once(server, 'listening');
    } catch {
      continue;
    }
    server.close();
    await once(server, 'close');
    return port;
  }
}

/** Servers that run, for what a failing test tells of them. */
const servers = new Set();

/** A running server. `env` overrides its configuration; `args` are another command. */
export class Server {
  constructor(port, env, host, args) {
    this.port = port;
    this.env = env;
    this.args = [...args, '--listen', `${host}:${port}`];
    this.url = `http://${host === '0.0.0.0' ? '127.0.0.1' : host}:${port}`;
    this.log = '';
  }

  static async start(env = {}, host = '127.0.0.1', args = ['serve']) {
    const server = new Server(await freePort(), env, host, args);
    await server.run();
    return server;
  }

  async run() {
    const began = performance.now();
    this.process = spawn(binary, this.args, {
      cwd: root,
      env: { ...process.env, ...this.env },
    });
    for (const stream of [this.process.stdout, this.process.stderr]) {
      stream.on('data', (data) => (this.log += data));
    }
    servers.add(this);
    this.process.once('exit', () => servers.delete(this));
    while (!(await this.get('/readyz').catch(() => null))) {
      if (this.process.exitCode !== null || performance.now() - began > 60_000) {
        throw new Error(`the server did not start:\n${this.log}`);
      }
      await sleep(20);
    }
    this.startedInMs = performance.now() - began;
  }

  async get(route) {
    const reply = await fetch(this.url + route);
    return reply.ok ? reply.json() : Promise.reject(new Error(`${route}: ${reply.status}`));
  }

  async post(route, body) {
    const reply = await fetch(this.url + route, { method: 'POST', body: JSON.stringify(body) });
    return { status: reply.status, ...(await reply.json()) };
  }

  async sessions() {
    return this.get('/v1/sessions');
  }

  /** Ends it, gently or not. Resolves with its exit code. */
  async stop(signal = 'SIGTERM') {
    if (this.process.exitCode !== null || this.process.signalCode) return this.process.exitCode;
    this.process.kill(signal);
    const [code] = await once(this.process, 'exit');
    return code;
  }
}

/** Chromium without its own errands: no request of the browser itself leaves the machine. */
export const launchOptions = {
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--autoplay-policy=no-user-gesture-required',
  ],
};

export const browser = () => chromium.launch(launchOptions);

/** A browser whose microphone hears a WAV file, once, from the moment on that the page opens it. */
export const hearingBrowser = (file) => chromium.launch({
  ...launchOptions,
  args: [
    ...launchOptions.args, '--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream',
    `--use-file-for-fake-audio-capture=${file}%noloop`,
  ],
});

/** A browser that can be killed as the kernel or a power cut would. */
export async function mortalBrowser() {
  const server = await chromium.launchServer(launchOptions);
  return { browser: await chromium.connect(server.wsEndpoint()), kill: () => server.kill() };
}

/** Keeps every RTCPeerConnection of the page where a test can ask it. */
export function keepPeers(page) {
  return page.addInitScript(() => {
    globalThis.peers = [];
    const Original = RTCPeerConnection;
    globalThis.RTCPeerConnection = class extends Original {
      constructor(configuration = {}) {
        // A test that reads encoded frames says so before the page begins.
        super(globalThis.onPeerTrack ? { ...configuration, encodedInsertableStreams: true } : configuration);
        globalThis.peers.push(this);
        this.addEventListener('track', (event) => globalThis.onPeerTrack?.(event));
      }
    };
  });
}

/** Opens the page and waits for its first picture. */
export async function watch(context, url, { timeout = 30_000 } = {}) {
  const page = await context.newPage();
  page.foreign = [];
  page.faults = [];
  page.on('request', (request) => {
    if (!request.url().startsWith(new URL(url).origin) && !/^(data|blob):/.test(request.url())) page.foreign.push(request.url());
  });
  page.on('pageerror', (error) => page.faults.push(String(error)));
  await keepPeers(page);
  await page.goto(url);
  await page.waitForFunction(() => document.querySelector('video')?.videoWidth > 0, null, { timeout });
  return page;
}

/** The page's session id, from the peer's own answer. */
export async function sessionOf(page) {
  return page.evaluate(() => sessionStorage.getItem('session') ?? Object.values(sessionStorage).find((v) => /^[0-9a-f-]{36}$/.test(v)));
}

/** Counters of what arrives, by kind, of the newest peer connection. */
export function inbound(page) {
  return page.evaluate(async () => {
    const stats = {};
    for (const report of (await globalThis.peers.at(-1).getStats()).values()) {
      if (report.type === 'inbound-rtp') stats[report.kind] = { ...report, at: performance.now() };
    }
    return stats;
  });
}

/** Starts recording what the page hears, at 16 kHz; `heard()` stops and returns the samples. */
export async function listen(page) {
  await page.evaluate(async () => {
    const receiver = globalThis.peers.at(-1).getReceivers().find((r) => r.track.kind === 'audio');
    const context = new AudioContext({ sampleRate: 16_000 });
    const code = `registerProcessor('tap', class extends AudioWorkletProcessor {
      process([[channel]]) { if (channel) this.port.postMessage(channel.slice()); return true; }
    })`;
    await context.audioWorklet.addModule(`data:text/javascript,${encodeURIComponent(code)}`);
    const tap = new AudioWorkletNode(context, 'tap');
    globalThis.tapped = [];
    tap.port.onmessage = ({ data }) => globalThis.tapped.push(data);
    context.createMediaStreamSource(new MediaStream([receiver.track])).connect(tap);
    globalThis.tapContext = context;
    await context.resume();
  });
}

export async function heard(page) {
  const text = await page.evaluate(async () => {
    await globalThis.tapContext.close();
    const bytes = new Uint8Array(globalThis.tapped.length * 256);
    const view = new DataView(bytes.buffer);
    globalThis.tapped.flatMap((chunk) => [...chunk]).forEach((s, i) => view.setInt16(i * 2, Math.max(-1, Math.min(1, s)) * 32_767, true));
    let binary = '';
    for (let i = 0; i < bytes.length; i += 32_768) binary += String.fromCharCode(...bytes.subarray(i, i + 32_768));
    return btoa(binary);
  });
  const bytes = Buffer.from(text, 'base64');
  return Float32Array.from({ length: bytes.length / 2 }, (_, i) => bytes.readInt16LE(i * 2) / 32_768);
}

/** The samples of a 16-bit mono WAV file as `visavis say` writes it. */
export function wav(file) {
  const bytes = fs.readFileSync(file);
  return Float32Array.from({ length: (bytes.length - 44) / 2 }, (_, i) => bytes.readInt16LE(44 + i * 2) / 32_768);
}

/** Writes samples as such a file. */
export function writeWav(file, samples) {
  const bytes = Buffer.alloc(44 + samples.length * 2);
  bytes.write('RIFF', 0);
  bytes.writeUInt32LE(36 + samples.length * 2, 4);
  bytes.write('WAVEfmt ', 8);
  bytes.writeUInt32LE(16, 16);
  for (const [at, value] of [[20, 1], [22, 1], [32, 2], [34, 16]]) bytes.writeUInt16LE(value, at);
  bytes.writeUInt32LE(16_000, 24);
  bytes.writeUInt32LE(32_000, 28);
  bytes.write('data', 36);
  bytes.writeUInt32LE(samples.length * 2, 40);
  samples.forEach((sample, n) => bytes.writeInt16LE(Math.round(sample * 32_767), 44 + n * 2));
  fs.writeFileSync(file, bytes);
}

/**
 * How alike two recordings are, 0 to 1: the reference is cut into pieces of 200 ms, each is sought around where the one
 * before was found (a jitter buffer may stretch a pause), and the correlations are averaged by energy.
 */
export function likeness(reference, recording, rate = 16_000) {
  const piece = rate / 5;
  let lag = coarseLag(reference, recording, rate);
  let weighted = 0;
  let energy = 0;
  for (let start = 0; start + piece <= reference.length; start += piece) {
    const part = reference.subarray(start, start + piece);
    const own = part.reduce((sum, s) => sum + s * s, 0);
    if (own / piece < 1e-5) continue;
    let best = { r: 0, lag };
    for (let offset = -rate / 50; offset <= rate / 50; offset++) {
      const r = correlation(part, recording, start + lag + offset);
      if (r > best.r) best = { r, lag: lag + offset };
    }
    lag = best.lag;
    weighted += best.r * own;
    energy += own;
  }
  return { likeness: weighted / energy, lagMs: (lag / rate) * 1_000 };
}

function correlation(part, recording, at) {
  if (at < 0 || at + part.length > recording.length) return 0;
  let xy = 0;
  let xx = 0;
  let yy = 0;
  for (let i = 0; i < part.length; i++) {
    xy += part[i] * recording[at + i];
    xx += part[i] ** 2;
    yy += recording[at + i] ** 2;
  }
  return xx && yy ? xy / Math.sqrt(xx * yy) : 0;
}

/** Where the loudest second of the reference lies in the recording: by loudness first, then to the sample. */
function coarseLag(reference, recording, rate) {
  const hop = rate / 100;
  const loudness = (x) => Float32Array.from({ length: Math.floor(x.length / hop) }, (_, i) => {
    let sum = 0;
    for (let j = i * hop; j < (i + 1) * hop; j++) sum += x[j] ** 2;
    return Math.sqrt(sum / hop);
  });
  const a = loudness(reference);
  const b = loudness(recording);
  let best = { r: -1, at: 0 };
  for (let at = 0; at + Math.min(a.length, b.length) <= b.length + a.length / 2; at++) {
    const r = correlation(a.subarray(0, Math.min(a.length, b.length - at)), b, at);
    if (r > best.r) best = { r, at };
  }
  const part = reference.subarray(0, Math.min(reference.length, rate));
  let fine = { r: 0, lag: best.at * hop };
  for (let lag = best.at * hop - 3 * hop; lag <= best.at * hop + 3 * hop; lag++) {
    const r = correlation(part, recording, lag);
    if (r > fine.r) fine = { r, lag };
  }
  return fine.lag;
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Polls until `probe` is true; throws what it was waiting for, and the last that servers said. */
export async function until(what, probe, timeout = 30_000) {
  const began = performance.now();
  for (;;) {
    if (await probe()) return performance.now() - began;
    if (performance.now() - began > timeout) break;
    await sleep(50);
  }
  const logs = [...servers].map(({ port, log }) => `the server at ${port} said last:\n${log.slice(-2_000)}`);
  throw new Error([`waited ${timeout} ms for ${what}`, ...logs].join('\n'));
}

/** Waits until a relay answers a STUN request (RFC 8489 §5). */
export async function stunAnswers(host, port) {
  const request = Buffer.alloc(20);
  request.writeUInt16BE(1, 0);
  request.writeUInt32BE(0x2112a442, 4);
  const socket = dgram.createSocket('udp4');
  let answered = false;
  socket.on('message', () => (answered = true));
  await until('the relay', () => {
    if (!answered) socket.send(request, port, host);
    return answered;
  });
  socket.close();
}

export function temporary(name) {
  return path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'visavis-')), name);
}
