//! From an offer to a viewer: what each way in has in common.

use std::sync::Arc;

use poem::Request;
use poem::http::StatusCode;
use tracing::{error, warn};

use super::{App, Failure, client};
use crate::metrics;
use crate::rtc::Offer;
use crate::session::{JoinError, Joined, Session, Terms};

impl App {
    /// Answers the offer in `sdp`: in `rejoined`, or in a new session that shows `avatar`. An offer of a viewer that is in
    /// `rejoined` is no other viewer: it wants another path to the same. Everything that can be refused is, before a slot is taken.
    pub(super) async fn join(
        &self,
        request: &Request,
        sdp: &str,
        avatar: &str,
        rejoined: Option<Arc<Session>>,
    ) -> Result<(Arc<Session>, Joined), Failure> {
        let trusted = &self.config.server.trusted_proxies;
        self.limits.offer(client::address(request, trusted))?;
        let offer = Offer::parse(sdp)?;
        let character = self.catalogue.get(avatar)?;
        let asked = client::asked(request, trusted, self.port()).await;

        let busy =
            || Failure::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many offers at once: try again").retry_after(1);
        let _place = self.waiting.try_acquire().map_err(|_| {
            metrics::rejected("L2");
            busy()
        })?;
        let slot = match rejoined {
            Some(_) => None,
            None => Some(self.shared.registry.reserve().inspect_err(|_| metrics::rejected("L1"))?),
        };
        let _negotiating = self.negotiating.acquire().await.map_err(|_| busy())?;
        if let Some(session) = &rejoined
            && let Some(joined) = session.rejoin(&offer, asked).await
        {
            let joined = joined.inspect_err(not_answered)?;
            return Ok((Arc::clone(session), joined));
        }
        let (session, is_new) = match (rejoined, slot) {
            (Some(session), _) => (session, false),
            (None, slot) => {
                let slot = slot.expect("reserved above when nothing is rejoined");
                let session = Session::start(&self.shared, slot, &character).map_err(|error| {
                    error!(%error, "no thread for a session");
                    Failure::new(StatusCode::SERVICE_UNAVAILABLE, "internal", "the server is out of threads").retry_after(5)
                })?;
                (session, true)
            }
        };
        let joined =
            session.join(&self.shared, &self.catalogue, offer, asked, Terms::default()).await.inspect_err(|error| {
                not_answered(error);
                if is_new {
                    session.end("bad_sdp");
                }
            })?;
        Ok((session, joined))
    }
}

fn not_answered(error: &JoinError) {
    if let JoinError::Rtc(error) = error {
        // The stack's errors can be as long as a packet.
        let error: String = error.to_string().chars().take(120).collect();
        warn!(error, "offer not answered");
    }
}
