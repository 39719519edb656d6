//! The `tts:` section: which voices, in which order, and what each service needs to know.

use std::path::PathBuf;
use std::time::Duration;

use serde::de::value::{SeqAccessDeserializer, StrDeserializer};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::values::Secret;

/// Which voice speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// The embedded voices, by the language of each clause: Kokoro where it has Chinese characters, else hibari.
    #[default]
    Auto,
    /// English, embedded, 7.9 MB, about 50 ms a sentence.
    Hibari,
    /// Mandarin and English, embedded, 130 MB, about half a second of a core for a second of speech.
    Kokoro,
    /// The voice of a browser's "read aloud", without a key.
    Edge,
    /// `OpenAI`, or any server with its `/audio/speech`.
    Openai,
    /// Alibaba Cloud: Qwen realtime and `CosyVoice`.
    Dashscope,
    /// A GPT-SoVITS server (`api_v2.py`).
    GptSovits,
    /// A `CosyVoice` server (its `FastAPI` runtime).
    Cosyvoice,
    /// A Fish Speech server.
    Fish,
    /// An XTTS streaming server.
    Xtts,
    /// The page of F5-TTS.
    F5,
    /// The page of `IndexTTS2`.
    Indextts2,
    /// `MegaTTS3` as seed 000 runs it.
    Megatts3,
    /// Tencent Cloud.
    Tencent,
    /// Doubao, of Volcano Engine.
    Doubao,
    /// Azure's Speech service.
    Azure,
    /// Nobody: answers are text.
    None,
}

/// The voices in the order of preference; never empty. Written as a name or as a list of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Providers(pub Vec<Provider>);

impl Default for Providers {
    fn default() -> Self {
        Self(vec![Provider::default()])
    }
}

impl Serialize for Providers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => one.serialize(serializer),
            several => several.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Providers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Vec<Provider>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the name of a voice or a list of names")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Self::Value, E> {
                Provider::deserialize(StrDeserializer::new(name)).map(|provider| vec![provider])
            }

            fn visit_seq<A: SeqAccess<'de>>(self, names: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(names))
            }
        }
        let providers = deserializer.deserialize_any(OneOrMore)?;
        if providers.is_empty() {
            return Err(D::Error::custom("name at least one voice"));
        }
        Ok(Self(providers))
    }
}

/// A time limit, written `5s` or `300ms`: 100 ms to 10 minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(pub Duration);

impl Serialize for Limit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ms = self.0.as_millis();
        serializer.serialize_str(&if ms.is_multiple_of(1_000) { format!("{}s", ms / 1_000) } else { format!("{ms}ms") })
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (number, unit_ms) = match text.strip_suffix("ms") {
            Some(number) => (Some(number), 1),
            None => (text.strip_suffix('s'), 1_000),
        };
        let ms = number.and_then(|n| n.parse::<u64>().ok()).and_then(|n| n.checked_mul(unit_ms));
        ms.filter(|ms| (100..=600_000).contains(ms))
            .map(|ms| Self(Duration::from_millis(ms)))
            .ok_or_else(|| D::Error::custom(format!("\"{text}\" is not a time from 100ms to 600s, such as 5s")))
    }
}

/// `tts.timeouts:`, for voices on the network (limit L19).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// Until the connection stands.
    pub connect: Limit,
    /// From the question to the first sample, with the time to connect.
    pub first_sound: Limit,
    /// Between two pieces of sound.
    pub stall: Limit,
    /// All the waiting for one clause.
    pub total: Limit,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = |n| Limit(Duration::from_secs(n));
        Self { connect: seconds(3), first_sound: seconds(5), stall: seconds(5), total: seconds(60) }
    }
}

/// The `tts:` section.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Which voice speaks, or which in turn.
    pub provider: Providers,
    /// Recordings to imitate by name: a JSON file `{"name": "path/of.wav"}`, with what is said in a `.txt` beside each.
    pub catalogue: PathBuf,
    /// Which of them; empty: what each voice has by itself.
    pub category: String,
    /// The folder with the recordings that clients may have imitated; empty: those of the catalogue alone.
    pub recordings: PathBuf,
    /// How patient we are with services.
    pub timeouts: Timeouts,
    /// What [`Provider::Kokoro`] is told, by itself and under [`Provider::Auto`].
    pub kokoro: super::kokoro::Config,
    /// Settings of [`Provider::Edge`].
    pub edge: Edge,
    /// Settings of [`Provider::Openai`].
    pub openai: OpenAi,
    /// Settings of [`Provider::Dashscope`].
    pub dashscope: DashScope,
    /// Settings of [`Provider::GptSovits`].
    pub gpt_sovits: GptSovits,
    /// Settings of [`Provider::Cosyvoice`].
    pub cosyvoice: CosyVoice,
    /// Settings of [`Provider::Fish`].
    pub fish: Fish,
    /// Settings of [`Provider::Xtts`].
    pub xtts: Xtts,
    /// Settings of [`Provider::F5`].
    pub f5: F5,
    /// Settings of [`Provider::Indextts2`].
    pub indextts2: IndexTts2,
    /// Settings of [`Provider::Megatts3`].
    pub megatts3: MegaTts3,
    /// Settings of [`Provider::Tencent`].
    pub tencent: Tencent,
    /// Settings of [`Provider::Doubao`].
    pub doubao: Doubao,
    /// Settings of [`Provider::Azure`].
    pub azure: Azure,
}

