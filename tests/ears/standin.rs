//! Services that listen, as their protocols say, written apart from our clients. Whatever a client does wrong is refused
//! in words.

#![expect(clippy::unwrap_used, reason = "a stand-in that cannot go on ends its connection, and the test fails")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

/// How an HTTP service behaves.
#[derive(Clone, Copy)]
pub(crate) enum Http {
    /// As it should, if the request is right.
    Good,
    /// Refuses.
    Status(u16, &'static str),
    /// Status 200 and this body.
    Body(&'static str),
    /// Ends in the midst of the body.
    Truncated,
    /// Takes the request and says nothing.
    Stall,
    /// Hangs up on the request.
    HangUp,
    /// Sends on and on.
    Endless,
}

/// Serves forever on a port of its own.
pub(crate) async fn http(behaviour: Http) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, behaviour));
        }
    });
    address
}

async fn serve(mut stream: TcpStream, behaviour: Http) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4_096];
    let head_end = loop {
        let Ok(n @ 1..) = stream.read(&mut buffer).await else { return };
        bytes.extend_from_slice(&buffer[..n]);
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
    let header = |name: &str| {
        head.lines().find_map(|line| {
            line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v.to_owned())
        })
    };
    let len: usize = header("content-length").and_then(|len| len.parse().ok()).unwrap_or(0);
    if matches!(behaviour, Http::HangUp) {
        return;
    }
    while bytes.len() < head_end + len {
        let Ok(n @ 1..) = stream.read(&mut buffer).await else { return };
        bytes.extend_from_slice(&buffer[..n]);
    }
    let good = judge(
        head.lines().next().unwrap(),
        header("authorization").as_deref(),
        header("content-type").as_deref(),
        &bytes[head_end..],
    );
    let (status, headers, body) = match (behaviour, good) {
        (Http::Good, Ok(text)) => (200, "", text),
        (Http::Good, Err(why)) => (400, "", json!({"error": {"message": why}}).to_string()),
        (Http::Status(status, headers), _) => (status, headers, "{}".to_owned()),
        (Http::Body(body), _) => (200, "", body.to_owned()),
        (Http::Truncated, _) => (200, "content-length: 900\r\n", "{\"text\":\"what is".to_owned()),
        (Http::Endless, _) => (200, "content-length: 100000000\r\n", "[".repeat(1 << 20)),
        (Http::Stall | Http::HangUp, _) => return std::future::pending().await,
    };
    let length =
        if headers.contains("content-length") { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    let _ = stream
        .write_all(format!("HTTP/1.1 {status} x\r\nconnection: close\r\n{headers}{length}\r\n{body}").as_bytes())
        .await;
}

/// What the service answers to a right request, or what is wrong with it.
fn judge(line: &str, key: Option<&str>, kind: Option<&str>, body: &[u8]) -> Result<String, String> {
    let kind = kind.ok_or("no content type")?;
    let boundary = kind.strip_prefix("multipart/form-data; boundary=").ok_or("no form")?;
    let parts = parts(boundary, body)?;
    let (file_head, file) = parts.get("file").ok_or("no file")?;
    if !file_head.contains("filename=\"utterance.wav\"") {
        return Err("the file has no name with an ending".into());
    }
    let seconds = wav_seconds(file)?;
    let field = |name: &str| parts.get(name).map(|(_, value)| String::from_utf8_lossy(value).into_owned());
    let known = |names: &[&str]| parts.keys().all(|name| names.contains(&name.as_str()));
    match line {
        "POST /v1/audio/transcriptions HTTP/1.1" => {
            if key != Some("Bearer sk-test") || field("model").as_deref() != Some("gpt-4o-mini-transcribe") {
                return Err("key or model".into());
            }
            if !known(&["file", "model", "language", "response_format"])
                || field("response_format").as_deref() != Some("json")
            {
                return Err("fields".into());
            }
        }
        "POST /inference HTTP/1.1" => {
            if key.is_some() || !known(&["file", "temperature", "temperature_inc", "response_format", "language"]) {
                return Err("fields".into());
            }
        }
        other => return Err(format!("no route {other}")),
    }
    Ok(json!({"text": format!(" Heard {seconds:.1} seconds in {}.\n", field("language").unwrap_or("any".into()))})
        .to_string())
}

