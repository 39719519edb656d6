// The two sides of /audio_proxy, both in Python: servers that speak MiniCPM's protocol, and whoever connects from outside.

import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import readline from 'node:readline';
import { promisify } from 'node:util';
import { Server, binary, freePort, root, temporary, until } from './support.mjs';

const python = path.join(root, 'target/python-peer/bin/python');
const here = (file) => path.join(root, 'tests/e2e', file);

/** What a test has started, newest first; `cleanUp` ends all of it. */
const started = [];

export async function cleanUp() {
  for (const stop of started.splice(0).reverse()) await stop();
}

/** Our server with the proxy on. `env` are further keys of the section, as in `{ WHEN_BUSY: 'queue' }`. */
export async function proxy(models, env = {}, further = {}) {
  const settings = { ENABLED: 'true', BACKEND: models.length ? 'minicpm' : 'own', ...env };
  if (models.length) settings.MINICPM__PORT = String(models[0].port);
  if (models.length > 1) settings.MINICPM__POOL = `[${models.slice(1).map((m) => `"127.0.0.1:${m.port}"`)}]`;
  const named = Object.entries(settings).map(([key, value]) => [`VISAVIS_AUDIO_PROXY__${key}`, value]);
  const server = await Server.start({ ...Object.fromEntries(named), ...(models.length ? { VISAVIS_ASR__PROVIDER: 'off' } : {}), ...further });
  started.push(() => server.stop('SIGKILL'));
  server.proxy = `ws://127.0.0.1:${server.port}/audio_proxy`;
  return server;
}

/** A MiniCPM server without the model. */
export class Model {
  constructor(port) {
    this.port = port;
    this.url = `http://127.0.0.1:${port}`;
  }

  /** `count` of them, in one process. */
  static async start(count = 1) {
    const models = [];
    for (let n = 0; n < count; n++) models.push(new Model(await freePort()));
    await Model.run(models);
    return models;
  }

  static async run(models) {
    const process = spawn(python, [here('minicpm_standin.py'), ...models.map((m) => String(m.port))]);
    let log = '';
    process.stderr.on('data', (data) => (log += data));
    started.push(async () => {
      if (process.exitCode !== null || process.signalCode !== null) return;
      process.kill('SIGKILL');
      await once(process, 'exit');
    });
    await Promise.race([
      once(process.stdout, 'data'),
      once(process, 'exit').then(() => Promise.reject(new Error(`the stand-in did not start: ${log}`))),
    ]);
  }

  async set(mode) {
    const reply = await fetch(`${this.url}/_set`, { method: 'POST', body: JSON.stringify(mode) });
    if (!reply.ok) throw new Error(`/_set: ${reply.status}`);
  }

  seen = async () => (await fetch(`${this.url}/_seen`)).json();

  /** What was uploaded, as bytes. */
  async pcm() {
    return Buffer.from(await (await fetch(`${this.url}/_pcm`)).arrayBuffer());
  }

  post = (path_) => fetch(`${this.url}${path_}`, { method: 'POST' }).catch(() => null);

  /** What happened, in order. */
  async order(...kinds) {
    return (await this.seen()).order.filter(({ what }) => kinds.length === 0 || kinds.includes(what));
  }
}

/** Somebody outside. */
export class Outside {
  static async connect(url, headers = {}) {
    const outside = new Outside();
    const pairs = Object.entries(headers).map(([name, value]) => `${name}=${value}`);
    outside.process = spawn(python, [here('audio_proxy_client.py'), url, ...pairs]);
    outside.log = '';
    outside.events = [];
    outside.process.stderr.on('data', (data) => (outside.log += data));
    readline.createInterface({ input: outside.process.stdout }).on('line', (line) => {
      outside.events.push(JSON.parse(line));
      outside.waiting?.();
    });
    started.push(async () => {
      if (outside.process.exitCode !== null || outside.process.signalCode !== null) return;
      outside.process.kill('SIGKILL');
      await once(outside.process, 'exit');
    });
    await outside.event((event) => event.opened || event.refused, 15_000);
    return outside;
  }

