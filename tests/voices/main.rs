//! The voices on the network, heard from stand-ins that refuse what the services would refuse.

mod standin;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use standin::{StandIn, hear};
use visavis::tts::Manner;

const CLAUSE: &str = "Tom & \"Jerry\" (twins) said <hello> to us.";

/// A recording to imitate, as a WAV file in the build's own folder.
fn recording() -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("reference.wav");
    let mut wav = b"RIFF\x2c\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data\x08\0\0\0".to_vec();
    wav.extend([0; 8]);
    std::fs::write(&path, wav).expect("the build has a folder of its own");
    path
}

/// The configuration of each voice for one scenario, all of them but Edge, whose MP3 is not exact.
fn exact_voices(scenario: &str) -> Vec<(&'static str, String)> {
    let recording = recording();
    let recording = recording.display();
    let url = format!("HTTP/{scenario}");
    let ws = format!("WS/{scenario}");
    let key = "api_key: test-key";
    vec![
        ("openai pcm", format!("provider: openai\nopenai: {{base_url: {url}/v1, {key}}}")),
        ("openai wav", format!("provider: openai\nopenai: {{base_url: {url}/v1/, {key}, format: wav}}")),
        ("azure", format!("provider: azure\nazure: {{url: {url}, {key}}}")),
        ("gpt_sovits", format!("provider: gpt_sovits\ngpt_sovits: {{url: {url}/sovits, reference_audio: a.wav}}")),
        (
            "cosyvoice",
            format!("provider: cosyvoice\ncosyvoice: {{url: {url}, reference_audio: {recording}, reference_text: Hi}}"),
        ),
        ("cosyvoice cross", format!("provider: cosyvoice\ncosyvoice: {{url: {url}, reference_audio: {recording}}}")),
        ("cosyvoice sft", format!("provider: cosyvoice\ncosyvoice: {{url: {url}, voice: Anna}}")),
        ("fish", format!("provider: fish\nfish: {{url: {url}, {key}, voice: anna}}")),
        ("xtts", format!("provider: xtts\nxtts: {{url: {url}, reference_audio: {recording}}}")),
        ("f5", format!("provider: f5\nf5: {{url: {url}/f5, reference_audio: {recording}, reference_text: Hi}}")),
        ("indextts2", format!("provider: indextts2\nindextts2: {{url: {url}/indextts2, reference_audio: {recording}}}")),
        (
            "tencent",
            format!("provider: tencent\ntencent: {{url: {url}/stream, app_id: 1, secret_id: id, secret_key: test-key}}"),
        ),
        ("qwen", format!("provider: dashscope\ndashscope: {{url: {ws}/api-ws/v1, {key}}}")),
        (
            "dashscope cosyvoice",
            format!(
                "provider: dashscope\ndashscope: {{url: {ws}/api-ws/v1, {key}, model: cosyvoice-v2, voice: longxiaochun_v2}}"
            ),
        ),
        ("doubao", format!("provider: doubao\ndoubao: {{url: {ws}/ws_binary, app_id: \"42\", access_token: test-key}}")),
    ]
}

fn openai(scenario: &str, format: &str) -> String {
    format!("provider: openai\nopenai: {{base_url: HTTP/{scenario}/v1, api_key: test-key, format: {format}}}")
}

fn edge(scenario: &str) -> String {
    format!("provider: edge\nedge: {{url: WS/{scenario}/edge}}")
}

#[tokio::test]
async fn every_voice_loses_no_sample_of_what_its_service_sends() {
    let standin = StandIn::start();
    for (name, config) in exact_voices("ok") {
        let voice = standin.voice(&config);
        // Twice: what a client keeps between two clauses must do for the second.
        for _ in 0..2 {
            let heard = hear(&voice, CLAUSE).await;
            assert_eq!(standin.complaints().await, Vec::<serde_json::Value>::new(), "{name}");
            heard.assert_exact(name);
        }
    }
    let asked = standin.asked("ok").await;
    assert_eq!(asked.len(), 2 * exact_voices("ok").len());
    assert!(asked.iter().all(|entry| entry["text"] == CLAUSE), "{asked:?}");
}

