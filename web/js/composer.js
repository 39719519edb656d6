// The text box and its two ways to send: "Say it" (read aloud, literally) and "Ask" (answer me).
//
// In: typing. Out: `say {type, text}`, `stop`, `refused {over}`. Enter does what was done last, "Ask" at
// first; that button is the filled one and the line below the box says so. Shift+Enter is a new line.

import { choices } from './settings.js';
import { language, t } from './i18n.js';

/** The server's limit, in characters (Unicode code points). */
const LIMIT = 4_000;

/** From here on the count is shown. */
const NEAR_LIMIT = 3_500;

/** The box grows to this many px, then scrolls. */
const TALLEST = 132;

export class Composer extends EventTarget {
  #form;
  #box;
  #count;
  #hint;
  #buttons;

  constructor(form) {
    super();
    this.#form = form;
    this.#box = form.querySelector('textarea');
    this.#count = form.querySelector('.count');
    this.#hint = form.querySelector('.hint');
    this.#buttons = { echo: form.querySelector('[value=echo]'), chat: form.querySelector('[value=chat]') };
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#send(event.submitter?.value || this.mode);
    });
    form.querySelector('.stop').addEventListener('click', () => this.dispatchEvent(new Event('stop')));
    this.#box.addEventListener('keydown', (event) => this.#key(event));
    this.#box.addEventListener('input', () => this.#measure());
    language.addEventListener('language', () => this.#show());
    this.#show();
  }

  get mode() {
    return choices.read('mode') === 'echo' ? 'echo' : 'chat';
  }

  get focused() {
    return document.activeElement === this.#box;
  }

  focus() {
    this.#box.focus({ preventScroll: true });
  }

  blur() {
    this.#box.blur();
  }

  /** Puts words back that did not reach the server, unless something new is being typed. */
  restore(text) {
    if (this.#box.value.trim() !== '') return;
    this.#box.value = text;
    this.#measure();
  }

  /** While there is something to stop, the button for it is there. */
  set stoppable(on) {
    this.#form.classList.toggle('stoppable', on);
  }

  #key(event) {
    // While an input method composes (pinyin), Enter chooses a candidate; 229 is Safari's word for it.
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    this.#send(this.mode);
  }

  #send(type) {
    // The server refuses control characters, which only a paste brings.
    const text = this.#box.value.replace(/[^\P{Cc}\n\t]/gu, '').trim();
    const over = [...text].length - LIMIT;
    if (over > 0) {
      this.dispatchEvent(new CustomEvent('refused', { detail: { over } }));
    } else if (text !== '') {
      choices.write('mode', type);
      this.#box.value = '';
      this.#measure();
      this.#show();
      this.dispatchEvent(new CustomEvent('say', { detail: { type, text } }));
    }
    if (matchMedia('(hover: hover)').matches || text === '') this.focus();
  }

  #measure() {
    const box = this.#box;
    box.style.height = 'auto';
    box.style.height = `${Math.min(box.scrollHeight, TALLEST)}px`;
    const used = [...box.value.trim()].length;
    this.#count.textContent = used >= NEAR_LIMIT ? `${used} / ${LIMIT}` : '';
    this.#count.classList.toggle('over', used > LIMIT);
  }

  #show() {
    for (const [mode, button] of Object.entries(this.#buttons)) button.classList.toggle('default', mode === this.mode);
    this.#hint.textContent = t('composer.hint', { what: t(this.mode === 'echo' ? 'say_it' : 'ask') });
  }
}
