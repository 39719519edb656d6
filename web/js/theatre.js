// Full screen: the avatar, the captions and, while somebody is at the keys, the text box.
//
// In: the button and F. Out: class `theatre` on the page, `resting` after a while without a hand on
// anything. Phones that give no element the full screen (iPhone) get the same view inside the window.

/** After this long without a hand on anything only the avatar is left. */
const REST_MS = 4_000;

export class Theatre {
  #page;
  #rest = 0;

  constructor(page) {
    this.#page = page;
    document.addEventListener('fullscreenchange', () => this.#dress(document.fullscreenElement !== null));
    for (const sign of ['pointermove', 'pointerdown', 'keydown', 'focusin']) {
      document.addEventListener(sign, () => this.#stir(), { passive: true });
    }
  }

  get on() {
    return this.#page.classList.contains('theatre');
  }

  toggle() {
    if (this.on) {
      if (document.fullscreenElement) document.exitFullscreen();
      else this.#dress(false);
    } else if (document.documentElement.requestFullscreen) {
      document.documentElement.requestFullscreen().catch(() => this.#dress(true));
    } else {
      this.#dress(true);
    }
  }

  #dress(on) {
    this.#page.classList.toggle('theatre', on);
    this.#stir();
  }

  #stir() {
    this.#page.classList.remove('resting');
    clearTimeout(this.#rest);
    if (!this.on) return;
    this.#rest = setTimeout(() => {
      const typing = this.#page.querySelector('textarea:focus')?.value;
      if (!typing) this.#page.classList.add('resting');
    }, REST_MS);
  }
}
