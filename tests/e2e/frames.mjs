// WebSocket frames (RFC 6455 §5), for peers that look into them or send what no library would.

import crypto from 'node:crypto';

export const TEXT = 1;
export const BINARY = 2;
export const CLOSE = 8;
export const PING = 9;
export const PONG = 10;

/** One whole frame; masked as a client's if `masked`. */
export function frame(opcode, payload, masked = false) {
  const body = Buffer.from(payload);
  const length = body.length < 126 ? [body.length] : body.length < 65_536 ? [126, body.length >> 8, body.length & 255] : null;
  if (!length) throw new Error('longer than these tests need');
  length[0] |= masked ? 128 : 0;
  if (!masked) return Buffer.concat([Buffer.from([128 | opcode, ...length]), body]);
  const mask = crypto.randomBytes(4);
  return Buffer.concat([Buffer.from([128 | opcode, ...length]), mask, body.map((byte, n) => byte ^ mask[n % 4])]);
}

/** Cuts a stream into frames; messages that come in several are put together. */
export class Frames {
  rest = Buffer.alloc(0);
  parts = [];

  push(data) {
    this.rest = Buffer.concat([this.rest, data]);
    const found = [];
    for (;;) {
      const one = this.next();
      if (!one) return found;
      if (one.opcode >= CLOSE) {
        found.push(one);
        continue;
      }
      this.parts.push(one);
      if (!one.final) continue;
      found.push({ opcode: this.parts[0].opcode, payload: Buffer.concat(this.parts.map(({ payload }) => payload)) });
      this.parts = [];
    }
  }

  next() {
    const { rest } = this;
    if (rest.length < 2) return null;
    let at = 2;
    let length = rest[1] & 127;
    if (length === 126) [length, at] = rest.length < 4 ? [Infinity, 4] : [rest.readUInt16BE(2), 4];
    else if (length === 127) [length, at] = rest.length < 10 ? [Infinity, 10] : [Number(rest.readBigUInt64BE(2)), 10];
    const masked = rest[1] & 128;
    const end = at + (masked ? 4 : 0) + length;
    if (rest.length < end) return null;
    let payload = rest.subarray(at + (masked ? 4 : 0), end);
    if (masked) {
      const mask = rest.subarray(at, at + 4);
      payload = payload.map((byte, n) => byte ^ mask[n % 4]);
    }
    this.rest = rest.subarray(end);
    return { opcode: rest[0] & 15, final: (rest[0] & 128) !== 0, payload: Buffer.from(payload) };
  }
}

/** The answer to an upgrade with this key. */
export function upgrade(key, subprotocol) {
  const accept = crypto.createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
  const lines = ['HTTP/1.1 101 Switching Protocols', 'Upgrade: websocket', 'Connection: Upgrade', `Sec-WebSocket-Accept: ${accept}`];
  if (subprotocol) lines.push(`Sec-WebSocket-Protocol: ${subprotocol}`);
  return `${lines.join('\r\n')}\r\n\r\n`;
}
