//! What can be wrong with a pack. Each error names the avatar, the file and the fault.

/// A pack that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("avatar {avatar:?}: {file}: {fault}")]
pub struct Error {
    /// The folder's name.
    pub avatar: String,
    /// The file inside it.
    pub file: String,
    /// What is wrong with it.
    #[source]
    pub fault: Fault,
}

/// What is wrong with a file of a pack.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It is not there, or may not be read.
    #[error("cannot be read: {0}")]
    Read(#[source] std::io::Error),
    /// More bytes than any pack needs.
    #[error("is larger than {limit_bytes} bytes")]
    TooLarge {
        /// What is read at most.
        limit_bytes: u64,
    },
    /// `manifest.json` is not what version 1 says.
    #[error("is not a manifest: {0}")]
    Manifest(#[source] serde_json::Error),
    /// Made for another reader.
    #[error("version {0} is not supported, only {version} is", version = super::manifest::VERSION)]
    Version(u32),
    /// The frame's size.
    #[error("a frame of {width}x{height} is not even, or not within 64..=4096")]
    Frame {
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
    },
    /// The manifest lists no checksum for it.
    #[error("is not listed in the manifest")]
    Unlisted,
    /// It is not the file that was packed.
    #[error("its sha256 is not the manifest's")]
    Checksum,
    /// Not a WebP picture, or a broken one.
    #[error("is not a picture: {0}")]
    Picture(#[source] image::ImageError),
    /// A picture that does not fit its place.
    #[error("has {found:?} where {expected:?} is needed")]
    Size {
        /// Pixels across and down, or bytes and one.
        found: (usize, usize),
        /// The same.
        expected: (usize, usize),
    },
    /// The face has no such part.
    #[error("group {0:?} is missing")]
    GroupMissing(&'static str),
    /// A part that lies outside the frame, or that its flow's cells do not tile.
    #[error("the box or flow cell of group {0:?} makes no sense")]
    Box(&'static str),
    /// The face cannot do without this pose.
    #[error("pose {0:?} is missing")]
    PoseMissing(&'static str),
    /// The head's surface is not a surface.
    #[error("the head grid is not a surface in front of the camera")]
    Grid,
    /// The neck or the camera has impossible numbers.
    #[error("neck or camera has impossible numbers")]
    Neck,
}
