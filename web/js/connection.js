// The WebRTC connection and its life: offer, ICE, first picture, loss, next try.
//
// In: the session and avatar wanted, `frameShown()` from the stage, the browser's network events.
// Out: events
//   phase    {phase, late, attempt, cause, wait, media}  what to tell the person (see `status.js`)
//   closing  {}  the present peer connection is about to end, and with it the picture
//   peer     {pc, stream, channel}  a new peer connection; its tracks and DataChannel
//   session  {id, viewer, fresh}  the server's answer; `fresh`: the one that was asked for and not given
//   refused  {code, session}  a wish that could not be granted and was dropped
// A lost network ends no connection: it is kept, and looks for another path as soon as the server can be asked (ICE restart).
// One attempt is alive at a time: each carries a number, and what a stale one still brings is ignored.

import * as api from './api.js';
import { preferCodec, mediaAddress } from './sdp.js';

/** Past these the text changes (docs: the person never watches an endless spinner). */
const BUDGET_MS = { signalling: 3_000, ice: 8_000, media: 5_000 };

/** Past these the attempt is given up and a new one made. Chromium's own ICE gives up near 15 s. */
const LIMIT_MS = { ice: 20_000, media: 20_000 };

/** How long a connection without packets is kept: the server keeps its place for as long. */
const KEPT_MS = 35_000;

/** Between two questions whether the server is there, while it is not. */
const PROBE_MS = 500;

/** From an answer that names another path to packets on it. */
const RESTART_MS = 5_000;

/** The server sends 50 sound packets a second, also in silence: seconds without any mean that it is gone.
 * ICE itself notices after five. */
const SILENT_SECONDS = 2;

/** Wait before try n: 0.5 s doubling to 5 s, ± 25 % so that many pages do not knock in step. */
function backOff(attempt) {
  const base = Math.min(500 * 2 ** Math.max(attempt - 1, 0), 5_000);
  return base * (0.75 + Math.random() / 2);
}

export class Connection extends EventTarget {
  /** The session we are in or want; empty for a new one. */
  session = '';
  /** The avatar that a new session shall have; empty for the server's default. */
  avatar = '';
  phase = 'signalling';

  #viewer = '';
  #codec = '';
  #relayOnly = false;
  #pc = null;
  /** The one before, until there is another: its end would be a good-bye. */
  #left = null;
  #turnFault = '';
  #wake = () => {};
  #attempt = 0;
  #generation = 0;
  #timers = new Set();
  #wasLive = false;
  #silent = 0;
  #returnTo = null;
  #sound = null;
  #sender = null;

