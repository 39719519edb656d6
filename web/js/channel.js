// The conversation's wire: JSON messages on the `visavis` DataChannel.
//
// In: what to say up; the channel of each new peer connection. Out: one event per message from the
// server, named by its `type` (hello, state, transcript, turn, caption, avatar, voice, bye, stats, error), its
// detail the message itself; `undelivered {text, code}` when words could not be brought to the server,
// `posted {text}` when they went another way.
// While a connection is being made, words wait; when there is one without a channel they go by HTTP.

import * as api from './api.js';

/** Words typed before the channel is open. More than these few would be a surprise, not a help. */
const OUTBOX_SLOTS = 3;

/** A connected peer whose channel has not opened after this long will not open it. */
const CHANNEL_PATIENCE_MS = 2_000;

export class Channel extends EventTarget {
  #channel = null;
  #connection;
  #connectedAt = 0;
  #outbox = [];
  #nextId = 1;

  /** @param {import('./connection.js').Connection} connection */
  constructor(connection) {
    super();
    this.#connection = connection;
    connection.addEventListener('peer', ({ detail }) => this.#attach(detail));
    connection.addEventListener('phase', ({ detail }) => {
      if (detail.phase === 'live') this.#connectedAt ||= performance.now();
      else if (detail.phase !== 'shaky') this.#connectedAt = 0;
      if (detail.phase === 'live') setTimeout(() => this.#flush(), CHANNEL_PATIENCE_MS);
    });
  }

  get open() {
    return this.#channel?.readyState === 'open';
  }

  /**
   * Sends a person's words. Returns the id under which the server may answer.
   * @param {'chat'|'echo'} type
   */
  say(type, text) {
    const id = `p${this.#nextId++}`;
    const message = { type, text, id };
    if (this.#outbox.length >= OUTBOX_SLOTS) this.#undelivered(this.#outbox.shift());
    this.#outbox.push(message);
    this.#flush();
    return id;
  }

  /** Stops the avatar, and takes back what was not sent yet. */
  interrupt() {
    for (const message of this.#outbox.splice(0)) this.#undelivered(message);
    if (this.open) this.#send({ type: 'interrupt' });
    else if (this.#connection.session) api.interruptTalk(this.#connection.session).catch(() => {});
  }

  /** Tells the server whether the person may be heard: `{on, hold}`. */
  microphone(status) {
    if (this.open) this.#send({ type: 'mic', ...status });
  }

  /** Asks for another face. Without a channel it waits in the connection for the next offer. */
  switchAvatar(id) {
    if (this.open) this.#send({ type: 'avatar', id });
    return this.open;
  }

  /** Asks for another voice, from the next answer on. */
  speakAs(id) {
    if (this.open) this.#send({ type: 'voice', id });
  }

  #attach({ channel }) {
    this.#channel = channel;
    channel.addEventListener('open', () => this.#flush());
    channel.addEventListener('message', ({ data }) => channel === this.#channel && this.#receive(data));
  }

  #receive(data) {
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      return;
    }
    if (typeof message?.type !== 'string') return;
    this.dispatchEvent(new CustomEvent(message.type, { detail: message }));
  }

  #send(message) {
    this.#channel.send(JSON.stringify(message));
  }

  #flush() {
    if (this.open) {
      for (const message of this.#outbox.splice(0)) this.#send(message);
    } else if (this.#connectedAt && performance.now() - this.#connectedAt >= CHANNEL_PATIENCE_MS) {
      for (const message of this.#outbox.splice(0)) this.#post(message);
    }
  }

  async #post(message) {
    try {
      await api.human(this.#connection.session, message.type, message.text);
      this.dispatchEvent(new CustomEvent('posted', { detail: message }));
    } catch (error) {
      this.#undelivered(message, error.code);
    }
  }

  #undelivered(message, code = '') {
    this.dispatchEvent(new CustomEvent('undelivered', { detail: { ...message, code } }));
  }
}
