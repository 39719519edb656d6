//! Arithmetic on premultiplied pixels, four channels at a time in one machine word. Pure; runs where the caller runs.

/// Red, green, blue, alpha; the colours are already multiplied by alpha.
pub(crate) type Rgba = [u8; 4];

/// Luma, U, V (BT.601, limited range, 128 is grey), alpha; the others, offsets included, are already multiplied by alpha.
pub(crate) type Yuva = [u8; 4];

/// One pixel, [`Rgba`] or [`Yuva`], in 16-bit lanes, so that a byte times 256 still fits its lane. What is read often is
/// kept this way: twice the memory, half the time of a sample.
pub(crate) type Lanes = u64;

/// Half of 256 in each lane: rounds where `>> 8` would cut.
const HALF: Lanes = 0x0080_0080_0080_0080;
const BYTES: Lanes = 0x00FF_00FF_00FF_00FF;

/// A rectangle of pixels; the right and bottom sides are outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rect {
    pub(crate) x0: usize,
    pub(crate) y0: usize,
    pub(crate) x1: usize,
    pub(crate) y1: usize,
}

impl Rect {
    pub(crate) fn width(self) -> usize {
        self.x1 - self.x0
    }

    pub(crate) fn height(self) -> usize {
        self.y1 - self.y0
    }

    pub(crate) fn area(self) -> usize {
        self.width() * self.height()
    }

    /// What both cover; empty rectangles have no area but keep `x0 <= x1`.
    pub(crate) fn intersection(self, other: Self) -> Self {
        let (x0, y0) = (self.x0.max(other.x0), self.y0.max(other.y0));
        Self { x0, y0, x1: self.x1.min(other.x1).max(x0), y1: self.y1.min(other.y1).max(y0) }
    }
}

#[inline]
pub(crate) fn spread(p: [u8; 4]) -> Lanes {
    let v = Lanes::from(u32::from_le_bytes(p));
    let v = (v | (v << 16)) & 0x0000_FFFF_0000_FFFF;
    (v | (v << 8)) & BYTES
}

#[inline]
pub(crate) fn gather(v: Lanes) -> [u8; 4] {
    let v = (v | (v >> 8)) & 0x0000_FFFF_0000_FFFF;
    ((v | (v >> 16)) as u32).to_le_bytes()
}

/// Lanes that hold sums of `pixel × weight` with weights that add up to 256, back to bytes in lanes.
#[inline]
pub(crate) fn settle(sum: Lanes) -> Lanes {
    (sum + HALF) >> 8 & BYTES
}

/// The pixel between four: `x`, `y` are texel positions in 1/256, counted from the first texel's centre and kept inside.
#[expect(clippy::inline_always, reason = "the innermost loop of every picture; a call costs a third of it")]
#[inline(always)]
pub(crate) fn sample(texels: &[Lanes], stride: usize, rows: usize, x: i32, y: i32) -> Lanes {
    // Not `clamp`, which checks its limits each time.
    let x = x.min((stride as i32 - 1) * 256 - 1).max(0);
    let y = y.min((rows as i32 - 1) * 256 - 1).max(0);
    let (fx, fy) = ((x & 255) as u64, (y & 255) as u64);
    let at = (y >> 8) as usize * stride + (x >> 8) as usize;
    let both = (fx * fy + 128) >> 8;
    // Two slices of two: two bounds checks for four texels.
    let (Some(&[a, b]), Some(&[c, d])) = (pair(texels, at), pair(texels, at + stride)) else { return 0 };
    settle(a * (256 + both - fx - fy) + b * (fx - both) + c * (fy - both) + d * both)
}

#[expect(clippy::inline_always, reason = "the innermost loop of every picture; a call costs a third of it")]
#[inline(always)]
fn pair(texels: &[Lanes], at: usize) -> Option<&[Lanes; 2]> {
    texels.get(at..at + 2)?.first_chunk()
}

