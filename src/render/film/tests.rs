//! Films from a folder to their pictures, with a network of ours that opens a mouth as wide as the sound is loud.

use crossbeam_channel::{Sender, bounded};
use image::{Rgb, RgbImage};
use tempfile::{TempDir, tempdir};

use super::*;
use crate::media::{AudioFrame, SAMPLES_PER_FRAME, TurnId};
use crate::onnx::Device;
use crate::render::lips::{FilmFace, Hubert, NetworkFile};
use crate::render::{Action, Change, CurrentTurn, Footage, Item, LipSync, Watched, Worker};

const PICTURE: u64 = 640;
const PICTURES: u8 = 6;

/// Where faces are: 20..84 across, 30..94 down, in pictures of 110 × 130.
const BOX: [i32; 4] = [20, 30, 84, 94];

/// A film of skin: the wall behind it tells the number of the picture.
fn film_dir() -> TempDir {
    let dir = tempdir().unwrap();
    let folder = dir.path().join("anna");
    std::fs::create_dir_all(folder.join("full_imgs")).unwrap();
    for n in 0..PICTURES {
        let face = |x: u32, y: u32| (20..84).contains(&x) && (30..94).contains(&y);
        let colour = |x, y| if face(x, y) { Rgb([220, 170, 140]) } else { Rgb([n * 40; 3]) };
        RgbImage::from_fn(110, 130, colour).save(folder.join(format!("full_imgs/{n:08}.png"))).unwrap();
    }
    boxes(&folder, &[BOX[1], BOX[3], BOX[0], BOX[2]], PICTURES.into());
    dir
}

/// A pickle of protocol 0, of `count` times the same box.
fn boxes(folder: &Path, sides: &[i32; 4], count: usize) {
    let one = format!("({}ta", sides.map(|side| format!("I{side}\n")).concat());
    std::fs::write(folder.join("coords.pkl"), format!("(l{}.", one.repeat(count))).unwrap();
}

fn file(graph: &str, hubert: &str) -> NetworkFile {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    NetworkFile {
        library: root.join("models/onnxruntime/libonnxruntime.so"),
        graph: root.join(graph),
        hubert: root.join(hubert),
        device: Device::Cpu,
        threads: 1,
        live: false,
    }
}

fn network() -> Arc<Network> {
    Arc::new(Network::wav2lip(&file("tests/corpus/wav2lip/talker.onnx", "")).unwrap())
}

fn load(dir: &TempDir) -> Result<Film, Error> {
    Film::load("anna", &dir.path().join("anna"), &Spool::new(&std::env::temp_dir(), 1 << 24), network(), Fit::Within(4_096))
}

fn luma_at(picture: &VideoFrame, x: usize, y: usize) -> u8 {
    picture.planes()[0][y * picture.width() as usize + x]
}

/// The mouth is at 76 % of the box.
fn mouth(picture: &VideoFrame) -> u8 {
    luma_at(picture, 52, 79)
}

fn loud() -> AudioFrame {
    AudioFrame(std::array::from_fn(|n| if n % 90 < 45 { 9_000 } else { -9_000 }))
}

/// Plays `speech` frames from the first sample on, and silence after it, as the worker does; the pictures.
fn play(face: &mut FilmFace, speech: usize, pictures: u64) -> Vec<Arc<VideoFrame>> {
    let mut told = 0;
    (0..pictures)
        .map(|n| {
            let at = n * PICTURE;
            while told < speech && told as u64 * 320 < at + 22 * 320 {
                face.listen(told as u64 * SAMPLES_PER_FRAME as u64, &loud());
                told += 1;
                if told == speech {
                    face.fall_silent(told as u64 * SAMPLES_PER_FRAME as u64);
                }
            }
            face.picture(at, &[AudioFrame::SILENCE; 2])
        })
        .collect()
}

