// Reads the receiver's own figures once a second.
//
// In: the present RTCPeerConnection. Out: `sample` events with plain numbers (rates are per second since
// the last sample), and `delay`, the time sound spends in the jitter buffer, by which captions wait.

const PERIOD_MS = 1_000;

/** Assumed until the first sample: what Chromium keeps on a quiet network. */
const FIRST_DELAY_MS = 50;

/** Counters of one `getStats()`, flat. */
function counters(report) {
  const now = { at: performance.now() };
  const byId = new Map();
  for (const entry of report.values()) byId.set(entry.id, entry);
  for (const entry of report.values()) {
    if (entry.type === 'inbound-rtp') now[entry.kind] = entry;
    if (entry.type === 'transport') now.pair = byId.get(entry.selectedCandidatePairId) ?? now.pair;
    if (entry.type === 'candidate-pair' && entry.nominated && entry.state === 'succeeded') now.pair ??= entry;
  }
  now.local = byId.get(now.pair?.localCandidateId);
  now.remote = byId.get(now.pair?.remoteCandidateId);
  now.codec = byId.get(now.video?.codecId)?.mimeType?.replace('video/', '') ?? '';
  return now;
}

const since = (now, before, key) => (now?.[key] ?? 0) - (before?.[key] ?? 0);

/** Mean stay in the jitter buffer since the last sample, ms. */
function stay(now, before) {
  const emitted = since(now, before, 'jitterBufferEmittedCount');
  return emitted > 0 ? (since(now, before, 'jitterBufferDelay') / emitted) * 1_000 : null;
}

export class Meter extends EventTarget {
  delay = FIRST_DELAY_MS;

  #pc = null;
  #before = null;

  constructor() {
    super();
    setInterval(() => this.#read(), PERIOD_MS);
  }

  set pc(pc) {
    this.#pc = pc;
    this.#before = null;
    this.delay = FIRST_DELAY_MS;
  }

  async #read() {
    const pc = this.#pc;
    if (pc?.connectionState !== 'connected') return;
    const now = counters(await pc.getStats());
    const before = this.#before;
    this.#before = now;
    if (before === null || pc !== this.#pc) return;
    const seconds = (now.at - before.at) / 1_000;
    const lost = since(now.video, before.video, 'packetsLost') + since(now.audio, before.audio, 'packetsLost');
    const got = since(now.video, before.video, 'packetsReceived') + since(now.audio, before.audio, 'packetsReceived');
    const sound = stay(now.audio, before.audio);
    if (sound !== null) this.delay = sound;
    const sample = {
      rtt: (now.pair?.currentRoundTripTime ?? NaN) * 1_000,
      path: [now.remote?.candidateType, now.local?.relayProtocol ?? now.remote?.protocol].filter(Boolean).join(' '),
      size: now.video?.frameWidth ? `${now.video.frameWidth}×${now.video.frameHeight}` : '',
      codec: now.codec,
      fps: since(now.video, before.video, 'framesDecoded') / seconds,
      videoRate: (since(now.video, before.video, 'bytesReceived') * 8) / 1_000 / seconds,
      audioRate: (since(now.audio, before.audio, 'bytesReceived') * 8) / 1_000 / seconds,
      lost: (now.video?.packetsLost ?? 0) + (now.audio?.packetsLost ?? 0),
      loss: lost > 0 ? lost / (lost + got) : 0,
      soundBuffer: sound,
      pictureBuffer: stay(now.video, before.video),
      packets: (now.pair?.id === before.pair?.id && since(now.pair, before.pair, 'packetsReceived')) || got,
      overTcp: !now.local?.relayProtocol && now.remote?.protocol === 'tcp',
      freezes: now.video?.freezeCount ?? 0,
      frozen: since(now.video, before.video, 'freezeCount') > 0,
    };
    this.dispatchEvent(new CustomEvent('sample', { detail: sample }));
  }
}