#[tokio::test]
async fn one_answer_in_another_manner_asks_the_service_for_it_and_the_next_does_not() {
    let standin = StandIn::start();
    let voice = standin.voice(&openai("ok", "pcm"));
    let manner = Manner {
        speed: Some(1.25),
        language: Some("English".into()),
        task_type: Some("Base".into()),
        ..Manner::of("anna".into())
    };
    for voice in [&voice.in_manner(&manner).unwrap(), &voice] {
        hear(voice, CLAUSE).await.assert_exact("openai");
    }
    let asked = standin.asked("ok").await;
    assert_eq!(asked[0]["voice"], "anna");
    assert_eq!(asked[0]["wishes"], serde_json::json!({"speed": 1.25, "language": "English", "task_type": "Base"}));
    assert_eq!((&asked[1]["voice"], &asked[1]["wishes"]), (&"alloy".into(), &serde_json::json!({"speed": 1.0})));
}

#[tokio::test]
async fn in_a_chain_who_can_speak_so_does_and_an_unknown_voice_is_nobodys() {
    let standin = StandIn::start();
    let both = format!("{}\ntencent: {{url: HTTP/ok/stream, secret_id: id, secret_key: test-key}}", openai("ok", "pcm"));
    let voice = standin.voice(&both.replace("provider: openai", "provider: [tencent, openai]"));
    assert!(voice.in_manner(&Manner::of("anna".into())).is_ok(), "tencent's voices are numbers, but openai is there");
    let alone = standin.voice(&both.replace("provider: openai", "provider: tencent"));
    assert!(matches!(alone.in_manner(&Manner::of("anna".into())), Err(visavis::tts::Error::UnknownVoice(_))));
    let fish = standin.voice("provider: fish\nfish: {url: HTTP/ok, api_key: test-key, voice: anna}");
    let sovits = standin.voice("provider: gpt_sovits\ngpt_sovits: {url: HTTP/ok/sovits, reference_audio: a.wav}");
    assert!(fish.in_manner(&Manner::of("/etc/passwd".into())).is_ok(), "a name that only the service reads");
    assert!(sovits.in_manner(&Manner::of("/etc/passwd".into())).is_err(), "a file outside the folder");
}

#[tokio::test]
async fn mp3_loses_nothing_either() {
    let standin = StandIn::start();
    let heard = hear(&standin.voice(&openai("ok", "mp3")), CLAUSE).await;
    assert!(heard.error.is_none(), "{:?}", heard.error);
    // The encoder begins with some 1100 samples of its own at 24 kHz and fills up its last frame.
    let (likeness, lag) = heard.match_sweep(1_600);
    assert!(likeness > 0.99 && lag <= 1_200, "correlation {likeness} at {lag}");
    let surplus = heard.pcm.len() - standin::sweep().len();
    assert!((lag..2_400).contains(&surplus), "{surplus}");
}

#[tokio::test]
async fn edge_is_heard_without_its_silences_and_tells_its_words() {
    let standin = StandIn::start();
    let heard = hear(&standin.voice(&edge("ok")), CLAUSE).await;
    assert!(heard.error.is_none(), "{:?} {:?}", heard.error, standin.complaints().await);
    let (likeness, lag) = heard.match_sweep(1_000);
    assert!(likeness > 0.99 && lag <= 500, "correlation {likeness} at {lag}");
    let surplus = heard.pcm.len() - lag - standin::sweep().len();
    assert!(surplus < 16_000 / 4, "{surplus} samples of silence behind the last word");
    // The words join to the text and begin where the stand-in said, less the silence that was taken.
    assert_eq!(heard.words.iter().map(|w| w.text.as_str()).collect::<String>(), CLAUSE);
    let step = standin::sweep().len() / 8;
    for (n, word) in heard.words.iter().enumerate().take(3) {
        assert!((word.start as usize).abs_diff(lag + n * step) < 1_600, "{n}: {word:?} {step}");
    }
    let asked = standin.asked("ok").await;
    assert_eq!(asked[0]["text"], CLAUSE);
    assert_eq!(asked[0]["voice"], "Microsoft Server Speech Text to Speech Voice (zh-CN, XiaoyiNeural)");
}

