//! WHIP (RFC 9725): a session's media to a WebRTC server.
//!
//! An offer is posted, the answer comes with 201 and the resource's address in `Location`, which is deleted at the end. A
//! redirect is followed only where it keeps the request (307, 308).

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, LINK, LOCATION, RETRY_AFTER};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::Ended;
use crate::cause::cause;
use crate::config;
use crate::rtc::{self, Broadcast};
use crate::session::{Session, Shared};
use crate::values::Secret;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(15);
/// How long a good-bye may take.
const GOODBYE: Duration = Duration::from_secs(2);
/// Answers are a few KiB.
const MAX_ANSWER: usize = 64 << 10;
/// Redirects that are followed.
const MAX_REDIRECTS: usize = 5;
/// Events of a broadcast: it has two.
const BROADCAST_EVENTS: usize = 4;
/// Longest wait that a server can ask for.
const MAX_RETRY_AFTER: u64 = 600;

const SDP: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// Why nothing is sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// `push.url` is no address.
    #[error("push.url is no address")]
    Address,
    /// Nobody answers. The address may hold a key, so it is not told.
    #[error("nobody answers: {}", cause(.0))]
    Http(#[source] reqwest::Error),
    /// The server refuses.
    #[error("the server answers {status}")]
    Refused {
        /// With which status.
        status: StatusCode,
        /// And when we may come again.
        retry_after: Option<Duration>,
    },
    /// What it answers is no SDP, or too long.
    #[error("the server's answer is no SDP")]
    NoAnswer,
    /// It takes no H.264.
    #[error("the server takes no H.264")]
    NoVideo,
    /// Our own stack, or the answer's contents.
    #[error(transparent)]
    Stack(#[from] rtc::Error),
}

impl Error {
    pub(super) fn needs_somebody(&self) -> bool {
        match self {
            Self::Refused { status, .. } => status.is_client_error() && *status != StatusCode::TOO_MANY_REQUESTS,
            Self::Address | Self::NoVideo | Self::NoAnswer => true,
            Self::Http(_) | Self::Stack(_) => false,
        }
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl From<reqwest::Error> for Error {
    fn from(error: reqwest::Error) -> Self {
        Self::Http(error.without_url())
    }
}

/// Sends `session`, whose number is `number`, until `stop` or something breaks.
pub(super) async fn send(
    shared: &Arc<Shared>,
    session: &Arc<Session>,
    config: &config::Push,
    number: u32,
    stop: &CancellationToken,
) -> Result<Ended, Error> {
    let endpoint = endpoint(config, number)?;
    let (events_tx, mut events) = mpsc::channel(BROADCAST_EVENTS);
    let (broadcast, offer) = Broadcast::offer(&shared.rtc, events_tx).await?;
    let server = Server { client: client(&endpoint)?, token: config.token.clone() };
    let resource = tokio::select! {
        biased;
        () = stop.cancelled() => return Ok(Ended::Stopped),
        resource = server.publish(endpoint, offer) => resource?,
    };
    // Whatever happens from here on, the server is told that it is over.
    let ended = tokio::select! {
        biased;
        () = stop.cancelled() => Ok(Ended::Stopped),
        () = session.over() => Ok(Ended::Stopped),
        ended = stream(session, &server, &broadcast, &resource, &mut events) => ended,
    };
    drop(broadcast);
    server.delete(&resource).await;
    ended
}

async fn stream(
    session: &Session,
    server: &Server,
    broadcast: &Broadcast,
    resource: &Resource,
    events: &mut mpsc::Receiver<rtc::Event>,
) -> Result<Ended, Error> {
    if !sends_video(&resource.answer) {
        return Err(Error::NoVideo);
    }
    broadcast.accept(resource.answer.clone()).await?;
    let telling = async {
        if let Some(fragment) = broadcast.reflexive(resource.stun.clone()).await {
            server.tell(resource, fragment).await;
        }
        std::future::pending::<()>().await;
    };
    let streaming = async {
        loop {
            match events.recv().await {
                Some(rtc::Event::Connected) => {
                    info!("sending");
                    session.receive(broadcast.sink());
                }
                Some(rtc::Event::Closed(closed)) => {
                    info!(?closed, "the connection is gone");
                    return Ok(Ended::Broke("connection"));
                }
                Some(_) => {}
                None => return Ok(Ended::Broke("connection")),
            }
        }
    };
    tokio::select! {
        () = telling => Ok(Ended::Stopped),
        ended = streaming => ended,
    }
}

/// LiveTalking's rule: session 0 goes to the address as it is, session 1 to that with a 1 behind it.
fn endpoint(config: &config::Push, number: u32) -> Result<Url, Error> {
    let url = config.url.reveal().unwrap_or_default();
    let url = if number == 0 { url.to_owned() } else { format!("{url}{number}") };
    url.parse().map_err(|_| Error::Address)
}

fn client(endpoint: &Url) -> Result<Client, Error> {
    let follow = Policy::custom(|attempt: Attempt| {
        let keeps = matches!(attempt.status(), StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
        if keeps && attempt.previous().len() <= MAX_REDIRECTS { attempt.follow() } else { attempt.stop() }
    });
    let builder = Client::builder()
        .redirect(follow)
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TIMEOUT)
        .user_agent(concat!("visavis/", env!("CARGO_PKG_VERSION")));
    let is_here = matches!(endpoint.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    Ok(if is_here { builder.no_proxy().build()? } else { builder.build()? })
}

/// What a server has made of our offer.
#[derive(Debug)]
struct Resource {
    /// To be deleted; a server that does not tell forgets it by itself.
    location: Option<Url>,
    answer: String,
    /// STUN servers to find our address with.
    stun: Vec<String>,
}

struct Server {
    client: Client,
    token: Secret,
}

impl Server {
    async fn publish(&self, endpoint: Url, offer: String) -> Result<Resource, Error> {
        let request = self.client.post(endpoint).header(CONTENT_TYPE, SDP).body(offer);
        let mut response = self.authorized(request).send().await?;
        let status = response.status();
        // RFC 9725 §4.2 has 201 alone; SRS has answered with 200.
        if !matches!(status, StatusCode::CREATED | StatusCode::OK) {
            return Err(Error::Refused { status, retry_after: retry_after(response.headers()) });
        }
        let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        let location = location.and_then(|location| response.url().join(location).ok());
        let stun = stun_servers(response.headers());
        let mut answer = Vec::new();
        while let Some(piece) = response.chunk().await? {
            answer.extend_from_slice(&piece);
            if answer.len() > MAX_ANSWER {
                return Err(Error::NoAnswer);
            }
        }
        let answer = String::from_utf8(answer).ok().filter(|answer| answer.starts_with("v=0")).ok_or(Error::NoAnswer)?;
        Ok(Resource { location, answer, stun })
    }

    /// One more address of ours. A server that takes none (405, 501) finds it out by itself.
    async fn tell(&self, resource: &Resource, fragment: String) {
        let Some(location) = resource.location.clone() else { return };
        let request = self.client.patch(location).header(CONTENT_TYPE, FRAGMENT).body(fragment);
        let status = self.authorized(request).send().await.map(|response| response.status().as_u16());
        debug!(status = status.ok(), "told our address");
    }

    async fn delete(&self, resource: &Resource) {
        let Some(location) = resource.location.clone() else { return };
        let request = self.authorized(self.client.delete(location)).timeout(GOODBYE);
        let status = request.send().await.map(|response| response.status().as_u16());
        info!(status = status.ok(), "no longer sending");
    }

    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        match self.token.reveal() {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse::<u64>().ok()?;
    Some(Duration::from_secs(seconds.min(MAX_RETRY_AFTER)))
}

/// The STUN servers among `Link: <stun:host:port>; rel="ice-server"` (RFC 9725 §4.6), several in a header or one each.
fn stun_servers(headers: &HeaderMap) -> Vec<String> {
    let links = headers.get_all(LINK).iter().filter_map(|link| link.to_str().ok());
    let is_server = |link: &&str| link.contains("rel=\"ice-server\"") || link.contains("rel=ice-server");
    let target = |link: &str| Some(link.trim_start().strip_prefix('<')?.split_once('>')?.0.to_owned());
    links
        .flat_map(|links| links.split(','))
        .filter(is_server)
        .filter_map(target)
        .filter(|url| url.starts_with("stun:"))
        .take(4)
        .collect()
}

/// Whether the answer takes our video line (port 0: it does not).
fn sends_video(answer: &str) -> bool {
    answer.lines().any(|line| line.starts_with("m=video ") && !line.starts_with("m=video 0 "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_session_stands_behind_the_address() {
        let config = config::Push { url: "http://host/whip/?app=live&stream=s".into(), ..config::Push::default() };
        assert_eq!(endpoint(&config, 0).unwrap().as_str(), "http://host/whip/?app=live&stream=s");
        assert_eq!(endpoint(&config, 3).unwrap().as_str(), "http://host/whip/?app=live&stream=s3");
    }

    #[test]
    fn stun_servers_are_found_among_links() {
        let mut headers = HeaderMap::new();
        let links = [
            "<stun:one:3478>; rel=\"ice-server\", <turn:two:3478>; rel=\"ice-server\"; username=\"u\"",
            "<stun:three:1>;rel=ice-server",
            "<https://host/>; rel=\"next\"",
            "stun:none",
        ];
        for link in links {
            headers.append(LINK, link.parse().unwrap());
        }
        assert_eq!(stun_servers(&headers), ["stun:one:3478", "stun:three:1"]);
    }

    #[test]
    fn a_line_that_is_refused_is_seen() {
        assert!(sends_video("v=0\r\nm=audio 9 X 111\r\nm=video 9 X 102\r\n"));
        assert!(!sends_video("v=0\r\nm=audio 9 X 111\r\nm=video 0 X 102\r\n") && !sends_video("v=0\r\n"));
    }

    #[test]
    fn what_time_heals_is_tried_again_soon() {
        let refused = |status: u16| Error::Refused { status: StatusCode::from_u16(status).unwrap(), retry_after: None };
        assert!(refused(401).needs_somebody() && refused(404).needs_somebody());
        assert!(!refused(503).needs_somebody() && !refused(429).needs_somebody());
    }
}
