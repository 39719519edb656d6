//! The `minicpm:` section: where the server is, and what it is told at the beginning. Seed 003's names are understood, too.

use garde::Validate;
use serde::{Deserialize, Serialize};

/// `audio_proxy.minicpm:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Name or address of the server.
    #[garde(length(min = 1, max = 253))]
    #[serde(alias = "server_host")]
    pub host: String,
    /// Its port.
    #[garde(range(min = 1))]
    #[serde(alias = "server_port")]
    pub port: u16,
    /// Further servers, `host:port`: each bears one conversation at a time.
    #[garde(length(max = 64), inner(custom(host_and_port)))]
    pub pool: Vec<String>,
    /// `hd` or `sd`: how the server cuts pictures, of which we send none.
    #[garde(length(max = 16))]
    #[serde(alias = "videoQuality")]
    pub video_quality: String,
    /// Whether the server's prompts make it imitate a voice: `true`, `false`, or the server's own number, 0 to 3.
    #[garde(custom(known_prompt))]
    #[serde(alias = "useAudioPrompt")]
    pub use_audio_prompt: AudioPrompt,
    /// What it is told before the voice that it imitates.
    #[garde(length(max = 4_000))]
    #[serde(alias = "voiceClonePrompt")]
    pub voice_clone_prompt: String,
    /// What it is told after that.
    #[garde(length(max = 4_000))]
    #[serde(alias = "assistantPrompt")]
    pub assistant_prompt: String,
    /// How much of the last second, in seconds, is without voice when the person has finished: more waits longer.
    #[garde(range(min = 0.0, max = 1.0))]
    #[serde(alias = "vadThreshold")]
    pub vad_threshold: f64,
    /// Kind of the recording in `base64_str`: `wav` or `mp3`.
    #[garde(length(max = 8))]
    #[serde(alias = "audioFormat")]
    pub audio_format: String,
    /// A recording of the voice to imitate, as base64; empty: the server's own voice.
    #[garde(length(max = 200_000))]
    #[serde(alias = "base64Str")]
    pub base64_str: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".into(),
            port: 32_550,
            pool: Vec::new(),
            video_quality: "hd".into(),
            use_audio_prompt: AudioPrompt::Flag(true),
            voice_clone_prompt: String::new(),
            assistant_prompt: "You are a helpful AI assistant.".into(),
            vad_threshold: 0.5,
            audio_format: "wav".into(),
            base64_str: String::new(),
        }
    }
}

/// The seed writes a truth, the server reads a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AudioPrompt {
    /// Yes is 1.
    Flag(bool),
    /// As the server counts them.
    Number(u8),
}

impl AudioPrompt {
    /// What the server is told.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Flag(yes) => u8::from(yes),
            Self::Number(number) => number,
        }
    }
}

fn known_prompt(prompt: &AudioPrompt, (): &()) -> garde::Result {
    if prompt.number() <= 3 { Ok(()) } else { Err(garde::Error::new("must be true, false or a number from 0 to 3")) }
}

fn host_and_port(server: &str, (): &()) -> garde::Result {
    let named = server.rsplit_once(':').filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|p| p > 0));
    named.map(|_| ()).ok_or_else(|| garde::Error::new("must be host:port"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_names_and_truths_are_understood() {
        let text =
            r#"{"videoQuality":"sd","useAudioPrompt":false,"assistantPrompt":"Hi","vadThreshold":0.8,"base64Str":""}"#;
        let config: Config = serde_json::from_str(text).unwrap();
        assert_eq!((config.video_quality.as_str(), config.use_audio_prompt.number(), config.vad_threshold), ("sd", 0, 0.8));
        assert_eq!(config.port, 32_550);
        assert!(config.validate().is_ok());
        let config: Config = serde_json::from_str(r#"{"use_audio_prompt":4,"pool":["nowhere"]}"#).unwrap();
        let report = config.validate().unwrap_err().to_string();
        assert!(report.contains("use_audio_prompt") && report.contains("host:port"), "{report}");
    }
}
