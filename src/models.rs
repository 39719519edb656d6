//! Model files: what belongs where, and whether it does.

use std::path::PathBuf;

/// What is wrong with the model files.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that the lock names is not there.
    #[error("model file {path} is missing; fetch it with `visavis models fetch`")]
    Missing {
        /// The file.
        path: PathBuf,
    },
}
