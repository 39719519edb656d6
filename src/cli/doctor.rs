//! `visavis doctor`: what works, what does not, and the one thing to do.
//!
//! In: the configuration, this machine, the server if one runs. Out: a line for each finding with a stable code, in English or
//! Chinese, or JSON; exit code 1 if something is broken. Nothing is changed, and nobody is asked whom the configuration does not name.

mod words;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use clap::Args;
use reqwest::header::{CONNECTION, HeaderValue, ORIGIN, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{faults, say};
use crate::config::{Config, TlsMode};
use crate::http::turn_credentials;
use crate::llm;
use crate::rtc::{Arrival, ReceiveError, Receiver, RelayFault, Wish, try_relay};
use words::Language;

/// A server on this machine answers faster; one behind a proxy may be far away.
const PATIENCE: Duration = Duration::from_secs(5);
/// Descriptors that a busy server needs.
const DESCRIPTORS: u64 = 4_096;
/// What the media socket asks the kernel for.
const UDP_BUFFER: u64 = 4 << 20;

#[derive(Args)]
pub(super) struct Doctor {
    /// The server's public address, to test the proxy before it: <https://talk.example>
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The language of the findings [default: the terminal's]
    #[arg(long, value_enum)]
    lang: Option<Language>,
    /// For programs
    #[arg(long)]
    json: bool,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Good,
    Fair,
    Bad,
}

/// One thing that was looked at.
struct Finding {
    what: &'static str,
    mark: Mark,
    /// What is wrong; empty if nothing is.
    code: &'static str,
    value: String,
}

fn good(what: &'static str, value: impl Into<String>) -> Finding {
    Finding { what, mark: Mark::Good, code: "", value: value.into() }
}

fn fair(what: &'static str, code: &'static str, value: impl Into<String>) -> Finding {
    Finding { what, mark: Mark::Fair, code, value: value.into() }
}

fn bad(what: &'static str, code: &'static str, value: impl Into<String>) -> Finding {
    Finding { what, mark: Mark::Bad, code, value: value.into() }
}

/// Looks at everything and tells it. The exit code.
pub(super) async fn run(doctor: Doctor, config: &Config) -> anyhow::Result<u8> {
    let mut found = Vec::new();
    let files = faults(config);
    found.push(if files.is_empty() { good("files", "") } else { bad("files", "files", files.join("; ")) });
    // A certificate of ours names addresses: whether it is trusted is the browser's question.
    let http = reqwest::Client::builder().timeout(PATIENCE).danger_accept_invalid_certs(true).build()?;
    found.extend(server(config, &http).await);
    found.push(address(config));
    found.push(https(config));
    found.extend(relay(config).await);
    found.extend(language_model(config));
    found.extend(limits());
    if let Some(url) = &doctor.url {
        found.extend(proxy(url.trim_end_matches('/'), config, &http).await);
    }
    let language = doctor.lang.unwrap_or_else(Language::of_terminal);
    let is_broken = found.iter().any(|finding| finding.mark == Mark::Bad);
    if doctor.json {
        let list: Vec<Value> = found.iter().map(|finding| finding.json(language)).collect();
        say(&serde_json::to_string_pretty(&json!({"ok": !is_broken, "findings": list}))?);
    } else {
        found.iter().for_each(|finding| say(&finding.line(language)));
    }
    Ok(u8::from(is_broken))
}

impl Finding {
    fn words(&self, language: Language) -> String {
        if self.code.is_empty() { self.value.clone() } else { words::fault(language, self.code, &self.value) }
    }

    fn line(&self, language: Language) -> String {
        let mark = match self.mark {
            Mark::Good => '✓',
            Mark::Fair => '!',
            Mark::Bad => '✗',
        };
        let (name, words) = (words::name(language, self.what), self.words(language));
        let code = if self.code.is_empty() { String::new() } else { format!("  [{}]", self.code) };
        format!("{mark} {name}{}{words}{code}", if words.is_empty() { "" } else { ": " })
    }

    fn json(&self, language: Language) -> Value {
        let mark = match self.mark {
            Mark::Good => "good",
            Mark::Fair => "fair",
            Mark::Bad => "bad",
        };
        json!({"what": self.what, "mark": mark, "code": self.code, "words": self.words(language)})
    }
}

/// The server at the address of the configuration, if it runs: as a viewer on this machine finds it.
async fn server(config: &Config, http: &reqwest::Client) -> Vec<Finding> {
    let listen = config.server.listen;
    let ip = if listen.ip().is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { listen.ip() };
    let near = SocketAddr::new(ip, listen.port());
    let url = format!("http://{near}");
    let is_ours = async { http.get(format!("{url}/healthz")).send().await.ok()?.json::<Value>().await.ok() };
    if is_ours.await.is_none() {
        let is_free = std::net::TcpListener::bind(listen).is_ok() && std::net::UdpSocket::bind(listen).is_ok();
        return if is_free {
            vec![good("port", listen.to_string()), fair("server", "not_running", listen.to_string())]
        } else {
            vec![bad("port", "port_taken", listen.to_string())]
        };
    }
    let mut found = vec![good("server", url.clone())];
    let began = tokio::time::Instant::now();
    let watched = async {
        let mut receiver = Receiver::connect(http, &url, Wish { video: None, microphone: false }).await?;
        let heard = async { while !matches!(receiver.next().await, Some(Arrival::Sound { .. }) | None) {} };
        let is_heard = timeout(PATIENCE, heard).await.is_ok();
        receiver.close().await;
        if is_heard { Ok(()) } else { Err(ReceiveError::Slow) }
    };
    found.push(match watched.await {
        Ok(()) => good("media_udp", format!("{} ms", began.elapsed().as_millis())),
        Err(ReceiveError::Refused(why)) => fair("media_udp", "server_full", why),
        Err(error) => bad("media_udp", "udp_blocked", error.to_string()),
    });
    found.push(match takes_frames(near).await {
        Ok(()) => good("media_tcp", ""),
        Err(why) => fair("media_tcp", "tcp_blocked", why),
    });
    found
}

/// Whether the port knows frames of media: a web server would answer one that is none with words, ours hangs up.
async fn takes_frames(address: SocketAddr) -> Result<(), &'static str> {
    let tried = async {
        let mut stream = TcpStream::connect(address).await.map_err(|_| "not connected")?;
        stream.write_all(&[0, 4, 0, 1, 0, 0]).await.map_err(|_| "broken off")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.map_err(|_| "broken off")?;
        if answer.is_empty() { Ok(()) } else { Err("HTTP answers") }
    };
    timeout(PATIENCE, tried).await.unwrap_or(Err("silent"))
}

/// Whether viewers from elsewhere could find this machine.
fn address(config: &Config) -> Finding {
    let webrtc = &config.webrtc;
    let own: Vec<IpAddr> = if_addrs::get_if_addrs().unwrap_or_default().iter().map(if_addrs::Interface::ip).collect();
    let listed = |ips: &[IpAddr]| ips.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
    let known: Vec<IpAddr> = webrtc.advertise.iter().chain(&own).copied().filter(|ip| is_public(*ip)).collect();
    let listens = config.server.listen.ip();
    if !known.is_empty() {
        return good("address", listed(&known));
    }
    if listens.is_loopback() || !webrtc.turn.urls.is_empty() {
        return good("address", listens.to_string());
    }
    let private: Vec<IpAddr> = own.into_iter().filter(|ip| !ip.is_loopback() && ip.is_ipv4()).collect();
    fair("address", "behind_nat", listed(&private))
}

fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            !(v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || is_shared(v4))
        }
        IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unique_local() || v6.is_unspecified()),
    }
}

