// A clause cut into words with their times, and into pages that fit over the video.
//
// In: a caption message's `text` and `words [{w, t_ms, d_ms}]`. Out: pages of `{piece, at, index}`, where
// the pieces of all pages join to `text` again, spaces and punctuation included. Pure.

/** Room on a page, in Latin letters; a CJK character takes two. Two lines on a phone. */
const PAGE_WIDTH = 68;

/** Beyond this a page may not end in the middle of nothing: a comma nearby is the better end. */
const PAGE_SOFT = 44;

const WIDE = /[\u1100-\u11ff\u2e80-\u9fff\uac00-\ud7ff\uf900-\ufaff\uff00-\uff60]/u;

const width = (text) => [...text].reduce((sum, char) => sum + (WIDE.test(char) ? 2 : 1), 0);

/** The words as pieces of `text`: each reaches to the next word's beginning. */
export function pieces(text, words) {
  if (words.length === 0) return text ? [{ piece: text, at: 0 }] : [];
  const starts = [];
  let from = 0;
  for (const { w } of words) {
    const bare = w.trim();
    const found = text.indexOf(bare, from);
    if (found < 0) return words.map((word) => ({ piece: word.w, at: word.t_ms }));
    starts.push(found);
    from = found + bare.length;
  }
  starts[0] = 0;
  return words.map((word, n) => ({ piece: text.slice(starts[n], starts[n + 1]), at: word.t_ms }));
}

/** The clause page by page. */
export function pages(text, words) {
  const result = [[]];
  let used = 0;
  for (const word of pieces(text, words)) {
    const page = result.at(-1);
    const full = used + width(word.piece) > PAGE_WIDTH;
    const pause = used > PAGE_SOFT && /[,;:.!?，、；：。！？…]\s*$/u.test(page.at(-1)?.piece ?? '');
    if (page.length > 0 && (full || pause)) {
      result.push([]);
      used = 0;
    }
    result.at(-1).push({ ...word, index: result.at(-1).length });
    used += width(word.piece);
  }
  return result.filter((page) => page.length > 0);
}

/** Two clauses as one text: Latin ones with a space between, if neither brought it. */
export function join(left, right) {
  if (!left || /\s$/u.test(left) || /^[\s,.;:!?]/u.test(right)) return left + right;
  return WIDE.test(left.at(-1)) || WIDE.test(right[0] ?? '') ? left + right : `${left} ${right}`;
}
