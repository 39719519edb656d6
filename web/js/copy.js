// Copies text, also on plain-http pages of a LAN, where `navigator.clipboard` does not exist.

/** Whether `text` is in the clipboard now. */
export async function copy(text) {
  if (navigator.clipboard) {
    const done = await navigator.clipboard.writeText(text).then(() => true, () => false);
    if (done) return true;
  }
  const holder = document.querySelector('dialog[open]') ?? document.body;
  const field = document.createElement('textarea');
  field.className = 'unseen';
  field.value = text;
  holder.append(field);
  const before = document.activeElement;
  field.select();
  const done = document.execCommand('copy');
  field.remove();
  before?.focus?.({ preventScroll: true });
  return done;
}