#[test]
fn somebody_who_is_silent_is_the_film_there_and_back() {
    let dir = film_dir();
    let film = Arc::new(load(&dir).unwrap());
    assert_eq!(film.size(), (110, 130));
    let pictures = play(&mut FilmFace::new(Arc::clone(&film)), 0, 13);
    let walls: Vec<u8> = pictures.iter().map(|picture| luma_at(picture, 2, 2)).collect();
    let wall = |n: u8| crate::render::clip::luma([i32::from(n) * 40; 3]);
    assert_eq!(walls, [0, 1, 2, 3, 4, 5, 5, 4, 3, 2, 1, 0, 0].map(wall));
    assert!(pictures.iter().all(|picture| mouth(picture) == mouth(&pictures[0])));
}

#[test]
fn the_mouth_opens_with_the_voice_and_the_rest_of_the_picture_stays() {
    let dir = film_dir();
    let film = Arc::new(load(&dir).unwrap());
    let pictures = play(&mut FilmFace::new(Arc::clone(&film)), 40, 45);
    let shut = mouth(&film.picture(0));
    // 0.8 s of speech: 20 pictures. It fades in over three, and is gone after the pause that bridges clauses.
    for (n, picture) in (0_u64..).zip(&pictures) {
        let filmed = film.picture(n);
        if (3..16).contains(&n) {
            assert!(mouth(picture) + 40 < shut, "picture {n}: {} of {shut}", mouth(picture));
        }
        if n >= 36 {
            assert!(*picture == filmed, "picture {n} is not the film's");
        }
        for (x, y) in [(2, 2), (52, 40), (108, 79), (52, 120)] {
            assert_eq!(luma_at(picture, x, y), luma_at(&filmed, x, y), "picture {n} at {x} {y}");
        }
    }
}

#[test]
fn an_interruption_shuts_the_mouth() {
    let dir = film_dir();
    let film = Arc::new(load(&dir).unwrap());
    let mut face = FilmFace::new(Arc::clone(&film));
    play(&mut face, 60, 8);
    face.cut(8 * PICTURE);
    let after: Vec<u8> = (8..30).map(|n| mouth(&face.picture(n * PICTURE, &[AudioFrame::SILENCE; 2]))).collect();
    assert_eq!(after.last(), Some(&mouth(&film.picture(0))), "{after:?}");
    assert!(after[12..].iter().all(|level| *level == after[21]), "{after:?}");
}

#[test]
fn an_answer_that_follows_at_once_is_heard_from_its_first_sound_on() {
    let dir = film_dir();
    let film = Arc::new(load(&dir).unwrap());
    let shut = mouth(&film.picture(0));
    for pause in [2, 6, 9, 12, 20] {
        let mut face = FilmFace::new(Arc::clone(&film));
        play(&mut face, 20, 10 + pause);
        let from = (10 + pause) * PICTURE;
        (0..22).for_each(|n| face.listen(from + n * 320, &loud()));
        let pictures: Vec<u8> =
            (0..6).map(|n| mouth(&face.picture(from + n * PICTURE, &[AudioFrame::SILENCE; 2]))).collect();
        assert!(pictures[3..].iter().all(|level| level + 40 < shut), "after {pause} pictures: {pictures:?} of {shut}");
    }
}

#[test]
fn what_nobody_sees_is_not_asked_of_the_network_and_comes_back_when_somebody_looks() {
    let dir = film_dir();
    let film = Arc::new(load(&dir).unwrap());
    let mut face = FilmFace::new(Arc::clone(&film));
    (0..60).for_each(|n| face.listen(n * 320, &loud()));
    (0..10).for_each(|n| face.pass(n * PICTURE, &[AudioFrame::SILENCE; 2]));
    assert!(face.nothing_is_asked());
    let pictures: Vec<u8> = (10..16).map(|n| mouth(&face.picture(n * PICTURE, &[AudioFrame::SILENCE; 2]))).collect();
    assert!(pictures[5] + 40 < mouth(&film.picture(0)), "{pictures:?}");
}

