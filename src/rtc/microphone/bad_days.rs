//! What microphones and networks do to speech: from packets of Opus to utterances.

use std::path::Path;
use std::sync::LazyLock;

use super::*;
use crate::asr::{self, Endpoint};
use crate::media::Resampler;
use crate::tts::Hibari;

/// "What is the capital of Australia?", two seconds.
static SENTENCE: LazyLock<Vec<i16>> = LazyLock::new(|| {
    let voice = Hibari::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models")).expect("`visavis models fetch`");
    let speech = voice.blocking_speak("What is the capital of Australia?").unwrap();
    speech.into_iter().flat_map(|piece| piece.pcm).collect()
});

/// The sentence between a second of silence and one and a half.
fn spoken(change: impl Fn(i16) -> i16) -> Vec<i16> {
    let sentence = SENTENCE.iter().map(|sample| change(*sample));
    std::iter::repeat_n(0, 16_000).chain(sentence).chain(std::iter::repeat_n(0, 24_000)).collect()
}

/// The same noise on every run, evenly spread up to `peak`.
fn noise(peak: f64) -> impl FnMut() -> f64 {
    let mut seed = 7_u32;
    move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (f64::from(seed) / f64::from(u32::MAX) * 2.0 - 1.0) * peak
    }
}

/// How a browser sends it.
struct Sender {
    rate_hz: u32,
    channels: ::opus::Channels,
    /// What is silent is not sent.
    dtx: bool,
}

const BROWSER: Sender = Sender { rate_hz: 48_000, channels: ::opus::Channels::Mono, dtx: false };

impl Sender {
    fn packets(&self, sound: &[i16]) -> Vec<Packet> {
        let mut encoder = ::opus::Encoder::new(self.rate_hz, self.channels, ::opus::Application::Voip).unwrap();
        encoder.set_bitrate(::opus::Bitrate::Bits(32_000)).unwrap();
        encoder.set_inband_fec(true).unwrap();
        encoder.set_packet_loss_perc(10).unwrap();
        encoder.set_dtx(self.dtx).unwrap();
        let mut resampler = Resampler::new(AUDIO_RATE_HZ, self.rate_hz).unwrap();
        let mut sound = [resampler.push(sound), resampler.finish()].concat();
        if self.channels == ::opus::Channels::Stereo {
            // Only the left one hears anything.
            sound = sound.into_iter().flat_map(|sample| [sample, 0]).collect();
        }
        let per_packet = self.rate_hz as usize / 50 * if self.channels == ::opus::Channels::Stereo { 2 } else { 1 };
        let mut packets = Vec::new();
        for (n, frame) in sound.chunks_exact(per_packet).enumerate() {
            let payload = encoder.encode_vec(frame, 1_275).unwrap();
            if self.dtx && payload.len() <= 2 {
                continue;
            }
            let mut packet = Packet { payload: payload.into(), ..Packet::default() };
            packet.header.sequence_number = 65_500_u16.wrapping_add(packets.len() as u16);
            packet.header.timestamp = (n as u32).wrapping_mul(960).wrapping_add(u32::MAX - 40_000);
            packets.push(packet);
        }
        packets
    }
}

/// What the ears find in `packets`, and the samples that they were given.
fn found(packets: &[Packet]) -> (Vec<asr::Event>, usize) {
    let (mut microphone, mut endpoint) = (Microphone::open().unwrap(), Endpoint::new(250));
    let (mut events, mut samples) = (Vec::new(), 0);
    for packet in packets {
        for frame in microphone.push(packet) {
            samples += SAMPLES_PER_FRAME;
            events.extend(endpoint.push(&frame));
        }
    }
    (events, samples)
}

fn utterances(events: &[asr::Event]) -> Vec<&[i16]> {
    events
        .iter()
        .filter_map(|event| if let asr::Event::Utterance(sound) = event { Some(&sound[..]) } else { None })
        .collect()
}

#[test]
fn silence_and_noise_from_a_microphone_are_no_utterance() {
    let mut white = noise(2_000.0);
    for sound in [vec![0; 64_000], (0..64_000).map(|_| white() as i16).collect()] {
        let (events, samples) = found(&BROWSER.packets(&sound));
        assert_eq!(utterances(&events).len(), 0, "{events:?}");
        assert!(samples.abs_diff(64_000) < 1_000);
    }
}

