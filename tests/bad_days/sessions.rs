//! The real server on a bad day: providers that fail within a session, and viewers that leave in the midst of an answer.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::faulty::{Act, Faulty, Then};
use super::providers::{Kind, Way};
use super::server::{Server, Viewer};

/// A server whose model, and voice unless it is the embedded one, are such stand-ins. It waits little.
async fn server(model: &Faulty, voice: Option<&Faulty>) -> Server {
    server_for(model, voice, json!({})).await
}

/// The same with `more` configuration.
pub(crate) async fn server_for(model: &Faulty, voice: Option<&Faulty>, more: Value) -> Server {
    let timeouts = json!({"connect": "1s", "first_token": "1s", "idle": "3s", "total": "5s"});
    let openai = json!({"base_url": format!("http://{}/v1", model.address), "api_key": "sk-test"});
    let mut config = more;
    config["llm"] = json!({"provider": "openai", "openai": openai, "timeouts": timeouts});
    config["asr"] = json!({"provider": "off"});
    config["tts"] = json!({"provider": "hibari"});
    if let Some(voice) = voice {
        let timeouts = json!({"connect": "1s", "first_sound": "800ms", "stall": "3s", "total": "5s"});
        let openai = json!({"base_url": format!("http://{}/v1", voice.address), "format": "wav"});
        config["tts"] = json!({"provider": "openai", "openai": openai, "timeouts": timeouts});
    }
    let file = std::env::temp_dir().join(format!("visavis-bad-days-{}.yaml", model.address.port()));
    std::fs::write(&file, config.to_string()).expect("there is room");
    let server = Server::start(Some(&file), &[]).await;
    std::fs::remove_file(&file).expect("it is ours");
    server
}

/// A model that writes so much and then nothing.
fn writes(text: &str) -> Act {
    let event = json!({"choices": [{"delta": {"content": text}}]});
    Kind::Model.act(format!("data: {event}\n\n").into_bytes(), Then::Hang)
}

async fn fine(viewer: &mut Viewer<'_>, after: &str) {
    viewer.ask("Are you well?").await;
    let heard = viewer.turn("ended").await["heard"].clone();
    assert_eq!(heard, "Hello. ", "after {after}");
}

