// Avatars made of films: over LiveTalking's /api/avatar/*, and by the command line. What comes out is judged by a script that
// knows LiveTalking's loader and nothing of ours.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import crypto from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { Server, binary, root, temporary, until } from './support.mjs';

const run = promisify(execFile);
const SECRET = 'hush';

let work;
let shipped;
let avatars;
let clip;
let server;
let listener;
const notices = [];

before(async () => {
  work = temporary('studio');
  [shipped, avatars] = ['shipped', 'films'].map((name) => path.join(work, name));
  fs.cpSync(path.join(root, 'assets/avatars/mira'), path.join(shipped, 'mira'), { recursive: true });
  fs.mkdirSync(avatars);
  // Two seconds at 30 pictures a second of a face that moves a little.
  clip = path.join(avatars, 'clip.mp4');
  const sway = "crop=448:448:x='32+16*sin(3*t)':y='32+8*sin(2*t)'";
  await run('ffmpeg', [
    '-v', 'error', '-loop', '1', '-framerate', '30', '-i', path.join(shipped, 'mira/poster.webp'), '-t', '2', '-vf', sway,
    '-pix_fmt', 'yuv420p', clip,
  ]);
  listener = http.createServer((request, response) => {
    const parts = [];
    request.on('data', (part) => parts.push(part));
    request.on('end', () => {
      const body = Buffer.concat(parts);
      notices.push({ body, task: JSON.parse(body), signature: request.headers['x-visavis-signature'] });
      response.end();
    });
  }).listen(0, '127.0.0.1');
  await once(listener, 'listening');
  server = await Server.start({
    VISAVIS_AVATARS__DIR: shipped,
    VISAVIS_AVATARS__FILMS: avatars,
    VISAVIS_AVATARS__NETWORK: path.join(root, 'tests/corpus/wav2lip/talker.onnx'),
    VISAVIS_AVATARS__SPOOL: path.join(work, 'spool'),
    VISAVIS_STUDIO__MAX_UPLOAD_MB: '2',
    VISAVIS_STUDIO__NOTIFY_SECRET: SECRET,
  });
});
after(async () => {
  await server?.stop();
  listener?.close();
  fs.rmSync(path.dirname(work), { recursive: true, force: true });
});

async function send(fields, file) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.set(name, value);
  if (file) form.set('video_file', new Blob([file]), 'film.mp4');
  const reply = await fetch(`${server.url}/api/avatar/task`, { method: 'POST', body: form });
  return { status: reply.status, ...(await reply.json()) };
}

const task = async (id) => (await server.get(`/api/avatar/task/${id}`)).data;
const ended = (id) => until(`the end of task ${id}`, async () => {
  const { status } = await task(id);
  return status === 'completed' || status === 'failed';
}, 120_000);
const remove = async (id) => (await fetch(`${server.url}/api/avatar/task/${id}`, { method: 'DELETE' })).json();

/** What LiveTalking's loader would make of the avatar. */
async function loaded(id, side) {
  const { stdout } = await run('python3', [path.join(root, 'scripts/face/check_folder.py'), path.join(avatars, id), String(side)]);
  return JSON.parse(stdout);
}

test('a film that is sent becomes a folder that LiveTalking can load, and whoever asked is told', async () => {
  const { port } = listener.address();
  const sent = await send(
    { model: 'wav2lip', avatar_id: 'anna', img_size: '96', pads: '0 10 0 0', notifyurl: `http://127.0.0.1:${port}/` },
    fs.readFileSync(clip),
  );
  assert.deepEqual([sent.status, sent.code, sent.msg], [200, 0, 'ok'], JSON.stringify(sent));
  await ended(sent.data.task_id);
  const done = await task(sent.data.task_id);
  assert.equal(done.status, 'completed', done.error_msg);
  assert.deepEqual(
    [done.model_type, done.avatar_id, done.progress, done.error_msg, done.report.missed],
    ['wav2lip', 'anna', 100, null, 0],
  );
  assert.ok(done.duration > 0 && Math.abs(done.end_time - done.start_time - done.duration) < 0.01);

  const { frames, size, first } = await loaded('anna', 96);
  // 60 pictures in two seconds are 50 of ours; a fifth may go at either end.
  assert.ok(frames >= 30 && frames <= 50, `${frames} pictures`);
  assert.deepEqual(size, [448, 448]);
  const [y1, y2, x1, x2] = first;
  assert.ok(y2 - y1 > 130 && y2 - y1 < 260 && x2 - x1 > 120 && x2 - x1 < 260, first.join());
  assert.deepEqual(fs.readdirSync(path.join(avatars, '.uploads')), []);

  // It can be seen at once.
  assert.ok((await server.get('/v1/avatars')).some(({ id, width }) => id === 'anna' && width === 448));
  assert.deepEqual((await server.get('/readyz')).broken_avatars, []);

  await until('notices', () => notices.length >= 3);
  assert.deepEqual(notices.map((n) => n.task.status), ['pending', 'running', 'completed']);
  for (const { body, signature } of notices) {
    assert.equal(signature, `sha256=${crypto.createHmac('sha256', SECRET).update(body).digest('hex')}`);
  }
});

