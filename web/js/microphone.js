// The microphone: permission, level, device, open or held to talk.
//
// In: the mic button, Space (while held to talk), the choices in the menu. Out: events
//   track  {track}     what the connection shall send; null for nothing
//   mic    {on, hold}  what the server shall know: whether the person may be heard, and whether they hold the key
//   change {}          what the button shows has changed
//   refused {key}      why there is no microphone, as a text key
// The browser's echo cancellation is on, so that the avatar does not hear itself.

import { choices } from './settings.js';

/** The level falls this much a frame when it gets quiet: a needle, not a flicker. */
const FALL = 0.9;

/** Loudness of speech close to a microphone, as the analyser's root mean square: full deflection. */
const FULL = 0.2;

/** Why a browser gave no microphone, by the name of its error. */
const REASONS = {
  NotAllowedError: 'mic.denied',
  SecurityError: 'mic.denied',
  NotFoundError: 'mic.none',
  OverconstrainedError: 'mic.none',
  NotReadableError: 'mic.taken',
  AbortError: 'mic.taken',
};

export class Microphone extends EventTarget {
  #stream = null;
  #context = null;
  #held = false;
  #starting = null;
  #level = 0;

  /** Whether the person has switched it on. */
  get on() {
    return this.#stream !== null;
  }

  /** Whether what they say now is heard. */
  get hot() {
    return this.on && (!this.holdToTalk || this.#held);
  }

  get holdToTalk() {
    return choices.read('talk') === 'hold';
  }

  set holdToTalk(hold) {
    choices.write('talk', hold ? 'hold' : 'open');
    this.#apply();
  }

  get device() {
    return choices.read('device');
  }

  /** Another device: taken at once if the microphone is on. */
  async choose(device) {
    choices.write('device', device);
    if (!this.on) return;
    this.stop();
    await this.start();
  }

  /** The devices that may be chosen; their names are known only after permission was given. */
  static async devices() {
    const all = (await navigator.mediaDevices?.enumerateDevices().catch(() => [])) ?? [];
    return all.filter(({ kind, deviceId }) => kind === 'audioinput' && deviceId);
  }

  async toggle() {
    if (this.on) this.stop();
    else await this.start();
  }

  /** Asks for the microphone, once however often it is called meanwhile. */
  start() {
    this.#starting ??= this.#open().finally(() => {
      this.#starting = null;
    });
    return this.#starting;
  }

  stop() {
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    this.#stream = null;
    this.#held = false;
    this.#level = 0;
    this.#context?.close();
    this.#context = null;
    this.#emit('track', { track: null });
    this.#apply();
  }

  /** The key or the button is held down: only now the person is heard. */
  async hold() {
    if (!this.holdToTalk || this.#held) return;
    this.#held = true;
    if (!this.on) await this.start();
    this.#apply();
  }

  release() {
    if (!this.#held) return;
    this.#held = false;
    this.#apply();
  }

  async #open() {
    if (!navigator.mediaDevices?.getUserMedia) {
      this.#emit('refused', { key: isSecureContext ? 'mic.none' : 'mic.insecure' });
      return;
    }
    const wish = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
    if (this.device) wish.deviceId = { ideal: this.device };
    try {
      this.#stream = await navigator.mediaDevices.getUserMedia({ audio: wish });
    } catch (error) {
      this.#held = false;
      this.#emit('refused', { key: REASONS[error.name] ?? 'mic.none' });
      return;
    }
    const [track] = this.#stream.getAudioTracks();
    track.addEventListener('ended', () => {
      if (this.#stream?.getAudioTracks()[0] !== track) return;
      this.stop();
      this.#emit('refused', { key: 'mic.gone' });
    });
    this.#measure();
    this.#emit('track', { track });
    this.#apply();
  }

  /** Shows the level at 60 Hz while the microphone is on. */
  #measure() {
    const context = new AudioContext();
    this.#context = context;
    const analyser = new AnalyserNode(context, { fftSize: 512 });
    context.createMediaStreamSource(this.#stream).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    const frame = () => {
      if (this.#context !== context) return;
      analyser.getFloatTimeDomainData(samples);
      const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
      this.#level = Math.max(Math.min(Math.sqrt(power) / FULL, 1), this.#level * FALL);
      this.#emit('level', { level: this.#level });
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  /** Tells everybody how things stand. */
  #apply() {
    for (const track of this.#stream?.getAudioTracks() ?? []) track.enabled = this.hot;
    this.#emit('mic', this.status);
    this.#emit('change', {});
  }

  /** As the server is told, also after it was reached again. */
  get status() {
    return { on: this.hot, hold: this.holdToTalk };
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
