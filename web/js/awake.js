// Keeps the screen on while the avatar is live; only secure pages may.

let lock = null;

/** Holds or lets go the wake lock. A refusal (battery saver, hidden page) is no trouble. */
export async function keepAwake(on) {
  if (!navigator.wakeLock) return;
  if (on && !document.hidden && (lock === null || lock.released)) {
    lock = await navigator.wakeLock.request('screen').catch(() => null);
  } else if (!on) {
    await lock?.release();
    lock = null;
  }
}