#[test]
fn a_sentence_is_one_utterance_however_the_microphone_and_the_network_treat_it() {
    let plain = BROWSER.packets(&spoken(|s| s));
    let mut lossy = plain.clone();
    let mut luck = noise(1.0);
    lossy.retain(|_| luck() > -0.8);
    assert!(lossy.len() < plain.len() * 95 / 100);
    let mut burst = plain.clone();
    // 160 ms within the sentence.
    burst.drain(80..88);
    let mut mixed = plain.clone();
    (10..plain.len() - 4).step_by(5).for_each(|n| mixed.swap(n, n + 2));
    let mixed = mixed.into_iter().flat_map(|packet| [packet.clone(), packet]).collect();
    let mut white = noise(500.0);
    let noisy: Vec<i16> = spoken(|s| s).into_iter().map(|s| (f64::from(s) + white()) as i16).collect();
    let telephone = Sender { rate_hz: 8_000, ..BROWSER };
    let stereo = Sender { channels: ::opus::Channels::Stereo, ..BROWSER };
    let sparing = Sender { dtx: true, ..BROWSER };
    let left_out = sparing.packets(&spoken(|s| s));
    assert!(left_out.len() < plain.len() * 3 / 4, "{} of {} packets", left_out.len(), plain.len());
    for (what, packets) in [
        ("noise", BROWSER.packets(&noisy)),
        ("clipped", BROWSER.packets(&spoken(|s| s.saturating_mul(8)))),
        ("quiet", BROWSER.packets(&spoken(|s| s / 8))),
        ("8 kHz", telephone.packets(&spoken(|s| s))),
        ("stereo", stereo.packets(&spoken(|s| s))),
        ("a tenth is lost", lossy),
        ("a burst is lost", burst),
        ("out of order and twice", mixed),
        ("silence is left out", left_out),
        ("plain", plain),
    ] {
        let (events, samples) = found(&packets);
        let found = utterances(&events);
        assert_eq!(found.len(), 1, "{what}: {events:?}");
        // With 0.3 s before and 0.25 s after it.
        let over = found[0].len() as i64 - SENTENCE.len() as i64;
        assert!((0..14_000).contains(&over), "{what}: {over} samples more than were said");
        // Time is the count of samples: what is lost or left out has its length.
        let whole = if what == "silence is left out" { samples..samples + 1 } else { 56_000..spoken(|s| s).len() + 1_000 };
        assert!(whole.contains(&samples), "{what}: {samples} samples");
    }
}

#[test]
fn what_waited_for_a_lost_packet_is_heard_before_the_pause_and_the_pause_only_once() {
    let packets = BROWSER.packets(&spoken(|s| s));
    let mut microphone = Microphone::open().unwrap();
    let heard: usize = packets[..60].iter().map(|packet| microphone.push(packet).len()).sum();
    assert_eq!(heard, 60);
    assert!(microphone.push(&packets[61]).is_empty(), "there is hope for packet 60");
    assert_eq!(microphone.pause().len(), 2, "none after the pause");
    // Silence is sent for half a second, then 61 more packets' time later the sender goes on.
    assert!((0..25).all(|_| microphone.pause() == [AudioFrame::SILENCE]));
    let mut late = packets[62].clone();
    late.header.timestamp = late.header.timestamp.wrapping_add(30 * 960);
    assert_eq!(microphone.push(&late).len(), 5 + 1, "half a second of the pause has been filled");
    let mut pauses = 0;
    while !microphone.pause().is_empty() {
        pauses += 1;
    }
    assert_eq!(pauses * SAMPLES_PER_FRAME, MAX_PAUSE, "a microphone that is gone is not waited for for ever");
    assert!(MAX_PAUSE > 2 * AUDIO_RATE_HZ as usize, "longer than the longest `asr.stop_ms`");
    late.header.sequence_number = late.header.sequence_number.wrapping_add(1);
    late.header.timestamp = late.header.timestamp.wrapping_add(960 * 3_600);
    assert_eq!(microphone.push(&late).len(), 1, "nothing is filled twice");
}

#[test]
fn a_monologue_of_ten_minutes_comes_in_bounded_pieces_that_join_to_it() {
    // What ten minutes would cost is the codec: the sentence is sent once and heard 300 times.
    let mut microphone = Microphone::open().unwrap();
    let voiced: Vec<i16> = SENTENCE.iter().copied().skip_while(|s| s.abs() < 500).collect();
    let frames: Vec<AudioFrame> = BROWSER.packets(&voiced).iter().flat_map(|packet| microphone.push(packet)).collect();
    let mut endpoint = Endpoint::new(600);
    let (mut pieces, mut sent, mut longest) = (Vec::new(), Vec::new(), 0);
    let ten_minutes = 600 * 50;
    for frame in frames.iter().cycle().take(ten_minutes) {
        sent.extend_from_slice(&frame.0);
        for event in endpoint.push(frame) {
            if let asr::Event::Utterance(sound) = event {
                longest = longest.max(sound.len());
                pieces.push(sound);
            }
        }
    }
    for _ in 0..50 {
        sent.extend_from_slice(&AudioFrame::SILENCE.0);
        for event in endpoint.push(&AudioFrame::SILENCE) {
            if let asr::Event::Utterance(sound) = event {
                pieces.push(sound);
            }
        }
    }
    assert!(longest <= 30 * 16_000 && pieces.len() >= 20, "{} pieces, {longest} samples", pieces.len());
    // Cut at quiet places.
    let loudness = |sound: &[i16]| sound.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / sound.len() as f64;
    let usual = loudness(&sent);
    for piece in &pieces[..pieces.len() - 1] {
        assert!(loudness(&piece[piece.len() - 160..]) < usual / 20.0, "a cut within a word");
    }
    // Nothing is lost at the cuts: the pieces join to what was said, sample by sample.
    let joined: Vec<i16> = pieces.concat();
    assert!(sent.windows(joined.len()).next().is_some() && joined.len() > ten_minutes * SAMPLES_PER_FRAME);
    let start = sent.len() - joined.len();
    let begins = (0..=start).find(|at| sent[*at..*at + 4_000] == joined[..4_000]).expect("it begins somewhere");
    assert!(sent[begins..begins + joined.len()] == joined[..]);
}