/// The space of carriers' NATs (RFC 6598).
fn is_shared(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    a == 100 && (64..128).contains(&b)
}

/// Whether pages may ask for a microphone.
fn https(config: &Config) -> Finding {
    match config.tls.mode {
        TlsMode::None if config.server.listen.ip().is_loopback() || !config.server.trusted_proxies.is_empty() => {
            good("https", "")
        }
        TlsMode::None => fair("https", "insecure_origin", ""),
        TlsMode::Auto | TlsMode::Files => match crate::server::check_tls(&config.tls) {
            Ok(()) => good("https", ""),
            Err(error) => bad("https", "tls_failed", error.to_string()),
        },
    }
}

/// Whether the relay takes the passwords that pages are given.
async fn relay(config: &Config) -> Vec<Finding> {
    let turn = &config.webrtc.turn;
    if turn.urls.is_empty() {
        return vec![fair("relay", "no_turn", "")];
    }
    let (username, password) = turn.secret.reveal().map(turn_credentials).unwrap_or_default();
    let mut found = Vec::new();
    for url in &turn.urls {
        found.push(match try_relay(url, &username, &password).await {
            Ok(()) => good("relay", url.clone()),
            Err(RelayFault::Refused) => bad("relay", "turn_auth", url.clone()),
            Err(RelayFault::Untrusted) => bad("relay", "turn_untrusted", url.clone()),
            Err(RelayFault::Silent | RelayFault::Failed(_)) => bad("relay", "turn_unreachable", url.clone()),
        });
    }
    found
}

