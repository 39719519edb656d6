//! The life of a face that has nothing to say, and of one that has: breath, sway, blinks, glances, brows.
//!
//! In: a moment, a seed, and how lively the speech is. Out: a [`Life`]. Pure: the same moment gives the same face, nothing
//! is stored, and since every movement is noise over its own incommensurate period it never visibly repeats.

use super::sway::Attitude;
use crate::media::AUDIO_RATE_HZ;

/// Breaths a minute at rest: 14, mid-range for a calm adult (12–18).
const BREATH_S: f64 = 60.0 / 14.0;

/// The largest turns of an idle head, radians: 2.2° of yaw, 1.0° of pitch, 1.1° of roll.
const SWAY: [f32; 3] = [0.0384, 0.0175, 0.0192];

/// A speaking head moves this much more, and has a quicker movement of this size besides.
const LIVELIER: f32 = 0.45;
const LIVELY: [f32; 3] = [0.016, 0.012, 0.009];

/// A nod on a stressed word: 1.1° down.
const NOD: f32 = 0.019;

/// Blinks are 2–6 s apart: one in each slot of 4 s, somewhere in its first half.
const BLINK_SLOT_S: f64 = 4.0;
const BLINK_SPREAD_S: f64 = 2.0;

/// A blink closes in 80 ms, stays shut for a picture and opens in 150 ms (people: 70–100 and 150–200).
const BLINK_CLOSE_S: f64 = 0.08;
const BLINK_SHUT_S: f64 = 0.045;
const BLINK_OPEN_S: f64 = 0.15;

/// A glance aside in each slot, of this length; a saccade takes 60 ms.
const GLANCE_SLOT_S: f64 = 5.3;
const GLANCE_S: (f64, f64) = (0.5, 1.4);
const SACCADE_S: f64 = 0.06;

/// The angle of the pack's gaze poses, radians (`scripts/avatar/poses.py`): sideways, up, down.
pub(super) const GAZE_POSE: [f32; 3] = [0.22, 0.17, 0.20];

/// What the speech around a moment is like.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Speech {
    /// 0 silent to 1 speaking; changes over a second.
    pub(super) activity: f32,
    /// 0 to 1, swells on stressed vowels.
    pub(super) emphasis: f32,
    /// The sample at which the last sentence ended.
    pub(super) sentence_end: Option<u64>,
}

/// All that moves but the mouth.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Life {
    /// Without lift.
    pub(super) head: Attitude,
    /// 0 exhaled to 1 inhaled.
    pub(super) breath: f32,
    /// 0 open to 1 closed.
    pub(super) blink: f32,
    /// In the head, as shares of the gaze poses: right and up are positive, as the viewer sees it.
    pub(super) gaze: [f32; 2],
    /// 0 at rest to 1 raised; -1 lowered.
    pub(super) brow: f32,
    /// 0 to 1.
    pub(super) smile: f32,
    /// 0 to 1: a smile that is meant to be seen. Of gestures alone, as are the next two.
    pub(super) grin: f32,
    /// 0 to 1: lips apart.
    pub(super) gape: f32,
    /// 0 to 1: lids narrowed.
    pub(super) squint: f32,
}

/// The face at sample `at`.
pub(super) fn life(at: u64, seed: u64, speech: Speech) -> Life {
    let t = at as f64 / f64::from(AUDIO_RATE_HZ);
    let head = sway(t, seed, speech);
    Life {
        head,
        breath: breath(t, seed),
        blink: blink(t, seed, speech.sentence_end),
        gaze: gaze(t, seed, head),
        brow: brow(t, seed, speech),
        smile: in_steps((0.55 + 0.25 * noise(t / 6.7, seed, 21)) * (1.0 - 0.75 * speech.activity)),
        ..Life::default()
    }
}

fn sway(t: f64, seed: u64, speech: Speech) -> Attitude {
    // Slow and half as much less slow, in each direction its own: the two periods of a direction have no common multiple.
    let slow = |k: u64, period: f64| 0.75 * noise(t / period, seed, k) + 0.35 * noise(t / (period * 0.441), seed, k + 10);
    let quick = |k: u64| noise(t / 0.83, seed, k + 30) * speech.activity;
    let turn = |k: usize, period: f64| {
        SWAY[k] * slow(k as u64, period) * (1.0 + LIVELIER * speech.activity) + LIVELY[k] * quick(k as u64)
    };
    Attitude {
        yaw: turn(0, 4.7),
        pitch: turn(1, 3.9) + NOD * speech.emphasis * speech.activity,
        roll: turn(2, 5.9),
        lift_px: 0.0,
    }
}

