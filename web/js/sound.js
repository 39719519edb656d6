// Sound: muted until one tap, and silent at once when the person stops the avatar.
//
// In: gestures, the video element, interruptions. Out: `change` when what is heard or shown has changed.
// Browsers refuse `play()` with sound before a gesture, under changing error names; so any refusal means
// "play muted and offer the tap", and any later gesture tries again.

import { params, tab } from './settings.js';

/** A stop that the server never confirms must not leave the page deaf. */
const HUSH_LIMIT_MS = 3_000;

export class Sound extends EventTarget {
  /** The person wants to hear. `?muted=1` starts without that wish. */
  wanted = !params.muted;
  /** The browser plays with sound. */
  audible = false;

  #video;
  #tapped = tab.read('sound') === 'on' && !params.muted;
  #hushed = false;
  #limit = 0;

  constructor(video) {
    super();
    this.#video = video;
    for (const gesture of ['pointerup', 'touchend', 'keydown']) {
      document.addEventListener(gesture, () => this.#retry(), { capture: true, passive: true });
    }
    document.addEventListener('visibilitychange', () => !document.hidden && this.#retry());
  }

  /** Nothing is heard although it should be: the page offers "Tap for sound". */
  get offered() {
    return this.wanted && !this.audible;
  }

  /** A gesture that means "let me hear": the button, the picture, the first sentence sent. */
  tap() {
    if (!this.wanted || this.audible) return;
    this.#tapped = true;
    this.apply();
  }

  toggle() {
    this.wanted = !this.audible;
    this.#tapped = this.wanted;
    this.apply();
  }

  /** Plays the present stream, with sound if we may. */
  async apply() {
    const video = this.#video;
    const loud = this.wanted && this.#tapped;
    video.muted = !loud;
    this.#obey();
    try {
      if (video.srcObject) await video.play();
      this.audible = loud;
    } catch {
      video.muted = true;
      this.audible = false;
      if (loud) video.play().catch(() => {});
    }
    tab.write('sound', this.audible ? 'on' : 'off');
    this.dispatchEvent(new Event('change'));
  }

  /** Silence now, before the server knows. */
  hush() {
    this.#hushed = true;
    this.#obey();
    clearTimeout(this.#limit);
    this.#limit = setTimeout(() => this.release(), HUSH_LIMIT_MS);
  }

  /** The server has stopped, or a new answer begins; `after` ms, for what is still on its way. */
  release(after = 0) {
    clearTimeout(this.#limit);
    if (after > 0) {
      this.#limit = setTimeout(() => this.release(), after);
      return;
    }
    this.#hushed = false;
    this.#obey();
  }

  #obey() {
    for (const track of this.#video.srcObject?.getAudioTracks() ?? []) track.enabled = !this.#hushed;
  }

  #retry() {
    const video = this.#video;
    if (video.srcObject && (video.paused || (this.#tapped && this.wanted && !this.audible))) this.apply();
  }
}
