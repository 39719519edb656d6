// One line that says how things stand, in plain words.
//
// In: `phase` events of the connection, `state` messages of the server. Out: the status line's text and
// colour, and a card with more words when a phase takes longer than its budget.

import { language, t } from './i18n.js';

/** Causes for which `error.*` has words of its own. */
const TOLD = new Set([
  'shutdown', 'server_full', 'session_full', 'rate_limited', 'bad_sdp', 'no_audio', 'no_video', 'no_common_codec', 'internal', 'no_webrtc',
]);

/** Phases in which nothing is being tried. */
const RESTS = { failed: 'failed', ended: 'idle' };

export class Status {
  #line;
  #stage;
  #notices;
  #phase = { phase: 'signalling', late: false };
  #state = 'idle';
  #until = 0;
  #countdown = 0;

  constructor(line, stage, notices) {
    this.#line = line;
    this.#stage = stage;
    this.#notices = notices;
    language.addEventListener('language', () => this.#show());
    this.#show();
  }

  set state(state) {
    this.#state = state;
    this.#show();
  }

  set phase(detail) {
    this.#phase = detail;
    clearInterval(this.#countdown);
    if (detail.phase === 'waiting') {
      this.#until = performance.now() + detail.wait;
      if (detail.wait > 2_000) this.#countdown = setInterval(() => this.#show(), 1_000);
    }
    this.#explain(detail);
    this.#show();
  }

  #show() {
    const text = this.#text();
    const [dot, words] = this.#line.children;
    if (words.textContent !== text) words.textContent = text;
    const live = this.#phase.phase === 'live';
    dot.className = `dot ${live ? this.#state : RESTS[this.#phase.phase] ?? 'busy'}`;
    this.#stage.classList.toggle('unlive', !live && this.#phase.again === true);
  }

  #text() {
    const { phase, late, again, cause, media } = this.#phase;
    if (phase === 'live') {
      const words = t(`state.${this.#state}`) || t('state.idle');
      const keyboard = matchMedia('(hover: hover)').matches;
      return this.#state === 'speaking' && keyboard ? `${words} · ${t('state.esc')}` : words;
    }
    if (phase === 'failed') return t('phase.failed');
    if (phase === 'ended') return t('phase.ended');
    if (phase === 'waiting' && (cause === 'server_full' || cause === 'session_full' || cause === 'rate_limited')) {
      const seconds = Math.max(1, Math.ceil((this.#until - performance.now()) / 1_000));
      return t('phase.full', { seconds });
    }
    if (!navigator.onLine) return t('phase.offline');
    if (late) return t(`phase.${phase}_late`, media);
    if (again || phase === 'shaky') return t('phase.reconnecting');
    return t(phase === 'media' ? 'phase.media' : 'phase.connecting');
  }

  /** The longer story, for those who can do something about it. */
  #explain({ phase, late, cause, message, media, attempt, turn }) {
    const notices = this.#notices;
    if (phase === 'live' || phase === 'ended') {
      for (const name of ['connection', 'media']) notices.clear(name);
    } else if (phase === 'failed' || (phase === 'waiting' && TOLD.has(cause))) {
      notices.show('connection', () => t(`error.${cause}`) || message, { stays: true });
    } else if (phase === 'waiting' && attempt >= 3) {
      notices.show('connection', () => t('error.unreachable'), { stays: true });
    } else if (phase === 'ice' && late) {
      notices.show('media', () => (turn ? t(`error.${turn}`) : t('error.ice_failed', media)), { stays: true });
    } else if (phase === 'media') {
      notices.clear('connection');
    }
  }
}