#[tokio::test]
async fn edge_finds_the_time_when_our_clock_is_wrong_and_speaks_without_word_times() {
    let standin = StandIn::start();
    let voice = standin.voice(&edge("skew"));
    for _ in 0..2 {
        let heard = hear(&voice, "Hello there.").await;
        assert!(heard.error.is_none() && heard.match_sweep(1_000).0 > 0.99, "{:?}", heard.error);
    }
    let heard = hear(&standin.voice(&edge("untimed")), "Hello there.").await;
    assert!(heard.error.is_none() && heard.words.is_empty() && heard.match_sweep(1_000).0 > 0.99, "{:?}", heard.error);
}

#[tokio::test]
async fn a_wrong_length_a_wrong_rate_and_half_a_sample_do_no_harm() {
    let standin = StandIn::start();
    hear(&standin.voice(&openai("truth", "wav")), CLAUSE).await.assert_exact("notes behind the sound");
    hear(&standin.voice(&openai("odd", "pcm")), CLAUSE).await.assert_exact("half a sample");
    let slow = hear(&standin.voice(&openai("rate8k", "pcm")), CLAUSE).await;
    assert!(
        slow.pcm.len().abs_diff(standin::sweep().len()) <= 2 && slow.match_sweep(2).0 > 0.99,
        "{:?}",
        slow.match_sweep(2)
    );
}

/// Scenarios in which nothing is heard: the scenario, what the error says, how often the service is asked.
const HTTP_FAILURES: [(&str, &str, usize); 13] = [
    ("hang", "no sound within 1500 ms", 3),
    ("slow", "no sound within 1500 ms", 3),
    ("status400", "status 400 (code_400)", 1),
    ("status401", "status 401 (code_401)", 1),
    ("status429", "status 429 (code_429)", 3),
    ("status500", "status 500", 3),
    ("status503", "status 503", 3),
    ("redirect", "status 307", 1),
    ("html", "the answer is text/html", 3),
    ("json", "refused (quota_exceeded)", 1),
    ("gzip", "compressed (gzip)", 3),
    ("empty", "no sound in it", 3),
    ("garbage", "not sound", 3),
];

#[tokio::test]
async fn what_fails_over_http_before_a_sound_is_named_and_tried_again_where_that_may_help() {
    let standin = StandIn::start();
    let try_one = async |(scenario, says, times): (&str, &str, usize)| {
        let voice = standin.voice(&openai(scenario, "wav"));
        let began = Instant::now();
        let heard = hear(&voice, CLAUSE).await;
        let error = heard.error.unwrap_or_else(|| panic!("{scenario}: no error")).to_string();
        assert!(error.starts_with("openai: ") && error.contains(says), "{scenario}: {error}");
        assert!(!error.contains("Tom") && !error.contains("test-key"), "{scenario}: {error}");
        assert!(heard.pcm.is_empty() && began.elapsed() < Duration::from_secs(12), "{scenario}");
        assert_eq!(standin.asked(scenario).await.len(), times, "{scenario}");
    };
    futures_util::future::join_all(HTTP_FAILURES.map(try_one)).await;
    assert_eq!(standin.complaints().await, Vec::<serde_json::Value>::new());
}

/// The same over `WebSockets`; Doubao's shape and Edge's.
const SOCKET_FAILURES: [(&str, &str, usize); 11] = [
    ("hang", "no connection within 1000 ms", 0),
    ("slow", "no sound within 1500 ms", 3),
    ("status401", "status 401", 1),
    ("status429", "status 429", 3),
    ("status500", "status 500", 3),
    ("redirect", "status 307", 0),
    ("html", "status 200", 1),
    ("empty", "no sound in it", 3),
    ("garbage", "garbled", 3),
    ("huge", "a broken WebSocket frame", 3),
    ("utf8", "a broken WebSocket frame", 3),
];

