// Runs the end-to-end tests: `node tests/e2e/run.mjs [FILE …]`.
//
// Two lanes, a file at a time in each: browsers, which need a core for themselves, and beside them what mostly waits for
// a socket. All of them measure real time, on machines that have other things to do: what fails is run once more, alone,
// and has failed only if it fails again. The summary names what needed that.

import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

const here = import.meta.dirname;

/** Files that leave a core to the browsers of the others. */
const LIGHT = new Set([
  'audio-proxy-faults.test.mjs',
  'audio-proxy.test.mjs',
  'avatar-task.test.mjs',
  'firefox.test.mjs',
  'janus-life.test.mjs',
  'janus.test.mjs',
  'livetalking-options.test.mjs',
  'push.test.mjs',
  'relay.test.mjs',
  'xiaozhi-device.test.mjs',
  'xiaozhi-signalling.test.mjs',
]);

function run(file) {
  const began = Date.now();
  const child = spawn(process.execPath, ['--test', '--test-timeout=240000', '--test-reporter=tap', path.join(here, file)]);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (output += data));
  return new Promise((done) => {
    child.on('close', (code) => {
      const seconds = Math.round((Date.now() - began) / 1_000);
      console.log(`# ${file}: ${code === 0 ? 'passed' : 'FAILED'} in ${seconds} s`);
      done({ file, failed: code !== 0, output });
    });
  });
}

async function lane(files) {
  const results = [];
  for (const file of files) results.push(await run(file));
  return results;
}

const asked = process.argv.slice(2).map((file) => path.basename(file));
const all = fs.readdirSync(here).filter((file) => file.endsWith('.test.mjs')).sort();
const files = asked.length > 0 ? asked : all;
const lanes = [files.filter((file) => !LIGHT.has(file)), files.filter((file) => LIGHT.has(file))];
const first = (await Promise.all(lanes.map(lane))).flat();
const again = first.filter(({ failed }) => failed);
for (const { output } of again) console.log(output.replace(/^/gm, '# '));
const second = await lane(again.map(({ file }) => file));
for (const { failed, output } of second) if (failed) console.log(output);
const failed = second.filter((result) => result.failed).map(({ file }) => file);
console.log(`# ${first.length} files, ${again.length} of them a second time: ${again.map(({ file }) => file).join(' ') || '-'}`);
console.log(failed.length > 0 ? `# failed: ${failed.join(' ')}` : '# all passed');
process.exitCode = failed.length > 0 ? 1 : 0;
