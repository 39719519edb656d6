// The conversation as it was: what was typed, what was said, and where it was cut off.
//
// In: own words, transcripts of all viewers, clauses, ends of turns, the server's history.
// Out: list items. Text goes in as text, never as markup. The view around the list follows its end
// unless the person has scrolled back.

import { language, t, translate } from './i18n.js';
import { join } from './clause.js';

/** Items kept in the page; a day-long kiosk shall not grow without end. */
const KEPT = 200;

/** This near to the end (px) counts as being at the end. */
const NEAR_END = 48;

export class Log extends EventTarget {
  #list;
  #turns = new Map();
  #waiting = [];
  #thinking = null;
  #hearing = null;

  constructor(list) {
    super();
    this.#list = list;
    language.addEventListener('language', () => translate(list));
  }

  get empty() {
    return this.#list.querySelector('.mine, .theirs') === null;
  }

  /** Own words, shown before the server has them. */
  mine(text) {
    const item = this.#add('mine pending', text);
    this.#waiting.push({ item, text });
  }

  /** What the person is saying, as far as it is understood; the final words take its place. */
  hearing(text) {
    this.#hearing ??= this.#add('mine pending', '');
    this.#hearing.firstElementChild.textContent = text;
    this.#follow();
  }

  /** Words that the server took, typed here or by another viewer, or spoken. */
  transcript(text) {
    this.#hearing?.remove();
    this.#hearing = null;
    // Nothing was understood after all.
    if (text === '') return;
    const own = this.#waiting.findIndex((entry) => entry.text === text);
    if (own >= 0) this.#waiting.splice(own, 1)[0].item.classList.remove('pending');
    else this.#add('mine', text);
  }

  /** Own words that never reached the server. */
  undelivered(text) {
    const own = this.#waiting.findIndex((entry) => entry.text === text);
    if (own < 0) return;
    const { item } = this.#waiting.splice(own, 1)[0];
    item.classList.remove('pending');
    this.#tag(item, 'log.unsent');
  }

  clause(turn, text) {
    this.thinking(false);
    const item = this.#turns.get(turn) ?? this.#add('theirs', '');
    this.#turns.set(turn, item);
    const body = item.firstElementChild;
    body.textContent = join(body.textContent, text);
    this.#follow();
  }

  /** All of it was heard. Who came in the middle gets the beginning now. */
  ended(turn, heard) {
    const item = this.#turns.get(turn);
    if (item && heard) item.firstElementChild.textContent = heard.trim();
    this.#turns.delete(turn);
  }

  /** The turn was cut: only what was heard stays. */
  interrupted(turn, heard) {
    this.thinking(false);
    const item = this.#turns.get(turn);
    this.#turns.delete(turn);
    if (!item) return;
    if (typeof heard === 'string') item.firstElementChild.textContent = heard.trim();
    this.#tag(item, 'log.stopped');
    this.#follow();
  }

  failed(turn, heard) {
    this.thinking(false);
    const item = this.#turns.get(turn) ?? this.#add('theirs', '');
    this.ended(turn, heard);
    this.#tag(item, 'log.failed');
    this.#follow();
  }

  /** Three quiet dots while an answer is being thought of. */
  thinking(on) {
    if (!on) {
      this.#thinking?.remove();
      this.#thinking = null;
    } else if (this.#thinking === null) {
      this.#thinking = this.#add('theirs thinking', '');
      this.#thinking.setAttribute('aria-hidden', 'true');
      this.#thinking.firstElementChild.append(...[1, 2, 3].map(() => document.createElement('i')));
    }
  }

  /** A line between conversations, e.g. `log.new`. */
  divide(key) {
    this.thinking(false);
    for (const { text } of [...this.#waiting]) this.undelivered(text);
    this.#turns.clear();
    if (this.#list.lastElementChild?.className === 'divider') return;
    for (const item of this.#list.children) item.classList.add('past');
    const item = this.#add('divider', t(key));
    item.firstElementChild.dataset.i18n = key;
  }

  /** What was said before this viewer came. Shown unless the page already knows as much. */
  history(entries) {
    const known = this.#list.querySelectorAll(':is(.mine, .theirs):not(.past, .pending, .thinking)').length;
    if (entries.length <= known) return;
    this.clear();
    this.#waiting = this.#waiting.filter(({ text }) => !entries.some((entry) => entry.text === text));
    for (const { role, text } of entries) this.#add(role === 'user' ? 'mine' : 'theirs', text);
    for (const { item } of this.#waiting) this.#list.append(item);
  }

  clear() {
    this.thinking(false);
    this.#turns.clear();
    this.#list.replaceChildren();
    this.dispatchEvent(new Event('change'));
  }

  /** The conversation as plain text. */
  text() {
    const line = (item) => {
      if (item.classList.contains('divider')) return `— ${item.innerText} —`;
      return `${t(item.classList.contains('mine') ? 'log.you' : 'log.avatar')}: ${item.innerText.replace(/\s*\n+\s*/g, ' ')}`;
    };
    return [...this.#list.children].filter((item) => item !== this.#thinking).map(line).join('\n');
  }

  #add(kind, text) {
    const item = document.createElement('li');
    item.className = kind;
    const body = document.createElement('p');
    body.textContent = text;
    item.append(body);
    if (this.#thinking) this.#thinking.before(item);
    else this.#list.append(item);
    while (this.#list.childElementCount > KEPT) this.#list.firstElementChild.remove();
    this.#follow(kind.startsWith('mine'));
    this.dispatchEvent(new Event('change'));
    return item;
  }

  #tag(item, key) {
    const tag = document.createElement('small');
    tag.dataset.i18n = key;
    tag.textContent = t(key);
    item.append(tag);
  }

  #follow(always = false) {
    const view = this.#list.parentElement;
    const gap = view.scrollHeight - view.scrollTop - view.clientHeight;
    const last = this.#list.lastElementChild?.offsetHeight ?? 0;
    if (always || gap - last < NEAR_END) view.scrollTop = view.scrollHeight;
  }
}
