//! `LiveTalking`'s flags on `visavis serve`: taken as they are, understood by the configuration.

use clap::Args;
use serde_json::{Map, Value};

/// `LiveTalking`'s names. docs/livetalking.md says what each becomes.
#[derive(Args, Default)]
#[command(next_help_heading = "LiveTalking's names (docs/livetalking.md)")]
pub(super) struct Flags {
    /// `server.listen`, on all addresses
    #[arg(long, value_name = "PORT")]
    listenport: Option<String>,
    /// `server.max_sessions`
    #[arg(long = "max_session", value_name = "N")]
    max_session: Option<String>,
    /// `avatars.default`
    #[arg(long = "avatar_id", value_name = "ID")]
    avatar_id: Option<String>,
    /// `push.to`: webrtc, rtcpush, rtmp, virtualcam
    #[arg(long, value_name = "NAME")]
    transport: Option<String>,
    /// `push.url`
    #[arg(long = "push_url", value_name = "URL")]
    push_url: Option<String>,
    /// `webrtc.stun`
    #[arg(long, value_name = "URL")]
    stun: Option<String>,
    /// `tts.provider`
    #[arg(long, value_name = "NAME")]
    tts: Option<String>,
    /// The voice, or the recording to imitate
    #[arg(long = "REF_FILE", value_name = "NAME")]
    ref_file: Option<String>,
    /// What is said in the recording
    #[arg(long = "REF_TEXT", value_name = "TEXT")]
    ref_text: Option<String>,
    /// Where the voice is
    #[arg(long = "TTS_SERVER", value_name = "URL")]
    tts_server: Option<String>,
    #[command(flatten)]
    unused: Unused,
}

/// Taken, so that a command line of years need not be changed, and not used.
#[derive(Args, Default)]
struct Unused {
    #[arg(long, hide = true)]
    fps: Option<String>,
    #[arg(short, hide = true)]
    l: Option<String>,
    #[arg(short, hide = true)]
    m: Option<String>,
    #[arg(short, hide = true)]
    r: Option<String>,
    #[arg(long, hide = true)]
    model: Option<String>,
    #[arg(long = "batch_size", hide = true)]
    batch_size: Option<String>,
    #[arg(long, hide = true)]
    modelres: Option<String>,
    #[arg(long, hide = true)]
    modelfile: Option<String>,
    #[arg(long = "customvideo_config", hide = true)]
    customvideo_config: Option<String>,
    #[arg(long = "audio_output_device", hide = true)]
    audio_output_device: Option<String>,
}

impl Flags {
    /// Those that were given, by their names.
    pub(super) fn given(&self) -> Map<String, Value> {
        let Unused { fps, l, m, r, model, batch_size, modelres, modelfile, customvideo_config, audio_output_device } =
            &self.unused;
        let all = [
            ("listenport", &self.listenport),
            ("max_session", &self.max_session),
            ("avatar_id", &self.avatar_id),
            ("transport", &self.transport),
            ("push_url", &self.push_url),
            ("stun", &self.stun),
            ("tts", &self.tts),
            ("REF_FILE", &self.ref_file),
            ("REF_TEXT", &self.ref_text),
            ("TTS_SERVER", &self.tts_server),
            ("fps", fps),
            ("l", l),
            ("m", m),
            ("r", r),
            ("model", model),
            ("batch_size", batch_size),
            ("modelres", modelres),
            ("modelfile", modelfile),
            ("customvideo_config", customvideo_config),
            ("audio_output_device", audio_output_device),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?.into()))).collect()
    }
}