#[test]
fn where_there_is_no_time_the_film_and_its_mouth_go_on_with_what_is_known() {
    let dir = film_dir();
    let film = Arc::new(load(&dir).unwrap());
    let mut face = FilmFace::new(Arc::clone(&film));
    play(&mut face, 60, 8);
    let (mut walls, mut mouths) = (Vec::new(), Vec::new());
    for n in 8..16 {
        let picture = face.quick_picture(n * PICTURE, &[AudioFrame::SILENCE; 2]).unwrap();
        walls.push(luma_at(&picture, 2, 2));
        mouths.push(mouth(&picture));
        std::thread::park_timeout(std::time::Duration::from_millis(10));
    }
    let filmed: Vec<u8> = (8..16).map(|n| luma_at(&film.picture(n), 2, 2)).collect();
    assert_eq!(walls, filmed);
    assert!(mouths.iter().all(|level| level + 40 < mouth(&film.picture(0))), "{mouths:?}");
}

#[test]
fn faces_that_lie_in_the_folder_are_taken_if_they_have_the_networks_size() {
    let dir = film_dir();
    let faces = dir.path().join("anna/face_imgs");
    std::fs::create_dir_all(&faces).unwrap();
    let green = |side: u32| {
        (0..PICTURES)
            .for_each(|n| RgbImage::from_pixel(side, side, Rgb([0, 200, 0])).save(faces.join(format!("{n}.png"))).unwrap());
    };
    green(96);
    assert_eq!(load(&dir).unwrap().face(0)[..3], [0, 200, 0]);
    green(256);
    assert_eq!(load(&dir).unwrap().face(0)[..3], [220, 170, 140]);
}

#[test]
fn a_folder_of_musetalk_is_a_film_too() {
    let dir = film_dir();
    let folder = dir.path().join("anna");
    std::fs::write(folder.join("mask_coords.pkl"), "(l.").unwrap();
    boxes(&folder, &BOX, PICTURES.into());
    let film = load(&dir).unwrap();
    assert_eq!(film.place(3), Some(FaceBox { x0: 20, y0: 30, x1: 84, y1: 94 }));
    assert_eq!(film.face(0)[..3], [220, 170, 140]);
}

#[test]
fn a_large_film_is_shown_smaller_with_its_faces_as_they_were() {
    let dir = film_dir();
    let spool = Spool::new(&std::env::temp_dir(), 1 << 24);
    let film = Film::load("anna", &dir.path().join("anna"), &spool, network(), Fit::Within(65)).unwrap();
    assert_eq!((film.size(), film.picture(0).height()), ((54, 64), 64));
    assert_eq!(film.place(0), Some(FaceBox { x0: 10, y0: 15, x1: 42, y1: 47 }));
    assert!(film.face(0).chunks(3).all(|pixel| pixel == [220, 170, 140]));
    assert_eq!(image::load_from_memory(film.poster()).unwrap().height(), 64);
}

