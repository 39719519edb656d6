//! In the place of a hard cut between the face and a film: the picture before fades out over the first ones that follow.
//!
//! No clock: a picture is 40 ms. The render worker owns it.

use std::sync::Arc;

use super::action::Action;
use crate::media::VideoFrame;

/// Pictures that are mixed, 200 ms: long enough that nobody sees a jump, too short to see two mouths.
const PICTURES: u32 = 5;

/// What is shown, and what fades out.
#[derive(Default)]
pub(super) struct Fade {
    /// `None`: the face.
    film: Option<Arc<Action>>,
    before: Option<Arc<VideoFrame>>,
    left: u32,
}

impl Fade {
    /// `picture`, which is of `film` or of the face, as it is shown; `latest` was shown before it.
    pub(super) fn show(
        &mut self,
        film: Option<&Arc<Action>>,
        latest: Option<&Arc<VideoFrame>>,
        picture: Arc<VideoFrame>,
    ) -> Arc<VideoFrame> {
        if self.film.as_ref().map(Arc::as_ptr) != film.map(Arc::as_ptr) {
            self.film = film.cloned();
            (self.before, self.left) = (latest.cloned(), PICTURES);
        }
        let size = |picture: &VideoFrame| (picture.width(), picture.height());
        self.before.take_if(|before| self.left == 0 || size(before) != size(&picture));
        let Some(before) = &self.before else { return picture };
        let mut picture = Arc::unwrap_or_clone(picture);
        for (plane, before) in picture.planes_mut().into_iter().zip(before.planes()) {
            mix(plane, before, self.left);
        }
        self.left -= 1;
        Arc::new(picture)
    }

    /// What is shown next is not mixed with what was: nobody saw it, or it is somebody else.
    pub(super) fn end(&mut self) {
        self.before = None;
    }
}

/// As much of the old picture as the pictures that are left, in parts of all of them and one.
fn mix(new: &mut [u8], old: &[u8], left: u32) {
    // In 256ths, so that it is a few operations a pixel.
    let share = (left * 256 / (PICTURES + 1)) as u16;
    for (new, old) in new.iter_mut().zip(old) {
        *new = ((u16::from(*old) * share + u16::from(*new) * (256 - share)) >> 8) as u8;
    }
}
