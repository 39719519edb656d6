// The soft ground behind the avatar, made from the avatar's own picture.
//
// In: the poster. Out: a tiny canvas that CSS stretches over the whole page: its left half carries the
// colours of the poster's left border from top to bottom, its right half those of the right border.
// So the video's ground runs on past its sides whatever picture an avatar was made from.

/** Rows sampled from top to bottom; the browser's smoothing makes a gradient of them. */
const ROWS = 24;

/** The part of the poster's width that counts as border. */
const BORDER = 0.03;

/** Paints `poster` (loaded) onto `canvas`. */
export function paintBackdrop(canvas, poster) {
  const { naturalWidth: width, naturalHeight: height } = poster;
  if (!width || !height) return;
  canvas.width = 4;
  canvas.height = ROWS;
  const context = canvas.getContext('2d');
  context.imageSmoothingQuality = 'high';
  const border = Math.max(1, width * BORDER);
  context.drawImage(poster, 0, 0, border, height, 0, 0, 2, ROWS);
  context.drawImage(poster, width - border, 0, border, height, 2, 0, 2, ROWS);
}