test('tasks are listed newest first, found by their ids, and deleted while they wait', async () => {
  const ids = ['first', 'second', 'third'];
  for (const id of ids) {
    const reply = await server.post('/api/avatar/task', { avatar_id: 'bert', video_path: 'clip.mp4', task_id: id, img_size: 96 });
    assert.equal(reply.data.task_id, id);
  }
  assert.deepEqual(await remove('third'), { code: 0, msg: 'ok', data: { msg: 'Task deleted' } });
  const listed = (await server.get('/api/avatar/tasks')).data.tasks.map((t) => t.task_id);
  assert.deepEqual(listed.slice(0, 2), ['second', 'first']);
  assert.equal((await remove('third')).code, 404);
  assert.equal((await server.post('/api/avatar/task', { avatar_id: 'x', video_path: 'clip.mp4', task_id: 'first' })).error, 'task_exists');
  await ended('first');
  assert.equal((await remove('first')).error, 'task_begun');
  await ended('second');
  // Made anew, as LiveTalking does it.
  assert.equal((await task('second')).status, 'completed');
  const unknown = await fetch(`${server.url}/api/avatar/task/nobody`);
  assert.deepEqual([unknown.status, (await unknown.json()).code], [200, 404]);
});

test('what cannot be made is refused in words, and nothing outside the folder is read', async () => {
  fs.writeFileSync(path.join(work, 'outside.mp4'), fs.readFileSync(clip));
  fs.symlinkSync(path.join(work, 'outside.mp4'), path.join(avatars, 'link.mp4'));
  const good = { avatar_id: 'carl', video_path: 'clip.mp4' };
  const cases = {
    'no avatar': { video_path: 'clip.mp4' },
    'an avatar outside': { ...good, avatar_id: '../carl' },
    'a hidden avatar': { ...good, avatar_id: '.uploads' },
    'no film': { avatar_id: 'carl' },
    'a film above': { ...good, video_path: '../outside.mp4' },
    'a film by its whole path': { ...good, video_path: path.join(work, 'outside.mp4') },
    'a link that leads out': { ...good, video_path: 'link.mp4' },
    'a NUL': { ...good, video_path: 'clip.mp4\0' },
    'a folder': { ...good, video_path: '.' },
    musetalk: { ...good, model: 'musetalk' },
    'a huge face': { ...good, img_size: 100_000 },
    'no pads': { ...good, pads: '1 2 3' },
    'a notice to elsewhere': { ...good, notifyurl: 'http://169.254.169.254/' },
    'a hostile task': { ...good, task_id: '../../x' },
  };
  for (const [name, body] of Object.entries(cases)) {
    const reply = await server.post('/api/avatar/task', body);
    assert.deepEqual([reply.status, reply.code, reply.error], [200, -1, 'bad_task'], `${name}: ${JSON.stringify(reply)}`);
    assert.ok(reply.msg.length > 10 && !reply.msg.includes(work), name);
  }
  const large = await send({ avatar_id: 'carl' }, Buffer.alloc(3 << 20));
  assert.deepEqual([large.status, large.code, large.error], [200, -1, 'too_large']);
  assert.deepEqual(fs.readdirSync(path.join(avatars, '.uploads')), []);

  await run('ffmpeg', ['-v', 'error', '-f', 'lavfi', '-i', 'color=navy:size=320x240', '-frames:v', '1', path.join(avatars, 'nobody.png')]);
  const pack = await server.post('/api/avatar/task', { avatar_id: 'mira', video_path: 'clip.mp4' });
  const noFilm = await send({ avatar_id: 'carl' }, Buffer.from('<html>'));
  const nobody = await server.post('/api/avatar/task', { avatar_id: 'carl', video_path: 'nobody.png' });
  const words = [[pack, /already/], [noFilm, /neither a film/], [nobody, /no face/]];
  for (const [{ data }, message] of words) {
    await ended(data.task_id);
    const failed = await task(data.task_id);
    assert.equal(failed.status, 'failed');
    assert.match(failed.error_msg, message);
  }
  assert.ok(!fs.existsSync(path.join(avatars, 'mira')) && !fs.existsSync(path.join(avatars, 'carl')));
});

test('only this machine, or the admin token, has avatars made', async () => {
  // What a proxy adds for somebody who is elsewhere.
  const headers = { 'X-Forwarded-For': '203.0.113.9' };
  const requests = [['GET', '/api/avatar/tasks'], ['GET', '/api/avatar/task/x'], ['DELETE', '/api/avatar/task/x'], ['POST', '/api/avatar/task']];
  for (const [method, route] of requests) {
    const body = method === 'POST' ? JSON.stringify({ avatar_id: 'eve', video_path: 'clip.mp4' }) : undefined;
    const reply = await fetch(server.url + route, { method, headers, body });
    assert.deepEqual([reply.status, (await reply.json()).error], [403, 'forbidden'], `${method} ${route}`);
  }
});

test('the command line makes a rig of a photograph, or a film of one picture', async () => {
  const env = { ...process.env, VISAVIS_AVATARS__DIR: shipped, VISAVIS_AVATARS__FILMS: avatars };
  const photograph = path.join(root, 'assets/avatars/theo/poster.webp');
  const create = (...more) => run(binary, ['avatar', 'create', photograph, '--id', 'theo2', ...more], { cwd: root, env });
  const { stdout } = await create();
  assert.match(stdout, /1 pictures of 512x512/);
  const { stdout: listed } = await run(binary, ['avatar', 'list'], { cwd: root, env });
  assert.match(listed, /theo2: theo2 .*512x512/);
  await assert.rejects(create(), /there is an avatar "theo2" already/);
  await create('--replace', '--still', '--img-size', '96');
  assert.equal((await loaded('theo2', 96)).frames, 1);
});
