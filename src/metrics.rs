//! Every metric, declared once: name, unit, and buckets set round the deadline it is held against.

use std::time::Duration;

use metrics::{counter, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// A picture is due every 40 ms, so what one costs is measured against that.
const PICTURE_BUCKETS: &[f64] = &[0.000_5, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.04, 0.08];
/// A person waits: 250 ms is the goal, 4 s the end of patience.
const TURN_BUCKETS: &[f64] = &[0.02, 0.05, 0.1, 0.15, 0.25, 0.35, 0.5, 0.75, 1.0, 2.0, 4.0];

/// Installs the recorder; its handle renders `/metrics`.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("encode_seconds".into()), PICTURE_BUCKETS)?
        .set_buckets_for_metric(Matcher::Suffix("network_run_seconds".into()), PICTURE_BUCKETS)?
        .set_buckets(TURN_BUCKETS)?
        .install_recorder()
}

/// The build, once.
pub fn build_info() {
    gauge!("visavis_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}

/// Sessions that hold a slot.
pub fn sessions(count: usize) {
    gauge!("visavis_sessions").set(count as f64);
}

/// Viewers of all sessions that are connected.
pub fn viewers(change: f64) {
    gauge!("visavis_viewers").increment(change);
}

/// Rooms of other servers that we are connected with.
pub fn calls(change: f64) {
    gauge!("visavis_calls").increment(change);
}

/// Broadcasts to other servers that are connected, WHIP and RTMP.
pub fn broadcasts(change: f64) {
    gauge!("visavis_broadcasts").increment(change);
}

/// A broadcast to another server failed or broke; `why` is one word.
pub fn push_failed(why: &'static str) {
    counter!("visavis_push_failures_total", "why" => why).increment(1);
}

/// What our part in the Janus room is doing.
pub fn janus_state(state: &'static str) {
    for known in ["off", "connecting", "waiting", "in_room", "out"] {
        gauge!("visavis_janus_state", "state" => known).set(f64::from(u8::from(known == state)));
    }
}

/// We came back to the Janus room, or had to; `why` is one word.
pub fn janus_reconnect(why: &'static str) {
    counter!("visavis_janus_reconnects_total", "why" => why).increment(1);
}

/// Janus refused something, by its own number, or did not answer.
pub fn janus_error(code: String) {
    counter!("visavis_janus_errors_total", "code" => code).increment(1);
}

/// From a sign of life to its acknowledgement.
pub fn janus_round_trip(took: Duration) {
    histogram!("visavis_janus_keepalive_seconds").record(took);
}

/// Packets of a Janus room: `in`, `out`, or `lost` on the way in.
pub fn janus_packets(kind: &'static str, count: u64) {
    counter!("visavis_janus_packets_total", "kind" => kind).increment(count);
}

/// Times that nothing came from a Janus room for longer than 120 ms.
pub fn janus_gaps(count: u64) {
    counter!("visavis_janus_gaps_total").increment(count);
}

/// How loud it was in the last minute, `in` the room or `out`, in decibels below full scale.
pub fn janus_level(direction: &'static str, dbfs: f64) {
    gauge!("visavis_janus_level_dbfs", "direction" => direction).set(dbfs);
}

/// Whether Janus says that it receives our sound.
pub fn janus_receiving(receiving: bool) {
    gauge!("visavis_janus_receiving").set(f64::from(u8::from(receiving)));
}

/// Whether we are muted in the Janus room, or the room is.
pub fn janus_muted(muted: bool) {
    gauge!("visavis_janus_muted").set(f64::from(u8::from(muted)));
}

/// Janus says that packets are lost on their way `in` or `out`.
pub fn janus_slow_link(direction: &'static str) {
    counter!("visavis_janus_slow_links_total", "direction" => direction).increment(1);
}

/// The relay is away.
pub fn relay_reconnect() {
    counter!("visavis_relay_reconnects_total").increment(1);
}

/// A session got its slot.
pub fn session_created() {
    counter!("visavis_sessions_created_total").increment(1);
}

/// A session gave its slot back.
pub fn session_closed(reason: &'static str) {
    counter!("visavis_sessions_closed_total", "reason" => reason).increment(1);
}

/// An offer was answered, or why not.
pub fn offer(result: &'static str, took: Duration) {
    counter!("visavis_offers_total", "result" => result).increment(1);
    histogram!("visavis_offer_seconds").record(took);
}

/// A viewer took another path.
pub fn ice_restart() {
    counter!("visavis_ice_restarts_total").increment(1);
}

/// Films that are being made.
pub fn recordings(change: f64) {
    gauge!("visavis_recordings").increment(change);
}

/// Bytes of sound and pictures that went into films.
pub fn recorded(bytes: usize) {
    counter!("visavis_recorded_bytes_total").increment(bytes as u64);
}

/// A request was refused by one of the limits L1–L20.
pub fn rejected(limit: &'static str) {
    counter!("visavis_rejected_total", "limit" => limit).increment(1);
}

/// News of an avatar's task was told, or not.
pub fn hook(result: &'static str) {
    counter!("visavis_task_notices_total", "result" => result).increment(1);
}

/// A datagram was dropped before the WebRTC stack saw it.
pub fn udp_dropped(why: &'static str) {
    counter!("visavis_udp_dropped_total", "why" => why).increment(1);
}

/// A datagram of a handshake was sent again: the other side had not got it.
pub fn handshake_repeated() {
    counter!("visavis_handshake_repeated_total").increment(1);
}

/// A keyframe left for a viewer.
pub fn keyframe() {
    counter!("visavis_keyframes_total").increment(1);
}

/// One picture encoded.
pub fn encode_seconds(codec: &'static str, took: Duration) {
    histogram!("visavis_encode_seconds", "codec" => codec).record(took);
}

/// One run of a network that sessions share: how many pictures it made.
pub fn network_run(network: &'static str, pictures: usize, took: Duration) {
    histogram!("visavis_network_run_seconds", "network" => network).record(took);
    counter!("visavis_network_pictures_total", "network" => network).increment(pictures as u64);
}

/// Pictures that a network did not make, for it would have been too late: the one before is shown.
pub fn network_late(pictures: u64) {
    counter!("visavis_network_late_total").increment(pictures);
}

/// A frame that was due was not sent.
pub fn frame_dropped(kind: &'static str, why: &'static str) {
    counter!("visavis_frames_dropped_total", "kind" => kind, "why" => why).increment(1);
}

/// Rendering had nothing when a slice was due.
pub fn underrun() {
    counter!("visavis_underruns_total").increment(1);
}

/// A picture was not drawn, for drawing was too slow: the one before was shown for longer.
pub fn picture_skipped() {
    counter!("visavis_pictures_skipped_total").increment(1);
}

/// Ticks of 20 ms given up to a stall.
pub fn skipped_ticks(ticks: u64) {
    if ticks > 0 {
        counter!("visavis_skipped_ticks_total").increment(ticks);
    }
}

/// A render or encode thread panicked.
pub fn render_panic() {
    counter!("visavis_render_panics_total").increment(1);
}

/// From the text's arrival to a stage of its answer: `llm` first delta, `tts` first sound, `played` first sample.
pub fn turn_stage(stage: &'static str, took: Duration) {
    histogram!("visavis_turn_seconds", "stage" => stage).record(took);
}

/// An utterance was not written down.
pub fn asr_failed() {
    counter!("visavis_asr_failures_total").increment(1);
}

/// A provider of `kind` `llm` or `tts` was asked: `ok`, or one word for what went wrong.
pub fn provider_asked(kind: &'static str, provider: &'static str, result: &'static str) {
    counter!("visavis_provider_requests_total", "kind" => kind, "provider" => provider, "result" => result).increment(1);
}

/// From a question to a provider until the first token or sound came back.
pub fn provider_first_byte(kind: &'static str, provider: &'static str, took: Duration) {
    histogram!("visavis_provider_first_byte_seconds", "kind" => kind, "provider" => provider).record(took);
}

/// A recorded line stood in for an answer that failed.
pub fn fallback_spoken() {
    counter!("visavis_fallback_spoken_total").increment(1);
}

/// A model had something done.
pub fn tool_used(worked: bool) {
    counter!("visavis_tools_used_total", "result" => if worked { "ok" } else { "error" }).increment(1);
}

/// From the request to interrupt until the turn was cut everywhere.
pub fn interrupted(took: Duration) {
    histogram!("visavis_interrupt_seconds").record(took);
}

/// An attempt of a voice to say a clause failed; `why` is one word.
pub fn voice_failed(voice: &'static str, why: &'static str) {
    counter!("visavis_voice_failures_total", "voice" => voice, "why" => why).increment(1);
}

/// 200 ms of sound went to a MiniCPM server, and what it says about it: `done`, `skip` (lost: it was not listening), `error`.
pub fn upload(ack: &'static str) {
    counter!("visavis_minicpm_uploads_total", "ack" => ack).increment(1);
}

/// So many 20 ms frames of a microphone were too old to be sent to a MiniCPM server.
pub fn upload_dropped(frames: u64) {
    counter!("visavis_minicpm_frames_dropped_total").increment(frames);
}

/// Something went wrong with a MiniCPM server; `why` is one word.
pub fn minicpm_failed(why: &'static str) {
    counter!("visavis_minicpm_failures_total", "why" => why).increment(1);
}

/// Clients of `/audio_proxy` that are connected.
pub fn proxy_clients(change: f64) {
    gauge!("visavis_audio_proxy_clients").increment(change);
}
