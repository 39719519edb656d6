//! The running server: what is loaded and bound, in which order, and how it stops.

mod door;
mod head;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use poem::Endpoint;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::config::{BitrateBounds, Config, Output};
use crate::http::{self, App};
use crate::render::{Catalogue, CatalogueError, Repertoires};
use crate::rtc::{self, StunServers, UdpMux};
use crate::session::{Ears, Minds, SessionRegistry, Shared};
use crate::track::Bitrate;
use crate::tts::TextToSpeech;
use crate::{asr, janus, llm, metrics, minicpm, push, tts};

use door::{Door, Inside};

pub use tls::TlsError;

/// How long sessions may take to end once they are told to.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the rooms and relays that we are in may take to be left.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the end of all answers is looked for while draining.
const DRAIN_POLL: Duration = Duration::from_millis(100);

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The port is taken, or not ours to take.
    #[error("cannot listen on {address} ({transport}): {source}{hint}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// `tcp` or `udp`.
        transport: &'static str,
        /// What to do.
        hint: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No face.
    #[error(transparent)]
    Avatars(#[from] CatalogueError),
    /// The list of actions.
    #[error("actions.list {path}: {source}", path = path.display())]
    Actions {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No voice.
    #[error(transparent)]
    Voice(#[from] tts::Error),
    /// No language model.
    #[error("llm: {0}")]
    Model(#[from] llm::Error),
    /// No client for the tools of the language model.
    #[error("llm.tools: {0}")]
    Tools(#[from] reqwest::Error),
    /// No client for the servers of speech models.
    #[error("audio_proxy.minicpm: {0}")]
    SpeechModels(#[source] reqwest::Error),
    /// No HTTPS.
    #[error("tls: {0}")]
    Tls(#[from] TlsError),
    /// No figures.
    #[error("metrics: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    /// A loading thread panicked, or HTTP broke.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Loaded and bound, not yet serving.
pub struct Server {
    config: Config,
    tcp: std::net::TcpListener,
    /// The port that seed 002's signalling has for itself, if any.
    signalling: Option<std::net::TcpListener>,
    tls: Option<watch::Receiver<TlsAcceptor>>,
    shared: Arc<Shared>,
    catalogue: Arc<Catalogue>,
    metrics: PrometheusHandle,
}

impl Server {
    /// Binds both ports, then loads face and voice side by side. Whatever is missing is an error before anybody connects.
    pub async fn load(config: Config) -> Result<Self, Error> {
        let metrics = metrics::install()?;
        metrics::build_info();
        metrics::sessions(0);
        let listen = config.server.listen;
        let tcp = std::net::TcpListener::bind(listen).map_err(|source| bind_error(listen, "tcp", source))?;
        let address = tcp.local_addr()?;
        let mux = UdpMux::bind(address).map_err(|source| bind_error(address, "udp", source))?;
        let signalling = signalling(&config)?;
        ask_stun_servers(&config, &mux);
        let tls = tls::keep(&config.tls).await?;
        let wardrobe = config.wardrobe(true);
        let catalogue = tokio::task::spawn_blocking(move || Catalogue::load(&wardrobe));
        let (tts, dir) = (config.tts.clone(), config.models.dir.clone());
        let voice = tokio::task::spawn_blocking(move || voice(&tts, &dir));
        let catalogue = catalogue.await.map_err(io::Error::other)??;
        let voice = voice.await.map_err(io::Error::other)??;
        let catalogue = Arc::new(catalogue);
        let ears = ears(&config);
        let bitrate = bounds(config.webrtc.bitrate);
        let shared = Arc::new(Shared {
            registry: SessionRegistry::new(config.server.max_sessions),
            minds: Minds { chat: llm::build(&config.llm)?, voice, tools: Arc::new(llm::Toolbox::new(&config.llm.tools)?) },
            ears,
            history: llm::History { system_prompt: config.llm.system_prompt.clone(), tokens: config.llm.history_tokens },
            catalogue: Arc::clone(&catalogue),
            repertoires: repertoires(&config, &catalogue)?,
            rtc: rtc::Settings { mux, advertise: config.webrtc.advertise.clone(), tcp: config.webrtc.tcp, bitrate },
            bitrate,
            speech_models: minicpm::Pool::new(&config.audio_proxy.minicpm).map_err(Error::SpeechModels)?,
            numbered: OnceLock::new(),
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
        });
        Ok(Self { config, tcp, signalling, tls, shared, catalogue, metrics })
    }

    /// Where it listens: the port is known even if 0 was asked for.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Serves until SIGTERM or SIGINT, then drains: new sessions are refused, answers may end, then sessions do. A second
    /// signal ends at once.
    pub async fn run(self) -> Result<(), Error> {
        let app = App::new(self.config.clone(), Arc::clone(&self.shared), self.catalogue, self.metrics);
        let stop_http = CancellationToken::new();
        let door = |tcp| {
            let media = self.config.webrtc.tcp.then(|| Arc::clone(&self.shared.rtc.mux));
            Door::open(tcp, Inside { media, tls: self.tls.clone(), trusted: self.config.server.trusted_proxies.clone() })
        };
        let serving = tokio::spawn(serve(door(self.tcp)?, http::routes(&app), stop_http.clone()));
        if let Some(tcp) = self.signalling {
            tokio::spawn(serve(door(tcp)?, http::signalling_routes(&app), stop_http.clone()));
        }
        let rooms = Rooms::enter(&self.config, &self.shared);
        let mut signals = Signals::new()?;
        signals.next().await;
        info!("stopping: no new sessions; answers may end");
        tokio::select! {
            () = drain(&self.shared, rooms, self.config.server.shutdown_grace) => {}
            () = signals.next() => warn!("second signal: stopping at once"),
        }
        stop_http.cancel();
        serving.await.map_err(io::Error::other)??;
        Ok(())
    }
}

/// Serves `routes` until `stop` fires, and for one second more.
async fn serve(door: Door, routes: impl Endpoint + 'static, stop: CancellationToken) -> io::Result<()> {
    let server = poem::Server::new_with_acceptor(door);
    server.run_with_graceful_shutdown(routes, stop.cancelled_owned(), Some(Duration::from_secs(1))).await
}

/// The port of seed 002's signalling, on the address of everything else.
fn signalling(config: &Config) -> Result<Option<std::net::TcpListener>, Error> {
    let webrtc = &config.xiaozhi.webrtc;
    if !config.xiaozhi.enabled || !webrtc.enabled || webrtc.port == 0 || webrtc.port == config.server.listen.port() {
        return Ok(None);
    }
    let address = SocketAddr::new(config.server.listen.ip(), webrtc.port);
    let tcp = std::net::TcpListener::bind(address).map_err(|source| bind_error(address, "tcp", source))?;
    Ok(Some(tcp))
}

/// Finds out where we are on the other side of a NAT, beside everything else.
fn ask_stun_servers(config: &Config, mux: &Arc<UdpMux>) {
    let webrtc = &config.xiaozhi.webrtc;
    let urls: Vec<String> = webrtc.stun_servers.iter().map(|server| server.urls.clone()).collect();
    if config.xiaozhi.enabled && webrtc.enabled && !urls.is_empty() {
        let servers = StunServers { urls, retries: webrtc.max_retries, patience: webrtc.retry_interval };
        tokio::spawn(rtc::keep_reflexive(Arc::clone(mux), servers));
    }
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Rooms of other servers in which the avatar takes part, and servers that it is sent to.
struct Rooms {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Rooms {
    fn enter(config: &Config, shared: &Arc<Shared>) -> Self {
        let rooms = Self { stop: CancellationToken::new(), tasks: TaskTracker::new() };
        if config.janus.enabled {
            rooms.tasks.spawn(janus::run(Arc::clone(shared), config.janus.clone(), rooms.stop.clone()));
        }
        if config.relay.enabled {
            rooms.tasks.spawn(janus::run_relay(Arc::clone(shared), config.relay.clone(), rooms.stop.clone()));
        }
        if config.push.to != Output::Off {
            push::start(shared, config.push.clone(), rooms.stop.clone(), &rooms.tasks);
        }
        rooms
    }

    /// Says good-bye to all of them.
    async fn leave(self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(LEAVE_TIMEOUT, self.tasks.wait()).await.is_err() {
            warn!("a room of another server was not left in time");
        }
    }
}

/// Refuses new sessions, lets answers end for at most `grace`, then ends all sessions and waits for them.
async fn drain(shared: &Shared, rooms: Rooms, grace: Duration) {
    shared.registry.drain();
    let silent = async {
        while shared.registry.all().iter().any(|session| session.state() != crate::session::State::Idle) {
            tokio::time::sleep(DRAIN_POLL).await;
        }
    };
    if tokio::time::timeout(grace, silent).await.is_err() {
        warn!("answers were still going on after the grace period");
    }
    rooms.leave().await;
    for session in shared.registry.all() {
        session.end("shutdown");
    }
    shared.stop.cancel();
    shared.tracker.close();
    if tokio::time::timeout(END_TIMEOUT, shared.tracker.wait()).await.is_err() {
        warn!(tasks = shared.tracker.len(), "sessions did not end in time");
    }
}

/// Loads the ears beside everything else: nobody has spoken before a second has passed.
fn ears(config: &Config) -> Option<Ears> {
    if config.asr.provider == asr::Provider::Off {
        return None;
    }
    let (loaded, recogniser) = watch::channel(None);
    let (settings, dir) = (config.asr.clone(), config.models.dir.clone());
    tokio::task::spawn_blocking(move || match asr::build(&settings, &dir) {
        Ok(ears) => drop(loaded.send(ears)),
        Err(error) => error!(%error, "no ears: microphones will not be understood"),
    });
    Some(Ears { recogniser, config: config.asr.clone() })
}

/// The films that the configuration names.
fn repertoires(config: &Config, catalogue: &Catalogue) -> Result<Repertoires, Error> {
    let path = &config.actions.list;
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Actions { path: path.clone(), source };
    let list = if path.as_os_str().is_empty() { Ok(String::new()) } else { std::fs::read_to_string(path) };
    let list = list.map_err(|error| failed(error.into()))?;
    Repertoires::new(list, config.actions.dir.clone(), Arc::clone(catalogue.films())).map_err(|error| failed(error.into()))
}

/// Whether the certificate that the configuration asks for can be used; makes one of our own if it asks for that.
pub fn check_tls(config: &crate::config::Tls) -> Result<(), TlsError> {
    tls::acceptor(config).map(drop)
}

/// The voice that the configuration names.
pub fn voice(config: &tts::Config, models: &Path) -> Result<Arc<dyn TextToSpeech>, tts::Error> {
    tts::build(config, models)
}

/// From the configuration's units to the encoder's.
pub fn bounds(bounds: BitrateBounds) -> Bitrate {
    Bitrate { min: bounds.min.0, start: bounds.start.0, max: bounds.max.0 }
}

fn bind_error(address: SocketAddr, transport: &'static str, source: io::Error) -> Error {
    let hint = match source.kind() {
        io::ErrorKind::AddrInUse => ". Another program, perhaps another visavis, has it: stop it, or set server.listen",
        io::ErrorKind::PermissionDenied => ". Ports below 1024 need root: set server.listen to a higher one",
        io::ErrorKind::AddrNotAvailable => ". That address is not this machine's: set server.listen",
        _ => "",
    };
    Error::Bind { address, transport, hint, source }
}
