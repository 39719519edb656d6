// The two sheets (avatars, menu): native dialogs, so focus stays inside and Esc closes them.
//
// In: a dialog element. Out: it opens modally, and closes by its button or by a tap beside it.

/** Makes `dialog` close by its close button and by a tap on its surroundings. */
export function sheet(dialog) {
  dialog.querySelector('.shut').addEventListener('click', () => dialog.close());
  dialog.addEventListener('click', (event) => event.target === dialog && dialog.close());
  return dialog;
}
