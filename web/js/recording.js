// A recording for the avatar to speak: chosen in the menu, or dropped anywhere on the page.
//
// In: the menu's file input and the document. Out: `file {file}`.

export class Recording extends EventTarget {
  /** @param {HTMLInputElement} input */
  constructor(input) {
    super();
    input.addEventListener('change', () => {
      this.#take(input.files);
      // The same file may be chosen again.
      input.value = '';
    });
    document.addEventListener('dragover', (event) => event.dataTransfer.types.includes('Files') && event.preventDefault());
    document.addEventListener('drop', (event) => {
      if (!event.dataTransfer.files.length) return;
      event.preventDefault();
      this.#take(event.dataTransfer.files);
    });
  }

  #take([file]) {
    if (file) this.dispatchEvent(new CustomEvent('file', { detail: { file } }));
  }
}
