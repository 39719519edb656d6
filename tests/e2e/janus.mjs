// Peers of the Janus tests: Debian's Janus itself with a configuration of its own, a participant in Python (janus_device.py),
// and a proxy that can cut, hold, reorder and look at what passes, signalling and media.

import { spawn } from 'node:child_process';
import dgram from 'node:dgram';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import readline from 'node:readline';
import { CLOSE, Frames, TEXT, frame } from './frames.mjs';
import { freePort, root, sleep, until } from './support.mjs';

const LIBRARY = '/usr/lib/x86_64-linux-gnu/janus';
export const SECRET = 'janusrocks';
export const ROOM_SECRET = 'adminpwd';

/** Janus with an audiobridge, a WebSocket and REST, on ports of its own. */
export class Janus {
  static async start({ sessionTimeout = 60, reclaim = 0, rooms = 'room-1234: { secret = "adminpwd", sampling_rate = 16000 }' } = {}) {
    const janus = new Janus();
    janus.folder = fs.mkdtempSync(path.join(os.tmpdir(), 'visavis-janus-'));
    [janus.port, janus.rest] = [await freePort(), await freePort()];
    const library = [LIBRARY, LIBRARY.replace('x86_64', 'aarch64')].find((folder) => fs.existsSync(folder));
    const all = (kind) => fs.readdirSync(path.join(library, kind)).filter((file) => file.endsWith('.so') && !/audiobridge|websockets|http/.test(file));
    const write = (name, text) => fs.writeFileSync(path.join(janus.folder, `janus.${name}`), text);
    write('jcfg', `general: { configs_folder = "${janus.folder}", plugins_folder = "${library}/plugins",
        transports_folder = "${library}/transports", events_folder = "${library}/events", loggers_folder = "${library}/loggers",
        debug_level = 5, debug_timestamps = true, api_secret = "${SECRET}", session_timeout = ${sessionTimeout},
        reclaim_session_timeout = ${reclaim} }
      media: { rtp_port_range = "20000-40000" }
      plugins: { disable = "${all('plugins').join()}" }
      transports: { disable = "${all('transports').join()}" }`);
    write('plugin.audiobridge.jcfg', `general: { }\n${rooms}`);
    write('transport.websockets.jcfg', `general: { ws = true, ws_port = ${janus.port}, ws_ip = "127.0.0.1" }`);
    write('transport.http.jcfg', `general: { base_path = "/janus", http = true, port = ${janus.rest}, ip = "127.0.0.1" }`);
    await janus.run();
    return janus;
  }

  async run() {
    this.log = '';
    this.admin = null;
    this.process = spawn('janus', ['-F', this.folder]);
    for (const stream of [this.process.stdout, this.process.stderr]) stream.on('data', (data) => (this.log += data));
    await until('janus', async () => {
      if (this.process.exitCode !== null) throw new Error(`janus did not start:\n${this.log.slice(-2_000)}`);
      return this.post('', { janus: 'info' }).then((reply) => reply.janus === 'server_info', () => false);
    });
  }

  get url() {
    return `ws://127.0.0.1:${this.port}`;
  }

  async post(where, body) {
    const message = { transaction: 'rest', apisecret: SECRET, ...body };
    const reply = await fetch(`http://127.0.0.1:${this.rest}/janus${where}`, { method: 'POST', body: JSON.stringify(message) });
    return reply.json();
  }

  /** Asks the audiobridge as somebody else. */
  async ask(request, rest = {}) {
    if (!this.admin) {
      const session = (await this.post('', { janus: 'create' })).data.id;
      const handle = (await this.post(`/${session}`, { janus: 'attach', plugin: 'janus.plugin.audiobridge' })).data.id;
      this.admin = `/${session}/${handle}`;
    }
    const reply = await this.post(this.admin, { janus: 'message', body: { request, room: 1234, ...rest } });
    if (reply.error?.code === 458) {
      this.admin = null;
      return this.ask(request, rest);
    }
    return reply.plugindata?.data ?? reply;
  }

