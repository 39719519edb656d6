//! Ears from outside: real speech through endpointing and the embedded model, and services played by stand-ins that refuse
//! wrong traffic.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use visavis::asr::{
    Config, Endpoint, Error, Event, FunAsr, Language, OpenAi, SpeechToText, Transcript, Whisper, WhisperCpp, WhisperLive,
};
use visavis::media::{AudioFrame, DecodeLimits, Resampler, SAMPLES_PER_FRAME, decode};
use visavis::tts::Hibari;

#[path = "ears/standin.rs"]
mod standin;

use standin::{Http, Ws};

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models")
}

static WHISPER: LazyLock<Whisper> =
    LazyLock::new(|| Whisper::load(&Config::default(), &models()).expect("`visavis models fetch`"));
static VOICE: LazyLock<Hibari> = LazyLock::new(|| Hibari::load(&models()).expect("`visavis models fetch`"));

fn say(text: &str) -> Vec<i16> {
    VOICE.blocking_speak(text).unwrap().into_iter().flat_map(|speech| speech.pcm).collect()
}

/// Sound between two silences of a second.
fn in_silence(sound: &[i16]) -> Vec<i16> {
    let silence = vec![0; 16_000];
    [&silence[..], sound, &silence].concat()
}

/// The same noise on every run.
fn with_noise(sound: &[i16], peak: f64) -> Vec<i16> {
    let mut seed = 7_u32;
    let mut next = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (f64::from(seed) / f64::from(u32::MAX) * 2.0 - 1.0) * peak
    };
    sound.iter().map(|&s| (f64::from(s) + next()).clamp(-32_768.0, 32_767.0) as i16).collect()
}

fn listen(sound: &[i16]) -> Vec<Event> {
    let mut endpoint = Endpoint::new(250);
    sound.chunks_exact(SAMPLES_PER_FRAME).flat_map(|frame| endpoint.push(&AudioFrame(frame.try_into().unwrap()))).collect()
}

fn utterances(events: &[Event]) -> Vec<&[i16]> {
    events.iter().filter_map(|event| if let Event::Utterance(sound) = event { Some(&sound[..]) } else { None }).collect()
}

fn words(text: &str) -> String {
    text.to_lowercase().chars().filter(|c| c.is_alphanumeric() || *c == ' ').collect()
}

fn heard(sound: &[i16]) -> String {
    words(&WHISPER.blocking_transcribe(sound).unwrap().text)
}

#[test]
fn a_sentence_is_found_whole_and_written_down_in_silence_noise_clipping_and_from_a_telephone() {
    let sentence = say("What is the capital of Australia?");
    let loud: Vec<i16> = sentence.iter().map(|&s| s.saturating_mul(6)).collect();
    let quiet: Vec<i16> = sentence.iter().map(|&s| s / 8).collect();
    let mut down = Resampler::new(16_000, 8_000).unwrap();
    let narrow = [down.push(&sentence), down.finish()].concat();
    let mut up = Resampler::new(8_000, 16_000).unwrap();
    let telephone = [up.push(&narrow), up.finish()].concat();
    for (name, sound) in [
        ("clean", in_silence(&sentence)),
        ("noise", with_noise(&in_silence(&sentence), 600.0)),
        ("clipped", in_silence(&loud)),
        ("quiet", in_silence(&quiet)),
        ("telephone", in_silence(&telephone)),
    ] {
        let events = listen(&sound);
        let found = utterances(&events);
        assert_eq!(found.len(), 1, "{name}: {events:?}");
        assert!(found[0].len() > sentence.len(), "{name}: {} of {}", found[0].len(), sentence.len());
        assert_eq!(heard(found[0]), "what is the capital of australia", "{name}");
    }
}

#[test]
fn a_short_answer_is_an_utterance() {
    let sound = in_silence(&say("Yes."));
    let events = listen(&sound);
    assert_eq!(heard(utterances(&events)[0]), "yes");
}

#[test]
fn the_time_of_speech_tells_when_to_interrupt() {
    let sound = in_silence(&say("Please stop talking, I have another question."));
    let mut endpoint = Endpoint::new(250);
    let mut half_a_second = None;
    for (n, frame) in sound.chunks_exact(SAMPLES_PER_FRAME).enumerate() {
        for event in endpoint.push(&AudioFrame(frame.try_into().unwrap())) {
            if matches!(event, Event::SpeechFor(so_far) if so_far >= Duration::from_millis(500)) {
                half_a_second.get_or_insert(n * 20);
            }
        }
    }
    // Speech begins 1.05 s in; ten events a second.
    assert!((1_500..1_800).contains(&half_a_second.unwrap()), "{half_a_second:?}");
}