#[tokio::test]
async fn what_fails_over_a_socket_before_a_sound_is_named_too() {
    let standin = StandIn::start();
    let configs = |scenario: &str| {
        let doubao =
            format!("provider: doubao\ndoubao: {{url: WS/{scenario}/ws_binary, app_id: \"42\", access_token: test-key}}");
        let qwen = format!("provider: dashscope\ndashscope: {{url: WS/{scenario}/api-ws/v1, api_key: test-key}}");
        [edge(scenario), doubao, qwen]
    };
    let try_one = async |(scenario, says, times): (&str, &str, usize)| {
        let voices = configs(scenario).map(|config| standin.voice(&config));
        for heard in futures_util::future::join_all(voices.iter().map(|voice| hear(voice, CLAUSE))).await {
            let error = heard.error.unwrap_or_else(|| panic!("{scenario}: no error")).to_string();
            assert!(error.contains(says), "{scenario}: {error}");
            assert!(heard.pcm.is_empty(), "{scenario}");
        }
        assert_eq!(standin.asked(scenario).await.len(), 3 * times, "{scenario}");
    };
    futures_util::future::join_all(SOCKET_FAILURES.map(try_one)).await;
    assert_eq!(standin.complaints().await, Vec::<serde_json::Value>::new());
}

#[tokio::test]
async fn an_event_stream_that_is_cut_or_has_no_end_is_a_fault() {
    let standin = StandIn::start();
    for (scenario, says) in [("halfevent", "broke off"), ("longline", "an endless line")] {
        let config = exact_voices(scenario).into_iter().find(|(name, _)| *name == "f5").expect("f5 is a voice").1;
        let error = hear(&standin.voice(&config), CLAUSE).await.error.unwrap().to_string();
        assert!(error.contains(says), "{scenario}: {error}");
    }
}