  /** Our avatar as the others see it; with all the others if there is more than one. */
  async agents(name = 'Agent') {
    const { participants = [] } = await this.ask('listparticipants');
    return participants.filter(({ display }) => display === name);
  }

  async kill(signal = 'SIGKILL') {
    if (this.process.exitCode !== null || this.process.signalCode) return;
    this.process.kill(signal);
    await once(this.process, 'exit');
  }

  async stop() {
    await this.kill('SIGKILL');
    fs.rmSync(this.folder, { recursive: true });
  }
}

/** The independent participant. */
export class Device {
  static async start(janus, { name = 'device', stereo = false } = {}) {
    const device = new Device();
    const python = path.join(root, 'target/python-peer/bin/python');
    const args = [path.join(root, 'tests/e2e/janus_device.py'), janus.url, SECRET, '1234', name, ...(stereo ? ['--stereo'] : [])];
    device.process = spawn(python, args);
    device.told = [];
    device.stderr = '';
    device.process.stderr.on('data', (data) => (device.stderr += data));
    readline.createInterface({ input: device.process.stdout }).on('line', (line) => device.told.push(JSON.parse(line)));
    await device.wait('joined', 20_000);
    await until('sound from the room', async () => (await device.ask('mark')).at > 3_200);
    return device;
  }

  /** The next thing told under this name, from now on or from `since` on. */
  async wait(key, timeout = 15_000, since = 0) {
    await until(`${key} of the device`, () => {
      if (this.process.exitCode) throw new Error(this.stderr);
      return this.told.slice(since).some((message) => key in message);
    }, timeout);
    return this.told.slice(since).find((message) => key in message);
  }

  do(command) {
    this.process.stdin.write(`${JSON.stringify(command)}\n`);
  }

  /** `mark` or `stats`, at once. */
  async ask(command) {
    const since = this.told.length;
    this.do({ [command]: true });
    return this.wait(command === 'stats' ? 'frames' : command, 15_000, since);
  }

  /** Plays a file to its end; tells when it began and ended. */
  async play(file) {
    const since = this.told.length;
    this.do({ play: file });
    const began = await this.wait('playing', 15_000, since);
    const ended = await this.wait('played', 60_000, since);
    return { began: began.t, at: began.at, ended: ended.t };
  }

  /** What was heard so far, 16 kHz, and the time of its end. */
  async heard() {
    const file = path.join(os.tmpdir(), `visavis-heard-${process.pid}-${Math.random()}.wav`);
    const since = this.told.length;
    this.do({ mark: true });
    this.do({ save: file });
    const { at, t } = await this.wait('mark', 15_000, since);
    await this.wait('saved', 15_000, since);
    const bytes = fs.readFileSync(file);
    fs.rmSync(file);
    const samples = Float32Array.from({ length: (bytes.length - 44) / 2 }, (_, i) => bytes.readInt16LE(44 + i * 2) / 32_768);
    return { samples, at, t };
  }

  async stop() {
    if (this.process.exitCode !== null) return;
    this.do({ bye: true });
    const late = setTimeout(() => this.process.kill('SIGKILL'), 3_000);
    await once(this.process, 'exit');
    clearTimeout(late);
  }
}

/**
 * Stands between the avatar and Janus. All signalling passes through it; with `media`, all packets, too: candidates of the
 * offer are taken out and those of the answer replaced by its own.
 */
export class Proxy {
  static async start(janus, { media = false, reorder = false } = {}) {
    const proxy = new Proxy();
    Object.assign(proxy, { janus, media, reorder, sockets: new Set(), said: [], told: [], packets: [], closes: [], blocked: false });
    proxy.server = net.createServer((socket) => proxy.pass(socket)).listen(0, '127.0.0.1');
    await once(proxy.server, 'listening');
    proxy.url = `ws://127.0.0.1:${proxy.server.address().port}`;
    return proxy;
  }

  /** Breaks every connection of the WebSocket. */
  cut() {
    for (const socket of this.sockets) socket.destroy();
  }

