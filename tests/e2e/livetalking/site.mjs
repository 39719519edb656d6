// What the tests of LiveTalking's clients share: a server with their page, their films and a voice that tells what it was asked.

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Server, browser, root, until } from '../support.mjs';

const python = path.join(root, 'target/python-peer/bin/python');

export class Site {
  static async start() {
    const site = new Site();
    site.folder = fs.mkdtempSync(path.join(os.tmpdir(), 'visavis-livetalking-'));
    site.actions = path.join(site.folder, 'actions');
    site.film('idle', 'blue', 50);
    site.film('point', 'green', 50);
    site.film('hello', 'red', 4);
    site.film('../outside', 'white', 1);
    const tone = ['-f', 'lavfi', '-i', 'sine=880:duration=2', '-ar', '44100'];
    execFileSync('ffmpeg', ['-v', 'error', ...tone, path.join(site.actions, 'hello.mp3')]);
    site.voice = spawn(python, [path.join(root, 'tests/voices/standins.py')], { stdio: ['pipe', 'pipe', 'inherit'] });
    const [port] = await once(site.voice.stdout, 'data');
    site.voiceUrl = `http://127.0.0.1:${String(port).trim()}`;
    site.server = await Server.start({
      VISAVIS_SERVER__PAGE: path.join(root, 'tests/e2e/livetalking'),
      VISAVIS_SERVER__CORS: '[https://listed.example]',
      VISAVIS_ACTIONS__DIR: site.actions,
      VISAVIS_AVATARS__SPOOL: path.join(site.folder, 'spool'),
      VISAVIS_TTS__PROVIDER: 'openai',
      VISAVIS_TTS__OPENAI__BASE_URL: `${site.voiceUrl}/ok/v1`,
      VISAVIS_TTS__OPENAI__API_KEY: 'test-key',
    });
    site.chromium = await browser();
    return site;
  }

  /** A folder of pictures of one colour. */
  film(name, colour, pictures) {
    const dir = path.join(this.actions, name);
    fs.mkdirSync(dir, { recursive: true });
    const source = ['-f', 'lavfi', '-i', `color=${colour}:size=320x240:rate=25`];
    execFileSync('ffmpeg', ['-v', 'error', ...source, '-frames:v', String(pictures), path.join(dir, '%08d.png')]);
  }

  /** A page with one of both clients, connected. */
  async open(client, offer) {
    const context = await this.chromium.newContext({ bypassCSP: true });
    const page = await context.newPage();
    await page.goto(`${this.server.url}/index.html`);
    page.answer = await page.evaluate(([client, offer]) => globalThis[client](offer), [client, offer]);
    return page;
  }

  /** What the voice was asked and told. */
  async log() {
    return (await fetch(`${this.voiceUrl}/log`)).json();
  }

  async admin(what, headers = {}) {
    return (await fetch(`${this.server.url}/api/admin/${what}`, { headers })).json();
  }

  /** After each test. */
  async clear() {
    for (const context of this.chromium.contexts()) {
      // A tab that is closed says nothing, and its place is kept for a while.
      for (const page of context.pages()) await page.evaluate(() => globalThis.peer?.close());
      await context.close();
    }
  }

  async stop() {
    await this.chromium?.close();
    await this.server?.stop();
    this.voice?.stdin.end();
    fs.rmSync(this.folder, { recursive: true });
  }
}

export const shown = (page) => page.evaluate(() => globalThis.shown());
export const ask = (page, route, body) => page.evaluate(([route, body]) => globalThis.ask(route, body), [route, body]);
export const speaks = async (page) => (await ask(page, '/is_speaking')).data;

/** Waits for a colour: `blue`, `green`, `red`, or `face`, which is none of them. */
export function colour(page, wanted) {
  return until(`${wanted} pictures`, async () => {
    const { red, green, blue, width } = await shown(page);
    const is = { red: red > 150 && green < 90 && blue < 90, green: green > 80 && red < 80 && blue < 80, blue: blue > 150 && red < 90 && green < 90 };
    return width > 0 && (wanted === 'face' ? !Object.values(is).some(Boolean) : is[wanted]);
  }, 20_000);
}