type Parts = BTreeMap<String, (String, Vec<u8>)>;

fn parts(boundary: &str, body: &[u8]) -> Result<Parts, String> {
    let find = |haystack: &[u8], needle: &[u8]| haystack.windows(needle.len()).position(|w| w == needle);
    let delimiter = format!("--{boundary}");
    let mut parts = BTreeMap::new();
    let mut rest = body.strip_prefix(delimiter.as_bytes()).ok_or("the form does not begin with its boundary")?;
    while let Some(part) = rest.strip_prefix(b"\r\n") {
        let head_end = find(part, b"\r\n\r\n").ok_or("a part without a head")?;
        let head = String::from_utf8_lossy(&part[..head_end]).into_owned();
        let end = find(part, format!("\r\n{delimiter}").as_bytes()).ok_or("a part without an end")?;
        let name = head.split("name=\"").nth(1).and_then(|n| n.split('"').next()).ok_or("a part without a name")?;
        parts.insert(name.to_owned(), (head.clone(), part[head_end + 4..end].to_vec()));
        rest = &part[end + 2 + delimiter.len()..];
    }
    if rest.starts_with(b"--") { Ok(parts) } else { Err("the form does not end".into()) }
}

fn wav_seconds(file: &[u8]) -> Result<f32, String> {
    let number = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    let is_wav = file.len() > 44 && &file[..4] == b"RIFF" && &file[8..16] == b"WAVEfmt " && &file[36..40] == b"data";
    let is_mono_16k = is_wav
        && file[20..24] == [1, 0, 1, 0]
        && number(24) == 16_000
        && number(28) == 32_000
        && file[32..36] == [2, 0, 16, 0];
    if !is_mono_16k || number(4) != file.len() - 8 || number(40) != file.len() - 44 {
        return Err("no WAV of 16 kHz mono".into());
    }
    Ok(number(40) as f32 / 32_000.0)
}

/// How a WebSocket service behaves.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Ws {
    /// As it should.
    Good,
    /// As servers before 2026: never says which message is the last.
    Old,
    /// Refuses the handshake.
    Status(u16),
    /// No place is free.
    Full,
    /// Hangs up in the midst.
    HangUp,
    /// Says nothing.
    Stall,
    /// Answers what is no JSON.
    Garbage,
    /// Says that it failed.
    Failure,
}

/// A `FunASR` runtime in the mode 2pass.
pub(crate) async fn funasr(behaviour: Ws) -> SocketAddr {
    websocket(
        behaviour,
        |request, mut response| {
            let header = |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
            if header("sec-websocket-protocol").as_deref() != Some("binary")
                || header("authorization").as_deref() != Some("Bearer fun")
            {
                return Err(401);
            }
            response.headers_mut().insert("sec-websocket-protocol", "binary".parse().unwrap());
            Ok(response)
        },
        move |mut socket| async move {
            let mut configured = false;
            let mut samples = 0;
            while let Some(Ok(message)) = socket.next().await {
                let reply = |mode: &str, text: &str, is_final: bool| {
                    Message::text(
                        json!({"mode": mode, "text": text, "wav_name": "visavis", "is_final": is_final}).to_string(),
                    )
                };
                match message {
                    Message::Text(text) => {
                        let said: Value = serde_json::from_str(&text).unwrap();
                        if said["is_speaking"] == true {
                            let right = said["mode"] == "2pass"
                                && said["chunk_size"] == json!([5, 10, 5])
                                && said["wav_format"] == "pcm"
                                && said["audio_fs"] == 16_000
                                && said["chunk_interval"] == 10
                                && said["hotwords"].is_string();
                            assert!(right && !configured, "{said}");
                            configured = true;
                            continue;
                        }
                        assert_eq!(said["is_speaking"], false, "{said}");
                        let text = format!("<|zh|><|NEUTRAL|>今天天氣 {samples}。");
                        match behaviour {
                            Ws::Garbage => socket.send(Message::text("<html>")).await.unwrap(),
                            Ws::HangUp => return,
                            Ws::Stall => std::future::pending().await,
                            Ws::Failure => socket
                                .send(Message::text(json!({"is_final": false, "is_end": true, "error": "x"}).to_string()))
                                .await
                                .unwrap(),
                            _ => {
                                let _ = socket.send(reply("2pass-offline", &text, false)).await;
                                if behaviour == Ws::Good {
                                    let end =
                                        json!({"mode": "2pass", "wav_name": "visavis", "is_final": true, "is_end": true});
                                    let _ = socket.send(Message::text(end.to_string())).await;
                                }
                            }
                        }
                    }
                    Message::Binary(sound) => {
                        // Sound before the configuration is thrown away.
                        samples += if configured { sound.len() / 2 } else { 0 };
                        assert!(sound.len() <= 1_920, "{}", sound.len());
                        if samples == 9_600 {
                            socket.send(reply("2pass-online", "今天", false)).await.unwrap();
                        }
                    }
                    _ => {}
                }
            }
        },
    )
    .await
}

