// A server that writes speech down, from OpenAI's document of `POST /v1/audio/transcriptions`: refuses what the service would
// refuse, keeps what it hears, and says what a test has told it to.

import { once } from 'node:events';
import http from 'node:http';

export class Ears {
  /** `{ at, samples }` of each recording, in the order in which they came. */
  heard = [];
  /** What was wrong with requests. */
  faults = [];
  /** What is said to have been said, and how long that takes. */
  text = '今天天气怎么样';
  delayMs = 0;

  static async start() {
    const ears = new Ears();
    ears.server = http.createServer((request, response) => ears.take(request, response)).listen(0, '127.0.0.1');
    await once(ears.server, 'listening');
    ears.url = `http://127.0.0.1:${ears.server.address().port}/v1`;
    return ears;
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }

  async take(request, response) {
    const at = performance.now();
    const pieces = [];
    for await (const piece of request) pieces.push(piece);
    const reply = (status, body) => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(body));
    };
    let samples;
    try {
      samples = recording(request, Buffer.concat(pieces));
    } catch (error) {
      this.faults.push(error.message);
      return reply(400, { error: { message: error.message, type: 'invalid_request_error' } });
    }
    this.heard.push({ at, samples });
    setTimeout(() => reply(200, { text: this.text }), this.delayMs);
  }
}

function recording(request, body) {
  const check = (is, what) => {
    if (!is) throw new Error(what);
  };
  check(request.method === 'POST' && request.url === '/v1/audio/transcriptions', `${request.method} ${request.url}`);
  const boundary = /^multipart\/form-data; ?boundary="?([^";]+)"?$/.exec(request.headers['content-type'])?.[1];
  check(boundary, 'content type');
  const parts = split(body, boundary);
  check(parts.model?.data.toString() === 'whisper-1', 'model');
  check(['json', undefined].includes(parts.response_format?.data.toString()), 'response_format');
  check(/filename="[^"]+\.wav"/.test(parts.file?.head ?? ''), 'file name');
  const wav = parts.file.data;
  check(wav.toString('latin1', 0, 4) === 'RIFF' && wav.toString('latin1', 8, 16) === 'WAVEfmt ', 'not a WAV file');
  check(wav.readUInt32LE(4) === wav.length - 8, 'length of the file');
  const [format, channels] = [wav.readUInt16LE(20), wav.readUInt16LE(22)];
  const [rate, bits] = [wav.readUInt32LE(24), wav.readUInt16LE(34)];
  check(format === 1 && channels === 1 && rate === 16_000 && bits === 16, `${format} ${channels} ${rate} ${bits}`);
  check(wav.toString('latin1', 36, 40) === 'data' && wav.readUInt32LE(40) === wav.length - 44, 'length of the sound');
  return Float32Array.from({ length: (wav.length - 44) / 2 }, (_, n) => wav.readInt16LE(44 + n * 2) / 32_768);
}

function split(body, boundary) {
  const parts = {};
  const mark = Buffer.from(`--${boundary}`);
  let at = body.indexOf(mark);
  for (;;) {
    const next = body.indexOf(mark, at + mark.length);
    if (next < 0) break;
    const part = body.subarray(at + mark.length + 2, next - 2);
    const end = part.indexOf('\r\n\r\n');
    const head = part.toString('utf8', 0, end);
    const name = /name="([^"]+)"/.exec(head)?.[1];
    if (!name) throw new Error('a part without a name');
    parts[name] = { head, data: part.subarray(end + 4) };
    at = next;
  }
  if (body.toString('latin1', at + mark.length, at + mark.length + 2) !== '--') throw new Error('no end of the form');
  return parts;
}