#[test]
fn mandarin_is_recognised_as_such_and_written_in_simplified_characters() {
    // "今天天气怎么样？", said by Kokoro (Apache-2.0), voice zf_xiaobei.
    let sound = decode(&include_bytes!("corpus/sound/mandarin.ogg")[..], DecodeLimits::default()).unwrap();
    let heard = WHISPER.blocking_transcribe(&sound).unwrap();
    assert_eq!((words(&heard.text).as_str(), heard.language.as_deref()), ("今天天气怎么样", Some("zh")));
}

#[test]
fn silence_and_noise_are_no_words() {
    let hum = (0..32_000).map(|n| ((f64::from(n) * 0.04).sin() * 3_000.0) as i16).collect();
    for (name, sound) in [
        ("silence", vec![0; 32_000]),
        ("nothing", vec![]),
        ("noise", with_noise(&vec![0; 48_000], 400.0)),
        ("loud noise", with_noise(&vec![0; 64_000], 3_000.0)),
        ("hum", hum),
    ] {
        assert_eq!(WHISPER.blocking_transcribe(&sound).unwrap().text, "", "{name}");
    }
}

#[tokio::test]
async fn a_recognition_that_nobody_waits_for_is_cancelled() {
    let sound: Arc<[i16]> =
        say("One, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve. ").repeat(3).into();
    let begun = Instant::now();
    WHISPER.blocking_transcribe(&sound).unwrap();
    let whole = begun.elapsed();
    for _ in 0..4 {
        let stream = WHISPER.transcribe(Arc::clone(&sound));
        assert!(tokio::time::timeout(Duration::from_millis(30), stream.into_future()).await.is_err());
    }
    let begun = Instant::now();
    let last: Vec<_> = WHISPER.transcribe(say("Yes.").into()).collect().await;
    assert!(last[0].as_ref().unwrap().is_final);
    assert!(begun.elapsed() < whole * 4, "{:?}, {whole:?}", begun.elapsed());
}

fn config(address: std::net::SocketAddr) -> Config {
    let mut config = Config { timeout: Duration::from_secs(1), ..Config::default() };
    config.openai.base_url = format!("http://{address}/v1");
    config.openai.api_key = "sk-test".into();
    config.whispercpp.base_url = format!("http://{address}");
    config.funasr.url = format!("ws://{address}");
    config.funasr.api_key = "fun".into();
    config.whisperlive.url = format!("ws://{address}");
    config
}

async fn all(ears: impl SpeechToText) -> Result<Vec<Transcript>, Error> {
    let utterance: Arc<[i16]> = (0..32_000).map(|n| (n % 2_000) as i16).collect();
    ears.transcribe(utterance).collect::<Vec<_>>().await.into_iter().collect()
}

fn texts(transcripts: &[Transcript]) -> Vec<(&str, bool)> {
    transcripts.iter().map(|transcript| (transcript.text.as_str(), transcript.is_final)).collect()
}

#[tokio::test]
async fn openai_and_whispercpp_are_asked_as_their_protocols_say() {
    let mut config = config(standin::http(Http::Good).await);
    assert_eq!(texts(&all(OpenAi::new(&config).unwrap()).await.unwrap()), [("Heard 2.0 seconds in any.", true)]);
    assert_eq!(texts(&all(WhisperCpp::new(&config).unwrap()).await.unwrap()), [("Heard 2.0 seconds in auto.", true)]);
    config.language = Language::Zh;
    let heard = all(OpenAi::new(&config).unwrap()).await.unwrap();
    assert_eq!((texts(&heard), heard[0].language.as_deref()), (vec![("Heard 2.0 seconds in zh.", true)], Some("zh")));
}

