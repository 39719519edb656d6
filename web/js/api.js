// The server's HTTP surface, as far as the page uses it.
//
// In: plain values. Out: parsed JSON, or an `ApiError` whose `code` is the server's slug
// (`server_full`, `unknown_session`, …) or one of ours: `unreachable`, `timeout`, `bad_reply`.
// Paths are resolved against the page, so the whole thing may live below a prefix of a proxy.

/** How long a request may take before we call the server deaf. */
const REQUEST_TIMEOUT_MS = 10_000;

/** The server gives a recording as long to arrive. */
const UPLOAD_TIMEOUT_MS = 60_000;

/** The largest recording that the server takes. */
export const RECORDING_BYTES = 10 << 20;

/** A request that did not bring what was asked for. */
export class ApiError extends Error {
  /**
   * @param {string} code slug of the cause
   * @param {string} message the server's words, for the log and for causes we have no text for
   * @param {number} retryAfter seconds the server asks us to wait; 0 when it does not say
   */
  constructor(code, message, retryAfter = 0) {
    super(message || code);
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

/** The page's own address for a path of the server. */
export function url(path) {
  return new URL(path.replace(/^\//, ''), document.baseURI).href;
}

async function request(path, init = {}) {
  let reply;
  try {
    reply = await fetch(url(path), { signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS), ...init });
  } catch (cause) {
    throw new ApiError(cause.name === 'TimeoutError' ? 'timeout' : 'unreachable', cause.message);
  }
  const body = await reply.json().catch(() => null);
  if (reply.ok && body !== null && !(body.code < 0)) return body;
  const retryAfter = Number(reply.headers.get('retry-after')) || 0;
  // `/offer` and LiveTalking's routes put the slug beside their numeric code, ours in its place.
  const slug = body?.error ?? (typeof body?.code === 'string' ? body.code : '');
  const code = slug || (reply.status >= 502 ? 'unreachable' : 'bad_reply');
  throw new ApiError(code, body?.msg ?? `HTTP ${reply.status}`, retryAfter);
}

function post(path, value) {
  return request(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(value),
  });
}

/** Trades an SDP offer for an answer: `{sdp, type, sessionid, viewer}`. */
export const offer = (value) => post('offer', value);

/** Text without a DataChannel (LiveTalking's route). */
export const human = (sessionid, type, text) => post('human', { sessionid, type, text, interrupt: true });

/** A recording for the avatar to speak (LiveTalking's route). */
export function humanAudio(sessionid, file) {
  const form = new FormData();
  form.append('sessionid', sessionid);
  form.append('file', file);
  return request('humanaudio', { method: 'POST', body: form, signal: AbortSignal.timeout(UPLOAD_TIMEOUT_MS) });
}

/** Interrupts without a DataChannel (LiveTalking's route). */
export const interruptTalk = (sessionid) => post('interrupt_talk', { sessionid });

/** The installed avatars; an empty list when the server cannot say. */
export async function avatars() {
  const list = await request('v1/avatars').catch(() => []);
  return Array.isArray(list) ? list : [];
}

/** The voices to choose from; an empty list when there is nothing to choose. */
export async function voices() {
  const list = await request('v1/voices').catch(() => []);
  return Array.isArray(list) ? list : [];
}

/** The RTCIceServer list. No answer means none: the server's own candidates need no help. */
export async function iceServers() {
  const list = await request('v1/ice-servers').catch(() => []);
  return Array.isArray(list) ? list : [];
}

/** Whether the server answers at all, asked with little patience. */
export function alive() {
  return fetch(url('healthz'), { cache: 'no-store', signal: AbortSignal.timeout(1_500) })
    .then((reply) => reply.ok)
    .catch(() => false);
}

/** Says that this viewer leaves. Survives the page (`keepalive`); nobody waits for the answer. */
export function leave(session, viewer) {
  if (!session || !viewer) return;
  const path = `v1/sessions/${encodeURIComponent(session)}?viewer=${encodeURIComponent(viewer)}`;
  fetch(url(path), { method: 'DELETE', keepalive: true }).catch(() => {});
}
