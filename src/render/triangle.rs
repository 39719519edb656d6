//! Geometry of the triangles that [`super::morph`] paints. Pure.

/// A plane over the picture: its value at the origin and its slopes.
#[derive(Clone, Copy, Default)]
pub(super) struct Plane {
    pub(super) base: f32,
    pub(super) dx: f32,
    pub(super) dy: f32,
}

/// A [`Plane`] at the centres of pixels; 256 times its values.
#[derive(Clone, Copy, Default)]
pub(super) struct FixedPlane {
    base: i32,
    pub(super) dx: i32,
    dy: i32,
}

/// A triangle, and its second and third barycentric coordinate.
pub(super) struct Triangle {
    corners: [[f32; 2]; 3],
    pub(super) second: Plane,
    pub(super) third: Plane,
}

/// A side of a triangle: the x at which it meets the height y is `start + slope × y`.
#[derive(Clone, Copy)]
pub(super) struct Edge {
    start: f32,
    slope: f32,
    is_left: bool,
}

impl Triangle {
    /// `None` if it is folded under, or too thin to hold a pixel's centre.
    #[inline]
    pub(super) fn new(corners: [[f32; 2]; 3]) -> Option<Self> {
        let [a, b, c] = corners;
        let (e1, e2) = ([b[0] - a[0], b[1] - a[1]], [c[0] - a[0], c[1] - a[1]]);
        let area = e1[0] * e2[1] - e2[0] * e1[1];
        if area <= 0.02 {
            return None;
        }
        let inverse = 1.0 / area;
        let second = Plane { base: 0.0, dx: e2[1] * inverse, dy: -e2[0] * inverse }.through(a, 0.0);
        let third = Plane { base: 0.0, dx: -e1[1] * inverse, dy: e1[0] * inverse }.through(a, 0.0);
        Some(Self { corners, second, third })
    }

    /// The first barycentric coordinate.
    #[inline]
    pub(super) fn first(&self) -> Plane {
        let (v, w) = (self.second, self.third);
        Plane { base: 1.0 - v.base - w.base, dx: -v.dx - w.dx, dy: -v.dy - w.dy }
    }

    /// The plane that has these values at the corners.
    #[inline]
    pub(super) fn plane(&self, values: [f32; 3]) -> Plane {
        let (v, w) = (values[1] - values[0], values[2] - values[0]);
        let (second, third) = (self.second, self.third);
        Plane { base: 0.0, dx: v * second.dx + w * third.dx, dy: v * second.dy + w * third.dy }
            .through(self.corners[0], values[0])
    }

    /// The pixels (first, and one beyond the last) along an axis whose centres lie in it or within `overlap` of it.
    #[inline]
    pub(super) fn pixels(&self, axis: usize, overlap: f32, limit: usize) -> (usize, usize) {
        let [a, b, c] = self.corners.map(|corner| corner[axis]);
        (first_pixel(a.min(b).min(c) - overlap), first_pixel(a.max(b).max(c) + overlap).min(limit))
    }

    /// The pixels of row `y` between the edges, out of those from `x0` to `x1`.
    #[inline]
    pub(super) fn row(edges: &[Edge; 3], y: usize, (x0, x1): (usize, usize)) -> (usize, usize) {
        let (mut from, mut to) = (x0 as f32, x1 as f32);
        for edge in edges {
            let x = edge.start + edge.slope * (y as f32 + 0.5);
            if edge.is_left { from = from.max(x) } else { to = to.min(x) }
        }
        (first_pixel(from), first_pixel(to))
    }

    /// The three sides, moved outwards by `overlap` pixels.
    #[inline]
    pub(super) fn edges(&self, overlap: f32) -> [Edge; 3] {
        [self.first(), self.second, self.third].map(|coordinate| {
            // A level side is as good as one that leans by nothing to speak of.
            let lean = -1.0 / if coordinate.dx.abs() > 1e-6 { coordinate.dx } else { 1e-6 };
            let start = (coordinate.base + coordinate.slack(overlap)) * lean;
            Edge { start, slope: coordinate.dy * lean, is_left: lean < 0.0 }
        })
    }
}

impl Plane {
    /// The same slopes, with `value` at `point`.
    #[inline]
    fn through(self, point: [f32; 2], value: f32) -> Self {
        Self { base: value - self.dx * point[0] - self.dy * point[1], ..self }
    }

    #[inline]
    pub(super) fn at(self, x: f32, y: f32) -> f32 {
        self.base + self.dx * x + self.dy * y
    }

    /// How much this barycentric coordinate changes within `overlap` pixels; of a thin triangle no more than half its height:
    /// far outside it, its slopes lead anywhere.
    #[inline]
    pub(super) fn slack(self, overlap: f32) -> f32 {
        (overlap * (self.dx.abs() + self.dy.abs())).min(0.5)
    }

    #[inline]
    pub(super) fn in_fixed_point(self) -> FixedPlane {
        let fixed = |v: f32| (v * 256.0) as i32;
        FixedPlane { base: fixed(self.base + (self.dx + self.dy) * 0.5), dx: fixed(self.dx), dy: fixed(self.dy) }
    }
}

impl FixedPlane {
    #[inline]
    pub(super) fn at(self, x: usize, y: usize) -> i32 {
        self.base.wrapping_add(self.dx.wrapping_mul(x as i32)).wrapping_add(self.dy.wrapping_mul(y as i32))
    }
}

/// The first pixel whose centre is at or after `v`.
#[inline]
fn first_pixel(v: f32) -> usize {
    (v + 0.5).max(0.0) as i32 as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plane_has_its_values_at_the_corners_and_between_them_the_mean() {
        let triangle = Triangle::new([[1.0, 2.0], [9.0, 3.0], [2.0, 8.0]]).expect("it is wide");
        let plane = triangle.plane([10.0, 20.0, 40.0]);
        for ([x, y], value) in [([1.0, 2.0], 10.0), ([9.0, 3.0], 20.0), ([2.0, 8.0], 40.0), ([5.0, 2.5], 15.0)] {
            assert!((plane.at(x, y) - value).abs() < 1e-4);
        }
        assert!((plane.in_fixed_point().at(4, 4) - (plane.at(4.5, 4.5) * 256.0) as i32).abs() < 8);
    }

    #[test]
    fn two_triangles_share_a_squares_pixels_without_a_gap() {
        let [a, b, c, d] = [[0.0, 0.0], [8.0, 0.0], [0.0, 8.0], [8.0, 8.0]];
        let count = |overlap: f32| {
            let triangles = [[a, b, c], [d, c, b]].map(|t| Triangle::new(t).expect("it is wide"));
            let rows = |t: &Triangle| {
                let edges = t.edges(overlap);
                (0..8).map(|y| Triangle::row(&edges, y, (0, 8))).map(|(from, to)| to.saturating_sub(from)).sum::<usize>()
            };
            triangles.iter().map(rows).sum::<usize>()
        };
        // The eight pixels on the diagonal belong to both when they overlap.
        assert_eq!(count(0.1), 64 + 8);
    }

    #[test]
    fn a_triangle_folded_under_is_none() {
        assert!(Triangle::new([[0.0, 0.0], [0.0, 8.0], [8.0, 0.0]]).is_none());
    }
}
