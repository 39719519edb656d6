// LiveTalking's command line, config.yaml and .env, as they are.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { Server, binary, temporary } from './support.mjs';

/** `visavis ARGS` in a folder with these files. */
function run(files, args) {
  const cwd = path.dirname(temporary('x'));
  for (const [name, text] of Object.entries(files)) fs.writeFileSync(path.join(cwd, name), text);
  const { DASHSCOPE_API_KEY: _, ...env } = process.env;
  const { status, stdout, stderr } = spawnSync(binary, args, { cwd, env, encoding: 'utf8' });
  fs.rmSync(cwd, { recursive: true });
  return { status, stdout, stderr };
}

const CONFIG = `# as it ships
fps: 25
listenport: 8011
max-session: 3
transport: rtcpush
push_url: https://media.example/whip/a-secret-key
tts: edgetts
REF_FILE: zh-CN-YunxiNeural
REF_TEXT:
TTS_SERVER:
batch_size: 16
model: wav2lip
`;

test('its config.yaml and .env are read where they lie', () => {
  const { status, stdout, stderr } = run({ 'config.yaml': CONFIG, '.env': 'DASHSCOPE_API_KEY="sk-of-theirs"\n# more\nexport OTHER=1\n' }, ['config', 'show']);
  assert.equal(status, 0, stderr);
  for (const line of [/listen: .*:8011/, /max_sessions: 3/, /voice: zh-CN-YunxiNeural/, /to: whip/, /sessions: 3/, /provider: dashscope/]) {
    assert.match(stdout, line);
  }
  assert.ok(!/secret-key|sk-of-theirs/.test(stdout + stderr), 'no key is shown');
  const ours = run({ 'config.yaml': CONFIG, 'visavis.yaml': 'server: {max_sessions: 7}' }, ['config', 'show']);
  assert.match(ours.stdout, /max_sessions: 7/, 'a file of ours comes first');
  assert.match(ours.stdout, /to: none/);
  const others = run({ 'config.yaml': 'model: resnet\nfps: 60\n' }, ['config', 'show']);
  assert.deepEqual([others.status, /to: none/.test(others.stdout)], [0, true], "another program's file is left alone");
});

test('what it cannot mean is said before anything is bound', () => {
  const refused = run({ 'config.yaml': 'listenport: 8011\nfps: 30\n' }, ['config', 'show']);
  assert.deepEqual([refused.status, /config\.yaml: fps: 30/.test(refused.stderr)], [78, true], refused.stderr);
  const flag = run({}, ['serve', '--transport', 'carrier-pigeon']);
  assert.deepEqual([flag.status, /--transport.*rtcpush/.test(flag.stderr)], [78, true], flag.stderr);
  const secret = run({ '.env': 'KEY=sk-1\nsk-2 is no line\n' }, ['config', 'show']);
  assert.deepEqual([secret.status, /sk-2/.test(secret.stderr)], [78, false], secret.stderr);
});

test('its command line starts a server', async () => {
  const line = '--model wav2lip --avatar_id theo --batch_size 8 -l 10 -m 8 -r 10 --max_session 2 --transport webrtc --listenport 1';
  const server = await Server.start({}, '127.0.0.1', ['serve', ...line.split(' ')]);
  try {
    const avatars = await server.get('/v1/avatars');
    assert.equal(avatars.find((avatar) => avatar.default).id, 'theo');
    assert.equal((await server.get('/readyz')).max, 2);
  } finally {
    await server.stop();
  }
});
