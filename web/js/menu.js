// The menu: language, size of captions, the microphone, this conversation and others, the keys.
//
// In: the session's id, the devices, the voices. Out: `join {id}`, `copy` (the link), `talk {hold}`, `device {id}`, `voice {id}`; the
// language and the size of captions take effect here.

import { sheet } from './dialogs.js';
import { lang, setLanguage } from './i18n.js';
import { choices } from './settings.js';

/** A conversation's id, alone or inside a link somebody sent. */
function sessionIn(text) {
  const link = /[?&]session=([^&#\s]+)/.exec(text);
  return link ? decodeURIComponent(link[1]) : text.trim();
}

export class Menu extends EventTarget {
  #dialog;

  constructor(button, dialog) {
    super();
    this.#dialog = sheet(dialog);
    button.addEventListener('click', () => {
      this.dispatchEvent(new Event('open'));
      dialog.showModal();
    });
    this.#radios('lang', lang(), setLanguage);
    this.#radios('size', choices.read('size') || 'm', (size) => {
      choices.write('size', size);
      document.documentElement.dataset.captions = size;
    });
    document.documentElement.dataset.captions = choices.read('size') || 'm';
    this.#radios('talk', choices.read('talk') || 'open', (talk) => this.#emit('talk', { hold: talk === 'hold' }));
    const device = dialog.querySelector('[name=device]');
    device.addEventListener('change', () => this.#emit('device', { id: device.value }));
    const voice = dialog.querySelector('[name=voice]');
    voice.addEventListener('change', () => voice.value && this.#emit('voice', { id: voice.value }));
    const keys = dialog.querySelector('[name=keys]');
    keys.checked = choices.read('keys') !== 'off';
    keys.addEventListener('change', () => choices.write('keys', keys.checked ? 'on' : 'off'));
    dialog.querySelector('.link').addEventListener('click', () => this.dispatchEvent(new Event('copy')));
    const join = dialog.querySelector('.join');
    join.addEventListener('submit', (event) => {
      event.preventDefault();
      const id = sessionIn(join.elements.session.value);
      if (!id) return;
      join.reset();
      dialog.close();
      this.#emit('join', { id });
    });
  }

  set session(id) {
    this.#dialog.querySelector('.session-id').textContent = id;
  }

  /** The microphones to choose from, and the one that was chosen. */
  showDevices(devices, chosen) {
    const select = this.#dialog.querySelector('[name=device]');
    const standard = select.firstElementChild;
    const options = devices.filter(({ label }) => label).map(({ deviceId, label }) => new Option(label, deviceId));
    select.replaceChildren(standard, ...options);
    select.value = options.some(({ value }) => value === chosen) ? chosen : '';
  }

  /** The voices to choose from: `{id, name, language}`. */
  set voices(list) {
    const names = new Intl.DisplayNames(lang(), { type: 'language' });
    const select = this.#dialog.querySelector('[name=voice]');
    for (const language of new Set(list.map((voice) => voice.language))) {
      const group = document.createElement('optgroup');
      group.label = names.of(language);
      group.append(...list.filter((voice) => voice.language === language).map(({ id, name }) => new Option(name, id)));
      select.append(group);
    }
    this.#dialog.querySelector('#voices').hidden = list.length < 2;
  }

  /** Who speaks now. */
  set voice(id) {
    this.#dialog.querySelector('[name=voice]').value = id;
  }

  /** The single keys may be switched off (WCAG 2.1.4). */
  get keys() {
    return choices.read('keys') !== 'off';
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #radios(name, value, act) {
    for (const radio of this.#dialog.querySelectorAll(`[name=${name}]`)) {
      radio.checked = radio.value === value;
      radio.addEventListener('change', () => act(radio.value));
    }
  }
}
