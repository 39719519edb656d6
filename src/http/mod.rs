//! The HTTP surface: `LiveTalking`'s routes, ours under `/v1`, operations, and the page.

mod admin;
mod asr;
mod audio_proxy;
mod avatar;
mod client;
mod error;
mod gate;
mod humanaudio;
mod join;
mod livetalking;
mod ops;
mod page;
mod record;
mod signalling;
mod sse;
mod v1;
mod whep;

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use poem::middleware::CatchPanic;
use poem::{Endpoint, EndpointExt, IntoEndpoint, Response, Route, get, patch, post};
use poem_openapi::OpenApiService;
use tokio::sync::Semaphore;

use crate::audio_proxy::Proxy;
use crate::config::Config;
use crate::funasr::FunAsrSocket;
use crate::record::Recordings;
use crate::render::Catalogue;
use crate::session::Shared;
use crate::xiaozhi::{self, Signalling};

use error::Failure;
use gate::Limits;

pub use v1::turn_credentials;

/// Negotiations at once, and those that may wait (L2).
const NEGOTIATIONS: usize = 4;
const NEGOTIATIONS_WAITING: usize = 16;

/// What the routes share.
pub struct App {
    config: Config,
    shared: Arc<Shared>,
    catalogue: Arc<Catalogue>,
    metrics: PrometheusHandle,
    audio_proxy: Option<Arc<Proxy>>,
    funasr: Arc<FunAsrSocket>,
    recordings: Arc<Recordings>,
    limits: Limits,
    negotiating: Semaphore,
    waiting: Semaphore,
    /// Places for event streams.
    streams: Arc<Semaphore>,
    /// xiaozhi's devices, if they are wanted.
    xiaozhi: Option<Arc<xiaozhi::Gateway>>,
    /// Seed 002's, if it is wanted.
    signalling: Option<Arc<Signalling>>,
    /// Where avatars are made, if they are.
    studio: Option<Arc<avatar::Studio>>,
}

impl App {
    /// Over a running server's parts.
    pub fn new(config: Config, shared: Arc<Shared>, catalogue: Arc<Catalogue>, metrics: PrometheusHandle) -> Arc<Self> {
        let offers_per_minute = config.server.offers_per_minute;
        let limits = Limits::new(offers_per_minute);
        let theirs = &config.xiaozhi;
        let xiaozhi = theirs
            .enabled
            .then(|| xiaozhi::Gateway::new(Arc::clone(&shared), theirs.clone(), config.server.trusted_proxies.clone()));
        let signalling = xiaozhi.as_ref().filter(|_| theirs.webrtc.enabled);
        let signalling = signalling.map(|gateway| Signalling::new(Arc::clone(gateway), offers_per_minute));
        let audio_proxy = config.audio_proxy.enabled.then(|| Proxy::new(config.audio_proxy.clone(), Arc::clone(&shared)));
        let funasr = Arc::new(FunAsrSocket::new(Arc::clone(&shared)));
        let studio = config.studio.enabled.then(|| avatar::Studio::start(&config, &catalogue)).flatten().map(Arc::new);
        let recordings = Recordings::open(config.record.clone(), shared.tracker.clone());
        Arc::new(Self {
            config,
            funasr,
            shared,
            catalogue,
            metrics,
            audio_proxy,
            recordings,
            limits,
            negotiating: Semaphore::new(NEGOTIATIONS),
            waiting: Semaphore::new(NEGOTIATIONS + NEGOTIATIONS_WAITING),
            streams: Arc::new(Semaphore::new(sse::STREAMS)),
            xiaozhi,
            signalling,
            studio,
        })
    }

    /// Where media and HTTP arrive.
    fn port(&self) -> u16 {
        self.shared.rtc.mux.local_addr().port()
    }
}

