//! Gestures: short movements on request, laid over the idle life and the speech.
//!
//! In: which one, and how long ago it began. Out: changes of a [`Life`]. Pure; each begins and ends at nothing, without a
//! jump, so a face is afterwards where it would be without.

use std::f32::consts::TAU;

use super::idle::{GAZE_POSE, Life};
use crate::media::AUDIO_RATE_HZ;

/// What a face can be asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gesture {
    /// Yes: twice, the second time less.
    Nod,
    /// No.
    Shake,
    /// A broad smile.
    Smile,
    /// Brows up, head back, lips apart.
    Surprise,
    /// Looks up and aside.
    Think,
    /// A slow blink.
    Blink,
    /// The head to one side.
    Tilt,
    /// A greeting: the head goes down and comes up slowly.
    Bow,
}

impl Gesture {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Nod, Self::Shake, Self::Smile, Self::Surprise, Self::Think, Self::Blink, Self::Tilt, Self::Bow];

    /// As clients and models call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nod => "nod",
            Self::Shake => "shake",
            Self::Smile => "smile",
            Self::Surprise => "surprise",
            Self::Think => "think",
            Self::Blink => "blink",
            Self::Tilt => "tilt",
            Self::Bow => "bow",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|gesture| gesture.name() == name)
    }

    /// How long it takes, in seconds.
    fn length_s(self) -> f32 {
        match self {
            Self::Nod => 1.2,
            Self::Shake => 1.5,
            Self::Smile => 3.0,
            Self::Surprise => 1.7,
            Self::Think => 2.4,
            Self::Blink => 0.75,
            Self::Tilt => 2.2,
            Self::Bow => 2.0,
        }
    }

    /// Whether it is over, `since` samples after it began.
    pub(super) fn is_over(self, since: u64) -> bool {
        seconds(since) >= self.length_s()
    }

    /// Changes `life` as this gesture does, `since` samples after it began. Angles are at most 5°: the head layer is flat.
    pub(super) fn apply(self, since: u64, life: &mut Life) {
        let (t, length) = (seconds(since), self.length_s());
        if t >= length {
            return;
        }
        match self {
            Self::Nod => {
                let twice = 0.5 - 0.5 * (2.0 * TAU * t / length).cos();
                turn(life, 0.0, 0.07 * twice * (1.0 - 0.5 * t / length), 0.0);
            }
            Self::Shake => turn(life, 0.06 * (2.0 * TAU * t / length).sin() * held(t, 0.25, length, 0.35), 0.0, 0.0),
            Self::Smile => {
                let much = held(t, 0.35, length, 0.8);
                life.grin = life.grin.max(much);
                life.squint = life.squint.max(0.4 * much);
            }
            Self::Surprise => {
                let much = held(t, 0.16, length, 0.6);
                life.brow += (1.0 - life.brow) * much;
                life.gape = life.gape.max(0.7 * much);
                turn(life, 0.0, -0.035 * much, 0.0);
            }
            Self::Think => {
                let much = held(t, 0.3, length, 0.4);
                turn(life, 0.03 * much, -0.025 * much, 0.02 * much);
                life.brow += (-0.45 - life.brow) * much;
                life.gaze = [life.gaze[0] + (0.55 - life.gaze[0]) * much, life.gaze[1] + (0.4 - life.gaze[1]) * much];
            }
            Self::Blink => life.blink = life.blink.max(held(t, 0.22, length, 0.33)),
            Self::Tilt => turn(life, 0.0, 0.0, 0.065 * held(t, 0.45, length, 0.6)),
            Self::Bow => {
                let much = held(t, 0.6, length, 0.8);
                turn(life, 0.0, 0.085 * much, 0.0);
                life.blink = life.blink.max(0.45 * much);
            }
        }
    }
}

/// Turns the head; the eyes stay where they looked.
fn turn(life: &mut Life, yaw: f32, pitch: f32, roll: f32) {
    life.head.yaw += yaw;
    life.head.pitch += pitch;
    life.head.roll += roll;
    let up_or_down = if pitch > 0.0 { GAZE_POSE[1] } else { GAZE_POSE[2] };
    life.gaze[0] = (life.gaze[0] - yaw / GAZE_POSE[0]).clamp(-1.0, 1.0);
    life.gaze[1] = (life.gaze[1] + pitch / up_or_down).clamp(-1.0, 1.0);
}

/// Rises within `rise` seconds, stays, and falls within the last `fall` of `length`.
fn held(t: f32, rise: f32, length: f32, fall: f32) -> f32 {
    ease(t / rise) * (1.0 - ease((t - (length - fall)) / fall))
}

fn ease(t: f32) -> f32 {
    let t = t.clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

fn seconds(samples: u64) -> f32 {
    samples as f32 / AUDIO_RATE_HZ as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    const PICTURE: u64 = 640;

    fn course(gesture: Gesture) -> Vec<Life> {
        let after = |since: u64| {
            let mut life = Life::default();
            gesture.apply(since, &mut life);
            life
        };
        (0..=100).map(|n| after(n * PICTURE)).collect()
    }

    #[test]
    fn each_begins_and_ends_at_nothing_and_never_jumps() {
        for gesture in Gesture::ALL {
            let course = course(gesture);
            assert_eq!(course[0], Life::default(), "{gesture:?}");
            assert_eq!(course[100], Life::default(), "{gesture:?}");
            let over = (0..=100).find(|n| gesture.is_over(n * PICTURE)).unwrap();
            assert!(course[over as usize..].iter().all(|life| *life == Life::default()), "{gesture:?}");
            for pair in course.windows(2) {
                let turned = |of: fn(&Life) -> f32| (of(&pair[1]) - of(&pair[0])).abs();
                // 1.5° in 40 ms: 37 a second, a quick nod.
                for angle in [turned(|l| l.head.yaw), turned(|l| l.head.pitch), turned(|l| l.head.roll)] {
                    assert!(angle < 0.026, "{gesture:?}: {angle}");
                }
                for part in [turned(|l| l.brow), turned(|l| l.grin), turned(|l| l.gape), turned(|l| l.gaze[0])] {
                    assert!(part < 0.4, "{gesture:?}: {part}");
                }
            }
        }
    }

    #[test]
    fn each_does_what_its_name_says() {
        let most = |gesture, of: fn(&Life) -> f32| course(gesture).iter().map(of).fold(f32::MIN, f32::max);
        let least = |gesture, of: fn(&Life) -> f32| course(gesture).iter().map(of).fold(f32::MAX, f32::min);
        assert!(most(Gesture::Nod, |l| l.head.pitch) > 0.05 && least(Gesture::Nod, |l| l.head.pitch) > -0.001);
        assert!(most(Gesture::Shake, |l| l.head.yaw) > 0.04 && least(Gesture::Shake, |l| l.head.yaw) < -0.04);
        assert!(most(Gesture::Smile, |l| l.grin) > 0.99);
        assert!(most(Gesture::Surprise, |l| l.brow) > 0.99 && least(Gesture::Surprise, |l| l.head.pitch) < -0.03);
        assert!(most(Gesture::Think, |l| l.gaze[1]) > 0.3);
        assert!(most(Gesture::Blink, |l| l.blink) > 0.99);
        assert!(most(Gesture::Tilt, |l| l.head.roll) > 0.06);
        assert!(most(Gesture::Bow, |l| l.head.pitch) > 0.08);
    }

    #[test]
    fn names_lead_back_to_what_they_name() {
        assert!(Gesture::ALL.into_iter().all(|gesture| Gesture::named(gesture.name()) == Some(gesture)));
        assert_eq!(Gesture::named("dance"), None);
    }
}
