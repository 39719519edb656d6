// The keyboard, outside of the controls themselves.
//
// In: keydown anywhere. Out: calls into `acts`. Single letters count only while nobody is typing and no
// sheet is open; Esc counts always, unless a sheet or an input method wants it. Space is held to talk.

/**
 * @param {Record<'stop'|'sound'|'captions'|'stats'|'full'|'text'|'mic'|'hold'|'release', () => void>} acts
 * @param {() => boolean} enabled whether single keys are switched on
 */
export function listen(acts, enabled) {
  const letters = { v: acts.sound, c: acts.captions, s: acts.stats, f: acts.full, m: acts.mic, '/': acts.text };
  document.addEventListener('keydown', (event) => {
    if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (document.querySelector('dialog[open]')) return;
    if (event.key === 'Escape') {
      acts.stop();
      return;
    }
    if (event.repeat || !enabled() || event.target.closest?.('input, textarea, select')) return;
    const act = letters[event.key.toLowerCase()];
    if (!act) return;
    event.preventDefault();
    act();
  });
  const space = (event) => event.key === ' ' && !event.target.closest?.('input, textarea, select, button, dialog');
  document.addEventListener('keydown', (event) => {
    if (!space(event) || event.ctrlKey || event.metaKey || event.altKey || !enabled()) return;
    event.preventDefault();
    if (!event.repeat) acts.hold();
  });
  document.addEventListener('keyup', (event) => event.key === ' ' && acts.release());
  // A key that is let go elsewhere is never heard of.
  addEventListener('blur', () => acts.release());
}