/// All routes.
pub fn routes(app: &Arc<App>) -> impl Endpoint<Output = Response> + use<> {
    let api = OpenApiService::new(
        (
            livetalking::Api { app: Arc::clone(app) },
            humanaudio::Api { app: Arc::clone(app) },
            record::Api { app: Arc::clone(app) },
            v1::Api { app: Arc::clone(app) },
        ),
        "Visavis",
        env!("CARGO_PKG_VERSION"),
    );
    let spec = api.spec_endpoint();
    // The API's own router sits under each of its paths, so that `/` stays free for the page.
    let api = Arc::new(api.into_endpoint());
    let routes = Route::new()
        .nest_no_strip("/v1", Arc::clone(&api))
        .at("/offer", Arc::clone(&api))
        .at("/human", Arc::clone(&api))
        .at("/humanaudio", Arc::clone(&api))
        .at("/interrupt_talk", Arc::clone(&api))
        .at("/set_audiotype", Arc::clone(&api))
        .at("/is_speaking", Arc::clone(&api))
        .at("/record", api)
        .at("/record/:id", get(record::download))
        .at("/openapi.json", spec)
        .at("/sse", get(sse::sse))
        .at("/api/asr", get(asr::asr))
        .at("/api/admin/config", get(admin::settings))
        .at("/api/admin/sessions", get(admin::sessions))
        .at("/whep", post(whep::watch))
        .at("/whep/:session/:viewer", patch(whep::trickle).delete(whep::leave))
        .at("/healthz", get(ops::healthz))
        .at("/readyz", get(ops::readyz))
        .at("/metrics", get(ops::metrics));
    let routes = gateways(routes, app);
    guarded(page::routes(routes, &app.config.server.page), app)
}

/// The routes of the port that seed 002's signalling has for itself.
pub fn signalling_routes(app: &Arc<App>) -> impl Endpoint<Output = Response> + use<> {
    guarded(signalling(Route::new(), app), app)
}

/// What the signalling is reached by.
fn signalling(routes: Route, app: &App) -> Route {
    match app.signalling {
        Some(_) => routes.at(&app.config.xiaozhi.webrtc.signaling_path, get(signalling::open)),
        None => routes,
    }
}

/// `routes` behind the gate.
fn guarded(routes: Route, app: &Arc<App>) -> impl Endpoint<Output = Response> + use<> {
    let routes = routes.data(Arc::clone(app)).map_to_response();
    let gate_app = Arc::clone(app);
    routes
        .around(move |endpoint, request| gate::pass(endpoint, Arc::clone(&gate_app), request))
        .with(CatchPanic::new().with_handler(panicked))
        .map_to_response()
}

/// What the configuration turns on; what is off has no route.
fn gateways(routes: Route, app: &App) -> Route {
    let routes = signalling(routes, app);
    let routes = match &app.audio_proxy {
        Some(proxy) => routes.at("/audio_proxy", get(audio_proxy::audio_proxy.data(Arc::clone(proxy)))),
        None => routes,
    };
    let routes = match &app.studio {
        Some(studio) => routes
            .at(avatar::PATH, post(avatar::create_task.data(Arc::clone(studio))))
            .at(
                "/api/avatar/task/:id",
                get(avatar::read_task.data(Arc::clone(studio))).delete(avatar::delete_task.data(Arc::clone(studio))),
            )
            .at("/api/avatar/tasks", get(avatar::list_tasks.data(Arc::clone(studio)))),
        None => routes,
    };
    match &app.xiaozhi {
        Some(gateway) => routes.at(xiaozhi::DEVICE_PATH, get(xiaozhi::device_socket.data(Arc::clone(gateway)))).at(
            xiaozhi::OTA_PATH,
            get(xiaozhi::ota_status.data(Arc::clone(gateway))).post(xiaozhi::ota_reply.data(Arc::clone(gateway))),
        ),
        None => routes,
    }
}

/// A bug in a handler: the log has it, the client gets the same form of error as ever.
fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    let status = poem::http::StatusCode::INTERNAL_SERVER_ERROR;
    Failure::new(status, "internal", "the request failed on the server").into_response_for("", "")
}