/// Two neighbouring pixels between six: [`sample`] for both at once, with the same fractions. `None` outside the texels.
#[expect(clippy::inline_always, reason = "the innermost loop of every picture; a call costs a third of it")]
#[inline(always)]
pub(crate) fn sample_two(texels: &[Lanes], stride: usize, rows: usize, x: i32, y: i32) -> Option<[Lanes; 2]> {
    if x < 0 || y < 0 || y >> 8 >= rows as i32 - 1 {
        return None;
    }
    let (fx, fy) = ((x & 255) as u64, (y & 255) as u64);
    let at = (y >> 8) as usize * stride + (x >> 8) as usize;
    let top: &[Lanes; 3] = texels.get(at..at + 3)?.first_chunk()?;
    let bottom: &[Lanes; 3] = texels.get(at + stride..at + stride + 3)?.first_chunk()?;
    let both = (fx * fy + 128) >> 8;
    let (a, b, c, d) = (256 + both - fx - fy, fx - both, fy - both, both);
    let first = top[0] * a + top[1] * b + bottom[0] * c + bottom[1] * d;
    let second = top[1] * a + top[2] * b + bottom[1] * c + bottom[2] * d;
    Some([settle(first), settle(second)])
}

/// Straight alpha to premultiplied, rounded.
pub(crate) fn premultiply(p: Rgba) -> Rgba {
    let a = u16::from(p[3]);
    let times = |c: u8| ((u16::from(c) * a + 127) / 255) as u8;
    [times(p[0]), times(p[1]), times(p[2]), p[3]]
}

/// The colour that video encoders want, rounded.
pub(crate) fn yuva([r, g, b, a]: Rgba) -> Yuva {
    let [red, green, blue, alpha] = [r, g, b, a].map(f32::from);
    let part = |offset: f32, weights: [f32; 3]| {
        let sum = offset * alpha + weights[0] * red + weights[1] * green + weights[2] * blue;
        (sum / 255.0).round().clamp(0.0, 255.0) as u8
    };
    // BT.601's weights times 219 levels of luma and 224 of chroma.
    let y = part(16.0, [65.481, 128.553, 24.966]);
    let u = part(128.0, [-37.797, -74.203, 112.0]);
    let v = part(128.0, [112.0, -93.786, -18.214]);
    [y, u, v, a]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreading_and_gathering_give_the_pixel_back() {
        for p in [[0, 0, 0, 0], [255, 255, 255, 255], [1, 2, 3, 4], [200, 0, 17, 255]] {
            assert_eq!(gather(spread(p)), p);
        }
    }

    #[test]
    fn a_sample_on_a_texel_is_that_texel_and_halfway_is_the_mean() {
        let texels = [[10, 20, 30, 255], [30, 40, 50, 255], [10, 20, 30, 255], [30, 40, 50, 255]].map(spread);
        assert_eq!(sample(&texels, 2, 2, 0, 0), texels[0]);
        assert_eq!(gather(sample(&texels, 2, 2, 128, 0)), [20, 30, 40, 255]);
    }

    #[test]
    fn two_at_once_are_what_each_is_alone() {
        let texels: Vec<Lanes> = (0..30_u8).map(|n| spread([n * 8, 255 - n, n ^ 0x55, n])).collect();
        for (x, y) in [(0, 0), (130, 77), (2 * 256 + 255, 4 * 256 + 255)] {
            let alone = [x, x + 256].map(|x| sample(&texels, 5, 6, x, y));
            assert_eq!(sample_two(&texels, 5, 6, x, y), Some(alone));
        }
        assert_eq!(sample_two(&texels, 5, 6, -1, 0), None);
        assert_eq!(sample_two(&texels, 5, 6, 0, 5 * 256), None);
    }

    #[test]
    fn samples_outside_stay_on_the_edge() {
        let texels = [spread([9, 9, 9, 255]); 9];
        for (x, y) in [(-5_000, 0), (5_000, 5_000), (i32::MIN / 2, i32::MAX / 2)] {
            assert_eq!(gather(sample(&texels, 3, 3, x, y)), [9, 9, 9, 255]);
        }
    }

    #[test]
    fn white_black_and_red_are_what_bt_601_says() {
        assert_eq!(yuva([255, 255, 255, 255]), [235, 128, 128, 255]);
        assert_eq!(yuva([0, 0, 0, 255]), [16, 128, 128, 255]);
        assert_eq!(yuva([255, 0, 0, 255]), [81, 90, 240, 255]);
        assert_eq!(yuva([0, 0, 0, 0]), [0, 0, 0, 0]);
    }
}
