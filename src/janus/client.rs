//! The life of our part in a room: connect, join, talk, and all over again when something breaks.
//!
//! In: the configuration, and what the server tells. Out: a session whose guest is the room. One task. What the others hear
//! does not hang on the WebSocket: where the server keeps our session for a while (`reclaim_session_timeout`), it is claimed
//! by the next one, and media goes on in between.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::figures::Figures;
use super::protocol::{Event, Place, Reply, Request};
use super::room::{self, Change, Room};
use super::seat::Seat;
use super::signalling::{self, Signalling};
use crate::backoff::Backoff;
use crate::config::Janus;
use crate::metrics;
use crate::rtc::{self, Call};
use crate::session::{NoGuest, Shared};

/// Events of a call: it has two.
const CALL_EVENTS: usize = 4;
/// Signs of life, if the server does not say how long it waits for them (60 s is its own default).
const KEEPALIVE: Duration = Duration::from_secs(25);
/// How long each word of a good-bye may take.
const GOODBYE: Duration = Duration::from_secs(1);
/// How often, and how many times, a number is asked for again whose owner was removed: Janus takes 0.6 s.
const GHOST_POLL: Duration = Duration::from_millis(300);
const GHOST_CHECKS: usize = 6;
/// A room that held for so long was entered well: the next try comes soon again.
const HELD: Duration = Duration::from_secs(20);
/// How often the figures are looked at.
const FIGURES: Duration = Duration::from_secs(5);