/// In faster than out, with a rest after; the pace wanders a little.
fn breath(t: f64, seed: u64) -> f32 {
    let phase = (t / BREATH_S + 0.12 * f64::from(noise(t / 11.0, seed, 40))).rem_euclid(1.0) as f32;
    let (inhaled, exhaled) = (0.38, 0.88);
    if phase < inhaled { ease(phase / inhaled) } else { 1.0 - ease((phase - inhaled) / (exhaled - inhaled)) }
}

fn blink(t: f64, seed: u64, sentence_end: Option<u64>) -> f32 {
    let slot = (t / BLINK_SLOT_S).floor();
    let mut lid = 0.0_f32;
    for slot in [slot - 1.0, slot] {
        let n = slot as i64 as u64;
        let start = slot * BLINK_SLOT_S + f64::from(hash(seed, 50, n)) * BLINK_SPREAD_S;
        lid = lid.max(lid_after(t - start));
        // One in eight is double.
        if hash(seed, 51, n) < 0.125 {
            lid = lid.max(lid_after(t - start - 0.36));
        }
    }
    // Two thirds of the sentences are followed by one.
    if let Some(end) = sentence_end.filter(|end| hash(seed, 52, *end) < 0.66) {
        lid = lid.max(lid_after(t - end as f64 / f64::from(AUDIO_RATE_HZ) - 0.12));
    }
    lid
}

/// The lid, seconds after a blink began.
fn lid_after(since: f64) -> f32 {
    if since < BLINK_CLOSE_S + BLINK_SHUT_S {
        ease((since / BLINK_CLOSE_S) as f32)
    } else {
        1.0 - ease(((since - BLINK_CLOSE_S - BLINK_SHUT_S) / BLINK_OPEN_S) as f32)
    }
}

/// The eyes stay on the viewer while the head sways, but for a glance now and then.
fn gaze(t: f64, seed: u64, head: Attitude) -> [f32; 2] {
    let slot = (t / GLANCE_SLOT_S).floor();
    let mut aside = [0.0_f32; 2];
    for slot in [slot - 1.0, slot] {
        let n = slot as i64 as u64;
        let start = (slot + 0.6 * f64::from(hash(seed, 60, n))) * GLANCE_SLOT_S;
        let length = GLANCE_S.0 + (GLANCE_S.1 - GLANCE_S.0) * f64::from(hash(seed, 61, n));
        let out = ease(((t - start) / SACCADE_S) as f32) * (1.0 - ease(((t - start - length) / SACCADE_S) as f32));
        // Mostly sideways and a little down: up looks like searching, which belongs to thinking.
        let angle = [hash(seed, 62, n) * 0.18 - 0.09, hash(seed, 63, n) * 0.07 - 0.05];
        aside = [aside[0] + out * angle[0], aside[1] + out * angle[1]];
    }
    // The eyes of a person who looks at you still jump by a fraction of a degree, about once a second.
    let step = (t / 0.9).floor();
    let fresh = ease(((t - step * 0.9) / SACCADE_S) as f32);
    let fixation = |k: u64| {
        let (old, new) = (hash(seed, k, step as i64 as u64), hash(seed, k, (step + 1.0) as i64 as u64));
        (old + (new - old) * fresh - 0.5) * 0.02
    };
    // Positive yaw turns the face to the right, so the eyes go left; positive pitch lowers it, so they go up.
    let angle = [aside[0] - head.yaw + fixation(64), aside[1] + head.pitch + fixation(65)];
    let up_or_down = if angle[1] > 0.0 { GAZE_POSE[1] } else { GAZE_POSE[2] };
    [in_steps((angle[0] / GAZE_POSE[0]).clamp(-1.0, 1.0)), in_steps((angle[1] / up_or_down).clamp(-1.0, 1.0))]
}

/// Still most of the time; now and then raised a little, and with some of the stressed words.
fn brow(t: f64, seed: u64, speech: Speech) -> f32 {
    let idle = 0.5 * (noise(t / 3.1, seed, 20) - 0.35).max(0.0);
    let chance = (0.5 + noise(t / 1.9, seed, 70)).clamp(0.0, 1.0);
    in_steps((idle + 0.7 * speech.emphasis * speech.activity * chance).min(1.0))
}

