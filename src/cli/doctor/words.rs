//! What the findings say, in English and Chinese. The codes are those of the page's connection test where both can meet a thing.

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Language {
    En,
    Zh,
}

impl Language {
    /// The one of the terminal.
    pub(super) fn of_terminal() -> Self {
        let set = ["LC_ALL", "LC_MESSAGES", "LANG"]
            .iter()
            .find_map(|name| std::env::var(name).ok().filter(|lang| !lang.is_empty()));
        if set.is_some_and(|lang| lang.starts_with("zh")) { Self::Zh } else { Self::En }
    }
}

/// What was looked at: its name in both languages.
const NAMES: &[(&str, &str, &str)] = &[
    ("files", "Avatars, voice, models", "形象、语音、模型"),
    ("port", "Port", "端口"),
    ("server", "Server", "服务器"),
    ("media_udp", "Media by UDP", "媒体 UDP"),
    ("media_tcp", "Media by TCP", "媒体 TCP"),
    ("address", "Address", "地址"),
    ("https", "HTTPS", "HTTPS"),
    ("relay", "Relay (TURN)", "中继（TURN）"),
    ("llm", "Language model", "大模型"),
    ("limits", "Limits of the system", "系统限制"),
    ("proxy", "Reverse proxy", "反向代理"),
];

/// What is wrong, and the one thing to do; `{}` is filled in.
const FAULTS: &[(&str, &str, &str)] = &[
    ("files", "{}", "{}"),
    (
        "port_taken",
        "another program has {}: stop it, or set server.listen",
        "{} 被其他程序占用：请停止它，或修改 server.listen",
    ),
    (
        "not_running",
        "no server runs at {}: what needs one is not tested (visavis serve)",
        "{} 上没有运行服务器，相关项目未测试（visavis serve）",
    ),
    ("server_full", "the server refuses a viewer: {}", "服务器拒绝了观众：{}"),
    (
        "udp_blocked",
        "no media by UDP ({}): a firewall on this machine drops it; open the port for UDP",
        "UDP 媒体不通（{}）：本机防火墙丢弃了它，请放行该端口的 UDP",
    ),
    (
        "tcp_blocked",
        "the port takes no media by TCP ({}): webrtc.tcp is off, or something else answers there",
        "该端口不接受 TCP 媒体（{}）：webrtc.tcp 已关闭，或由其他程序应答",
    ),
    (
        "behind_nat",
        "only private addresses ({}): viewers from elsewhere need webrtc.advertise with the public one, or TURN",
        "只有内网地址（{}）：外网观众需要在 webrtc.advertise 中填公网地址，或配置 TURN",
    ),
    (
        "insecure_origin",
        "HTTP alone: browsers give the microphone to https pages only. Set tls.mode to auto, or use a proxy with TLS",
        "只有 HTTP：浏览器只在 https 页面开放麦克风。请设 tls.mode 为 auto，或使用带 TLS 的反向代理",
    ),
    ("tls_failed", "{}", "{}"),
    (
        "no_turn",
        "none is set up: viewers whose networks let neither UDP nor this port through cannot watch",
        "未配置：既不通 UDP 又不通此端口的观众无法观看",
    ),
    (
        "turn_auth",
        "{} refuses the password: webrtc.turn.secret must be its static-auth-secret",
        "{} 拒绝了密码：webrtc.turn.secret 必须与它的 static-auth-secret 一致",
    ),
    (
        "turn_untrusted",
        "{} has a certificate that is not trusted here, so browsers will refuse it: renew it, or name the host that it is for",
        "{} 的证书不受信任，浏览器会拒绝连接：请更新证书，或在地址中使用证书上的主机名",
    ),
    ("turn_unreachable", "{} does not answer: is it running, is its port open?", "{} 没有应答：是否在运行，端口是否放行？"),
    (
        "llm_key_missing",
        "{} has no key: questions cannot be answered. Set its api_key",
        "{} 没有密钥，无法回答问题。请设置 api_key",
    ),
    (
        "few_descriptors",
        "at most {} open files: 4096 are wanted (ulimit -n, LimitNOFILE)",
        "最多只能打开 {} 个文件，需要 4096（ulimit -n、LimitNOFILE）",
    ),
    (
        "small_udp_buffer",
        "net.core.rmem_max is {}: with many viewers packets are lost. sysctl -w net.core.rmem_max=4194304",
        "net.core.rmem_max 为 {}，观众多时会丢包。sysctl -w net.core.rmem_max=4194304",
    ),
    ("unreachable", "{} does not answer", "{} 没有应答"),
    (
        "ws_no_upgrade",
        "it drops WebSocket. nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;",
        "它没有转发 WebSocket。nginx：proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;",
    ),
    (
        "proxy_hides_host",
        "it hides the name that the page was asked by. nginx: proxy_set_header Host $http_host;",
        "它隐藏了页面的主机名。nginx：proxy_set_header Host $http_host;",
    ),
];

pub(super) fn name(language: Language, what: &'static str) -> &'static str {
    let found = NAMES.iter().find(|(key, ..)| *key == what);
    found.map_or(what, |(_, en, zh)| if language == Language::En { en } else { zh })
}

pub(super) fn fault(language: Language, code: &'static str, value: &str) -> String {
    let found = FAULTS.iter().find(|(key, ..)| *key == code);
    let words = found.map_or(code, |(_, en, zh)| if language == Language::En { en } else { zh });
    words.replace("{}", value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_languages_say_what_was_found_and_no_code_comes_twice() {
        for (n, (code, en, zh)) in FAULTS.iter().enumerate() {
            assert_eq!(en.contains("{}"), zh.contains("{}"), "{code}");
            assert!(FAULTS[n + 1..].iter().all(|(other, ..)| other != code), "{code} comes twice");
        }
        assert!(fault(Language::Zh, "turn_auth", "turn:x").contains("密码"));
        assert_eq!(name(Language::En, "port"), "Port");
    }
}
