// A network of the test's own: a namespace in which a browser runs, one cable to this machine, and a firewall.
//
// Needs root, iproute2 and nftables. Nothing outside the namespace is changed but one end of the cable, which goes with it.

import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, afterEach, before } from 'node:test';
import { chromium } from 'playwright-core';
import { Server, launchOptions, until, watch } from './support.mjs';

const run = (command, ...args) => execFileSync(command, args, { stdio: 'pipe' }).toString();

/** Why a namespace cannot have this rule of nftables here, or false. */
function probe(rule = '') {
  if (process.getuid() !== 0) return 'network namespaces need root';
  const name = `vis-probe-${process.pid}`;
  try {
    run('ip', 'netns', 'add', name);
    run('ip', 'netns', 'exec', name, 'nft', `add table inet t; add chain inet t c { type filter hook input priority 0; }; add rule inet t c ${rule} drop`);
    return false;
  } catch (error) {
    return `no network namespaces with nftables here: ${error.message.split('\n')[0]}`;
  } finally {
    try {
      run('ip', 'netns', 'del', name);
    } catch {
      // It was never made.
    }
  }
}

/** Why these tests cannot run here, or false. */
export const cannot = probe();

/** The same for those that lose some packets. */
export const cannotLose = cannot || probe('numgen random mod 10 < 3');

export class Network {
  #folder = fs.mkdtempSync(path.join(os.tmpdir(), 'visavis-net-'));

  constructor() {
    const number = (process.pid % 200) + 20;
    this.name = `vis-${process.pid}`;
    this.cable = `vis${process.pid}`;
    this.server = `10.213.${number}.1`;
    this.client = `10.213.${number}.2`;
    this.other = `10.213.${number}.3`;
    run('ip', 'netns', 'add', this.name);
    run('ip', 'link', 'add', this.cable, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', this.name);
    run('ip', 'addr', 'add', `${this.server}/24`, 'dev', this.cable);
    run('ip', 'link', 'set', this.cable, 'up');
    // Or else a browser finds its network changed when the address of IPv6 is there, and breaks off what it loads.
    this.in('sh', '-c', 'echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6');
    this.in('ip', 'link', 'set', 'lo', 'up');
    this.in('ip', 'addr', 'add', `${this.client}/24`, 'dev', 'eth0');
    this.in('ip', 'link', 'set', 'eth0', 'up');
    this.in('ip', 'route', 'add', 'default', 'via', this.server);
  }

  /** Runs a command where the browser is. */
  in(...command) {
    return run('ip', 'netns', 'exec', this.name, ...command);
  }

  /** A browser in there. */
  browser() {
    const file = path.join(this.#folder, 'chromium');
    fs.writeFileSync(file, `#!/bin/sh\nexec ip netns exec ${this.name} ${launchOptions.executablePath} "$@"\n`, { mode: 0o755 });
    return chromium.launch({ ...launchOptions, executablePath: file });
  }

  /** Drops what `rule` matches, both ways; all of it without one. What passes over the loopback stays. */
  block(rule = '') {
    const chain = (hook, way) => `chain ${hook} { type filter hook ${hook} priority 0; ${way} != "lo" ${rule} drop; }`;
    const file = path.join(this.#folder, 'rules');
    fs.writeFileSync(file, `table inet test {\n${chain('input', 'iifname')}\n${chain('output', 'oifname')}\n}\n`);
    this.in('nft', '-f', file);
  }

  /** What leaves from UDP port `from` comes from `to` for the other side, as when a NAT forgets and maps anew. */
  remap(from, to) {
    const file = path.join(this.#folder, 'rules');
    fs.writeFileSync(file, `table inet test {
      chain output { type filter hook output priority 0; udp sport ${from} udp sport set ${to}; }
      chain input { type filter hook input priority 0; udp dport ${from} drop; udp dport ${to} udp dport set ${from}; }
    }\n`);
    this.in('nft', '-f', file);
  }

  unblock() {
    this.in('nft', 'delete', 'table', 'inet', 'test');
  }

  /** Another address instead of the present one, as after a change of networks. */
  move() {
    this.in('ip', 'addr', 'del', `${this.client}/24`, 'dev', 'eth0');
    this.in('ip', 'addr', 'add', `${this.other}/24`, 'dev', 'eth0');
    [this.client, this.other] = [this.other, this.client];
    this.in('ip', 'route', 'replace', 'default', 'via', this.server);
  }

  stop() {
    run('ip', 'netns', 'del', this.name);
    fs.rmSync(this.#folder, { recursive: true });
  }
}

/** A server on this machine and a browser in a network of its own. */
export class Setting {
  /** One for all tests of a file, which `take` gets before the first; what a test leaves in it is cleared. */
  static forAll(take) {
    let made;
    before(async () => {
      if (cannot) return;
      made = await Setting.make();
      take(made);
    });
    afterEach(() => made?.clear());
    after(() => made?.stop());
  }

  /** What ends with the present test, the last first. */
  stopping = [];

  static async make() {
    const setting = new Setting();
    setting.network = new Network();
    setting.server = await Server.start({ VISAVIS_SERVER__OFFERS_PER_MINUTE: '1000' }, '0.0.0.0');
    setting.browser = await setting.network.browser();
    return setting;
  }

  /** The page, showing pictures. */
  async visit(url = `http://${this.network.server}:${this.server.port}/`) {
    return watch(await this.browser.newContext({ locale: 'en-US' }), url);
  }

  /** Ends what one test began. */
  async clear() {
    for (const context of this.browser.contexts()) await context.close();
    for (const stop of this.stopping.splice(0).reverse()) await stop();
    await until('an empty house', async () => (await this.server.sessions()).length === 0, 40_000);
  }

  async stop() {
    await this.browser?.close();
    await this.server?.stop();
    this.network?.stop();
  }
}