/// Why we are not in the room.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the janus server {0}")]
    Signalling(#[from] signalling::Error),
    #[error("the room's connection: {0}")]
    Call(#[from] rtc::Error),
    #[error(transparent)]
    Seat(#[from] NoGuest),
}

impl Failure {
    /// Whether a person has to do something about it: wrong secret (403), no audiobridge (460), no room (485), wrong pin
    /// (489), no session free.
    fn needs_somebody(&self) -> bool {
        match self {
            Self::Signalling(error) => [403, 460, room::NO_SUCH_ROOM, 489].into_iter().any(|code| error.is(code)),
            Self::Call(_) => false,
            Self::Seat(_) => true,
        }
    }
}

/// How a visit ended.
enum Left {
    /// We are to stop, and have said good-bye.
    Stopped,
    /// The WebSocket is gone; the rest may live.
    Cut,
    /// It is over, for this reason.
    Over(&'static str),
    /// We were removed and do not come back.
    Out,
}

/// Our presence in the room.
struct Presence {
    place: Place,
    room: Room,
    call: Call,
    called: mpsc::Receiver<rtc::Event>,
    /// Since when media flows.
    since: Option<Instant>,
    /// How long the server keeps it without a WebSocket.
    kept_for: Duration,
}

/// What the server says about itself.
#[derive(Clone, Copy)]
struct Customs {
    keepalive: Duration,
    reclaim: Duration,
}

/// Takes part in the room until `stop`.
pub(crate) async fn run(shared: Arc<Shared>, config: Janus, stop: CancellationToken) {
    let client = Client { shared, config, stop, seat: None, last_session: None, figures: Figures::default() };
    client.run().await;
}

struct Client {
    shared: Arc<Shared>,
    config: Janus,
    stop: CancellationToken,
    seat: Option<Seat>,
    /// Our latest session of the server: perhaps our ghost.
    last_session: Option<u64>,
    figures: Figures,
}

impl Client {
    async fn run(mut self) {
        let mut backoff = Backoff::default();
        let mut kept: Option<(Presence, Instant)> = None;
        loop {
            metrics::janus_state("connecting");
            let (why, patient) = match self.visit(&mut kept).await {
                Ok(Left::Stopped) => return metrics::janus_state("off"),
                Ok(Left::Out) => {
                    metrics::janus_state("out");
                    info!(room = self.config.room, "removed from the janus room; janus.rejoin is off");
                    self.seat = None;
                    return self.stop.cancelled().await;
                }
                Ok(Left::Cut) => ("websocket", false),
                Ok(Left::Over(why)) => (why, false),
                Err(failure) => {
                    warn!(error = %failure, room = self.config.room, "not in the janus room");
                    ("failed", failure.needs_somebody())
                }
            };
            metrics::janus_reconnect(why);
            if let Some((presence, at)) = kept.take_if(|(presence, at)| at.elapsed() > presence.kept_for) {
                debug!(session_age_s = at.elapsed().as_secs(), "the server has given up our session");
                drop(presence);
            }
            if self.figures.held_for() > HELD {
                backoff.reset();
            }
            if kept.is_none() {
                self.silenced().await;
                self.figures.left();
            }
            let wait = if kept.is_some() { backoff.next(false).min(Duration::from_secs(1)) } else { backoff.next(patient) };
            metrics::janus_state("waiting");
            info!(why, room = self.config.room, wait_ms = wait.as_millis(), "coming back to the janus room");
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = sleep(wait) => {}
            }
        }
    }

    /// Nobody in the room hears us.
    async fn silenced(&self) {
        if let Some(seat) = &self.seat {
            seat.hush().await;
        }
    }

    /// From the connection of the WebSocket to its end.
    async fn visit(&mut self, kept: &mut Option<(Presence, Instant)>) -> Result<Left, Failure> {
        let stop = self.stop.clone();
        let arriving = async {
            let (line, events) = Signalling::connect(&self.config.url, self.config.api_secret()).await?;
            let customs = customs(&line).await?;
            let claimed = match kept.take() {
                Some((presence, _)) => claim(&line, presence).await,
                None => None,
            };
            let presence = match claimed {
                Some(presence) => presence,
                None => self.enter(&line, customs).await?,
            };
            Ok::<_, Failure>((line, events, customs, presence))
        };
        let (line, mut events, customs, mut presence) = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(Left::Stopped),
            arrived = arriving => arrived?,
        };
        let session = presence.place.session.unwrap_or_default();
        let _alive = line.keep_alive(session, customs.keepalive);
        let left = self.stay(&mut events, &mut presence).await;
        match left {
            Left::Cut if !customs.reclaim.is_zero() => {
                presence.kept_for = customs.reclaim;
                *kept = Some((presence, Instant::now()));
            }
            Left::Cut => {}
            Left::Stopped | Left::Over(_) | Left::Out => {
                self.goodbye(&line, presence).await;
                line.close().await;
            }
        }
        Ok(left)
    }

    /// A session, a handle, the room, and media. What was begun is undone if it cannot be ended.
    async fn enter(&mut self, line: &Signalling, customs: Customs) -> Result<Presence, Failure> {
        let session = made(&line.ask(Place::default(), Request::Create).await?, "create")?;
        let alive = line.keep_alive(session, customs.keepalive);
        let entered = self.enter_room(line, session).await;
        drop(alive);
        if entered.is_err() {
            let _ = timeout(GOODBYE, line.ask(Place::session(session), Request::Destroy)).await;
            line.close().await;
        } else {
            self.last_session = Some(session);
        }
        entered
    }

    async fn enter_room(&mut self, line: &Signalling, session: u64) -> Result<Presence, Failure> {
        let handle = made(&line.ask(Place::session(session), Request::Attach).await?, "attach")?;
        let place = Place::handle(session, handle);
        let room = self.join(line, place).await?;
        if self.seat.as_ref().is_none_or(Seat::is_over) {
            self.seat = Some(Seat::take(&self.shared, &self.config)?);
        }
        let seat = self.seat.as_ref().expect("taken above");
        let (calls, called) = mpsc::channel(CALL_EVENTS);
        let (call, offer) = Call::offer(&self.shared.rtc, calls, seat.ears()).await?;
        let configure = Request::Tell { body: room::configure(&self.config), offer: Some(offer) };
        let Reply::Plugin { answer: Some(answer), .. } = line.ask(place, configure).await? else {
            return Err(signalling::Error::Garbled("configure").into());
        };
        call.accept(&answer).await?;
        info!(room = self.config.room, participant = room.us(), others = room.others(), "joined the janus room");
        Ok(Presence { place, room, call, called, since: None, kept_for: Duration::ZERO })
    }

    /// Joins, makes the room if there is none, and gets past a ghost of ours.
    async fn join(&self, line: &Signalling, place: Place) -> Result<Room, Failure> {
        let ask = async |id: Option<u64>| {
            let body = room::join(&self.config, id);
            let reply = line.ask(place, Request::Tell { body, offer: None }).await?;
            let joined = if let Reply::Plugin { data, .. } = reply { Room::joined(&data, self.config.muted) } else { None };
            joined.ok_or(signalling::Error::Garbled("join"))
        };
        let id = self.config.id;
        let mut joined = ask(id).await;
        if joined.as_ref().is_err_and(|error| error.is(room::NO_SUCH_ROOM)) && self.config.create {
            match line.ask(place, Request::Ask(room::create(&self.config))).await {
                Ok(_) => info!(room = self.config.room, "made the janus room"),
                Err(error) if error.is(room::ROOM_EXISTS) => {}
                Err(error) => return Err(error.into()),
            }
            joined = ask(id).await;
        }
        let taken = |joined: &Result<Room, signalling::Error>| joined.as_ref().is_err_and(|error| error.is(room::ID_TAKEN));
        // Our session of before, if it is that.
        if taken(&joined)
            && let Some(ghost) = self.last_session.map(Place::session)
            && line.ask(ghost, Request::Claim).await.is_ok()
        {
            let _ = line.ask(ghost, Request::Destroy).await;
            joined = ask(id).await;
        }
        if taken(&joined)
            && let Some(kick) = id.and_then(|id| room::kick(&self.config, id))
        {
            let _ = line.ask(place, Request::Ask(kick)).await;
            // Who is removed is gone a moment later.
            for _ in 0..GHOST_CHECKS {
                sleep(GHOST_POLL).await;
                joined = ask(id).await;
                if !taken(&joined) {
                    break;
                }
            }
        }
        if taken(&joined) {
            info!(room = self.config.room, "our number in the janus room is taken: joining under another");
            joined = ask(None).await;
        }
        Ok(joined?)
    }

    /// In the room, until something ends it.
    async fn stay(&mut self, events: &mut mpsc::Receiver<(Option<u64>, Event)>, presence: &mut Presence) -> Left {
        let Some(seat) = &self.seat else { return Left::Over("session") };
        if presence.since.is_some() {
            metrics::janus_state("in_room");
        }
        let mut look = interval(FIGURES);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Left::Stopped,
                () = seat.over() => {
                    info!(room = self.config.room, "the session is over: leaving the janus room");
                    return Left::Over("session");
                }
                event = events.recv() => {
                    let Some((sender, event)) = event else { return Left::Cut };
                    if sender.is_some_and(|sender| Some(sender) != presence.place.handle) {
                        continue;
                    }
                    if let Some(left) = self.told(presence, event).await {
                        return left;
                    }
                }
                event = presence.called.recv() => match event {
                    Some(rtc::Event::Connected) => {
                        presence.since = Some(Instant::now());
                        self.figures.entered();
                        seat.receive(presence.call.sink()).await;
                        metrics::janus_state("in_room");
                        info!(room = self.config.room, "sound flows to and from the janus room");
                    }
                    Some(rtc::Event::Closed(why)) => {
                        info!(?why, room = self.config.room, "the sound of the janus room is gone");
                        return Left::Over("media");
                    }
                    Some(_) => {}
                    None => return Left::Over("media"),
                },
                _ = look.tick() => self.figures.look(presence.call.sound(), seat, presence.room.others()),
            }
        }
    }

    /// What the server tells; the end of the visit, perhaps.
    async fn told(&self, presence: &mut Presence, event: Event) -> Option<Left> {
        let room = self.config.room;
        match event {
            Event::Up => debug!("janus says that media can flow"),
            Event::Receiving(receiving) => {
                metrics::janus_receiving(receiving);
                if !receiving {
                    warn!(room, "janus does not receive our sound");
                }
            }
            Event::SlowLink { uplink, lost } => {
                metrics::janus_slow_link(if uplink { "out" } else { "in" });
                debug!(uplink, lost, "janus says that packets are lost");
            }
            Event::Candidate(candidate) => presence.call.candidate(&candidate).await,
            Event::Hangup(reason) => {
                info!(reason, room, "janus hung up");
                return Some(Left::Over("hangup"));
            }
            Event::Detached => return Some(Left::Over("detached")),
            Event::Timeout => return Some(Left::Over("timeout")),
            Event::Plugin(data) => {
                for change in presence.room.apply(&data) {
                    match change {
                        Change::Kicked if self.config.rejoin => {
                            info!(room, "removed from the janus room");
                            return Some(Left::Over("kicked"));
                        }
                        Change::Kicked => return Some(Left::Out),
                        Change::Destroyed => {
                            info!(room, "the janus room is no more");
                            return Some(Left::Over("room_destroyed"));
                        }
                        Change::Muted(muted) => {
                            metrics::janus_muted(muted);
                            info!(room, muted, "janus");
                        }
                        Change::Alone => {
                            debug!(room, "alone in the janus room");
                            self.silenced().await;
                        }
                        Change::Company => debug!(room, "no longer alone in the janus room"),
                    }
                }
            }
        }
        None
    }

    /// Leaves in the order in which we came.
    async fn goodbye(&mut self, line: &Signalling, presence: Presence) {
        let Presence { place, call, .. } = presence;
        let session = Place { handle: None, ..place };
        let leave = Request::Tell { body: room::leave(), offer: None };
        let words = [(place, leave), (place, Request::Hangup), (place, Request::Detach), (session, Request::Destroy)];
        for (place, word) in words {
            // One that was removed cannot leave (487): the rest is said all the same.
            let _ = timeout(GOODBYE, line.ask(place, word)).await;
        }
        drop(call);
        self.last_session = None;
        if self.seat.as_ref().is_some_and(Seat::is_over) {
            self.seat = None;
        }
    }
}

