// Words about trouble, in plain language, over the picture.
//
// In: a name for each trouble, a text key with values. Out: cards with `role=alert`, one per name.
// A card goes when its trouble is over, when its time is up, or when the person closes it.

import { language, t } from './i18n.js';

/** Long enough to read two lines twice. */
const SHOWN_MS = 9_000;

export class Notices {
  #root;
  #cards = new Map();

  constructor(root) {
    this.#root = root;
    language.addEventListener('language', () => {
      for (const { body, text } of this.#cards.values()) body.textContent = text();
    });
  }

  /**
   * @param {string} name one card per name
   * @param {() => string} text asked again when the language changes
   * @param {{stays?: boolean, calm?: boolean}} [how] `stays` until cleared; `calm`: good to know, no trouble
   */
  show(name, text, { stays = false, calm = false } = {}) {
    const card = this.#cards.get(name) ?? this.#make(name, calm);
    card.text = text;
    if (card.body.textContent !== text()) card.body.textContent = text();
    clearTimeout(card.timer);
    if (!stays) card.timer = setTimeout(() => this.clear(name), SHOWN_MS);
  }

  clear(name) {
    const card = this.#cards.get(name);
    if (!card) return;
    clearTimeout(card.timer);
    card.element.remove();
    this.#cards.delete(name);
  }

  #make(name, calm) {
    const element = document.createElement('div');
    element.className = calm ? 'notice calm' : 'notice';
    element.setAttribute('role', calm ? 'status' : 'alert');
    const body = document.createElement('p');
    const close = document.createElement('button');
    close.type = 'button';
    close.className = 'icon';
    close.dataset.i18nLabel = 'close';
    close.setAttribute('aria-label', t('close'));
    close.innerHTML = '<svg aria-hidden="true"><use href="#icon-close"></use></svg>';
    close.addEventListener('click', () => this.clear(name));
    element.append(body, close);
    this.#root.append(element);
    const card = { element, body, text: () => '', timer: 0 };
    this.#cards.set(name, card);
    return card;
  }
}