/// A `WhisperLive` server.
pub(crate) async fn whisperlive(behaviour: Ws) -> SocketAddr {
    websocket(behaviour, |_, response| Ok(response), move |mut socket| async move {
        let Some(Ok(Message::Text(text))) = socket.next().await else { panic!("no configuration") };
        let hello: Value = serde_json::from_str(&text).unwrap();
        assert!(hello["uid"].is_string() && hello["task"] == "transcribe" && hello["model"] == "small", "{hello}");
        let uid = hello["uid"].clone();
        let say = |value: Value| Message::text(value.to_string());
        match behaviour {
            Ws::Full => return socket.send(say(json!({"uid": uid, "status": "WAIT", "message": 1.5}))).await.unwrap(),
            Ws::Failure => return socket.send(say(json!({"uid": uid, "status": "ERROR", "message": "x"}))).await.unwrap(),
            Ws::Garbage => return socket.send(say(json!(["?"]))).await.unwrap(),
            Ws::HangUp => return,
            Ws::Stall => std::future::pending().await,
            _ => {}
        }
        socket.send(say(json!({"uid": uid, "message": "SERVER_READY", "backend": "faster_whisper"}))).await.unwrap();
        socket.send(say(json!({"uid": uid, "language": "en", "language_prob": 0.9}))).await.unwrap();
        let mut samples = 0;
        while let Some(Ok(message)) = socket.next().await {
            let Message::Binary(sound) = message else { continue };
            if &sound[..] == b"END_OF_AUDIO" {
                return;
            }
            let floats: Vec<f32> = sound.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
            assert!(sound.len() % 4 == 0 && floats.iter().all(|f| f.abs() <= 1.0));
            samples += floats.len();
            let segment = |text: &str, completed: bool| json!({"start": "0.000", "end": "1.200", "text": text, "completed": completed});
            if samples == 16_384 {
                socket.send(say(json!({"uid": uid, "segments": [segment(" What time", false)]}))).await.unwrap();
            } else if samples >= 32_000 && floats.len() < 4_096 {
                let list = json!([segment(" What time", true), segment(" is it?", false)]);
                for _ in 0..3 {
                    let _ = socket.send(say(json!({"uid": uid, "segments": list}))).await;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    })
    .await
}

type Socket = tokio_tungstenite::WebSocketStream<TcpStream>;

async fn websocket<F: Future<Output = ()> + Send + 'static>(
    behaviour: Ws,
    greet: impl Fn(&Request, Response) -> Result<Response, u16> + Send + Sync + Copy + 'static,
    talk: impl Fn(Socket) -> F + Send + Sync + Copy + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                #[expect(clippy::result_large_err, reason = "the type of the handshake's callback")]
                let callback = |request: &Request, response: Response| {
                    let refused = |status: u16| Response::builder().status(status).body(None).unwrap();
                    match behaviour {
                        Ws::Status(status) => Err(refused(status)),
                        _ => greet(request, response).map_err(refused),
                    }
                };
                if let Ok(socket) = tokio_tungstenite::accept_hdr_async(stream, callback).await {
                    talk(socket).await;
                }
            });
        }
    });
    address
}
