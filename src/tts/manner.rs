//! How one answer is to be spoken, where that is not as the configuration says: `LiveTalking`'s `tts` object and `refaudio`.
//!
//! In: what a client asks for. Out: the configuration that a service would have had. What a service has no word for is
//! ignored; a voice that it cannot have is an error, for somebody else would be heard.

use super::{Config, Error, Provider, catalogue, speed};

/// What is asked of a voice for one answer or for one session.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manner {
    /// Whose voice: a name that the service knows, or for those that imitate a recording by its name.
    pub voice: Option<String>,
    /// What is said in that recording, where no text stands beside it.
    pub reference_text: Option<String>,
    /// The language to speak, as the service calls it.
    pub language: Option<String>,
    /// 0.25 to 4.
    pub speed: Option<f32>,
    /// How to speak, in words.
    pub instructions: Option<String>,
    /// What the model is to do, as vLLM-Omni calls it.
    pub task_type: Option<String>,
}

impl Manner {
    /// Just this voice.
    pub fn of(voice: String) -> Self {
        Self { voice: Some(voice), ..Self::default() }
    }

    /// Its speed, within what voices take; as before if none is asked for.
    pub(super) fn speed(&self, before: f32) -> Result<f32, Error> {
        speed("speed", self.speed.unwrap_or(before))
    }

    /// `config` as `provider` is to see it.
    pub(super) fn applied(&self, provider: Provider, config: &Config) -> Result<Config, Error> {
        let mut config = config.clone();
        if let Some(voice) = &self.voice {
            self.cast(provider, voice, &mut config)?;
        }
        if self.speed.is_some() {
            let speed = self.speed(1.0)?;
            match provider {
                Provider::Edge => config.edge.speed = speed,
                Provider::Openai => config.openai.speed = speed,
                Provider::GptSovits => config.gpt_sovits.speed = speed,
                Provider::F5 => config.f5.speed = speed,
                Provider::Doubao => config.doubao.speed = speed,
                Provider::Azure => config.azure.speed = speed,
                _ => {}
            }
        }
        if let Some(language) = &self.language {
            let language = language.clone();
            match provider {
                Provider::Openai => config.openai.language = language,
                Provider::GptSovits => config.gpt_sovits.language = language,
                Provider::Xtts => config.xtts.language = language,
                _ => {}
            }
        }
        if let Some(instructions) = &self.instructions {
            config.openai.instructions.clone_from(instructions);
        }
        if let Some(task_type) = &self.task_type {
            config.openai.task_type.clone_from(task_type);
        }
        Ok(config)
    }

    fn cast(&self, provider: Provider, voice: &str, config: &mut Config) -> Result<(), Error> {
        let name = voice.to_owned();
        match provider {
            Provider::Edge => config.edge.voice = name,
            Provider::Openai => config.openai.voice = name,
            Provider::Dashscope => config.dashscope.voice = name,
            Provider::Fish => config.fish.voice = name,
            Provider::Doubao => config.doubao.voice = name,
            Provider::Azure => config.azure.voice = name,
            Provider::Tencent => {
                let not_a_number = |_| Error::UnknownVoice(format!("\"{voice}\" is no VoiceType, which is a number"));
                config.tencent.voice = voice.parse().map_err(not_a_number)?;
            }
            // A model may know some voices by name beside those that it imitates.
            Provider::Cosyvoice if !config.cosyvoice.voice.is_empty() => config.cosyvoice.voice = name,
            _ => {
                let (audio, beside) = catalogue::recording(config, voice)?;
                let text = self.reference_text.clone().unwrap_or(beside);
                catalogue::imitate(config, &audio, &text);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manner_changes_what_a_service_has_a_word_for() {
        let manner = Manner {
            speed: Some(1.5),
            language: Some("en".into()),
            instructions: Some("whisper".into()),
            ..Manner::of("anna".into())
        };
        let config = manner.applied(Provider::Openai, &Config::default()).unwrap();
        let openai = &config.openai;
        assert_eq!((openai.voice.as_str(), openai.speed, openai.language.as_str()), ("anna", 1.5, "en"));
        assert_eq!(openai.instructions, "whisper");
        let config = manner.applied(Provider::Fish, &Config::default()).unwrap();
        assert_eq!(config.fish.voice, "anna");
        assert!(Manner { speed: Some(9.0), ..Manner::default() }.applied(Provider::Edge, &Config::default()).is_err());
        assert!(manner.applied(Provider::Tencent, &Config::default()).is_err());
    }

    #[test]
    fn a_recording_is_one_of_the_folder_or_of_the_catalogue_and_no_other() {
        let dir = std::env::temp_dir().join(format!("visavis-manner-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("voices/sub")).unwrap();
        std::fs::write(dir.join("secret.wav"), b"RIFF").unwrap();
        std::fs::write(dir.join("voices/anna.wav"), b"RIFF").unwrap();
        std::fs::write(dir.join("voices/anna.txt"), "Hello.\n").unwrap();
        std::fs::write(dir.join("voices/sub/ben.wav"), b"RIFF").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(dir.join("secret.wav"), dir.join("voices/out.wav")).unwrap();
        let config = Config { recordings: dir.join("voices"), ..Config::default() };
        let cast = |name: &str, config: &Config| Manner::of(name.into()).applied(Provider::GptSovits, config);
        let whole = dir.join("voices/anna.wav");
        for name in ["anna.wav", "./anna.wav", "sub/../anna.wav", whole.to_str().unwrap()] {
            let sovits = cast(name, &config).unwrap().gpt_sovits;
            assert!(sovits.reference_audio.ends_with("voices/anna.wav"), "{name}");
            assert_eq!(sovits.reference_text, "Hello.");
        }
        assert!(cast("sub/ben.wav", &config).is_ok());
        let outside = dir.join("secret.wav");
        for name in ["../secret.wav", outside.to_str().unwrap(), "out.wav", "sub", "", "nobody.wav", "anna.wav\0"] {
            assert!(matches!(cast(name, &config), Err(Error::UnknownVoice(_))), "{name:?}");
        }
        assert!(cast("anna.wav", &Config::default()).is_err(), "no folder, no recordings");
        let told = Manner { reference_text: Some("Hi.".into()), ..Manner::of("anna.wav".into()) };
        assert_eq!(told.applied(Provider::F5, &config).unwrap().f5.reference_text, "Hi.");
        std::fs::remove_dir_all(dir).unwrap();
    }
}