#[test]
fn notes_name_the_film_and_set_its_pace() {
    let dir = film_dir();
    std::fs::write(dir.path().join("anna/avatar.json"), r#"{"name":{"en":"Anna"},"fps":50,"licence":"CC0-1.0"}"#).unwrap();
    let film = load(&dir).unwrap();
    assert_eq!((film.names()["en"].as_str(), film.licence()), ("Anna", "CC0-1.0"));
    assert_eq!(luma_at(&film.picture(1), 2, 2), crate::render::clip::luma([80; 3]));
    assert!(film.poster().starts_with(&[0xFF, 0xD8]) && image::load_from_memory(film.thumbnail()).unwrap().width() == 128);
}

#[test]
fn a_folder_that_does_not_fit_together_is_refused_by_name() {
    let dir = film_dir();
    let folder = dir.path().join("anna");
    let fault = |dir: &TempDir| load(dir).unwrap_err().to_string();
    boxes(&folder, &[30, 94, 20, 84], 5);
    assert!(fault(&dir).contains("5 boxes for 6 pictures"), "{}", fault(&dir));
    boxes(&folder, &[0, 0, 0, 0], 6);
    assert!(fault(&dir).contains("no box with a face"), "{}", fault(&dir));
    std::fs::write(folder.join("coords.pkl"), "cos\nsystem\n(S'touch /tmp/x'\ntR.").unwrap();
    assert!(fault(&dir).contains("os.system"), "{}", fault(&dir));
    std::fs::write(folder.join("coords.pkl"), "").unwrap();
    assert!(fault(&dir).contains("cut off"), "{}", fault(&dir));
    std::fs::remove_file(folder.join("coords.pkl")).unwrap();
    assert!(fault(&dir).contains("coords.pkl"), "{}", fault(&dir));
}

#[test]
fn a_network_that_is_missing_or_another_is_refused_in_words() {
    let fault = |graph| Network::wav2lip(&file(graph, "")).err().unwrap().to_string();
    assert!(fault("tests/corpus/wav2lip/gone.onnx").contains("wav2lip.pth"));
    assert!(fault("models/hibari/oov.onnx").contains("[B, 6, H, W]"), "{}", fault("models/hibari/oov.onnx"));
    assert!(fault("Cargo.toml").contains("Cargo.toml"));
}

#[test]
fn a_checkpoint_in_the_networks_place_is_converted_and_another_file_is_refused() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = tempdir().unwrap();
    let file = NetworkFile { graph: dir.path().join("wav2lip.onnx"), ..file("", "") };
    std::fs::write(dir.path().join("wav2lip.pth"), "no checkpoint").unwrap();
    assert!(Network::wav2lip(&file).err().unwrap().to_string().contains("wav2lip.pth"));
    std::fs::copy(root.join("tests/corpus/wav2lip/tiny.pth"), dir.path().join("wav2lip.pth")).unwrap();
    assert_eq!(Network::wav2lip(&file).unwrap().side(), 96);
    assert!(file.graph.exists());
}

const ULTRALIGHT: &str = "tests/corpus/ultralight/talker.onnx";
const HUBERT: &str = "tests/corpus/ultralight/hubert.onnx";

/// The film with a network of its own in its folder.
fn ultralight_dir() -> TempDir {
    let dir = film_dir();
    let folder = dir.path().join("anna");
    boxes(&folder, &BOX, PICTURES.into());
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join(ULTRALIGHT), folder.join("ultralight.onnx")).unwrap();
    dir
}

fn load_ultralight(dir: &TempDir) -> Arc<Film> {
    let (folder, file) = (dir.path().join("anna"), file("", HUBERT));
    let own = Network::of_film(&folder).unwrap();
    let network = Network::ultralight(&own, &file, Arc::new(Hubert::load(&file).unwrap())).unwrap();
    let spool = Spool::new(&std::env::temp_dir(), 1 << 24);
    Arc::new(Film::load("anna", &folder, &spool, Arc::new(network), Fit::Within(4_096)).unwrap())
}

#[test]
fn a_network_of_the_films_own_hears_by_hubert_and_opens_the_mouth_with_the_voice() {
    let dir = ultralight_dir();
    let film = load_ultralight(&dir);
    assert_eq!(film.place(0), Some(FaceBox { x0: 22, y0: 32, x1: 82, y1: 92 }), "without the rim");
    let mouth = |picture: &VideoFrame| luma_at(picture, 52, 65);
    let pictures = play(&mut FilmFace::new(Arc::clone(&film)), 40, 45);
    let shut = mouth(&film.picture(0));
    for (n, picture) in (0_u64..).zip(&pictures) {
        let filmed = film.picture(n);
        if (3..16).contains(&n) {
            // What the network saw was not what it wants if it is bright.
            assert!(mouth(picture) + 40 < shut, "picture {n}: {} of {shut}", mouth(picture));
        }
        if n >= 36 {
            assert!(*picture == filmed, "picture {n} is not the film's");
        }
        for (x, y) in [(2, 2), (52, 31), (21, 65), (52, 93)] {
            assert_eq!(luma_at(picture, x, y), luma_at(&filmed, x, y), "picture {n} at {x} {y}");
        }
    }
}

