// The connection test: which ways lead from this browser to the server, and the one thing to do where none does.
//
// In: a click, the session that is watched. Out: a list in its dialog, a line each: what, whether it works, why not. Every
// fault has a stable code, which stands beside its words. Each way is tried with a connection of its own, for sound alone, that
// joins the session as one more viewer and leaves at once.

import * as api from './api.js';
import { sheet } from './dialogs.js';
import { language, t } from './i18n.js';
import { mediaAddress, onlyBy } from './sdp.js';

/** A way that works does so in well under a second; a relay far away may need three. */
const PATIENCE_MS = 8_000;

const good = (value = '') => ({ mark: 'good', value });
const fair = (code) => ({ mark: 'fair', code });
const bad = (code, values = {}) => ({ mark: 'bad', code, values });

/** Why a way was not even tried. */
function untried(error) {
  const known = ['server_full', 'session_full', 'rate_limited', 'shutting_down'];
  return fair(known.includes(error.code) ? error.code : 'unreachable');
}

/**
 * Tries one way.
 * @param {{session: string, protocol: string, iceServers: RTCIceServer[], relayOnly: boolean}} way
 * @returns {Promise<{connected: boolean, ms: number, media: object, refused: boolean}>}
 */
async function attempt({ session, protocol, iceServers, relayOnly }) {
  const pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle', iceServers, iceTransportPolicy: relayOnly ? 'relay' : 'all' });
  let refused = false;
  pc.addEventListener('icecandidateerror', ({ errorCode }) => (refused ||= errorCode === 401));
  pc.addTransceiver('audio', { direction: 'recvonly' });
  pc.createDataChannel('trial');
  await pc.setLocalDescription();
  const began = performance.now();
  const wish = { sdp: pc.localDescription.sdp, type: 'offer', ...(session && { sessionid: session }) };
  const answer = await api.offer(wish).catch((error) => {
    pc.close();
    throw error;
  });
  try {
    const ended = new Promise((resolve) => {
      pc.addEventListener('connectionstatechange', () => /connected|failed/.test(pc.connectionState) && resolve());
      setTimeout(resolve, PATIENCE_MS);
    });
    await pc.setRemoteDescription({ type: 'answer', sdp: protocol ? onlyBy(protocol, answer.sdp) : answer.sdp });
    await ended;
    const ms = Math.round(performance.now() - began);
    return { connected: pc.connectionState === 'connected', ms, media: mediaAddress(answer.sdp), refused };
  } finally {
    api.leave(answer.sessionid, answer.viewer);
    pc.close();
  }
}

/** The questions, in the order in which they are asked; each is told what the earlier ones found. */
const QUESTIONS = {
  async server() {
    const began = performance.now();
    return (await api.alive()) ? good(`${Math.round(performance.now() - began)} ms`) : bad('unreachable');
  },
  async microphone() {
    if (!isSecureContext || !navigator.mediaDevices) return bad('insecure_origin', { https: location.href.replace(/^http:/, 'https:') });
    const devices = await navigator.mediaDevices.enumerateDevices();
    if (!devices.some(({ kind }) => kind === 'audioinput')) return fair('mic_missing');
    const permission = await navigator.permissions?.query({ name: 'microphone' }).catch(() => null);
    return permission?.state === 'denied' ? bad('mic_denied') : good();
  },
  async picture() {
    const codecs = (RTCRtpReceiver.getCapabilities?.('video')?.codecs ?? []).map(({ mimeType }) => mimeType.toLowerCase());
    if (codecs.includes('video/h264')) return good('H.264');
    return codecs.includes('video/vp8') ? fair('codec_h264') : bad('no_common_codec');
  },
  async udp({ session }) {
    const { connected, ms } = await attempt({ session, protocol: 'udp', iceServers: [] });
    return connected ? good(`${ms} ms`) : bad('udp_blocked');
  },
  async tcp({ session, found }) {
    const { connected, ms, media } = await attempt({ session, protocol: 'tcp', iceServers: [] });
    if (connected) return good(`${ms} ms`);
    return found.udp.mark === 'good' ? fair('tcp_blocked') : bad('ice_failed', media);
  },
  async relay({ session, found }) {
    const iceServers = await api.iceServers();
    const hasRelay = iceServers.some(({ urls }) => [urls].flat().some((url) => /^turns?:/.test(url)));
    const isNeeded = found.udp.mark !== 'good' && found.tcp.mark !== 'good';
    if (!hasRelay) return isNeeded ? bad('no_turn') : good(t('trial.not_needed'));
    const { connected, ms, refused } = await attempt({ session, iceServers, relayOnly: true });
    if (connected) return good(`${ms} ms`);
    return bad(refused ? 'turn_auth' : 'turn_unreachable');
  },
};

export class Trial {
  #dialog;
  #session;
  #found = {};
  #running = false;

  constructor(dialog, session) {
    this.#dialog = sheet(dialog);
    this.#session = session;
    for (const button of document.querySelectorAll('.try-connection')) {
      button.addEventListener('click', () => {
        button.closest('dialog')?.close();
        dialog.showModal();
        this.#run();
      });
    }
    language.addEventListener('language', () => this.#show());
  }

  async #run() {
    if (this.#running) return;
    this.#running = true;
    this.#found = {};
    this.#show();
    for (const [name, ask] of Object.entries(QUESTIONS)) {
      this.#found[name] = await ask({ session: this.#session(), found: this.#found }).catch(untried);
      this.#show();
    }
    this.#running = false;
    this.#show();
  }

  #show() {
    const items = Object.keys(QUESTIONS).map((name) => {
      const item = document.createElement('li');
      const { mark = 'waits', code = '', value = '', values = {} } = this.#found[name] ?? {};
      item.className = mark;
      item.dataset.code = code;
      const head = document.createElement('strong');
      head.textContent = t(`trial.${name}`);
      const words = document.createElement('span');
      words.textContent = code ? t(`trial.${code}`, values) || t(`error.${code}`, values) : value || t(mark === 'good' ? 'trial.works' : 'trial.waits');
      item.append(head, ' ', words);
      if (code) {
        const slug = document.createElement('code');
        slug.textContent = code;
        item.append(' ', slug);
      }
      return item;
    });
    this.#dialog.querySelector('ol').replaceChildren(...items);
    this.#dialog.querySelector('.verdict').textContent = this.#running ? t('trial.running') : this.#verdict();
  }

  #verdict() {
    const works = (name) => this.#found[name]?.mark === 'good';
    if (!this.#found.relay) return '';
    if (works('udp')) return t('trial.all_well');
    if (works('tcp')) return t('note.udp_blocked');
    return t(works('relay') && this.#found.relay.value !== t('trial.not_needed') ? 'trial.by_relay' : 'trial.no_way');
  }
}
