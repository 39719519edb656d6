//! `LiveTalking`'s options, on its command line or in its `config.yaml`, in our words. This is the only place that knows them;
//! docs/livetalking.md has the same as a table.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tracing::{info, warn};

/// Where it looks for its options.
pub(super) const FILE: &str = "config.yaml";
/// Where it pushes to unless it is told.
const PUSH_URL: &str = "http://localhost:1985/rtc/v1/whip/?app=live&stream=livestream";

/// Its options, by the name in the file: `-` is `_`.
const NAMES: [&str; 21] = [
    "fps",
    "l",
    "m",
    "r",
    "model",
    "avatar_id",
    "batch_size",
    "modelres",
    "modelfile",
    "customvideo_config",
    "tts",
    "REF_FILE",
    "REF_TEXT",
    "TTS_SERVER",
    "transport",
    "stun",
    "push_url",
    "max_session",
    "listenport",
    "audio_output_device",
    "config",
];

/// Those by which a file is known: no other program has them.
const TELLING: [&str; 10] = [
    "avatar_id",
    "tts",
    "REF_FILE",
    "REF_TEXT",
    "TTS_SERVER",
    "transport",
    "push_url",
    "max_session",
    "listenport",
    "customvideo_config",
];

/// What has no meaning here, and why.
const UNUSED: [(&str, &str); 9] = [
    ("l", "no window of sound is configured here"),
    ("m", "no window of sound is configured here"),
    ("r", "no window of sound is configured here"),
    ("model", "each avatar's folder says what it is"),
    ("batch_size", "pictures of all sessions are drawn when they are due"),
    ("modelres", "each model knows its size"),
    ("modelfile", "models.dir has the models"),
    ("audio_output_device", "push.player names a program that plays"),
    ("config", "a file names no other file"),
];

/// Whether a file is `LiveTalking`'s and not ours: flat, and with one of its telling names.
pub(super) fn is_theirs(file: &Value) -> bool {
    let Some(options) = file.as_object() else { return false };
    let is_flat = options.values().all(|value| !value.is_object());
    is_flat && options.keys().any(|key| TELLING.contains(&key.replace('-', "_").as_str()))
}

/// Our configuration that `options` ask for. Empty ones ask for nothing.
pub(super) fn translate(options: &Map<String, Value>, environment: &BTreeMap<String, String>) -> Result<Value, String> {
    let given: BTreeMap<String, String> = options
        .iter()
        .filter_map(|(key, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), |text| text.trim().to_owned());
            (!value.is_null() && !text.is_empty()).then(|| (key.replace('-', "_"), text))
        })
        .collect();
    let theirs = Options { given, environment };
    theirs.complain();
    let mut tree = json!({});
    if theirs.given.is_empty() {
        return Ok(tree);
    }
    theirs.fps()?;
    theirs.server(&mut tree)?;
    theirs.push(&mut tree)?;
    theirs.voice(&mut tree)?;
    // Its language model cannot be configured: Qwen at DashScope, with the key of the environment.
    if theirs.variable("DASHSCOPE_API_KEY").is_some() && theirs.variable("LLM_PROVIDER").is_none() {
        tree["llm"] = json!({"provider": "dashscope"});
    }
    Ok(tree)
}

struct Options<'a> {
    given: BTreeMap<String, String>,
    environment: &'a BTreeMap<String, String>,
}

