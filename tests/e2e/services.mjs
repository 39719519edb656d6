// A stand-in for the local services of seed 000: speech recognition, two chats, and MegaTTS3 on a shared disk.
//
// Written from the description of their routes and sharing no code with their clients. What the originals refuse, it refuses;
// `asked` is all that came, in order.

import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';

const json = (response, status, body) => {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
};

async function bodyOf(request) {
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  return Buffer.concat(pieces);
}

/** The parts of a multipart form by name. */
function parts(request, body) {
  const boundary = /boundary=("?)([^";]+)\1/.exec(request.headers['content-type'] ?? '')?.[2];
  if (!boundary) return null;
  const found = {};
  let at = body.indexOf(`--${boundary}`);
  for (;;) {
    const next = body.indexOf(`--${boundary}`, at + 2);
    if (next < 0) return found;
    const part = body.subarray(at + boundary.length + 4, next - 2);
    const end = part.indexOf('\r\n\r\n');
    const head = part.subarray(0, end).toString();
    found[/name="([^"]+)"/.exec(head)?.[1]] = { type: /content-type: *(\S+)/i.exec(head)?.[1] ?? '', data: part.subarray(end + 4) };
    at = next;
  }
}

/** The samples of a 16 kHz mono WAV file, or null. */
function samplesOf(file) {
  const is16kMono = file.toString('latin1', 0, 4) === 'RIFF' && file.readUInt16LE(20) === 1 && file.readUInt16LE(22) === 1
    && file.readUInt32LE(24) === 16_000 && file.readUInt16LE(34) === 16 && file.readUInt32LE(40) === file.length - 44;
  return is16kMono ? Float32Array.from({ length: (file.length - 44) / 2 }, (_, i) => file.readInt16LE(44 + i * 2) / 32_768) : null;
}

/** A WAV file of so many seconds of a tone, at 24 kHz as MegaTTS3 writes it. */
export function tone(hz, seconds, rate = 24_000) {
  const count = Math.round(seconds * rate);
  const file = Buffer.alloc(44 + count * 2);
  file.write('RIFF', 0);
  file.writeUInt32LE(36 + count * 2, 4);
  file.write('WAVEfmt ', 8);
  for (const [at, value] of [[16, 16], [24, rate], [28, rate * 2], [40, count * 2]]) file.writeUInt32LE(value, at);
  for (const [at, value] of [[20, 1], [22, 1], [32, 2], [34, 16]]) file.writeUInt16LE(value, at);
  file.write('data', 36);
  for (let n = 0; n < count; n++) file.writeInt16LE(Math.round(12_000 * Math.sin((2 * Math.PI * hz * n) / rate)), 44 + n * 2);
  return file;
}

export class Services {
  /** `fault[route]` is how a route fails: a status, 'hang', or 'cut' in the middle of its answer. */
  static async start({ heard = '今天天气怎么样', said = '今天天气很好。', hz = 700, seconds = 2 } = {}) {
    const services = new Services();
    Object.assign(services, { heard, said, hz, seconds, asked: [], fault: {}, open: 0 });
    services.server = http.createServer((request, response) => services.answer(request, response)).listen(0, '127.0.0.1');
    await once(services.server, 'listening');
    services.url = `http://127.0.0.1:${services.server.address().port}`;
    return services;
  }

  async stop() {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, 'close');
  }

  async answer(request, response) {
    const route = request.url;
    const body = await bodyOf(request);
    const entry = { route, at: performance.now(), left: false };
    this.asked.push(entry);
    response.on('close', () => (entry.left = !response.writableFinished));
    const fault = this.fault[route];
    if (fault === 'hang') return;
    if (fault === 'cut') {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': '100' });
      response.write('{"code":0,');
      setTimeout(() => request.socket.destroy(), 20);
      return;
    }
    if (fault) return json(response, fault, { detail: '处理语音文件失败' });
    if (request.method !== 'POST') return json(response, 405, { detail: 'Method Not Allowed' });
    switch (route) {
      case '/api/v1/speech-to-text': return this.recognise(request, response, body, entry);
      case '/api/v1/chat/qwen': case '/api/v1/chat/uncensored': return this.chat(response, body, entry);
      case '/process': return this.speak(response, body, entry);
      default: return json(response, 404, { detail: 'Not Found' });
    }
  }

  recognise(request, response, body, entry) {
    const form = parts(request, body);
    if (!form?.file?.type.startsWith('audio/')) return json(response, 400, { detail: '只接受音频文件' });
    if (form.file.data.length === 0) return json(response, 400, { detail: '上传的文件为空' });
    entry.samples = samplesOf(form.file.data);
    entry.language = form.language?.data.toString();
    if (!entry.samples || !['zh', 'en'].includes(entry.language)) return json(response, 500, { detail: '处理语音文件失败: format' });
    return json(response, 200, { code: 0, message: '语音转文字成功', data: { transcription: this.heard, language: entry.language } });
  }

  chat(response, body, entry) {
    entry.body = JSON.parse(body);
    const { prompt, history, max_length: length, temperature, top_p: p } = entry.body;
    const fits = typeof prompt === 'string' && prompt && Array.isArray(history) && Number.isInteger(length)
      && typeof temperature === 'number' && typeof p === 'number';
    if (!fits) return json(response, 422, { detail: 'validation' });
    return json(response, 200, { code: 0, message: '对话成功', data: { response: this.said } });
  }

  speak(response, body, entry) {
    entry.body = JSON.parse(body);
    const { wav_path: wav, input_text: text, output_dir: folder } = entry.body;
    if (!text || !fs.existsSync(wav ?? '') || !fs.existsSync(folder ?? '')) return json(response, 400, { error: 'wav_path, input_text, output_dir' });
    const file = path.join(folder, `${this.asked.length}.wav`);
    fs.writeFileSync(file, tone(this.hz, this.seconds));
    return json(response, 200, { output_file: file, input_text: text, process_time: 0.1 });
  }
}

/** How strong `hz` is among all that is in `samples`, 0 to 1. */
export function share(samples, hz, rate) {
  let [re, im, all] = [0, 0, 0];
  samples.forEach((s, n) => {
    re += s * Math.cos((2 * Math.PI * hz * n) / rate);
    im += s * Math.sin((2 * Math.PI * hz * n) / rate);
    all += s * s;
  });
  return all ? (2 * (re * re + im * im)) / samples.length / all : 0;
}
