// Takes the picture of the page that README.md shows: the avatar in the middle of a sentence.
//
//   node scripts/screenshot.mjs [docs/screenshot.jpg]
//
// Needs what the browser tests need: `make setup-test` and a build with `--features testing`.

import path from 'node:path';
import { Server, browser, root, sleep, until, watch } from '../tests/e2e/support.mjs';

const file = path.resolve(process.argv[2] ?? path.join(root, 'docs/screenshot.jpg'));
const question = 'What can you do?';
const sentence = 'Hello! My voice and my face are made on this machine, and my lips follow every sound that I make.';

const server = await Server.start();
const chromium = await browser();
try {
  const context = await chromium.newContext({ viewport: { width: 1280, height: 800 }, locale: 'en-US' });
  const page = await watch(context, `${server.url}/?avatar=mira`);
  const state = async () => (await server.sessions())[0].state;
  const send = async (text, button) => {
    await page.getByRole('textbox').first().fill(text);
    await page.getByRole('button', { name: button, exact: true }).click();
  };
  await send(question, 'Ask');
  await until('the answer to begin', async () => (await state()) === 'speaking');
  await until('the answer to end', async () => (await state()) === 'idle', 30_000);
  await send(sentence, 'Say it');
  await until('the voice', async () => (await state()) === 'speaking');
  await sleep(1_850);
  await page.screenshot({ path: file, type: 'jpeg', quality: 80 });
  console.log(file);
} finally {
  await chromium.close();
  await server.stop();
}