impl Config {
    /// Names of the models in `models.lock` that its voices run.
    pub fn models(&self) -> Vec<String> {
        let runs = |any_of: &[Provider]| self.provider.0.iter().any(|provider| any_of.contains(provider));
        let english = runs(&[Provider::Auto, Provider::Hibari, Provider::Kokoro]).then_some("hibari");
        let chinese = runs(&[Provider::Auto, Provider::Kokoro]).then_some(super::kokoro::MODELS);
        english.into_iter().chain(chinese.into_iter().flatten()).map(str::to_owned).collect()
    }
}

/// How the sound of `/audio/speech` is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Bare samples, 24 kHz unless the answer says otherwise.
    #[default]
    Pcm,
    /// With a header that tells the rate.
    Wav,
    /// Compressed.
    Mp3,
}

/// Declares a section: keys with their defaults.
macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$key_doc:meta])* $key:ident: $kind:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $($(#[$key_doc])* pub $key: $kind,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $default,)* }
            }
        }
    };
}

section! {
    /// `tts.edge:`
    Edge {
        /// Where the service is.
        url: String = "wss://speech.platform.bing.com/consumer/speech/synthesize/readaloud/edge/v1".into(),
        /// Its short name, `en-US-AvaNeural`.
        voice: String = "zh-CN-XiaoyiNeural".into(),
        /// 0.25 to 4.
        speed: f32 = 1.0,
    }
}

section! {
    /// `tts.openai:`
    OpenAi {
        /// Where the service is, with its `/v1`.
        base_url: String = "https://api.openai.com/v1".into(),
        /// May be empty for a server of one's own.
        api_key: Secret = Secret::default(),
        /// Which model.
        model: String = "gpt-4o-mini-tts".into(),
        /// Which voice.
        voice: String = "alloy".into(),
        /// How the sound is written.
        format: Format = Format::Pcm,
        /// 0.25 to 4.
        speed: f32 = 1.0,
        /// How to speak, in words; not sent if empty.
        instructions: String = String::new(),
        /// The language to speak, for vLLM-Omni; not sent if empty.
        language: String = String::new(),
        /// What the model is to do, for vLLM-Omni; not sent if empty.
        task_type: String = String::new(),
    }
}

section! {
    /// `tts.dashscope:`
    DashScope {
        /// Up to and with `/api-ws/v1`.
        url: String = "wss://dashscope.aliyuncs.com/api-ws/v1".into(),
        /// The key.
        api_key: Secret = Secret::default(),
        /// `qwen…-realtime`, or `cosyvoice-…`, which speaks another protocol.
        model: String = "qwen3-tts-flash-realtime".into(),
        /// Which voice of that model.
        voice: String = "Cherry".into(),
    }
}

section! {
    /// `tts.gpt_sovits:`
    GptSovits {
        /// Where the server is.
        url: String = "http://127.0.0.1:9880".into(),
        /// The recording to imitate, as a path on the server's machine.
        reference_audio: String = String::new(),
        /// What is said in it.
        reference_text: String = String::new(),
        /// In which language.
        reference_language: String = "zh".into(),
        /// The language to speak.
        language: String = "zh".into(),
        /// 0.25 to 4.
        speed: f32 = 1.0,
    }
}

section! {
    /// `tts.cosyvoice:`
    CosyVoice {
        /// Where the server is.
        url: String = "http://127.0.0.1:50000".into(),
        /// A voice that the model knows; empty: imitate the recording.
        voice: String = String::new(),
        /// The recording to imitate, on this machine.
        reference_audio: PathBuf = PathBuf::new(),
        /// What is said in it; empty: speak another language with its voice.
        reference_text: String = String::new(),
        /// Samples a second that the model makes.
        rate_hz: u32 = 24_000,
    }
}

