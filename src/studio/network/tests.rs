use std::path::Path;

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn file(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("models/face").join(name)).unwrap()
}

/// Values that `scripts/face/golden.py` computed with Google's interpreter.
fn golden() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/face/golden.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn agrees(file_name: &str, name: &str, tolerance: f32) {
    let network = Network::parse(&file(file_name)).unwrap();
    let (width, height, channels) = network.input();
    let pattern = (0..width * height * channels).map(|n| (n * 7919 % 251) as f32 / 125.0 - 1.0).collect();
    let outputs = network.run(pattern);
    let golden = golden();
    let expected = golden["networks"][name].as_array().unwrap();
    assert_eq!(outputs.len(), expected.len());
    for (output, expected) in outputs.iter().zip(expected) {
        assert_eq!(output.len() as u64, expected["length"].as_u64().unwrap());
        let values = expected["every_13th"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32);
        let worst = output.iter().step_by(13).zip(values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < tolerance, "{name} is off by {worst}");
    }
}

/// Outputs reach 300; the reference computes in another order.
const HAIR: f32 = 0.01;

#[test]
fn the_detector_says_what_the_reference_interpreter_says() {
    agrees("face_detection_short_range.tflite", "detector", HAIR);
}

#[test]
fn the_mesh_says_what_the_reference_interpreter_says() {
    agrees("face_landmark.tflite", "mesh", HAIR);
}

#[test]
fn what_is_no_network_is_damaged() {
    for bytes in [&b""[..], b"\x1c\0\0\0TFL3", b"\xff\xff\xff\xffTFL3\0\0\0\0", &file("face_landmark.tflite")[..5000]] {
        assert!(matches!(Network::parse(bytes), Err(Error::Damaged)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A changed file is refused, or is a network that runs: weights may change, sizes may not lie.
    #[test]
    fn a_spoilt_network_never_panics(spoil in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = file("face_detection_short_range.tflite");
        // What describes the network lies behind its weights.
        let tail = bytes.len() / 8 * 7;
        for (at, value) in spoil {
            let at = tail + at.index(bytes.len() - tail);
            bytes[at] = value;
        }
        if let Ok(network) = Network::parse(&bytes) {
            let (width, height, channels) = network.input();
            let values = width * height * channels;
            prop_assert_eq!(network.run(vec![0.5; values]).is_empty(), false);
        }
    }
}