  /** The first event that `wanted` accepts, now or later. */
  async event(wanted, timeout = 10_000) {
    let found;
    await until(`${wanted} among ${this.events.length} events; ${this.log}`, () => (found = this.events.find(wanted)), timeout);
    return found;
  }

  async do(what) {
    const id = (this.next = (this.next ?? 0) + 1);
    this.process.stdin.write(`${JSON.stringify({ ...what, id })}\n`);
    await this.event((event) => event.done === id, 150_000);
  }

  /** Speaks as the stand-in understands it: a tone, then silence. */
  async speak(seconds, { silence = 1, ...how } = {}) {
    await this.do({ do: 'send', s: seconds, ...how });
    if (silence) await this.do({ do: 'send', s: silence, amp: 0, ...how });
  }

  texts() {
    return this.events.filter((e) => e.said?.type === 'text').map((e) => e.said.content);
  }

  errors() {
    return this.events.filter((e) => e.said?.type === 'error').map((e) => e.said.content);
  }

  sounds(since = 0) {
    return this.events.filter((e) => e.pcm && e.t >= since);
  }

  /** Samples that have come. */
  samples(since = 0) {
    return samplesOf(Buffer.concat(this.sounds(since).map((e) => Buffer.from(e.pcm, 'base64'))));
  }

  /** Waits until so many seconds of sound are here. */
  hearing = (seconds, timeout = 15_000) =>
    until(`${seconds} s of sound; ${this.samples().length / 16_000} came; ${this.errors()}; ${this.log}`, () => this.samples().length >= seconds * 16_000, timeout);

  closed = async (timeout) => (await this.event((event) => 'closed' in event, timeout)).closed;
}

/** Many clients, `crowd` or `cycles`; the lines that they print. */
export async function many(how, url, count) {
  const { stdout } = await promisify(execFile)(python, [here('audio_proxy_crowd.py'), how, url, String(count)], { timeout: 120_000, maxBuffer: 1 << 26 });
  return stdout.split('\n').filter(Boolean);
}

/** 16-bit samples of base64. */
export function samplesOf(text) {
  const bytes = Buffer.from(text, 'base64');
  return Int16Array.from({ length: bytes.length / 2 }, (_, i) => bytes.readInt16LE(i * 2));
}

/** One of each. */
export async function threesome(env = {}, mode = {}) {
  const [model] = await Model.start();
  await model.set(mode);
  const server = await proxy([model], env);
  const outside = await Outside.connect(server.proxy);
  return { model, server, outside };
}

/** Speech that ears take for speech. */
let recorded;
export function speech() {
  if (!recorded) {
    const file = temporary('speech.wav');
    execFileSync(binary, ['say', 'Wait a moment please, I would like to ask you something else about the weather tomorrow.', '-o', file], { cwd: root, stdio: 'ignore' });
    recorded = fs.readFileSync(file).subarray(44);
  }
  return recorded.toString('base64');
}
/** Level in dB below full scale of the tone at `hz`, and of all the rest relative to it. */
export function tone(samples, hz) {
  let [a, b, all] = [0, 0, 0];
  for (let n = 0; n < samples.length; n++) {
    const angle = (2 * Math.PI * hz * n) / 16_000;
    a += samples[n] * Math.sin(angle);
    b += samples[n] * Math.cos(angle);
    all += samples[n] ** 2;
  }
  const power = (2 * (a * a + b * b)) / samples.length ** 2;
  return { db: 10 * Math.log10(power / (32_768 ** 2 / 2)), restDb: 10 * Math.log10(Math.max(all / samples.length - power, 1e-9) / power), phase: Math.atan2(b, a) };
}

/** A tone as bytes. */
export function pcm(seconds, hz, amp) {
  const bytes = Buffer.alloc(seconds * 32_000);
  for (let n = 0; n < bytes.length / 2; n++) bytes.writeInt16LE(Math.round(amp * Math.sin((2 * Math.PI * hz * n) / 16_000)), n * 2);
  return bytes;
}
