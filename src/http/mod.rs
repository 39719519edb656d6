//! The HTTP surface: `LiveTalking`'s routes, ours under `/v1`, operations, and the page.

mod audio_proxy;
mod client;
mod error;
mod gate;
mod humanaudio;
mod livetalking;
mod ops;
mod page;
mod v1;

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use poem::middleware::CatchPanic;
use poem::{Endpoint, EndpointExt, IntoEndpoint, Response, Route, get};
use poem_openapi::OpenApiService;
use tokio::sync::Semaphore;

use crate::audio_proxy::Proxy;
use crate::config::Config;
use crate::render::Catalogue;
use crate::session::Shared;

use error::Failure;
use gate::Limits;

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
    limits: Limits,
    negotiating: Semaphore,
    waiting: Semaphore,
}

impl App {
    /// Over a running server's parts.
    pub fn new(config: Config, shared: Arc<Shared>, catalogue: Arc<Catalogue>, metrics: PrometheusHandle) -> Arc<Self> {
        let limits = Limits::new(config.server.offers_per_minute);
        let audio_proxy = config.audio_proxy.enabled.then(|| Proxy::new(config.audio_proxy.clone(), Arc::clone(&shared)));
        Arc::new(Self {
            config,
            shared,
            catalogue,
            metrics,
            audio_proxy,
            limits,
            negotiating: Semaphore::new(NEGOTIATIONS),
            waiting: Semaphore::new(NEGOTIATIONS + NEGOTIATIONS_WAITING),
        })
    }
}

/// All routes.
pub fn routes(app: &Arc<App>) -> impl Endpoint<Output = Response> + use<> {
    let api = OpenApiService::new(
        (
            livetalking::Api { app: Arc::clone(app) },
            humanaudio::Api { app: Arc::clone(app) },
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
        .at("/is_speaking", api)
        .at("/openapi.json", spec)
        .at("/healthz", get(ops::healthz))
        .at("/readyz", get(ops::readyz))
        .at("/metrics", get(ops::metrics));
    let routes = match &app.audio_proxy {
        Some(proxy) => routes.at("/audio_proxy", get(audio_proxy::audio_proxy).data(Arc::clone(proxy))),
        None => routes,
    };
    let routes = page::routes(routes, &app.config.server.page).data(Arc::clone(app)).map_to_response();
    let gate_app = Arc::clone(app);
    routes
        .around(move |endpoint, request| gate::pass(endpoint, Arc::clone(&gate_app), request))
        .with(CatchPanic::new().with_handler(panicked))
        .map_to_response()
}

/// A bug in a handler: the log has it, the client gets the same form of error as ever.
fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    let status = poem::http::StatusCode::INTERNAL_SERVER_ERROR;
    Failure::new(status, "internal", "the request failed on the server").into_response_for("", "")
}
