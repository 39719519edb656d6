// A language model's server, written from OpenAI's documents: refuses what the service would refuse, answers what a test
// has told it, and notes who asked when and when they hung up.

import { once } from 'node:events';
import http from 'node:http';

export const KEY = 'sk-of-the-test';
export const MODEL = 'gpt-3.5-turbo';

export class Mind {
  /** Question → `{ says, every, then }` or `{ status }`; see `answer`. */
  answers = new Map();
  /** `{ question, began, ended, cut }`, in the order in which they came. */
  asked = [];
  /** What was wrong with requests. */
  faults = [];

  static async start() {
    const mind = new Mind();
    mind.server = http.createServer((request, response) => mind.take(request, response)).listen(0, '127.0.0.1');
    await once(mind.server, 'listening');
    mind.url = `http://127.0.0.1:${mind.server.address().port}/v1`;
    return mind;
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }

  of(question) {
    return this.asked.find((one) => one.question === question);
  }

  async take(request, response) {
    let text = '';
    for await (const piece of request.setEncoding('utf8')) text += piece;
    const wrong = complaint(request, text);
    if (wrong) {
      this.faults.push(wrong);
      return refuse(response, 400, 'invalid_request_error');
    }
    // A question that got no answer comes again before the next one.
    const question = JSON.parse(text).messages.at(-1).content.split('\n').at(-1);
    const asked = { question, began: performance.now() };
    this.asked.push(asked);
    response.on('close', () => {
      asked.ended = performance.now();
      asked.cut = !response.writableFinished;
    });
    const reply = this.answers.get(asked.question);
    if (!reply) this.faults.push(`nobody said what to answer to ${asked.question}`);
    return reply?.says === undefined ? refuse(response, reply?.status ?? 500, 'of_the_test') : answer(response, reply);
  }
}

function complaint(request, text) {
  const { method, url, headers } = request;
  if (method !== 'POST' || url !== '/v1/chat/completions') return `${method} ${url}`;
  if (headers.authorization !== `Bearer ${KEY}`) return 'authorization';
  if (headers['content-type'] !== 'application/json') return `content type ${headers['content-type']}`;
  const { model, messages, stream, temperature, max_tokens: most } = JSON.parse(text);
  if (model !== MODEL || stream !== true || temperature !== 0.7 || most !== 1_000) return 'not what config.json says';
  const roles = messages.map((message) => message.role);
  if (roles[0] !== 'system' || roles.at(-1) !== 'user') return `roles ${roles}`;
  return null;
}

function refuse(response, status, code) {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify({ error: { message: 'no', type: code, param: null, code } }));
}

/** `says` in pieces, one each `every` ms; `then` it ends, hangs, breaks off, or tells of an error. */
async function answer(response, { says, every = 1, then = 'end' }) {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  const event = (choice) => `data: ${JSON.stringify({
    id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model: MODEL, choices: [{ index: 0, finish_reason: null, ...choice }],
  })}\n\n`;
  const send = async (text) => {
    // Cut anywhere, also within a character.
    const bytes = Buffer.from(text);
    for (let at = 0; at < bytes.length; at += 61) {
      response.write(bytes.subarray(at, at + 61));
      await new Promise(setImmediate);
    }
  };
  await send(event({ delta: { role: 'assistant', content: '' } }));
  for (const piece of says) {
    await send(event({ delta: { content: piece } }));
    await new Promise((resolve) => setTimeout(resolve, every));
    if (response.destroyed) return;
  }
  if (then === 'hang') return;
  if (then === 'cut') return response.destroy();
  if (then === 'error') await send('data: {"error":{"message":"no","type":"server_error","param":null,"code":null}}\n\n');
  else await send(`${event({ delta: {}, finish_reason: 'stop' })}data: [DONE]\n\n`);
  response.end();
}