#[test]
fn pictures_that_are_asked_together_follow_a_voice_that_is_told_anew() {
    let dir = ultralight_dir();
    let film = load_ultralight(&dir);
    let mouth = |picture: &VideoFrame| luma_at(picture, 52, 65);
    let shut = mouth(&film.picture(0));
    for pause in [2, 9] {
        let mut face = FilmFace::new(Arc::clone(&film));
        play(&mut face, 20, 10 + pause);
        let from = (10 + pause) * PICTURE;
        (0..22).for_each(|n| face.listen(from + n * 320, &loud()));
        let pictures: Vec<u8> =
            (0..6).map(|n| mouth(&face.picture(from + n * PICTURE, &[AudioFrame::SILENCE; 2]))).collect();
        assert!(pictures[3..].iter().all(|level| level + 40 < shut), "after {pause} pictures: {pictures:?} of {shut}");
    }
}

#[test]
fn faces_of_168_lose_their_rim() {
    let dir = ultralight_dir();
    let faces = dir.path().join("anna/face_imgs");
    std::fs::create_dir_all(&faces).unwrap();
    let rim = |x: u32, y: u32| !(4..164).contains(&x) || !(4..164).contains(&y);
    let colour = |x, y| if rim(x, y) { Rgb([255; 3]) } else { Rgb([0, 200, 0]) };
    (0..PICTURES).for_each(|n| RgbImage::from_fn(168, 168, colour).save(faces.join(format!("{n}.png"))).unwrap());
    assert!(load_ultralight(&dir).face(0).chunks(3).all(|pixel| pixel == [0, 200, 0]));
}

#[test]
fn a_network_of_the_films_own_needs_hubert_and_is_not_just_any() {
    let fault = |hubert: &str| Hubert::load(&file("", hubert)).err().unwrap().to_string();
    assert!(fault("gone.onnx").contains("avatars.hubert"), "{}", fault("gone.onnx"));
    assert!(fault(ULTRALIGHT).contains("not one, f32 [B, samples]"), "{}", fault(ULTRALIGHT));
    let hubert = Arc::new(Hubert::load(&file("", HUBERT)).unwrap());
    let other = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/wav2lip/talker.onnx");
    let error = Network::ultralight(&other, &file("", HUBERT), hubert).err().unwrap().to_string();
    assert!(error.contains("[B, 16 or 32, 32, 32] of HuBERT"), "{error}");
}

#[test]
fn a_checkpoint_of_ultralight_is_converted_where_it_lies() {
    let dir = ultralight_dir();
    let folder = dir.path().join("anna");
    std::fs::remove_file(folder.join("ultralight.onnx")).unwrap();
    let checkpoint = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/ultralight/tiny.pth");
    std::fs::copy(checkpoint, folder.join("ultralight.pth")).unwrap();
    assert_eq!(load_ultralight(&dir).network().side(), 160);
    assert!(folder.join("ultralight.onnx").exists());
}

/// A worker whose face is the film in `dir`, somebody who looks, and the ends of its queues.
fn worker(film: &Arc<Film>) -> (Worker, Sender<Change>, Sender<(TurnId, Item)>) {
    let ((changes, changed), (speech, spoken)) = (bounded(4), bounded(200));
    let watched = Watched::default();
    watched.set(true);
    let face = Box::new(FilmFace::new(Arc::clone(film)));
    (Worker::new(face, changed, spoken, CurrentTurn::default(), watched, false), changes, speech)
}

