// The choice of avatars, with their pictures.
//
// In: the list from `/v1/avatars`, the id of the one on the stage. Out: `pick {id}`; the chip in the
// corner of the stage with the present one's face and name.

import * as api from './api.js';
import { sheet } from './dialogs.js';
import { language, named, t } from './i18n.js';

export class Picker extends EventTarget {
  #chip;
  #dialog;
  #avatars = [];
  #current = '';

  constructor(chip, dialog) {
    super();
    this.#chip = chip;
    this.#dialog = sheet(dialog);
    chip.addEventListener('click', () => dialog.showModal());
    language.addEventListener('language', () => this.#show());
  }

  set avatars(list) {
    this.#avatars = list;
    this.#show();
  }

  /** The avatar `id`, or the default one, or the first; undefined while none is known. */
  avatar(id) {
    return this.#avatars.find((one) => one.id === id)
      ?? this.#avatars.find((one) => one.default)
      ?? this.#avatars[0];
  }

  get current() {
    return this.#current;
  }

  set current(id) {
    this.#current = id;
    this.#show();
  }

  #show() {
    const now = this.avatar(this.#current);
    this.#chip.hidden = !now;
    if (!now) return;
    const face = this.#chip.querySelector('img');
    const thumbnail = api.url(now.thumbnail);
    if (face.src !== thumbnail) face.src = thumbnail;
    this.#chip.querySelector('.name').textContent = named(now.name);
    this.#chip.setAttribute('aria-label', `${named(now.name)}. ${t('picker.open')}`);
    this.#chip.title = t('picker.open');
    this.#dialog.querySelector('.faces').replaceChildren(...this.#avatars.map((one) => this.#face(one, one === now)));
  }

  #face(avatar, present) {
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'face';
    button.setAttribute('aria-pressed', String(present));
    const image = document.createElement('img');
    image.src = api.url(avatar.thumbnail);
    image.alt = '';
    image.width = image.height = 128;
    const name = document.createElement('span');
    name.textContent = named(avatar.name);
    button.append(image, name);
    if (present) {
      const tag = document.createElement('small');
      tag.textContent = t('picker.now');
      button.append(tag);
    }
    button.addEventListener('click', () => {
      this.#dialog.close();
      if (!present) this.dispatchEvent(new CustomEvent('pick', { detail: { id: avatar.id } }));
    });
    return button;
  }
}