  constructor({ session, avatar, codec, relayOnly }) {
    super();
    this.session = session;
    this.avatar = avatar;
    this.#codec = codec;
    this.#relayOnly = relayOnly;
    addEventListener('online', () => this.#hurry());
    // Where browsers tell (phones): another kind of network, so that the path is gone. Estimates of speed change all the time.
    let type = navigator.connection?.type;
    navigator.connection?.addEventListener?.('change', () => {
      if (type !== navigator.connection.type) this.#shaky();
      type = navigator.connection.type;
    });
    document.addEventListener('visibilitychange', () => !document.hidden && this.#hurry());
    addEventListener('pagehide', () => this.#leavePage());
    addEventListener('pageshow', (event) => event.persisted && this.start());
  }

  get pc() {
    return this.#pc;
  }

  get live() {
    return this.phase === 'live';
  }

  start() {
    if (typeof RTCPeerConnection === 'undefined') {
      this.#enter('failed', { cause: 'no_webrtc' });
      return;
    }
    this.#try();
  }

  /** What the person's microphone hears, or null. Also sent by every later peer connection. */
  set microphone(track) {
    this.#sound = track;
    this.#sender?.replaceTrack(track).catch(() => {});
  }

  /** Leaves this session for `id`; back to the present one if `id` does not exist. */
  join(id) {
    if (id === this.session) return;
    this.#returnTo = this.session;
    api.leave(this.session, this.#viewer);
    this.#viewer = '';
    this.session = id;
    this.#attempt = 0;
    this.#wasLive = false;
    this.#drop();
    this.#try();
  }

  /** The stage shows a picture of the present stream. */
  frameShown() {
    if (this.phase !== 'ice' && this.phase !== 'media') return;
    this.#attempt = 0;
    this.#wasLive = true;
    this.#enter('live');
  }

  /** Told once a second: how many packets came. */
  flowing(packets) {
    this.#silent = packets > 0 ? 0 : this.#silent + 1;
    if (this.live && this.#silent >= SILENT_SECONDS) this.#shaky();
    if (this.phase === 'shaky' && packets > 0) this.#enter('live');
  }

  /** The server says that the session is over: for good, or because it stops itself and may come back. */
  bye(reason) {
    if (reason === 'shutdown' || reason === 'internal') {
      this.#lost(reason);
      return;
    }
    this.#drop();
    this.session = '';
    this.#viewer = '';
    this.#enter('ended', { cause: reason });
  }

  /** A new session, after one has ended. */
  begin() {
    if (this.phase !== 'ended') return;
    this.#attempt = 0;
    this.#wasLive = false;
    this.#try();
  }

  async #try() {
    const generation = this.#drop({ keep: true });
    const stale = () => generation !== this.#generation;
    this.#enter('signalling');
    const pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
    this.#pc = pc;
    this.#turnFault = '';
    pc.addEventListener('icecandidateerror', ({ errorCode }) => !stale() && this.#turnRefused(errorCode));
    // Both ways from the start, so that the microphone needs no new negotiation.
    const audio = pc.addTransceiver(this.#sound ?? 'audio', { direction: 'sendrecv' });
    this.#sender = audio.sender;
    const video = pc.addTransceiver('video', { direction: 'recvonly' });
    preferCodec(video, this.#codec);
    const channel = pc.createDataChannel('visavis', { ordered: true });
    const stream = new MediaStream([audio.receiver.track, video.receiver.track]);
    try {
      const [iceServers, local] = await Promise.all([api.iceServers(), pc.createOffer()]);
      if (stale()) return;
      const iceTransportPolicy = this.#relayOnly ? 'relay' : 'all';
      pc.setConfiguration({ ...pc.getConfiguration(), iceServers, iceTransportPolicy });
      await pc.setLocalDescription(local);
      const wish = { sdp: local.sdp, type: 'offer' };
      if (this.session) wish.sessionid = this.session;
      else if (this.avatar) wish.avatar = this.avatar;
      const answer = await api.offer(wish);
      if (stale()) {
        api.leave(answer.sessionid, answer.viewer);
        return;
      }
      this.#answered(answer);
      this.#left?.close();
      this.#left = null;
      this.#watch(pc, channel, generation);
      this.#emit('peer', { pc, stream, channel });
      this.#enter('ice', { media: mediaAddress(answer.sdp) });
      await pc.setRemoteDescription({ type: 'answer', sdp: answer.sdp });
      // The server has no codec of ours for pictures, and would send a voice alone.
      if (video.currentDirection !== 'recvonly') throw new api.ApiError('no_common_codec', '');
    } catch (error) {
      if (!stale()) this.#refused(error);
    }
  }

  #answered({ sessionid, viewer }) {
    const fresh = this.session === sessionid ? '' : this.session;
    if (this.#viewer && this.#viewer !== viewer && this.session === sessionid) {
      api.leave(this.session, this.#viewer);
    }
    this.session = sessionid;
    this.#viewer = viewer;
    this.#returnTo = null;
    this.#emit('session', { id: sessionid, viewer, fresh });
  }

  #watch(pc, channel, generation) {
    const mine = () => generation === this.#generation;
    channel.addEventListener('close', () => mine() && this.#lost('closed'));
    pc.addEventListener('connectionstatechange', () => {
      if (!mine()) return;
      if (pc.connectionState === 'connected') {
        if (this.phase === 'ice') this.#enter('media');
        if (this.phase === 'shaky') this.#enter('live');
      }
      if (pc.connectionState === 'failed' && this.phase !== 'shaky') {
        if (this.live) this.#shaky();
        else this.#lost('ice_failed');
      }
      if (pc.connectionState === 'disconnected') this.#shaky();
    });
  }

  /** No packets: the path may heal by itself, and as soon as the server answers by HTTP another one is looked for. */
  async #shaky() {
    if (!this.live) return;
    const generation = this.#generation;
    const began = performance.now();
    const goesOn = () => generation === this.#generation && this.phase === 'shaky';
    this.#enter('shaky');
    while (goesOn()) {
      if (await api.alive()) {
        if (goesOn() && (await this.#restart(generation))) await this.#pause(RESTART_MS);
        if (goesOn()) this.#lost('disconnected');
        return;
      }
      if (goesOn() && performance.now() - began > KEPT_MS) this.#lost('unreachable');
      await this.#pause(PROBE_MS);
    }
  }

  /** Asks for another path for the same connection. Whether the server has answered. */
  async #restart(generation) {
    const pc = this.#pc;
    const stale = () => generation !== this.#generation;
    try {
      const iceServers = await api.iceServers();
      if (stale()) return false;
      pc.setConfiguration({ ...pc.getConfiguration(), iceServers });
      pc.restartIce();
      await pc.setLocalDescription();
      const answer = await api.offer({ sdp: pc.localDescription.sdp, type: 'offer', sessionid: this.session });
      if (answer.viewer !== this.#viewer) {
        // We came too late, and it took us for somebody new.
        api.leave(answer.sessionid, answer.viewer);
        return false;
      }
      if (!stale()) await pc.setRemoteDescription({ type: 'answer', sdp: answer.sdp });
      return true;
    } catch (error) {
      if (!stale() && error.code === 'unknown_session') this.#refused(error);
      return false;
    }
  }

  /** A relay that knows us not says so; one that is not there says nothing. */
  #turnRefused(code) {
    if (code !== 401) return;
    this.#turnFault = 'turn_auth';
    if (this.#relayOnly && this.phase === 'ice') this.#emit('phase', { phase: 'ice', late: true, attempt: this.#attempt, turn: this.#turnFault });
  }

  /** Answers a refusal: give up the wish that cannot be granted, or wait and ask again. */
  #refused(error) {
    const code = error instanceof api.ApiError ? error.code : 'internal';
    const { message } = error;
    const { session } = this;
    if (code === 'unknown_session' && session) {
      if (this.#returnTo !== null) {
        this.session = this.#returnTo;
        this.#returnTo = null;
      } else {
        this.session = '';
      }
      this.#emit('refused', { code, session });
      this.#try();
    } else if (code === 'unknown_avatar' && this.avatar) {
      this.avatar = '';
      this.#emit('refused', { code, session });
      this.#try();
    } else if (error.retryAfter > 0) {
      this.#again(code, error.retryAfter * 1_000, message);
    } else {
      this.#lost(code, message);
    }
  }

  #lost(cause, message = '') {
    this.#attempt += 1;
    this.#again(cause, backOff(this.#attempt), message);
  }

  #again(cause, wait, message) {
    this.#drop({ keep: true });
    this.#enter('waiting', { cause, wait, message });
    this.#later(wait, () => this.#try());
  }

  /** The network is back, or the person is: no reason to sit out a wait. */
  #hurry() {
    this.#wake();
    if (this.phase === 'waiting') this.#try();
  }

  /** Waits, unless there is reason to hurry. */
  #pause(time) {
    return new Promise((resolve) => {
      this.#wake = resolve;
      setTimeout(resolve, time);
    });
  }

  #enter(phase, detail = {}) {
    this.#clearTimers();
    this.phase = phase;
    const tell = (late) =>
      this.#emit('phase', { phase, late, attempt: this.#attempt, again: this.#wasLive, turn: this.#turnFault, ...detail });
    tell(false);
    if (BUDGET_MS[phase]) this.#later(BUDGET_MS[phase], () => tell(true));
    if (LIMIT_MS[phase]) {
      // A hidden page shows no frames, so it cannot tell a late picture from its own sleep.
      this.#later(LIMIT_MS[phase], () => (phase === 'media' && document.hidden) || this.#lost(`${phase}_timeout`));
    }
  }

  /** Ends the present attempt; returns the number of the next. `keep`: without a good-bye, since we come back. */
  #drop({ keep = false } = {}) {
    this.#clearTimers();
    this.#generation += 1;
    this.#silent = 0;
    if (this.#pc) {
      this.#emit('closing', {});
      this.#left?.close();
      this.#left = this.#pc;
      this.#pc = null;
    }
    if (!keep) {
      this.#left?.close();
      this.#left = null;
    }
    return this.#generation;
  }

  #leavePage() {
    api.leave(this.session, this.#viewer);
    this.#viewer = '';
    this.#drop();
  }

  #later(delay, act) {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      act();
    }, delay);
    this.#timers.add(timer);
  }

  #clearTimers() {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