/// The same film with another wall, five pictures a second, as an action: 30 pictures.
fn other_film() -> (TempDir, Arc<Film>, Arc<Action>) {
    let dir = film_dir();
    let folder = dir.path().join("anna");
    for n in 0..PICTURES {
        let path = folder.join(format!("full_imgs/{n:08}.png"));
        let mut picture = image::open(&path).unwrap().into_rgb8();
        picture.pixels_mut().filter(|pixel| pixel[0] == pixel[2]).for_each(|pixel| *pixel = Rgb([250 - n * 10; 3]));
        picture.save(path).unwrap();
    }
    std::fs::write(folder.join("avatar.json"), r#"{"fps":5}"#).unwrap();
    let spool = Spool::new(&std::env::temp_dir(), 1 << 24);
    let film = Arc::new(Film::load("other", &folder, &spool, network(), Fit::Fill((110, 130))).unwrap());
    let action = Arc::new(Action::new(Footage::Film(Arc::clone(&film)), &[]));
    (dir, film, action)
}

fn wall(picture: &VideoFrame) -> u8 {
    luma_at(picture, 2, 2)
}

#[test]
fn a_film_in_the_place_of_the_face_speaks_with_its_own_lips() {
    let (dir, (_other, film, action)) = (film_dir(), other_film());
    let own = Arc::new(load(&dir).unwrap());
    let (mut worker, changes, speech) = worker(&own);
    (0..120).for_each(|_| speech.send((TurnId(1), Item::Audio(loud()))).unwrap());
    (0..6).for_each(|_| drop(worker.step(true)));
    changes.send(Change::Act(action, TurnId(0))).unwrap();
    let shut = mouth(&own.picture(0));
    let pictures: Vec<_> = (0..40).map(|_| worker.step(true).unwrap().video).collect();
    for (n, picture) in (0_u64..).zip(&pictures) {
        assert!(n < 3 || mouth(picture) + 40 < shut, "picture {n}: {} of {shut}", mouth(picture));
        let (film, at) = if n < 30 { (&film, n) } else { (&own, n + 6) };
        if !(0..5).contains(&n) && !(30..35).contains(&n) {
            assert_eq!(wall(picture), wall(&film.picture(at)), "picture {n}");
        }
    }
}

#[test]
fn an_idle_life_with_a_face_stays_while_it_speaks() {
    let (dir, (_other, film, action)) = (film_dir(), other_film());
    let own = Arc::new(load(&dir).unwrap());
    let (mut worker, changes, speech) = worker(&own);
    changes.send(Change::Idle(Some(action))).unwrap();
    let before: Vec<_> = (0..8).map(|_| worker.step(true).unwrap().video).collect();
    (0..60).for_each(|_| speech.send((TurnId(1), Item::Audio(loud()))).unwrap());
    speech.send((TurnId(1), Item::End)).unwrap();
    let after: Vec<_> = (0..60).map(|_| worker.step(true).unwrap().video).collect();
    let shut = mouth(&film.picture(0));
    for (n, picture) in (0_u64..).zip(before.iter().chain(&after)) {
        assert_eq!(wall(picture), wall(&film.picture(n)), "picture {n}");
    }
    assert!(before.iter().all(|picture| mouth(picture) == shut));
    assert!(after[6..28].iter().all(|picture| mouth(picture) + 40 < shut));
    assert!(after[55..].iter().all(|picture| mouth(picture) == shut));
}

#[test]
fn a_film_that_fills_another_size_knows_where_its_face_is() {
    let dir = film_dir();
    let spool = Spool::new(&std::env::temp_dir(), 1 << 24);
    let film = Film::load("anna", &dir.path().join("anna"), &spool, network(), Fit::Fill((64, 40))).unwrap();
    assert_eq!(film.size(), (64, 40));
    let (place, picture) = (film.place(4).unwrap(), film.picture(4));
    let skin = |x: i32, y: i32| luma_at(&picture, x as usize, y as usize).abs_diff(luma_at(&picture, 32, 20)) < 8;
    let (left, right, middle) = (place.x0, place.x1, i32::midpoint(place.y0, place.y1));
    assert!(skin(left + 2, middle) && skin(right - 3, middle) && !skin(left - 3, middle) && !skin(right + 2, middle));
    assert!(place.y0 < 3 && place.y1 > 37, "{place:?}: the middle is what fills it");
}
