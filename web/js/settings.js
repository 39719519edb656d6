// What the address bar asks for, and what this browser remembers.
//
// In: `location.search`, localStorage (the person's choices), sessionStorage (this tab's conversation).
// Out: `params` and the two stores. Storage may be refused (private windows, sandboxed frames):
// then a choice lives as long as the page does.

const query = new URLSearchParams(location.search);

/** The address's parameters, read once: `?session= &avatar= &lang= &muted=1 &codec=h264|vp8 &ice=relay`. */
export const params = {
  session: query.get('session') ?? '',
  avatar: query.get('avatar') ?? '',
  lang: query.get('lang') ?? '',
  muted: query.get('muted') === '1',
  codec: (query.get('codec') ?? '').toLowerCase(),
  ice: query.get('ice') ?? '',
};

/** A string store over Web Storage that never throws. Keys carry the prefix `visavis.`. */
function store(area) {
  const memory = new Map();
  return {
    read(key) {
      try {
        return area().getItem(`visavis.${key}`) ?? memory.get(key) ?? '';
      } catch {
        return memory.get(key) ?? '';
      }
    },
    write(key, value) {
      memory.set(key, value);
      try {
        area().setItem(`visavis.${key}`, value);
      } catch {
        // Refused: the copy in memory serves.
      }
    },
  };
}

/** Choices of the person: language, captions, what Enter does. */
export const choices = store(() => localStorage);

/** Facts of this tab: which session a reload rejoins, whether sound was on. */
export const tab = store(() => sessionStorage);

/** The link by which somebody else watches session `id`. */
export function sessionLink(id) {
  const url = new URL(document.baseURI);
  url.search = `?session=${encodeURIComponent(id)}`;
  url.hash = '';
  return url.href;
}

/** Takes `?session=` out of the address once that session is gone or was left. */
export function forgetAddressSession() {
  const url = new URL(location.href);
  if (!url.searchParams.has('session')) return;
  url.searchParams.delete('session');
  history.replaceState(null, '', url);
}
