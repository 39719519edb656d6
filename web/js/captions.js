// Captions: each word appears as it is heard.
//
// In: `caption` and `turn` messages, the audio delay of the receiver. Out: the words over the video.
// `t_ms` counts from the moment the server sent the clause; the ear hears it later by the receiver's
// jitter buffer, so every word waits that much longer. The lines are hidden from screen readers,
// which get whole sentences from `announce.js` instead.

import { choices } from './settings.js';
import { pages } from './clause.js';

/** How long the last words stay after the answer has ended. */
const LINGER_MS = 2_500;

export class Captions {
  #box;
  #delay;
  #queue = [];
  #page = null;
  #turn = null;
  #frame = 0;
  #lingering = 0;

  /**
   * @param {HTMLElement} box the element over the video
   * @param {() => number} delay milliseconds from sending to hearing
   */
  constructor(box, delay) {
    this.#box = box;
    this.#delay = delay;
    this.visible = choices.read('captions') !== 'off';
  }

  get visible() {
    return !this.#box.classList.contains('off');
  }

  set visible(on) {
    this.#box.classList.toggle('off', !on);
    choices.write('captions', on ? 'on' : 'off');
  }

  /** A clause begins to be played. */
  clause({ turn, text, words }) {
    this.#turn = turn;
    clearTimeout(this.#lingering);
    const start = performance.now() + this.#delay();
    for (const page of pages(text, words ?? [])) {
      this.#queue.push(...page.map((word) => ({ ...word, page, due: start + word.at })));
    }
    this.#queue.sort((a, b) => a.due - b.due);
    this.#frame ||= requestAnimationFrame(() => this.#tick());
  }

  /** The answer was heard to its end. */
  ended(turn) {
    if (turn !== this.#turn) return;
    const left = Math.max(0, (this.#queue.at(-1)?.due ?? 0) - performance.now());
    this.#lingering = setTimeout(() => this.clear(), left + LINGER_MS);
  }

  /** The answer was cut. Another one may already be on its way. */
  interrupted(turn) {
    if (turn === this.#turn) this.clear();
  }

  /** Nothing more will be heard: what is shown goes, what was due never comes. */
  clear() {
    clearTimeout(this.#lingering);
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#queue = [];
    this.#page = null;
    this.#box.replaceChildren();
  }

  #tick() {
    const now = performance.now();
    while (this.#queue.length > 0 && this.#queue[0].due <= now) this.#show(this.#queue.shift());
    this.#frame = this.#queue.length > 0 ? requestAnimationFrame(() => this.#tick()) : 0;
  }

  #show(word) {
    if (word.page !== this.#page) this.#turnTo(word.page);
    this.#box.firstElementChild?.children[word.index]?.classList.add('heard');
  }

  /** All words of a page are laid out at once, unseen, so that the lines never jump. */
  #turnTo(page) {
    this.#page = page;
    const lines = document.createElement('p');
    for (const { piece } of page) {
      const span = document.createElement('span');
      span.textContent = piece;
      lines.append(span);
    }
    this.#box.replaceChildren(lines);
  }
}
