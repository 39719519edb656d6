//! A picture as planes, the way encoders want it: luma and alpha at full size, U, V and alpha again at half.
//!
//! In: premultiplied pixels. Out: planes that are laid over one another, each by itself, in plain loops over bytes that the
//! compiler turns into vectors. Pure; runs where the caller runs.

use super::pixel::{Lanes, Rect, gather};
use crate::media::VideoFrame;

/// Half of 256: rounds where `>> 8` would cut.
const HALF: u16 = 128;

/// One plane's bytes, in rows.
#[derive(Clone)]
pub(crate) struct Plane {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) bytes: Vec<u8>,
}

/// A layer; its colours are premultiplied.
#[derive(Clone)]
pub(crate) struct Layer {
    pub(crate) luma: Plane,
    pub(crate) alpha: Plane,
    pub(crate) chroma: [Plane; 2],
    /// Alpha at the size of the chroma planes.
    pub(crate) half_alpha: Plane,
}

impl Plane {
    fn new(width: usize, height: usize) -> Self {
        Self { width, height, bytes: vec![0; width * height] }
    }
}

impl Layer {
    /// `pixels` are [`super::pixel::Yuva`], `width` wide; both sides are even.
    pub(crate) fn new(pixels: &[Lanes], width: usize) -> Self {
        let height = pixels.len() / width;
        let half = || Plane::new(width / 2, height / 2);
        let mut layer = Self {
            luma: Plane::new(width, height),
            alpha: Plane::new(width, height),
            chroma: [half(), half()],
            half_alpha: half(),
        };
        layer.put(Rect { x0: 0, y0: 0, x1: width, y1: height }, pixels);
        layer
    }

    /// Replaces what is in `area`, all of whose sides are even.
    pub(crate) fn put(&mut self, area: Rect, pixels: &[Lanes]) {
        let width = self.luma.width;
        for (pair, rows) in pixels.chunks_exact(2 * area.width()).enumerate() {
            let at = (area.y0 + 2 * pair) * width + area.x0;
            let (top, bottom) = rows.split_at(area.width());
            for (at, row) in [(at, top), (at + width, bottom)] {
                put_row(&mut self.luma.bytes[at..][..row.len()], &mut self.alpha.bytes[at..][..row.len()], row);
            }
            let half = (area.y0 / 2 + pair) * (width / 2) + area.x0 / 2..(area.y0 / 2 + pair) * (width / 2) + area.x1 / 2;
            let [u, v] = &mut self.chroma;
            let targets = u.bytes[half.clone()].iter_mut().zip(&mut v.bytes[half.clone()]);
            let targets = targets.zip(&mut self.half_alpha.bytes[half]);
            for (((u, v), alpha), (a, b)) in targets.zip(top.as_chunks::<2>().0.iter().zip(bottom.as_chunks::<2>().0)) {
                // The mean of four, rounded, in all lanes at once.
                let sum = a[0] + a[1] + b[0] + b[1] + 0x0002_0002_0002_0002;
                (*u, *v, *alpha) = ((sum >> 18) as u8, (sum >> 34) as u8, (sum >> 50) as u8);
            }
        }
    }

    /// The picture of a layer that is opaque everywhere.
    pub(crate) fn into_picture(self) -> VideoFrame {
        let mut picture = VideoFrame::black(self.luma.width as u32, self.luma.height as u32);
        for (to, from) in picture.planes_mut().into_iter().zip([&self.luma].into_iter().chain(&self.chroma)) {
            to.copy_from_slice(&from.bytes);
        }
        picture
    }
}

fn put_row(luma: &mut [u8], alpha: &mut [u8], row: &[Lanes]) {
    for ((luma, alpha), pixel) in luma.iter_mut().zip(alpha).zip(row) {
        let [y, _, _, a] = gather(*pixel);
        (*luma, *alpha) = (y, a);
    }
}

/// `a` and `b` mixed, `t` of 256 parts of `b`.
#[inline]
pub(crate) fn mix(a: u8, b: u8, t: u16) -> u8 {
    ((u16::from(a) * (256 - t) + u16::from(b) * t + HALF) >> 8) as u8
}

/// A premultiplied colour over another.
#[inline]
pub(crate) fn over(top: u8, alpha: u8, bottom: u8) -> u8 {
    let alpha = u16::from(alpha);
    // 0..=256, so that full alpha leaves nothing of the bottom.
    let keep = 256 - (alpha + (alpha >> 7));
    top.wrapping_add(((u16::from(bottom) * keep + HALF) >> 8) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::pixel::spread;

    #[test]
    fn opaque_hides_and_clear_shows_what_lies_below() {
        assert_eq!(over(7, 255, 99), 7);
        assert_eq!(over(0, 0, 99), 99);
    }

    #[test]
    fn no_mix_drifts_at_its_ends() {
        for v in [0, 7, 255] {
            assert_eq!((mix(v, 100, 0), mix(100, v, 256), mix(v, v, 77)), (v, v, v));
        }
    }

    #[test]
    fn four_pixels_have_each_their_luma_and_share_their_chroma() {
        let pixels = [[10, 100, 0, 255], [20, 100, 0, 255], [30, 104, 4, 255], [40, 104, 8, 255]].map(spread);
        let layer = Layer::new(&pixels, 2);
        assert_eq!(layer.luma.bytes, [10, 20, 30, 40]);
        assert_eq!(layer.chroma.map(|p| p.bytes), [[102], [3]]);
        assert_eq!(layer.half_alpha.bytes, [255]);
    }
}
