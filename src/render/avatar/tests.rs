//! What a pack must be, by example.

use serde_json::json;

use super::synthetic::{Pack, picture};
use super::{Error, Fault};

fn fault(test: &str, spoil: impl FnOnce(&mut Pack)) -> Error {
    let mut pack = Pack::new(test);
    spoil(&mut pack);
    pack.load().expect_err("a spoilt pack does not load")
}

#[test]
fn a_valid_pack_loads_and_says_who_it_is() {
    let avatar = Pack::new("valid").load().expect("valid");
    assert_eq!((avatar.id(), avatar.voice(), avatar.width(), avatar.height()), ("test", "heart", 96, 96));
    assert_eq!(avatar.names()["en"], "Test");
    assert_eq!(&avatar.thumbnail()[8..12], b"WEBP");
    assert_eq!(&avatar.poster()[8..12], b"WEBP");
}

#[test]
fn an_error_names_the_avatar_and_the_file() {
    let error = fault("names", |p| p.files.insert("aa.webp".into(), b"RIFF".to_vec()).map_or((), drop));
    assert_eq!(error.file, "aa.webp");
    assert!(error.to_string().contains("-names\": aa.webp: "), "{error}");
}

#[test]
fn a_folder_that_is_not_there_is_an_error() {
    let error = super::Avatar::load(std::path::Path::new("no/such/avatar")).expect_err("missing");
    assert!(matches!(error.fault, Fault::Read(_)));
    assert!(error.to_string().contains("manifest.json"));
}

#[test]
fn a_changed_file_is_refused() {
    let mut pack = Pack::new("sha");
    pack.load().expect("valid");
    pack.manifest["files"]["head.webp"] = json!("0".repeat(64));
    assert!(matches!(pack.load_as_it_is().expect_err("changed").fault, Fault::Checksum));
    pack.manifest["files"]["head.webp"] = json!("é");
    assert!(matches!(pack.load_as_it_is().expect_err("changed").fault, Fault::Checksum));
    pack.manifest["files"].as_object_mut().expect("an object").remove("head.webp");
    assert!(matches!(pack.load_as_it_is().expect_err("unlisted").fault, Fault::Unlisted));
}

#[test]
fn a_truncated_picture_is_an_error() {
    let error = fault("truncated", |p| {
        let bytes = p.files.get_mut("oh.webp").expect("it is there");
        bytes.truncate(bytes.len() * 2 / 3);
    });
    assert!(matches!(error.fault, Fault::Picture(_)), "{error}");
}

#[test]
fn a_picture_of_the_wrong_or_of_a_huge_size_is_an_error() {
    let small = picture([0, 0, 16, 16], |_, _| [0; 4]);
    assert!(matches!(fault("size", |p| drop(p.files.insert("back.webp".into(), small))).fault, Fault::Size { .. }));
    let huge = picture([0, 0, 5_000, 8], |_, _| [0; 4]);
    assert!(matches!(
        fault("huge", |p| drop(p.files.insert("back.webp".into(), huge))).fault,
        Fault::Picture(_) | Fault::Size { .. }
    ));
}

#[test]
fn frames_that_are_odd_tiny_or_oversize_are_refused() {
    for (n, side) in [95, 2, 0, 4_098, u32::MAX].into_iter().enumerate() {
        let error = fault(&format!("frame{n}"), |p| p.manifest["width"] = json!(side));
        assert!(matches!(error.fault, Fault::Frame { .. }), "{side}: {error}");
    }
}

#[test]
fn another_version_is_refused_by_number() {
    let error = fault("version", |p| p.manifest = json!({"version": 2, "layout": "new"}));
    assert!(matches!(error.fault, Fault::Version(2)));
}

#[test]
fn boxes_outside_the_frame_or_inside_out_are_refused() {
    let boxes = [[-8, 52, 72, 88], [24, 52, 72, 288], [72, 52, 24, 88], [24, 52, 25, 88], [i64::MIN, 0, i64::MAX, 9]];
    for (n, corners) in boxes.into_iter().enumerate() {
        let error = fault(&format!("box{n}"), |p| p.manifest["groups"]["mouth"]["box"] = json!(corners));
        assert!(matches!(error.fault, Fault::Box("mouth")), "{corners:?}: {error}");
    }
    let error = fault("cell", |p| p.manifest["groups"]["eyes"]["flow_cell"] = json!(0));
    assert!(matches!(error.fault, Fault::Box("eyes")));
}

#[test]
fn a_missing_pose_or_group_is_named() {
    let error = fault("pose", |p| drop(p.manifest["poses"].as_object_mut().expect("an object").remove("aa_half")));
    assert!(matches!(error.fault, Fault::PoseMissing("aa_half")));
    let error = fault("group", |p| drop(p.manifest["groups"].as_object_mut().expect("an object").remove("brows")));
    assert!(matches!(error.fault, Fault::GroupMissing("brows")));
}

#[test]
fn a_flow_or_grid_of_the_wrong_length_is_an_error() {
    assert!(matches!(
        fault("flow", |p| p.files.get_mut("ou.flow").expect("it is there").truncate(9)).fault,
        Fault::Size { .. }
    ));
    assert!(matches!(
        fault("grid", |p| p.files.get_mut("grid.bin").expect("it is there").truncate(9)).fault,
        Fault::Size { .. }
    ));
}

#[test]
fn a_grid_of_nans_or_behind_the_camera_is_an_error() {
    let nan = f32::NAN.to_le_bytes();
    let error = fault("nan", |p| p.files.get_mut("grid.bin").expect("it is there")[..4].copy_from_slice(&nan));
    assert!(matches!(error.fault, Fault::Grid));
    let error = fault("camera", |p| p.manifest["camera"]["matrix"][3] = json!([0, 0, 0, 0]));
    assert!(matches!(error.fault, Fault::Grid));
    let error = fault("neck", |p| p.manifest["neck"]["span"] = json!(0));
    assert!(matches!(error.fault, Fault::Neck));
}
