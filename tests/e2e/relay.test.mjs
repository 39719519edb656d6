// The relay of seed 000's older client: a WebSocket server of ours plays the relay, by the description of its messages.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, afterEach, test } from 'node:test';
import { BINARY, CLOSE, Frames, PING, PONG, TEXT, frame, upgrade } from './frames.mjs';
import { Services, share, tone } from './services.mjs';
import { Server, root, sleep, until } from './support.mjs';

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'visavis-relay-'));
const running = [];

function keep(started) {
  running.push(started);
  return started;
}

afterEach(async () => {
  for (const started of running.splice(0).reverse()) await started.stop();
});

after(() => fs.rmSync(folder, { recursive: true }));

/** The relay. It takes one connection at a time, and nothing that is not in its protocol. */
class Relay {
  static async start() {
    const relay = new Relay();
    Object.assign(relay, { texts: [], sounds: [], faults: [], connections: 0 });
    relay.server = net.createServer((socket) => relay.accept(socket)).listen(0, '127.0.0.1');
    await once(relay.server, 'listening');
    relay.url = `ws://127.0.0.1:${relay.server.address().port}/ws/proxy`;
    return relay;
  }

  accept(socket) {
    this.socket = socket;
    const frames = new Frames();
    let head = Buffer.alloc(0);
    let upgraded = false;
    let greeted = false;
    socket.on('error', () => {});
    socket.on('data', (data) => {
      let rest = data;
      if (!upgraded) {
        head = Buffer.concat([head, data]);
        const end = head.indexOf('\r\n\r\n');
        if (end < 0) return;
        const request = head.subarray(0, end).toString();
        if (!request.startsWith('GET /ws/proxy ')) this.faults.push(request.split('\r\n')[0]);
        socket.write(upgrade(/sec-websocket-key: (\S+)/i.exec(request)[1]));
        upgraded = true;
        this.connections += 1;
        rest = head.subarray(end + 4);
      }
      for (const { opcode, payload } of frames.push(rest)) {
        const at = performance.now();
        if (opcode === PING) socket.write(frame(PONG, payload));
        if (opcode === CLOSE) socket.end(frame(CLOSE, payload));
        if (opcode === BINARY) {
          if (!greeted || payload.length <= 16 || payload.length > 16 + 4_096 || payload.length % 2) this.faults.push(`binary of ${payload.length}`);
          this.sounds.push({ at, id: payload.subarray(0, 16).toString('hex'), pcm: payload.subarray(16) });
        }
        if (opcode !== TEXT) continue;
        const message = JSON.parse(payload.toString());
        if (!greeted && !(message.client_type === 'ai_backend' && Number.isInteger(message.timestamp) && message.version === '1.0')) this.faults.push(`greeting ${payload}`);
        greeted = true;
        this.texts.push({ at, ...message });
      }
    });
  }

  send(id, pcm) {
    this.socket.write(frame(BINARY, Buffer.concat([Buffer.from(id, 'hex'), pcm])));
  }

  tell(message) {
    this.socket.write(frame(TEXT, JSON.stringify(message)));
  }

  of = (id) => this.sounds.filter((sound) => sound.id === id);
  contents = (id) => this.texts.filter(({ type, session_id: session }) => type === 'text' && session === id).map(({ content }) => content);

  stop() {
    this.socket?.destroy();
    this.server.close();
  }
}

test('devices behind a relay are heard, answered, cut off, and found again when the relay comes back', async () => {
  const services = keep(await Services.start({ hz: 700, seconds: 4 }));
  const relay = keep(await Relay.start());
  const reference = path.join(folder, 'reference.wav');
  fs.writeFileSync(reference, tone(300, 3, 16_000));
  const server = keep(await Server.start({
    VISAVIS_RELAY__ENABLED: 'true', WS_URL: relay.url, VISAVIS_RELAY__HEARTBEAT_S: '2', VISAVIS_RELAY__IDLE_S: '20',
    VISAVIS_ASR__PROVIDER: 'services', VISAVIS_ASR__SERVICES__BASE_URL: `${services.url}/api/v1`,
    VISAVIS_LLM__PROVIDER: 'services', VISAVIS_LLM__SERVICES__BASE_URL: `${services.url}/api/v1`,
    VISAVIS_TTS__PROVIDER: 'megatts3', VISAVIS_TTS__MEGATTS3__URL: services.url,
    VISAVIS_TTS__MEGATTS3__REFERENCE_AUDIO: reference, VISAVIS_TTS__MEGATTS3__OUTPUT_DIR: path.join(folder, 'made'),
  }));
  await until('the greeting', () => relay.texts.length > 0);
  const pcm = execFileSync('ffmpeg', ['-v', 'error', '-i', path.join(root, 'tests/corpus/sound/mandarin.ogg'), '-ar', '16000', '-ac', '1', '-f', 's16le', '-']);
  const [one, two] = ['01'.repeat(16), 'fe'.repeat(16)];
  const speak = async (id) => {
    for (let at = 0; at < pcm.length; at += 4_096) {
      relay.send(id, pcm.subarray(at, at + 4_096));
      await sleep(100);
    }
  };
  await Promise.all([speak(one), speak(two)]);
  await until('two recognitions', () => services.asked.filter(({ route }) => route === '/api/v1/speech-to-text').length === 2, 15_000);
  assert.equal((await server.sessions()).length, 2);
  await sleep(6_000);
  for (const id of [one, two]) {
    const pieces = relay.of(id);
    const sound = Buffer.concat(pieces.map(({ pcm: piece }) => piece));
    const samples = Float32Array.from({ length: sound.length / 2 }, (_, n) => sound.readInt16LE(n * 2) / 32_768);
    assert.ok(Math.abs(samples.length / 16_000 - 4) < 0.3, `${samples.length / 16_000} s of 4`);
    assert.ok(share(samples, 700, 16_000) > 0.95);
    assert.ok(pieces.slice(0, -1).every(({ pcm: piece }) => piece.length === 4_096));
    assert.deepEqual(relay.contents(id).map((text) => text.trim()), ['正在处理音频...', services.said]);
  }
  const beats = relay.texts.filter(({ type }) => type === 'heartbeat');
  assert.ok(beats.length >= 3 && beats.every(({ client_type: client, timestamp }) => client === 'ai_backend' && timestamp > 1e9));
  // Cancelled in the midst of an answer: half a second later nothing more comes.
  relay.sounds.length = 0;
  await speak(one);
  await until('an answer', () => relay.of(one).length > 3, 15_000);
  relay.tell({ type: 'cancel_processing', session_id: one });
  await sleep(500);
  const after = relay.of(one).length;
  await sleep(1_000);
  assert.equal(relay.of(one).length, after);
  // The relay goes and comes back, after 3 s: the same sessions.
  const before = (await server.sessions()).map(({ id }) => id).sort();
  relay.socket.destroy();
  const away = await until('the second greeting', () => relay.connections === 2 && relay.texts.filter(({ version }) => version).length === 2, 6_000);
  assert.ok(away > 2_500, `${away} ms`);
  relay.sounds.length = 0;
  await speak(two);
  await until('an answer', () => relay.of(two).length > 3, 15_000);
  assert.deepEqual((await server.sessions()).map(({ id }) => id).sort(), before);
  assert.deepEqual(relay.faults, []);
});