/// Rounded to 1/64, a twentieth of a pixel of movement: a face that hardly moves need not be painted again.
fn in_steps(v: f32) -> f32 {
    (v * 64.0).round() / 64.0
}

/// Smooth noise, -1 to 1 and mostly within a half, with a new random value at each whole `t`: C1, since it eases between them.
pub(super) fn noise(t: f64, seed: u64, channel: u64) -> f32 {
    let whole = t.floor();
    let n = whole as i64 as u64;
    let value = |n: u64| hash(seed, channel, n) * 2.0 - 1.0;
    let f = (t - whole) as f32;
    // Cubic through four values, so that it does not stop at each of them.
    let (a, b, c, d) = (value(n.wrapping_sub(1)), value(n), value(n.wrapping_add(1)), value(n.wrapping_add(2)));
    // Uniform B-spline: smoother than Catmull-Rom and never beyond its values.
    let g = 1.0 - f;
    (a * g * g * g + b * (3.0 * f * f * f - 6.0 * f * f + 4.0) + c * (3.0 * g * g * g - 6.0 * g * g + 4.0) + d * f * f * f)
        / 6.0
        * 1.4
}

/// 0 to 1 from three numbers (splitmix64's finaliser, public domain).
fn hash(seed: u64, channel: u64, n: u64) -> f32 {
    let mut z = seed ^ channel.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ n.wrapping_mul(0xD1B5_4A32_D192_ED03);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 40) as f32 / (1_u64 << 24) as f32
}

fn ease(t: f32) -> f32 {
    let t = t.clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PICTURE: u64 = 640;

    fn minutes(n: u64) -> impl Iterator<Item = u64> {
        (0..n * 60 * 25).map(|k| k * PICTURE)
    }

    #[test]
    fn the_head_never_jumps_and_never_turns_far() {
        for speech in [Speech::default(), Speech { activity: 1.0, ..Speech::default() }] {
            let mut before = life(0, 7, speech).head;
            for at in minutes(10) {
                let head = life(at, 7, speech).head;
                for (now, then, limit) in
                    [(head.yaw, before.yaw, 0.1), (head.pitch, before.pitch, 0.06), (head.roll, before.roll, 0.06)]
                {
                    // 0.6 degrees in 40 ms is 15 a second: a brisk turn.
                    assert!((now - then).abs() < 0.0105, "jump of {} at {at}", now - then);
                    assert!(now.abs() < limit);
                }
                before = head;
            }
        }
    }

    #[test]
    fn eyes_close_fully_and_as_often_as_people_blink() {
        let lids: Vec<f32> = minutes(2).map(|at| life(at, 3, Speech::default()).blink).collect();
        let blinks = lids.windows(2).filter(|w| w[0] < 1.0 && w[1] >= 1.0).count();
        assert!((24..=48).contains(&blinks), "{blinks} in two minutes");
        let open = lids.iter().filter(|l| **l < 0.01).count();
        assert!(open > lids.len() * 8 / 10);
    }

    #[test]
    fn eyes_stay_on_the_viewer_while_the_head_sways() {
        let off: Vec<f32> = minutes(5)
            .map(|at| {
                let life = life(at, 11, Speech::default());
                (life.gaze[0] * GAZE_POSE[0] + life.head.yaw).abs()
            })
            .collect();
        let steady = off.iter().filter(|o| **o < 0.02).count();
        assert!(steady > off.len() * 6 / 10, "{steady} of {}", off.len());
        assert!(off.iter().any(|o| *o > 0.04), "there are glances");
    }

    #[test]
    fn two_seeds_live_two_lives_and_one_seed_one() {
        let at = 5_000_000;
        assert_eq!(life(at, 1, Speech::default()), life(at, 1, Speech::default()));
        assert_ne!(life(at, 1, Speech::default()).head, life(at, 2, Speech::default()).head);
    }

    #[test]
    fn everything_stays_in_its_range_for_a_day() {
        for at in (0..24 * 3_600).map(|s| s * 16_000 + 123) {
            let life = life(at, 5, Speech { activity: 1.0, emphasis: 1.0, sentence_end: Some(at - at.min(3_000)) });
            for v in [life.breath, life.blink, life.brow, life.smile, life.gaze[0].abs(), life.gaze[1].abs()] {
                assert!((0.0..=1.0).contains(&v), "{life:?}");
            }
        }
    }
}
