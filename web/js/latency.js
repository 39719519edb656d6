// The two waits people feel: from sending to hearing, from pressing stop to silence.
//
// In: `asked()`, `stopped()`, and the moments the conversation knows about. Out: `measured {answer, interrupt}`
// in ms. Sound is found in the receiver's own count of audio energy, read quickly but only while waiting.

/** How often the energy is read while waiting; Chromium refreshes its figures every 50 ms. */
const LOOK_MS = 50;

/** A wait longer than this measures something else. */
const PATIENCE_MS = 20_000;

/** Mean square above which the ear hears something: -50 dBFS. */
const AUDIBLE = 1e-5;

/** This long without energy is silence rather than a pause between words being read. */
const SILENCE_MS = 200;

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

  set pc(pc) {
    this.#pc = pc;
    this.#run += 1;
  }

  /** Words were sent while nothing was being said. */
  asked() {
    const start = performance.now();
    this.#look((loud, now) => {
      if (!loud) return false;
      this.#tell({ answer: now - start });
      return true;
    });
  }

  /** Stop was pressed while the avatar was speaking. */
  stopped() {
    const start = performance.now();
    let last = start;
    this.#look((loud, now) => {
      if (loud) last = now;
      if (now - last < SILENCE_MS) return false;
      this.#tell({ interrupt: last - start });
      return true;
    });
  }

  async #look(found) {
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
      const loud = (now.sum - before.sum) / time > AUDIBLE;
      if (found(loud, performance.now())) return;
      before = now;
    }
  }

  #tell(measured) {
    Object.assign(this, measured);
    this.dispatchEvent(new Event('measured'));
  }
}
