// Firefox from Debian, driven by its own remote control (Marionette): lengths and JSON over TCP, one command at a time.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { freePort, sleep } from './support.mjs';

const binary = process.env.FIREFOX ?? '/usr/bin/firefox-esr';
export const isInstalled = fs.existsSync(binary);

/** No errand of its own leaves the machine, and media may begin by itself. */
const PREFERENCES = {
  'app.update.enabled': false,
  'browser.shell.checkDefaultBrowser': false,
  'datareporting.policy.dataSubmissionEnabled': false,
  'dom.security.https_first': false,
  'media.autoplay.default': 0,
  'media.autoplay.blocking_policy': 0,
  'media.gmp-manager.updateEnabled': false,
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
  'toolkit.telemetry.enabled': false,
};

export class Firefox {
  static async start() {
    const firefox = new Firefox();
    firefox.profile = fs.mkdtempSync(path.join(os.tmpdir(), 'visavis-firefox-'));
    const port = await freePort();
    const lines = Object.entries({ ...PREFERENCES, 'marionette.port': port })
      .map(([name, value]) => `user_pref(${JSON.stringify(name)}, ${JSON.stringify(value)});`);
    fs.writeFileSync(path.join(firefox.profile, 'user.js'), lines.join('\n'));
    firefox.process = spawn(binary, ['--headless', '--marionette', '--no-remote', '--profile', firefox.profile], {
      stdio: 'ignore', env: { ...process.env, HOME: firefox.profile, MOZ_DISABLE_CONTENT_SANDBOX: '1' },
    });
    await firefox.connect(port);
    await firefox.command('WebDriver:NewSession', { capabilities: { alwaysMatch: { acceptInsecureCerts: true } } });
    await firefox.command('WebDriver:SetTimeouts', { script: 60_000, pageLoad: 60_000 });
    return firefox;
  }

  async connect(port) {
    for (const began = performance.now(); ; await sleep(200)) {
      this.socket = net.connect(port, '127.0.0.1');
      const connected = await Promise.race([once(this.socket, 'connect').then(() => true), once(this.socket, 'error').then(() => false, () => false)])
        .catch(() => false);
      if (connected) break;
      if (performance.now() - began > 60_000 || this.process.exitCode !== null) throw new Error('Firefox does not start');
    }
    this.waiting = new Map();
    this.last = 0;
    let rest = Buffer.alloc(0);
    this.socket.on('error', () => {});
    this.socket.on('data', (data) => {
      rest = Buffer.concat([rest, data]);
      for (;;) {
        const colon = rest.indexOf(':');
        const length = Number(rest.subarray(0, colon));
        if (colon < 0 || rest.length < colon + 1 + length) return;
        this.take(JSON.parse(rest.subarray(colon + 1, colon + 1 + length)));
        rest = rest.subarray(colon + 1 + length);
      }
    });
  }

  /** A reply is `[1, id, error, result]`; the greeting is none. */
  take(message) {
    if (!Array.isArray(message)) return;
    const [, id, error, result] = message;
    const { resolve, reject } = this.waiting.get(id);
    this.waiting.delete(id);
    if (error) reject(new Error(`${error.error}: ${error.message}`));
    else resolve(result);
  }

  command(name, parameters = {}) {
    const id = ++this.last;
    const text = JSON.stringify([0, id, name, parameters]);
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.socket.write(`${Buffer.byteLength(text)}:${text}`);
    });
  }

  goto(url) {
    return this.command('WebDriver:Navigate', { url });
  }

  /** What a function of the page makes of one argument, also later. */
  async evaluate(script, argument = null) {
    const source = `const [argument, done] = arguments;
      Promise.resolve(argument).then(${script}).then((value) => done({ value }), (error) => done({ error: String(error) }));`;
    const { value } = await this.command('WebDriver:ExecuteAsyncScript', { script: source, args: [argument], sandbox: null });
    if (value?.error) throw new Error(value.error);
    return value?.value;
  }

  async stop() {
    this.socket?.destroy();
    if (this.process.exitCode === null) {
      this.process.kill();
      await once(this.process, 'exit');
    }
    fs.rmSync(this.profile, { recursive: true, force: true });
  }
}
