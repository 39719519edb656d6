// The two waits people feel: from sending to hearing, from pressing stop to the server's obeying.
//
// In: `asked()`, `stopped()`, `confirmed()`. Out: `answer` and `interrupt` in ms, `measured` when one is new.
// Sound is found in the receiver's own count of audio energy, read quickly but only while waiting.

/** How often the energy is read while waiting; Chromium refreshes its figures every 50 ms. */
const LOOK_MS = 50;

/** A wait longer than this measures something else. */
const PATIENCE_MS = 20_000;

/** Mean square above which the ear hears something: -50 dBFS. */
const AUDIBLE = 1e-5;

async function energy(pc) {
  const receiver = pc?.getReceivers().find(({ track }) => track.kind === 'audio');
  const report = await receiver?.getStats().catch(() => null);
  for (const entry of report?.values() ?? []) {
    if (entry.type === 'inbound-rtp') return { sum: entry.totalAudioEnergy ?? 0, time: entry.totalSamplesDuration ?? 0 };
  }
  return null;
}

export class Latency extends EventTarget {
  answer = NaN;
  interrupt = NaN;

  #pc = null;
  #run = 0;
  #pressed = NaN;

  set pc(pc) {
    this.#pc = pc;
    this.#run += 1;
    this.#pressed = NaN;
  }

  /** Words were sent while nothing was being said. */
  async asked() {
    const run = ++this.#run;
    const start = performance.now();
    let before = await energy(this.#pc);
    while (run === this.#run && before !== null && performance.now() - start < PATIENCE_MS) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      const now = await energy(this.#pc);
      if (now === null || run !== this.#run) return;
      const time = now.time - before.time;
      // The same figures again: the browser had none newer.
      if (time === 0) continue;
      if ((now.sum - before.sum) / time > AUDIBLE) {
        this.#tell({ answer: performance.now() - start });
        return;
      }
      before = now;
    }
  }

  /** Stop was pressed while the avatar was speaking. The page is silent at once; the server is when it says so. */
  stopped() {
    this.#pressed = performance.now();
  }

  /** The server has cut the answer. */
  confirmed() {
    if (!Number.isFinite(this.#pressed)) return;
    this.#tell({ interrupt: performance.now() - this.#pressed });
    this.#pressed = NaN;
  }

  #tell(measured) {
    Object.assign(this, measured);
    this.dispatchEvent(new Event('measured'));
  }
}