#[tokio::test]
async fn a_service_says_no_in_its_own_words() {
    let standin = StandIn::start();
    let reasons = [
        ("f5", "refused (gradio-error)"),
        ("tencent", "refused (AuthFailure.SignatureFailure)"),
        ("qwen", "refused (invalid_value)"),
        ("dashscope cosyvoice", "refused (InvalidParameter)"),
        ("doubao", "refused (3001)"),
    ];
    for (name, config) in exact_voices("error") {
        let Some((_, says)) = reasons.iter().find(|(voice, _)| *voice == name) else { continue };
        let error = hear(&standin.voice(&config), CLAUSE).await.error.unwrap().to_string();
        assert!(error.contains(says), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_wrong_key_is_refused_by_every_service_that_has_one() {
    let standin = StandIn::start();
    let mut refused = 0;
    for (name, config) in exact_voices("ok").into_iter().filter(|(_, config)| config.contains("test-key")) {
        let heard = hear(&standin.voice(&config.replace("test-key", "wrong-key")), CLAUSE).await;
        let error = heard.error.unwrap_or_else(|| panic!("{name} took a wrong key")).to_string();
        assert!(error.contains("401") || error.contains("Signature"), "{name}: {error}");
        assert!(!error.contains("wrong-key"), "{name}: {error}");
        refused += 1;
    }
    assert_eq!(refused, 8);
}

#[tokio::test]
async fn a_voice_that_breaks_off_fades_and_is_not_repeated() {
    let standin = StandIn::start();
    let sweep = standin::sweep();
    let mut voices: Vec<(&str, String)> = Vec::new();
    for scenario in ["stall", "cut"] {
        voices.extend(
            exact_voices(scenario).into_iter().filter(|(name, _)| ["openai pcm", "fish", "qwen", "doubao"].contains(name)),
        );
    }
    assert_eq!(voices.len(), 8);
    for (name, config) in voices {
        let heard = hear(&standin.voice(&config), CLAUSE).await;
        let error = heard.error.unwrap_or_else(|| panic!("{name}: no error")).to_string();
        assert!(error.contains("no more sound within 800 ms") || error.contains("broke off"), "{name}: {error}");
        // What came is what was sent, up to the fade of 5 ms.
        let len = heard.pcm.len();
        assert!((sweep.len() / 3..sweep.len() * 2 / 3).contains(&len), "{name}: {len}");
        let worst = heard.pcm[..len - 80].iter().zip(&sweep).map(|(h, s)| (f64::from(*h) - s).abs()).fold(0.0, f64::max);
        assert!(worst < 500.0, "{name}: off by {worst}");
        let end: Vec<i32> = heard.pcm[len - 8..].iter().map(|s| i32::from(*s)).collect();
        assert!(end.iter().all(|s| s.abs() < 1_700), "{name}: {end:?}");
    }
    assert_eq!(standin.asked("stall").await.len(), 4, "heard, so not tried again");
}

#[tokio::test]
async fn a_service_that_does_not_end_or_drips_is_given_up() {
    let standin = StandIn::start();
    let endless = hear(&standin.voice(&openai("endless", "pcm")), CLAUSE).await;
    assert!(endless.error.unwrap().to_string().contains("longer than 120 s"));
    assert!(endless.pcm.len() <= 120 * 16_000);
    let began = Instant::now();
    let dripped = hear(&standin.voice(&openai("drip", "pcm")), CLAUSE).await;
    let error = dripped.error.unwrap().to_string();
    assert!(error.contains("no end of the answer") || error.contains("no sound within"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn nobody_at_the_address_or_no_certificate_is_an_error_and_no_panic() {
    let standin = StandIn::start();
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let wrong = standin.voice("provider: openai\nopenai: {base_url: HTTP/ok/v1}");
    assert!(hear(&wrong, CLAUSE).await.error.unwrap().to_string().contains("401"));
    let configs = [
        format!("provider: openai\nopenai: {{base_url: http://{unused}/v1}}"),
        format!("provider: openai\nopenai: {{base_url: https://{unused}/v1}}"),
        format!("provider: edge\nedge: {{url: ws://{unused}}}"),
        format!("provider: edge\nedge: {{url: wss://{unused}}}"),
        // TLS is spoken to somebody who does not speak it.
        "provider: openai\nopenai: {base_url: TLS/v1}".replace("TLS", &standin.address("https")),
        "provider: edge\nedge: {url: TLS}".replace("TLS", &standin.address("wss")),
    ];
    let voices: Vec<_> = configs.iter().map(|config| standin.voice(config)).collect();
    for heard in futures_util::future::join_all(voices.iter().map(|voice| hear(voice, CLAUSE))).await {
        let error = heard.error.unwrap().to_string();
        assert!(error.contains("cannot connect"), "{error}");
    }
}

#[tokio::test]
async fn three_attempts_end_in_sound_and_a_second_voice_makes_them_needless() {
    let standin = StandIn::start();
    let began = Instant::now();
    hear(&standin.voice(&openai("twice-a", "pcm")), CLAUSE).await.assert_exact("the third attempt");
    assert!((3_000..5_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    assert_eq!(standin.asked("twice-a").await.len(), 3);

    let chain = standin.voice(
        "provider: [fish, openai]\nfish: {url: HTTP/status500}\n\
         openai: {base_url: HTTP/ok/v1, api_key: test-key}",
    );
    let began = Instant::now();
    hear(&chain, CLAUSE).await.assert_exact("the second voice");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn the_first_sound_comes_before_the_last_and_a_dropped_stream_hangs_up() {
    let standin = StandIn::start();
    for (name, config) in exact_voices("stall").into_iter().chain([("edge", edge("stall"))]) {
        let voice = standin.voice(&config);
        let mut speech = voice.speak(CLAUSE.into());
        let first = speech.next().await.unwrap().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!first.pcm.is_empty(), "{name}");
        assert!(standin.open().await >= 1, "{name}: the answer is still under way");
        drop(speech);
        let dropped = Instant::now();
        while standin.open().await > 0 {
            assert!(dropped.elapsed() < Duration::from_secs(1), "{name}: the connection is still open");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn marks_alone_are_nothing_to_say() {
    let standin = StandIn::start();
    let heard = hear(&standin.voice(&openai("ok", "pcm")), "?! 🙂").await;
    assert!(heard.error.is_none() && heard.pcm.is_empty());
    assert!(standin.asked("ok").await.is_empty());
}

#[test]
fn a_setting_that_cannot_work_is_named_before_anybody_speaks() {
    let complaint = |config: &str| {
        let config: visavis::tts::Config = serde_saphyr::from_str(config).unwrap();
        visavis::tts::check(&config).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert!(complaint("provider: azure").contains("tts.azure.api_key"));
    assert!(complaint("provider: xtts").contains("tts.xtts.reference_audio"));
    assert!(complaint("{provider: openai, openai: {base_url: 'file:///etc'}}").contains("tts.openai.base_url"));
    assert!(complaint("{provider: openai, openai: {speed: 9}}").contains("tts.openai.speed"));
    assert!(complaint("{provider: edge, edge: {voice: Anna}}").contains("tts.edge.voice"));
}
