//! The arithmetic of a network: pictures as f32 in rows, a pixel's channels side by side (NHWC, N is 1). Pure.
//!
//! Sizes are checked when the network is read; here they are taken as right.

/// Pixels across and down, and channels of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) channels: usize,
}

/// How a window goes over a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) step_x: usize,
    pub(super) step_y: usize,
    /// Where the first window begins, left of and above the picture.
    pub(super) left: usize,
    pub(super) top: usize,
}

impl Size {
    pub(super) fn values(self) -> usize {
        self.width * self.height * self.channels
    }
}

impl Window {
    /// The part of the window at `out` that lies in the picture: in the window, from and to, and where it begins in the picture.
    fn inside(step: usize, before: usize, length: usize, out: usize, side: usize) -> (usize, usize, usize) {
        let start = out * step;
        let from = before.saturating_sub(start).min(length);
        let to = (side + before).saturating_sub(start).min(length);
        (from, to.max(from), (start + from).saturating_sub(before))
    }

    fn columns(&self, out: usize, side: usize) -> (usize, usize, usize) {
        Self::inside(self.step_x, self.left, self.width, out, side)
    }

    fn rows(&self, out: usize, side: usize) -> (usize, usize, usize) {
        Self::inside(self.step_y, self.top, self.height, out, side)
    }
}

/// Each output channel looks at all input channels. `weights`: `[window rows][window columns][in][out]`.
pub(super) fn convolve(input: &[f32], size: Size, weights: &[f32], bias: &[f32], window: Window, out: Size) -> Vec<f32> {
    let (ci, co) = (size.channels, out.channels);
    let mut result = vec![0.0; out.values()];
    for (n, pixel) in result.chunks_exact_mut(co).enumerate() {
        pixel.copy_from_slice(bias);
        let (x0, x1, px) = window.columns(n % out.width, size.width);
        let (y0, y1, py) = window.rows(n / out.width, size.height);
        for y in y0..y1 {
            let from = ((py + y - y0) * size.width + px) * ci;
            let values = &input[from..from + (x1 - x0) * ci];
            let kernel = &weights[(y * window.width + x0) * ci * co..(y * window.width + x1) * ci * co];
            for (value, row) in values.iter().zip(kernel.chunks_exact(co)) {
                for (sum, weight) in pixel.iter_mut().zip(row) {
                    *sum += value * weight;
                }
            }
        }
    }
    result
}

/// Each channel looks at itself. `weights`: `[window rows][window columns][channels]`.
pub(super) fn convolve_each(
    input: &[f32],
    size: Size,
    weights: &[f32],
    bias: &[f32],
    window: Window,
    out: Size,
) -> Vec<f32> {
    let channels = size.channels;
    let mut result = vec![0.0; out.values()];
    for (n, pixel) in result.chunks_exact_mut(channels).enumerate() {
        pixel.copy_from_slice(bias);
        let (x0, x1, px) = window.columns(n % out.width, size.width);
        let (y0, y1, py) = window.rows(n / out.width, size.height);
        for y in y0..y1 {
            for x in x0..x1 {
                let from = ((py + y - y0) * size.width + px + x - x0) * channels;
                let kernel = &weights[(y * window.width + x) * channels..][..channels];
                for ((sum, value), weight) in pixel.iter_mut().zip(&input[from..from + channels]).zip(kernel) {
                    *sum += value * weight;
                }
            }
        }
    }
    result
}

/// The largest of each window.
pub(super) fn largest(input: &[f32], size: Size, window: Window, out: Size) -> Vec<f32> {
    let channels = size.channels;
    let mut result = vec![f32::NEG_INFINITY; out.values()];
    for (n, pixel) in result.chunks_exact_mut(channels).enumerate() {
        let (x0, x1, px) = window.columns(n % out.width, size.width);
        let (y0, y1, py) = window.rows(n / out.width, size.height);
        for y in y0..y1 {
            let from = ((py + y - y0) * size.width + px) * channels;
            for values in input[from..from + (x1 - x0) * channels].chunks_exact(channels) {
                for (most, value) in pixel.iter_mut().zip(values) {
                    *most = most.max(*value);
                }
            }
        }
    }
    result
}

/// Further channels of zeros after (and before) those that are there.
pub(super) fn widen(input: &[f32], channels: usize, before: usize, after: usize) -> Vec<f32> {
    let mut result = Vec::with_capacity(input.len() / channels * (before + channels + after));
    for pixel in input.chunks_exact(channels) {
        result.resize(result.len() + before, 0.0);
        result.extend_from_slice(pixel);
        result.resize(result.len() + after, 0.0);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAME_3: Window = Window { width: 3, height: 3, step_x: 1, step_y: 1, left: 1, top: 1 };

    #[test]
    fn a_window_over_the_edge_sees_what_is_there() {
        let size = Size { width: 2, height: 2, channels: 1 };
        let sums = convolve(&[1.0, 2.0, 3.0, 4.0], size, &[1.0; 9], &[0.5], SAME_3, size);
        assert_eq!(sums, [10.5; 4]);
        assert_eq!(convolve_each(&[1.0, 2.0, 3.0, 4.0], size, &[1.0; 9], &[0.5], SAME_3, size), sums);
    }

    #[test]
    fn channels_meet_in_a_convolution_and_not_in_one_of_each() {
        let size = Size { width: 1, height: 1, channels: 2 };
        let one = Window { width: 1, height: 1, step_x: 1, step_y: 1, left: 0, top: 0 };
        assert_eq!(convolve(&[2.0, 3.0], size, &[1.0, 10.0, 100.0, 1000.0], &[0.0; 2], one, size), [302.0, 3020.0]);
        assert_eq!(convolve_each(&[2.0, 3.0], size, &[10.0, 100.0], &[1.0; 2], one, size), [21.0, 301.0]);
    }

    #[test]
    fn the_largest_of_two_by_two() {
        let size = Size { width: 2, height: 2, channels: 1 };
        let half = Window { width: 2, height: 2, step_x: 2, step_y: 2, left: 0, top: 0 };
        assert_eq!(largest(&[-4.0, -2.0, -3.0, -8.0], size, half, Size { width: 1, height: 1, channels: 1 }), [-2.0]);
    }

    #[test]
    fn new_channels_are_zero() {
        assert_eq!(widen(&[1.0, 2.0], 1, 0, 1), [1.0, 0.0, 2.0, 0.0]);
    }
}
