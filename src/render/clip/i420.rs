//! Pictures out of files to planes, in whole numbers: a frame of 1920 × 1080 in a few milliseconds. Pure.

/// BT.601, limited range, in 1/65536: luma, U and V of red, green and blue.
const LUMA: [i32; 3] = [16_829, 33_039, 6_416];
const BLUE: [i32; 3] = [-9_714, -19_070, 28_784];
const RED: [i32; 3] = [28_784, -24_103, -4_681];

fn part(weights: [i32; 3], [r, g, b]: [i32; 3]) -> i32 {
    weights[0] * r + weights[1] * g + weights[2] * b
}

/// The luma of a colour, 0 to 255.
pub(in crate::render) fn luma(rgb: [i32; 3]) -> u8 {
    ((part(LUMA, rgb) + (16 << 16) + (1 << 15)) >> 16).clamp(0, 255) as u8
}

/// U and V of the mean of four colours, of which `sum` is the sum.
pub(in crate::render) fn chroma(sum: [i32; 3]) -> [u8; 2] {
    [BLUE, RED].map(|weights| ((part(weights, sum) + (512 << 16) + (1 << 17)) >> 18).clamp(0, 255) as u8)
}

/// `rgb` has `stride` pixels a row; the planes are those of its upper left `width` × `height`, both even.
pub(super) fn planes(rgb: &[u8], stride: usize, width: usize, height: usize) -> Vec<u8> {
    let mut planes = vec![0; width * height * 3 / 2];
    let (y, uv) = planes.split_at_mut(width * height);
    let (u, v) = uv.split_at_mut(width * height / 4);
    let rows = rgb.chunks_exact(stride * 3).map(|row| row.as_chunks::<3>().0).collect::<Vec<_>>();
    for (pair, out) in y.chunks_exact_mut(2 * width).enumerate() {
        let (top, bottom) = (&rows[2 * pair][..width], &rows[2 * pair + 1][..width]);
        for (y, pixel) in out.iter_mut().zip(top.iter().chain(bottom)) {
            *y = luma(pixel.map(i32::from));
        }
        let out = pair * width / 2..(pair + 1) * width / 2;
        let quads = top.as_chunks::<2>().0.iter().zip(bottom.as_chunks::<2>().0);
        for (((a, b), u), v) in quads.zip(&mut u[out.clone()]).zip(&mut v[out]) {
            let sum = std::array::from_fn(|c| [a[0], a[1], b[0], b[1]].iter().map(|p| i32::from(p[c])).sum());
            [*u, *v] = chroma(sum);
        }
    }
    planes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::pixel::yuva;

    #[test]
    fn colours_are_what_the_exact_formula_says() {
        for rgb in [[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [200, 120, 33], [1, 2, 3]] {
            let pixels = [rgb; 4].concat();
            let planes = planes(&pixels, 2, 2, 2);
            let [y, u, v, _] = yuva([rgb[0], rgb[1], rgb[2], 255]);
            assert_eq!(planes, [y, y, y, y, u, v], "{rgb:?}");
        }
    }

    #[test]
    fn an_odd_row_and_column_are_left_out() {
        let mut rgb = [[255; 3]; 9];
        (rgb[2], rgb[5], rgb[8]) = ([0; 3], [0; 3], [0; 3]);
        assert_eq!(planes(&rgb.concat(), 3, 2, 2), [235, 235, 235, 235, 128, 128]);
    }
}