section! {
    /// `tts.fish:`
    Fish {
        /// Where the server is.
        url: String = "http://127.0.0.1:8080".into(),
        /// May be empty for a server of one's own.
        api_key: Secret = Secret::default(),
        /// The id of a reference that the server knows; empty: a voice of its own choice.
        voice: String = String::new(),
    }
}

section! {
    /// `tts.xtts:`
    Xtts {
        /// Where the server is.
        url: String = "http://127.0.0.1:9000".into(),
        /// The recording to imitate, on this machine.
        reference_audio: PathBuf = PathBuf::new(),
        /// The language to speak.
        language: String = "zh-cn".into(),
    }
}

section! {
    /// `tts.f5:`
    F5 {
        /// Where the page is.
        url: String = "http://127.0.0.1:7860".into(),
        /// The recording to imitate, on this machine.
        reference_audio: PathBuf = PathBuf::new(),
        /// What is said in it; empty: the server listens by itself, each time.
        reference_text: String = String::new(),
        /// 0.25 to 4.
        speed: f32 = 1.0,
    }
}

section! {
    /// `tts.megatts3:`
    MegaTts3 {
        /// Where the server is.
        url: String = "http://127.0.0.1:5000".into(),
        /// The recording to imitate, by a path that is the server's, too.
        reference_audio: PathBuf = PathBuf::new(),
        /// Where the server puts its files, by a path that is the server's, too.
        output_dir: PathBuf = PathBuf::from("data/megatts3"),
    }
}

section! {
    /// `tts.indextts2:`
    IndexTts2 {
        /// Where the page is.
        url: String = "http://127.0.0.1:7860".into(),
        /// The recording to imitate, on this machine.
        reference_audio: PathBuf = PathBuf::new(),
    }
}

section! {
    /// `tts.tencent:`
    Tencent {
        /// Where the service is.
        url: String = "https://tts.cloud.tencent.com/stream".into(),
        /// The account's number.
        app_id: u64 = 0,
        /// Which key.
        secret_id: String = String::new(),
        /// The key.
        secret_key: Secret = Secret::default(),
        /// Which voice.
        voice: u64 = 101_001,
    }
}

section! {
    /// `tts.doubao:`
    Doubao {
        /// Where the service is.
        url: String = "wss://openspeech.bytedance.com/api/v1/tts/ws_binary".into(),
        /// The application's number.
        app_id: String = String::new(),
        /// The key.
        access_token: Secret = Secret::default(),
        /// Which machines.
        cluster: String = "volcano_tts".into(),
        /// Which voice.
        voice: String = "zh_female_cancan_mars_bigtts".into(),
        /// 0.25 to 4.
        speed: f32 = 1.0,
    }
}

section! {
    /// `tts.azure:`
    Azure {
        /// The resource's region.
        region: String = "eastus".into(),
        /// Where the service is; empty: as the region says.
        url: String = String::new(),
        /// The key.
        api_key: Secret = Secret::default(),
        /// Its short name.
        voice: String = "en-US-AvaNeural".into(),
        /// 0.25 to 4.
        speed: f32 = 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_provider_is_a_name_or_a_list_of_names() {
        assert_eq!(parse("provider: edge").unwrap().provider.0, [Provider::Edge]);
        assert_eq!(parse("provider: [gpt_sovits, auto]").unwrap().provider.0, [Provider::GptSovits, Provider::Auto]);
        assert!(parse("provider: []").unwrap_err().contains("at least one"));
    }

    #[test]
    fn an_unknown_voice_is_answered_with_the_known_ones() {
        for text in ["provider: siri", "provider: [edge, siri]"] {
            let error = parse(text).unwrap_err();
            assert!(error.contains("siri") && error.contains("gpt_sovits") && error.contains("hibari"), "{error}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let config = parse("{azure: {api_key: hush}, tencent: {secret_key: hush}}").unwrap();
        let shown = serde_saphyr::to_string(&config).unwrap() + &format!("{config:?}");
        assert!(!shown.contains("hush"));
        assert_eq!(config.azure.api_key.reveal(), Some("hush"));
    }

    #[test]
    fn limits_are_times_within_bounds() {
        assert_eq!(parse("timeouts: {stall: 1500ms}").unwrap().timeouts.stall.0.as_millis(), 1_500);
        for bad in ["5", "0s", "700s", "soon", "99999999999999999999s"] {
            assert!(parse(&format!("timeouts: {{stall: {bad}}}")).is_err(), "{bad}");
        }
    }
}
