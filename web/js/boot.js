// Loads the page again if a part of it did not come. A network that changes breaks off what is being loaded, and modules of which
// one is missing never start. Stands alone and first, so that it needs none of them; `main.js` says that all went well.

const TRIES = 5;

addEventListener('error', ({ target }) => {
  if (!(target instanceof HTMLScriptElement)) return;
  const tries = Number(sessionStorage.getItem('visavis.reloads')) + 1;
  if (tries > TRIES) return;
  sessionStorage.setItem('visavis.reloads', tries);
  setTimeout(() => location.reload(), 250 * 2 ** tries);
}, true);