#[tokio::test]
async fn whatever_http_does_wrong_is_an_error_that_says_what() {
    type Expected = fn(&Error) -> bool;
    let cases: [(Http, Expected); 13] = [
        (Http::Status(401, ""), |e| matches!(e, Error::Unauthorized { key: "asr.openai.api_key", .. })),
        (Http::Status(403, ""), |e| matches!(e, Error::Unauthorized { .. })),
        (
            Http::Status(429, "retry-after: 7\r\n"),
            |e| matches!(e, Error::Busy { retry_after: Some(wait), .. } if wait.as_secs() == 7),
        ),
        (Http::Status(500, ""), |e| matches!(e, Error::Refused { status: 500, .. })),
        (Http::Status(302, "location: http://169.254.169.254/\r\n"), |e| matches!(e, Error::Refused { status: 302, .. })),
        (Http::Body("<html>"), |e| matches!(e, Error::Garbled { .. })),
        (Http::Body("{}"), |e| matches!(e, Error::Garbled { .. })),
        (Http::Body("\"\u{0}\""), |e| matches!(e, Error::Garbled { .. })),
        (Http::Body("{\"error\":\"no model\"}"), |e| matches!(e, Error::Broken { .. })),
        (Http::Truncated, |e| matches!(e, Error::Broken { .. })),
        (Http::HangUp, |e| matches!(e, Error::Broken { .. })),
        (Http::Endless, |e| matches!(e, Error::Garbled { what: "more than 64 KiB", .. })),
        (Http::Stall, |e| matches!(e, Error::Timeout { .. })),
    ];
    for (n, (behaviour, expected)) in cases.into_iter().enumerate() {
        let config = config(standin::http(behaviour).await);
        let error = all(OpenAi::new(&config).unwrap()).await.unwrap_err();
        assert!(expected(&error), "{n}: {error}");
    }
}

#[tokio::test]
async fn nobody_there_is_unreachable_for_all() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = config(listener.local_addr().unwrap());
    drop(listener);
    let errors = [
        all(OpenAi::new(&config).unwrap()).await.unwrap_err(),
        all(WhisperCpp::new(&config).unwrap()).await.unwrap_err(),
        all(FunAsr::new(&config).unwrap()).await.unwrap_err(),
        all(WhisperLive::new(&config).unwrap()).await.unwrap_err(),
    ];
    assert!(errors.iter().all(|error| matches!(error, Error::Unreachable { .. })), "{errors:?}");
}

#[test]
fn an_address_that_is_none_is_refused_by_its_key() {
    let mut config = Config::default();
    config.openai.base_url = "api.openai.com".into();
    config.funasr.url = "http://127.0.0.1".into();
    assert!(matches!(OpenAi::new(&config), Err(Error::Setting { key: "asr.openai.base_url", .. })));
    assert!(matches!(FunAsr::new(&config), Err(Error::Setting { key: "asr.funasr.url", .. })));
}

#[tokio::test]
async fn funasr_shows_increments_then_the_better_sentence() {
    for behaviour in [Ws::Good, Ws::Old] {
        let config = config(standin::funasr(behaviour).await);
        let heard = all(FunAsr::new(&config).unwrap()).await.unwrap();
        let texts = texts(&heard);
        assert_eq!(texts.first(), Some(&("今天", false)), "{texts:?}");
        assert_eq!(texts.last(), Some(&("今天天气 32000。", true)), "{texts:?}");
        assert_eq!(texts.iter().filter(|(_, is_final)| *is_final).count(), 1);
    }
}

#[tokio::test]
async fn whisperlive_is_heard_until_it_says_the_same_twice() {
    let config = config(standin::whisperlive(Ws::Good).await);
    let heard = all(WhisperLive::new(&config).unwrap()).await.unwrap();
    assert_eq!(texts(&heard).first(), Some(&("What time", false)));
    assert_eq!(texts(&heard).last(), Some(&("What time is it?", true)));
    assert_eq!(heard.last().unwrap().language.as_deref(), Some("en"));
}

#[tokio::test]
async fn whatever_a_websocket_does_wrong_is_an_error_that_says_what() {
    type Expected = fn(&Error) -> bool;
    let cases: [(Ws, Expected); 6] = [
        (Ws::Status(401), |e| matches!(e, Error::Unauthorized { .. })),
        (Ws::Status(503), |e| matches!(e, Error::Refused { status: 503, .. })),
        (Ws::HangUp, |e| matches!(e, Error::Broken { .. })),
        (Ws::Stall, |e| matches!(e, Error::Timeout { .. })),
        (Ws::Garbage, |e| matches!(e, Error::Garbled { .. })),
        (Ws::Failure, |e| matches!(e, Error::Broken { what: "it says that it failed", .. })),
    ];
    for (n, (behaviour, expected)) in cases.into_iter().enumerate() {
        let error = all(FunAsr::new(&config(standin::funasr(behaviour).await)).unwrap()).await.unwrap_err();
        assert!(expected(&error), "funasr {n}: {error}");
        let error = all(WhisperLive::new(&config(standin::whisperlive(behaviour).await)).unwrap()).await.unwrap_err();
        assert!(expected(&error), "whisperlive {n}: {error}");
    }
    let error = all(WhisperLive::new(&config(standin::whisperlive(Ws::Full).await)).unwrap()).await.unwrap_err();
    assert!(matches!(error, Error::Busy { retry_after: Some(wait), .. } if wait.as_secs() == 90), "{error}");
}
