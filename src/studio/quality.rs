//! How well an avatar will look: figures, and warnings in plain words. Pure.

use serde::Serialize;

use super::MOST_SECONDS;
use super::face::Face;
use super::film::RATE_HZ;
use super::track::{self, Box, median};

/// A face lower than this, in pixels, has blurred lips.
const SMALL_FACE: u32 = 120;
/// Parts of pictures without a face, and with open lips, that are mentioned.
const MANY_MISSED: f32 = 0.02;
const MUCH_TALK: f32 = 0.2;
/// Trembling of the box before it is smoothed, as a part of the face's height.
const TREMBLES: f32 = 0.015;
/// Movement at the ends, in distances between the eyes a picture.
const RESTLESS: f32 = 0.03;
/// How far a head may be turned: about 20 degrees.
const TURNED: f32 = 0.35;
/// A gap between lips of a photograph, as a part of the mouth's width.
pub(super) const SMILE: f32 = 0.06;
/// People blink each three to six seconds.
const NO_BLINK_S: f32 = 8.0;
const SHORT_S: f32 = 3.0;

/// What was made, and how good it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Pictures, 25 a second.
    pub frames: usize,
    /// Pixels across and down.
    pub size: (u32, u32),
    /// Height of the face's box, in pixels: that of the middle picture by size.
    pub face_height: u32,
    /// Pictures in which no face was found.
    pub missed: usize,
    /// How much the face's box trembled before it was smoothed, in pixels.
    pub jitter: f32,
    /// How often the eyes shut.
    pub blinks: usize,
    /// How much moves where the film turns round, in hundredths of the distance between the eyes a picture.
    pub seam: f32,
    /// What will not look well.
    pub warnings: Vec<Warning>,
}

/// Something that will not look well.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Warning {
    /// A stable name.
    pub code: &'static str,
    /// In plain words, with what to do.
    pub text: String,
}

/// What a film is judged by.
pub(super) struct Film<'a> {
    pub(super) size: (u32, u32),
    /// As they were found.
    pub(super) found: &'a [Option<Face>],
    /// With those that were filled in.
    pub(super) faces: &'a [Face],
    pub(super) boxes: &'a [Box],
    pub(super) tremble: f32,
    pub(super) seam: f32,
    pub(super) cut: bool,
}

pub(super) fn of_film(film: &Film<'_>) -> Report {
    let frames = film.faces.len();
    let seconds = frames as f32 / RATE_HZ as f32;
    let face_height = median(film.boxes.iter().map(|b| (b.bottom - b.top) as f32).collect()) as u32;
    let missed = film.found.iter().filter(|face| face.is_none()).count();
    let blinks = track::blinks(film.faces);
    let talk = track::talking(film.faces);
    let mut warnings = of_face(face_height, median(film.faces.iter().map(track::turned).collect()));
    let mut warn = |holds: bool, code, text: String| {
        if holds {
            warnings.push(Warning { code, text });
        }
    };
    let missed_part = missed as f32 / frames as f32;
    warn(
        missed_part > MANY_MISSED,
        "face_missed",
        format!(
            "no face was found in {missed} of {frames} pictures; its place there is guessed from the pictures around. Hands before \
         the face and turning away do this"
        ),
    );
    warn(
        film.tremble > TREMBLES * face_height as f32,
        "jitter",
        format!(
            "the face was hard to follow: its box trembled by {:.1} pixels. More light and less blur help",
            film.tremble
        ),
    );
    warn(blinks == 0 && seconds >= NO_BLINK_S, "no_blink", "nobody blinks in this film: it will stare".into());
    warn(
        film.seam > RESTLESS,
        "seam",
        "the head moves where the film turns round, which will be seen. Hold still for a second \
         at the beginning and at the end"
            .into(),
    );
    warn(
        talk > MUCH_TALK,
        "talking",
        format!(
            "the lips are open in {:.0} % of the pictures: they will move while nothing is said. Keep the mouth shut",
            talk * 100.0
        ),
    );
    warn(seconds < SHORT_S, "short", format!("the film is {seconds:.1} s short: it will be seen to repeat"));
    warn(film.cut, "cut", format!("the film is longer than {MOST_SECONDS} s: the rest was left out"));
    Report {
        frames,
        size: film.size,
        face_height,
        missed,
        jitter: tenths(film.tremble),
        blinks,
        seam: tenths(film.seam * 100.0),
        warnings,
    }
}

pub(super) fn of_photograph(size: (u32, u32), face: &Face, face_box: Box) -> Report {
    let face_height = face_box.bottom - face_box.top;
    let mut warnings = of_face(face_height, track::turned(face));
    if track::lips_apart(face) > SMILE {
        let text = "the lips are open: teeth of the photograph are seen while nothing is said. Take one with the mouth shut";
        warnings.push(Warning { code: "open_mouth", text: text.into() });
    }
    Report { frames: 1, size, face_height, missed: 0, jitter: 0.0, blinks: 0, seam: 0.0, warnings }
}

fn of_face(height: u32, turned: f32) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if height < SMALL_FACE {
        let text = format!("the face is only {height} pixels high: its lips will be blurred. 200 and more look well");
        warnings.push(Warning { code: "small_face", text });
    }
    if turned > TURNED {
        let text = "the head is turned to the side: lips are drawn best on a face that looks into the camera";
        warnings.push(Warning { code: "turned", text: text.into() });
    }
    warnings
}

fn tenths(v: f32) -> f32 {
    (v * 10.0).round() / 10.0
}
