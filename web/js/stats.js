// The figures behind S, and the three bars that sum them up.
//
// In: samples of the meter, measured waits, the server's `stats` messages. Out: a list of rows, a quality
// class on the button, the same figures as text for a report.

import { label, language, t } from './i18n.js';

/** Rows of the server's own figures; more would be a log. */
const SERVER_ROWS = 12;

const number = (value, unit, digits = 0) => (Number.isFinite(value) ? `${value.toFixed(digits)} ${unit}`.trim() : '–');

/** Good, fair or poor, by what a person would notice: loss, delay, a stuttering picture. */
function quality({ rtt, loss, frozen, fps }) {
  if (loss > 0.05 || rtt > 400 || frozen || fps < 5) return 'poor';
  if (loss > 0.01 || rtt > 200 || fps < 15) return 'fair';
  return 'good';
}

export class Stats {
  #panel;
  #button;
  #latency;
  #sample = null;
  #server = {};

  constructor(panel, button, latency) {
    this.#panel = panel;
    this.#button = button;
    this.#latency = latency;
    button.addEventListener('click', () => this.toggle());
    panel.querySelector('.shut').addEventListener('click', () => this.toggle());
    latency.addEventListener('measured', () => this.#show());
    language.addEventListener('language', () => this.#show());
    this.#show();
  }

  set sample(sample) {
    this.#sample = sample;
    this.#show();
  }

  set server({ type: _, ...figures }) {
    this.#server = figures;
    this.#show();
  }

  get shown() {
    return !this.#panel.hidden;
  }

  toggle() {
    this.#panel.hidden = this.shown;
    this.#button.setAttribute('aria-pressed', String(this.shown));
    this.#show();
  }

  /** The figures as lines of text. */
  text() {
    return this.#rows().map(([name, value]) => `${name}: ${value}`).join('\n');
  }

  #rows() {
    const s = this.#sample ?? {};
    const rows = [
      [t('stats.answer'), number(this.#latency.answer, 'ms')],
      [t('stats.interrupt'), number(this.#latency.interrupt, 'ms')],
      [t('stats.rtt'), number(s.rtt, 'ms')],
      [t('stats.fps'), number(s.fps, '', 0)],
      [t('stats.rate'), number(s.videoRate + s.audioRate, 'kbit/s')],
      [t('stats.lost'), Number.isFinite(s.lost) ? `${s.lost} (${number(s.loss * 100, '%', 1)})` : '–'],
      [t('stats.buffer'), `${number(s.soundBuffer ?? NaN, 'ms')} / ${number(s.pictureBuffer ?? NaN, 'ms')}`],
      [t('stats.freezes'), number(s.freezes, '')],
      [t('stats.video'), [s.codec, s.size].filter(Boolean).join(' ') || '–'],
      [t('stats.path'), s.path || '–'],
    ];
    for (const [name, value] of Object.entries(this.#server).slice(0, SERVER_ROWS)) {
      const plain = typeof value === 'number' ? String(Math.round(value * 10) / 10) : String(value);
      if (typeof value !== 'object') rows.push([`${t('stats.server')} · ${name}`, plain]);
    }
    return rows;
  }

  #show() {
    const level = this.#sample ? quality(this.#sample) : 'none';
    this.#button.dataset.quality = level;
    label(this.#button, `quality.${level}`, 'S');
    if (!this.shown) return;
    const cells = this.#rows().flatMap(([name, value]) => {
      const term = document.createElement('dt');
      const figure = document.createElement('dd');
      term.textContent = name;
      figure.textContent = value;
      return [term, figure];
    });
    this.#panel.querySelector('dl').replaceChildren(...cells);
  }
}
