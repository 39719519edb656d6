//! One picture, as the encoders want it.

/// A planar YUV 4:2:0 picture (I420), BT.601 limited range, planes packed without padding: Y, then U, then V.
#[derive(Clone, PartialEq, Eq)]
pub struct VideoFrame {
    width: u32,
    height: u32,
    planes: Vec<u8>,
}

impl VideoFrame {
    /// Black, `width` × `height`. Both even: chroma is subsampled by two.
    pub fn black(width: u32, height: u32) -> Self {
        assert!(width.is_multiple_of(2) && height.is_multiple_of(2), "I420 needs even sides");
        let luma = (width * height) as usize;
        let mut planes = vec![16; luma * 3 / 2];
        planes[luma..].fill(128);
        Self { width, height, planes }
    }

    /// The picture whose planes are `planes`, packed: Y, then U, then V. Both sides are even.
    pub fn from_planes(width: u32, height: u32, planes: Vec<u8>) -> Self {
        assert!(width.is_multiple_of(2) && height.is_multiple_of(2), "I420 needs even sides");
        assert_eq!(planes.len(), (width * height) as usize * 3 / 2, "planes fill the picture");
        Self { width, height, planes }
    }

    /// All planes, packed: Y, then U, then V.
    pub fn into_planes(self) -> Vec<u8> {
        self.planes
    }

    /// Pixels across.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Pixels down.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Y (stride `width`), U and V (stride `width / 2`).
    pub fn planes(&self) -> [&[u8]; 3] {
        let luma = (self.width * self.height) as usize;
        let (y, uv) = self.planes.split_at(luma);
        let (u, v) = uv.split_at(luma / 4);
        [y, u, v]
    }

    /// Y (stride `width`), U and V (stride `width / 2`), to write.
    pub fn planes_mut(&mut self) -> [&mut [u8]; 3] {
        let luma = (self.width * self.height) as usize;
        let (y, uv) = self.planes.split_at_mut(luma);
        let (u, v) = uv.split_at_mut(luma / 4);
        [y, u, v]
    }
}

impl std::fmt::Debug for VideoFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VideoFrame({}x{})", self.width, self.height)
    }
}