pub(crate) async fn state(server: &Server, session: &str) -> Option<Value> {
    let reply = server.http.get(format!("{}/v1/sessions", server.url)).send().await.expect("the server answers");
    let sessions: Vec<Value> = reply.json().await.expect("with JSON");
    sessions.into_iter().find(|entry| entry["id"] == session)
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_fails_within_a_session_it_says_so_and_answers_the_next_question() {
    let (model, voice) = (Faulty::start(Kind::Model.good()).await, Faulty::start(Kind::Voice.good()).await);
    let server = server(&model, Some(&voice)).await;
    let mut viewer = Viewer::join(&server, json!({})).await;
    fine(&mut viewer, "nothing").await;
    for (kind, way, code, heard) in [
        (Kind::Model, Way::HangAfterAccept, "llm_timeout", "Sorry"),
        (Kind::Model, Way::NoUtf8, "llm_failed", "Sorry"),
        (Kind::Voice, Way::ResetWithin, "tts_failed", "Hello. "),
        (Kind::Voice, Way::Status("401 Unauthorized"), "tts_failed", "Hello. "),
    ] {
        let standin = if kind == Kind::Model { &model } else { &voice };
        standin.will(kind.fails(way, ""));
        let what = format!("{kind:?}, {way:?}");
        viewer.ask("Hello?").await;
        let began = Instant::now();
        let error = viewer.until("error", |event| event["type"] == "error").await;
        assert_eq!(error["code"], code, "{what}");
        let failed = viewer.turn("failed").await["heard"].as_str().unwrap_or_default().to_owned();
        assert!(failed.starts_with(heard), "{what}: {failed}");
        // The wait, what was heard before, and the recorded line.
        assert!(began.elapsed() < Duration::from_secs(8), "{what}: {:?}", began.elapsed());
        assert!(standin.has_open(0, Duration::from_secs(1)).await, "{what}: the connection is still open");
        standin.will(kind.good());
        fine(&mut viewer, &what).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_last_viewer_leaves_in_mid_answer_its_providers_are_left_within_a_second() {
    let (model, voice) = (Faulty::start(Kind::Model.good()).await, Faulty::start(Kind::Voice.good()).await);
    let server = server(&model, Some(&voice)).await;
    // Both are still at work when the viewer leaves.
    model.will(writes("Hello. I was about to"));
    voice.will(Kind::Voice.fails(Way::HangWithin, ""));
    let first = Viewer::join(&server, json!({})).await;
    let mut second = Viewer::join(&server, json!({"sessionid": first.session})).await;
    first.ask("Tell me a story.").await;
    second.turn("started").await;
    assert!(model.has_open(1, Duration::from_secs(1)).await && voice.has_open(1, Duration::from_secs(1)).await);
    // One of two is no reason to stop.
    drop(first);
    sleep(Duration::from_secs(1)).await;
    assert!(model.has_open(1, Duration::ZERO).await && voice.has_open(1, Duration::ZERO).await);
    let session = second.session.clone();
    drop(second);
    let left = Instant::now();
    assert!(model.has_open(0, Duration::from_secs(1)).await, "the model still writes for nobody");
    assert!(voice.has_open(0, Duration::from_secs(1)).await, "the voice still speaks for nobody");
    assert!(left.elapsed() < Duration::from_secs(1), "{:?}", left.elapsed());

    // What is asked now waits for somebody to hear the answer, and the session for somebody to come back.
    let asked = model.asked();
    model.will(Kind::Model.good());
    voice.will(Kind::Voice.good());
    server.post("/human", json!({"sessionid": session, "type": "chat", "text": "Are you there?"})).await;
    sleep(Duration::from_millis(800)).await;
    let entry = state(&server, &session).await.expect("it lives on for 5 s");
    assert_eq!((&entry["state"], &entry["viewers"]), (&json!("idle"), &json!(0)));
    assert_eq!(model.asked(), asked, "nothing is answered for nobody");
    let mut back = Viewer::join(&server, json!({"sessionid": session})).await;
    assert_eq!(back.turn("ended").await["heard"], "Hello. ");
    drop(back);
    let left = Instant::now();
    while state(&server, &session).await.is_some() {
        assert!(left.elapsed() < Duration::from_secs(7), "the session does not end");
        sleep(Duration::from_millis(100)).await;
    }
    assert!(left.elapsed() > Duration::from_secs(4), "{:?}", left.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_finds_the_words_that_were_heard_and_no_others() {
    let story =
        "Once upon a time there was a bird, which sat on a very old tree and told it of everything that it had seen. ";
    let model = Faulty::start(writes(story)).await;
    let server = server(&model, None).await;
    let mut viewer = Viewer::join(&server, json!({})).await;
    viewer.ask("Tell me a story.").await;
    viewer.turn("started").await;
    sleep(Duration::from_millis(1_200)).await;
    let session = viewer.session.clone();
    drop(viewer);
    assert!(model.has_open(0, Duration::from_secs(1)).await);
    model.will(Kind::Model.good());
    let mut back = Viewer::join(&server, json!({"sessionid": session})).await;
    assert_eq!(back.session, session);
    let history = back.hello["history"].clone();
    assert_eq!(history[0], json!({"role": "user", "text": "Tell me a story."}));
    let heard = history[1]["text"].as_str().unwrap_or_default();
    assert!(heard.starts_with("Once upon") && story.starts_with(heard), "{heard}");
    // Speech of 1.2 s and a moment more, not of the half second of patience.
    assert!(heard.split(' ').count() <= 9, "{heard}");
    fine(&mut back, "coming back").await;
}
