// What a screen reader says: whole sentences of the answer, never single words.
//
// In: clauses as they are heard, ends of turns. Out: paragraphs in a visually hidden `role=log`.
// A clause that ends in mid-sentence waits for its other half.

import { join } from './clause.js';

const SENTENCE_END = /[.!?。！？…]["'”’）)\]]*\s*$/u;

/** Old paragraphs are of no use to a live region; the visible log keeps the conversation. */
const KEPT = 6;

export class Announcer {
  #log;
  #pending = '';

  constructor(log) {
    this.#log = log;
  }

  clause(text) {
    this.#pending = join(this.#pending, text);
    if (SENTENCE_END.test(this.#pending)) this.flush();
  }

  /** Says what is left: the turn is over. */
  flush() {
    const text = this.#pending.trim();
    this.#pending = '';
    if (!text) return;
    const paragraph = document.createElement('p');
    paragraph.textContent = text;
    this.#log.append(paragraph);
    while (this.#log.childElementCount > KEPT) this.#log.firstElementChild.remove();
  }

  drop() {
    this.#pending = '';
  }
}