impl Options<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.given.get(name).map(String::as_str)
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    fn number<N: std::str::FromStr>(&self, name: &str) -> Result<Option<N>, String> {
        let parse = |text: &str| text.parse().map_err(|_| format!("{name}: \"{text}\" is no such number"));
        self.get(name).map(parse).transpose()
    }

    /// Says what is not used.
    fn complain(&self) {
        for (option, why) in UNUSED.iter().filter(|(name, _)| self.given.contains_key(*name)) {
            info!(option, why, "not used");
        }
        for option in self.given.keys().filter(|name| !NAMES.contains(&name.as_str())) {
            warn!(option, "this is no option of LiveTalking that is known here");
        }
    }

    fn fps(&self) -> Result<(), String> {
        match self.number::<u32>("fps")? {
            None | Some(25) => Ok(()),
            Some(fps) => Err(format!("fps: {fps} is not 25, which all avatars play at, here as there")),
        }
    }

    fn server(&self, tree: &mut Value) -> Result<(), String> {
        if let Some(port) = self.number::<u16>("listenport")? {
            tree["server"]["listen"] = format!("0.0.0.0:{port}").into();
        }
        if let Some(sessions) = self.number::<u32>("max_session")? {
            tree["server"]["max_sessions"] = sessions.into();
        }
        if let Some(url) = self.get("stun") {
            tree["webrtc"]["stun"] = json!([url]);
        }
        if let Some(list) = self.get("customvideo_config") {
            tree["actions"]["list"] = list.into();
        }
        if let Some(avatar) = self.get("avatar_id") {
            // Its folder is in `avatars.films`, whose default is theirs.
            tree["avatars"]["default"] = avatar.into();
        }
        Ok(())
    }

    fn push(&self, tree: &mut Value) -> Result<(), String> {
        let url = self.get("push_url").unwrap_or(PUSH_URL);
        match self.get("transport") {
            None | Some("webrtc") => {}
            // It pushes as many sessions as there may be.
            Some("rtcpush") => {
                let sessions = self.number::<u32>("max_session")?.unwrap_or(1).clamp(1, 100);
                tree["push"] = json!({"to": "whip", "url": url, "sessions": sessions});
            }
            Some("rtmp") => tree["push"] = json!({"to": "rtmp", "url": url}),
            Some("virtualcam") => tree["push"] = json!({"to": "virtualcam"}),
            Some(other) => return Err(format!("transport: \"{other}\" is none of webrtc, rtcpush, rtmp, virtualcam")),
        }
        Ok(())
    }

    fn voice(&self, tree: &mut Value) -> Result<(), String> {
        let Some(name) = self.get("tts") else { return Ok(()) };
        let voice = |section: &str, keys: &[(&str, Option<&str>)]| {
            let set = keys.iter().filter_map(|(key, value)| Some(((*key).to_owned(), Value::from((*value)?))));
            let settings: Map<String, Value> = set.collect();
            json!({"provider": section, section: settings})
        };
        let (file, text, server) = (self.get("REF_FILE"), self.get("REF_TEXT"), self.get("TTS_SERVER"));
        let imitates = [("url", server), ("reference_audio", file), ("reference_text", text)];
        let mut tts = match name {
            "edgetts" => voice("edge", &[("voice", file)]),
            "gpt-sovits" => voice("gpt_sovits", &imitates),
            "cosyvoice" => voice("cosyvoice", &imitates),
            "xtts" => voice("xtts", &imitates[..2]),
            "indextts2" => voice("indextts2", &imitates[..2]),
            "fishtts" => voice("fish", &[("url", server), ("voice", file)]),
            "qwentts" => voice("dashscope", &[("voice", file), ("api_key", self.variable("DASHSCOPE_API_KEY"))]),
            "azuretts" => {
                let (key, region) = (self.variable("AZURE_SPEECH_KEY"), self.variable("AZURE_TTS_REGION"));
                voice("azure", &[("voice", file), ("api_key", key), ("region", region)])
            }
            "doubao" => {
                let (id, token) = (self.variable("DOUBAO_APPID"), self.variable("DOUBAO_TOKEN"));
                voice("doubao", &[("voice", file), ("app_id", id), ("access_token", token)])
            }
            "tencent" => {
                let (id, key) = (self.variable("TENCENT_SECRET_ID"), self.variable("TENCENT_SECRET_KEY"));
                voice("tencent", &[("secret_id", id), ("secret_key", key)])
            }
            "omnitts" => voice("openai", &[("voice", file), ("format", Some("pcm"))]),
            other => return Err(format!("tts: \"{other}\" is no voice of LiveTalking's (docs/livetalking.md lists them)")),
        };
        if name == "omnitts"
            && let Some(server) = server
        {
            tts["openai"]["base_url"] = format!("{}/v1", server.trim_end_matches('/')).into();
        }
        if name == "tencent" {
            if let Some(voice) = self.number::<u32>("REF_FILE")? {
                tts["tencent"]["voice"] = voice.into();
            }
            if let Some(id) = self.variable("TENCENT_APPID") {
                tts["tencent"]["app_id"] = id.parse::<u64>().map_err(|_| "TENCENT_APPID is no number".to_owned())?.into();
            }
        }
        tree["tts"] = tts;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::super::load::from_tree;
    use super::*;

    fn translated(options: &Value, environment: &[(&str, &str)]) -> Result<Config, String> {
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        from_tree(translate(options.as_object().unwrap(), &environment)?)
    }

    #[test]
    fn its_options_are_ours() {
        let options = json!({
            "listenport": 8011, "max_session": "3", "transport": "rtcpush", "push-url": "https://host/whip", "tts": "gpt-sovits",
            "REF_FILE": "ref.wav", "REF_TEXT": "what is said", "TTS_SERVER": "http://host:9880", "avatar_id": "anna", "fps": 25,
            "stun": "stun:host:3478", "batch_size": 16, "model": "wav2lip", "audio_output_device": null,
        });
        let config = translated(&options, &[]).unwrap();
        assert_eq!((config.server.listen.port(), config.server.max_sessions), (8011, 3));
        assert_eq!((config.push.url.reveal(), config.push.sessions), (Some("https://host/whip"), 3));
        assert_eq!(config.webrtc.stun, ["stun:host:3478"]);
        assert_eq!(config.avatars.default, "anna");
        assert_eq!(config.tts.gpt_sovits.reference_text, "what is said");
        assert_eq!(config.llm, Config::default().llm);
    }

    #[test]
    fn each_of_its_voices_is_one_of_ours() {
        let keys = [("DASHSCOPE_API_KEY", "k"), ("TENCENT_APPID", "7"), ("DOUBAO_TOKEN", "t"), ("AZURE_TTS_REGION", "west")];
        for (theirs, ours) in [
            ("edgetts", "edge"),
            ("gpt-sovits", "gpt_sovits"),
            ("cosyvoice", "cosyvoice"),
            ("fishtts", "fish"),
            ("xtts", "xtts"),
            ("doubao", "doubao"),
            ("azuretts", "azure"),
            ("qwentts", "dashscope"),
            ("omnitts", "openai"),
            ("indextts2", "indextts2"),
        ] {
            let options = json!({"tts": theirs, "REF_FILE": "someone", "REF_TEXT": "text", "TTS_SERVER": "http://host:1/"});
            let config = translated(&options, &keys).unwrap_or_else(|error| panic!("{theirs}: {error}"));
            let shown = serde_json::to_value(&config.tts.provider).unwrap().to_string();
            assert!(shown.contains(ours), "{theirs}: {shown}");
        }
        let tencent = translated(&json!({"tts": "tencent", "REF_FILE": 101_004}), &keys).unwrap();
        assert_eq!((tencent.tts.tencent.app_id, tencent.tts.tencent.voice), (7, 101_004));
        let omni = translated(&json!({"tts": "omnitts", "TTS_SERVER": "http://host:1/"}), &[]).unwrap();
        assert_eq!(omni.tts.openai.base_url, "http://host:1/v1");
    }

    #[test]
    fn what_it_cannot_mean_is_refused_in_its_words() {
        for (options, word) in [
            (json!({"fps": 30}), "fps"),
            (json!({"transport": "carrier pigeon"}), "rtcpush"),
            (json!({"tts": "nobody"}), "nobody"),
            (json!({"listenport": "x"}), "listenport"),
            (json!({"tts": "tencent", "REF_FILE": "zh-CN-YunxiaNeural"}), "REF_FILE"),
        ] {
            let error = translated(&options, &[]).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn a_file_of_ours_is_not_taken_for_theirs() {
        assert!(is_theirs(&json!({"avatar_id": "anna", "tts": "edgetts"})));
        assert!(is_theirs(&json!({"tts": "edgetts"})) && is_theirs(&json!({"max-session": 5})));
        for ours in [
            json!({"tts": {"provider": "edge"}}),
            json!({"server": {}}),
            json!({}),
            json!({"max_sesions": 3}),
            json!({"model": "x", "fps": 30}),
            json!(7),
        ] {
            assert!(!is_theirs(&ours), "{ours}");
        }
    }
}