/// How long the server waits for signs of life, and for a claim.
async fn customs(line: &Signalling) -> Result<Customs, Failure> {
    let reply = line.ask(Place::default(), Request::Info).await?;
    let Reply::Success(info) = reply else { return Err(signalling::Error::Garbled("info").into()) };
    let seconds = |key: &str| info[key].as_u64().map(Duration::from_secs);
    let patience = seconds("session-timeout").filter(|patience| !patience.is_zero());
    let keepalive = patience.map_or(KEEPALIVE, |patience| (patience * 2 / 5).min(KEEPALIVE));
    Ok(Customs { keepalive, reclaim: seconds("reclaim-session-timeout").unwrap_or_default() })
}

/// Takes our session over to this WebSocket; `None` if it is gone.
async fn claim(line: &Signalling, presence: Presence) -> Option<Presence> {
    let session = Place { handle: None, ..presence.place };
    match line.ask(session, Request::Claim).await {
        Ok(_) => {
            info!(participant = presence.room.us(), "claimed our session of the janus server");
            metrics::janus_reconnect("claimed");
            Some(presence)
        }
        Err(error) => {
            debug!(%error, "our session of the janus server is gone");
            None
        }
    }
}

fn made(reply: &Reply, what: &'static str) -> Result<u64, signalling::Error> {
    reply.id().ok_or(signalling::Error::Garbled(what))
}