  pass(ours) {
    const theirs = net.connect(this.janus.port, '127.0.0.1');
    const both = [ours, theirs];
    for (const [socket, other] of [both, [theirs, ours]]) {
      this.sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        this.sockets.delete(socket);
        other.destroy();
      });
    }
    const handle = (from, to, masked, each) => {
      let head = Buffer.alloc(0);
      const frames = new Frames();
      let upgraded = false;
      from.on('data', (data) => {
        let rest = data;
        if (!upgraded) {
          head = Buffer.concat([head, data]);
          const end = head.indexOf('\r\n\r\n');
          if (end < 0) return;
          upgraded = true;
          to.write(head.subarray(0, end + 4));
          rest = head.subarray(end + 4);
        }
        for (const { opcode, payload } of frames.push(rest)) {
          if (opcode === TEXT) each(JSON.parse(payload.toString()), (message) => to.write(frame(TEXT, JSON.stringify(message), masked)));
          else {
            if (opcode === CLOSE && masked) this.closes.push(payload.length >= 2 ? payload.readUInt16BE(0) : 0);
            to.write(frame(opcode, payload, masked));
          }
        }
      });
    };
    let held = null;
    handle(ours, theirs, true, (message, send) => {
      this.said.push(message);
      if (this.media && message.jsep) message.jsep.sdp = message.jsep.sdp.replaceAll(/a=candidate:.*\r\n/g, '');
      send(message);
    });
    handle(theirs, ours, false, async (message, send) => {
      this.told.push(message);
      if (this.media && message.jsep) message.jsep.sdp = await this.relayed(message.jsep.sdp);
      if (!this.reorder) return send(message);
      // An ack waits for what comes after it; strangers come in between.
      if (message.janus === 'ack') {
        held = message;
        setTimeout(() => held === message && send(message), 100);
        return undefined;
      }
      send({ janus: 'dance', sender: 1 });
      send({ janus: 'event', sender: message.sender, plugindata: { plugin: 'x', data: { audiobridge: 'juggling', news: [1] } } });
      send(message);
      if (held) send(held);
      held = null;
      return undefined;
    });
  }

  /** The answer with our UDP port in the place of Janus' own. */
  async relayed(sdp) {
    const [, ip, port] = / (\d+\.\d+\.\d+\.\d+) (\d+) typ host/.exec(sdp);
    const [front, back] = [dgram.createSocket('udp4'), dgram.createSocket('udp4')];
    front.bind(0, '0.0.0.0');
    back.bind(0, '0.0.0.0');
    await Promise.all([once(front, 'listening'), once(back, 'listening')]);
    (this.udp ??= []).push(front, back);
    let client;
    front.on('message', (packet, from) => {
      client = from;
      if (this.blocked) return;
      if (packet[0] >> 6 === 2 && !(packet[1] >= 192 && packet[1] <= 223)) {
        this.packets.push({ at: performance.now(), type: packet[1] & 127, number: packet.readUInt16BE(2), stamp: packet.readUInt32BE(4), extended: (packet[0] & 16) !== 0 });
      }
      back.send(packet, Number(port), ip);
    });
    back.on('message', (packet) => client && !this.blocked && front.send(packet, client.port, client.address));
    const own = `a=candidate:1 1 udp 2015363327 127.0.0.1 ${front.address().port} typ host\r\n`;
    let first = true;
    return sdp.replaceAll(/a=candidate:.*\r\n/g, () => {
      const line = first ? own : '';
      first = false;
      return line;
    });
  }

  async stop() {
    this.cut();
    this.server.close();
    for (const socket of this.udp ?? []) socket.close();
  }
}

/** How loud each `ms` of it is. */
export function loudness(samples, ms = 20, rate = 16_000) {
  const hop = (rate * ms) / 1_000;
  return Array.from({ length: Math.floor(samples.length / hop) }, (_, n) => {
    let sum = 0;
    for (let i = n * hop; i < (n + 1) * hop; i++) sum += samples[i] ** 2;
    return Math.sqrt(sum / hop);
  });
}

export { sleep };