/// Whether somebody answers questions.
fn language_model(config: &Config) -> Option<Finding> {
    let (name, key) = match config.llm.provider {
        llm::Provider::OpenAi => ("llm.openai", &config.llm.openai.api_key),
        llm::Provider::DashScope => ("llm.dashscope", &config.llm.dashscope.api_key),
        _ => return None,
    };
    Some(if key.reveal().is_some() { good("llm", name) } else { fair("llm", "llm_key_missing", name) })
}

/// What the system grants.
fn limits() -> Vec<Finding> {
    let mut found = Vec::new();
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files =
        limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse::<u64>().ok());
    if let Some(files) = files.filter(|files| *files < DESCRIPTORS) {
        found.push(fair("limits", "few_descriptors", files.to_string()));
    }
    let buffer =
        std::fs::read_to_string("/proc/sys/net/core/rmem_max").ok().and_then(|text| text.trim().parse::<u64>().ok());
    if let Some(buffer) = buffer.filter(|buffer| *buffer < UDP_BUFFER) {
        found.push(fair("limits", "small_udp_buffer", buffer.to_string()));
    }
    if found.is_empty() {
        found.push(good("limits", ""));
    }
    found
}

/// What stands between the world and the server, as far as it can be seen from outside.
async fn proxy(url: &str, config: &Config, http: &reqwest::Client) -> Vec<Finding> {
    if http.get(format!("{url}/healthz")).send().await.and_then(reqwest::Response::error_for_status).is_err() {
        return vec![bad("proxy", "unreachable", url)];
    }
    let code = async |request: reqwest::RequestBuilder| {
        let reply = request.send().await.ok()?;
        reply.json::<Value>().await.ok()?["code"].as_str().map(str::to_owned)
    };
    let mut found = Vec::new();
    // Our own page would send this very origin; what it asks for does not exist.
    let nobody = http.delete(format!("{url}/v1/sessions/{}", uuid::Uuid::new_v4())).header(ORIGIN, url);
    if code(nobody).await.as_deref() == Some("foreign_origin") {
        found.push(fair("proxy", "proxy_hides_host", ""));
    }
    // Whoever hears of the upgrade asks for more than this; whoever does not says so.
    if let Some(route) = socket_route(config) {
        let socket = http
            .get(format!("{url}{route}"))
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))
            .header(SEC_WEBSOCKET_KEY, HeaderValue::from_static("AAAAAAAAAAAAAAAAAAAAAA=="));
        if code(socket).await.as_deref() == Some("upgrade_required") {
            found.push(fair("proxy", "ws_no_upgrade", ""));
        }
    }
    if found.is_empty() {
        found.push(good("proxy", url));
    }
    found
}

/// A WebSocket of the configuration that asks for no password before it is one.
fn socket_route(config: &Config) -> Option<&str> {
    let theirs = &config.xiaozhi;
    let signalling = (theirs.enabled && theirs.webrtc.enabled).then_some(theirs.webrtc.signaling_path.as_str());
    signalling.or(theirs.enabled.then_some(crate::xiaozhi::DEVICE_PATH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_has_its_mark_its_words_and_its_code() {
        let finding = bad("relay", "turn_auth", "turn:192.0.2.1:3478");
        assert!(finding.line(Language::En).starts_with("✗ Relay (TURN): turn:192.0.2.1:3478 refuses"));
        assert!(finding.line(Language::Zh).ends_with("[turn_auth]"));
        assert_eq!(good("files", "").line(Language::En), "✓ Avatars, voice, models");
        assert_eq!(finding.json(Language::En)["code"], "turn_auth");
    }

    #[test]
    fn what_carriers_share_is_not_public() {
        let public = |ip: &str| is_public(ip.parse().unwrap());
        assert!(public("203.0.113.9") && public("2001:db8::1"));
        assert!(!public("192.168.1.2") && !public("100.64.0.1") && !public("fd00::1") && !public("127.0.0.1"));
    }
}
