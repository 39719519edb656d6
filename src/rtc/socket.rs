//! The one UDP socket of all sessions, and its guard; media that comes over TCP (`tcp`) passes it, too.
//!
//! A datagram belongs to the session whose fragment its STUN check names; anything else only counts from an address that
//! has proved it knows the session's password, because we answered its check with success. The WebRTC stack below would
//! take keys and media from any address (reliability.md §6.1), so the rest never reaches it. One task receives; each
//! peer connection sees its own share as a socket of its own.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::{Notify, mpsc, oneshot};
use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, BATCH_SIZE, JoinHandle, RecvMeta, Runtime,
    TokioRuntime, Transmit,
};

use super::flight::Flights;
use super::path::Path;
use super::stun::{self, Datagram, Transaction};
use crate::metrics;

/// Datagrams that wait for one peer: a quarter second at the most it may send. Full: the newest is dropped.
const PEER_QUEUE: usize = 256;
/// Longest datagram that a peer may send (L14): an Ethernet frame.
pub(super) const MAX_DATAGRAM: usize = 1_500;
/// Datagrams a second from one peer (L14); a browser that only watches sends about 60.
const MAX_RATE: u32 = 1_000;
/// DTLS datagrams before the connection is up (L13): a handshake takes about ten, with losses forty.
const MAX_HANDSHAKE: u32 = 300;
/// Addresses that one peer may speak from: every pair that ICE tries.
const MAX_ADDRESSES: usize = 64;
/// The DTLS content type of alerts, `close_notify` among them (RFC 5246 §7.2).
const ALERT: u8 = 21;
/// Kernel buffers: at 30 sessions 212 kB overflowed and the resends that followed fed on themselves.
const SOCKET_BUFFER: usize = 4 << 20;

/// The shared socket.
#[derive(Debug)]
pub struct UdpMux {
    socket: Arc<dyn AsyncUdpSocket>,
    local: SocketAddr,
    routes: Mutex<Routes>,
    /// Who waits for which STUN server's answer. At most one request is on its way.
    asking: Mutex<Option<(Transaction, SocketAddr, oneshot::Sender<SocketAddr>)>>,
    /// What the last one said.
    reflexive: Mutex<Option<SocketAddr>>,
}

/// Who gets what. Held for a look-up or an insertion, never across a wait.
#[derive(Debug, Default)]
struct Routes {
    by_ufrag: HashMap<String, Arc<Slot>>,
    by_address: HashMap<SocketAddr, Route>,
    /// TCP connections, by their other ends.
    streams: HashMap<SocketAddr, Stream>,
}

/// A TCP connection that one peer speaks through.
#[derive(Debug)]
struct Stream {
    slot: Arc<Slot>,
    frames: mpsc::Sender<Vec<u8>>,
}

#[derive(Debug)]
struct Route {
    slot: Arc<Slot>,
    /// Proved by a check that we answered; before that only answers to our own checks pass.
    verified: bool,
    /// Which of our addresses it speaks to: what we send must come from there.
    local_ip: Option<IpAddr>,
}

/// One peer's share of the socket.
#[derive(Debug)]
pub(super) struct Slot {
    /// We called: the other end need not check us (RFC 8445 §2.5, a lite agent), but it answers our checks, which go only
    /// to the addresses of its signalled answer.
    calls: bool,
    inbox: Mutex<Inbox>,
    /// The handshake is over: no more than stray handshake datagrams are expected.
    connected: AtomicBool,
    handshake_datagrams: AtomicU32,
    /// An alert came after the handshake: the peer may have said good-bye.
    alert: Notify,
    /// Where the peer is.
    path: Mutex<Path>,
    /// What of the handshake may have to be said again.
    flights: Mutex<Flights>,
}

#[derive(Debug, Default)]
struct Inbox {
    queue: VecDeque<(Vec<u8>, SocketAddr)>,
    waker: Option<Waker>,
    second: Option<Instant>,
    this_second: u32,
}

impl UdpMux {
    /// Binds and starts receiving. Must be called within the runtime.
    pub fn bind(address: SocketAddr) -> io::Result<Arc<Self>> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        // The kernel may grant less (net.core.rmem_max); that is no error.
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
        socket.bind(&address.into())?;
        let socket = TokioRuntime.wrap_udp_socket(socket.into())?;
        let local = socket.local_addr()?;
        let mux = Arc::new(Self {
            socket,
            local,
            routes: Mutex::default(),
            asking: Mutex::default(),
            reflexive: Mutex::default(),
        });
        let weak = Arc::downgrade(&mux);
        let socket = Arc::clone(&mux.socket);
        tokio::spawn(async move {
            let mut batch = Batch::new(socket.max_gro_segments());
            while let Ok(received) = batch.receive(&*socket).await {
                let Some(mux) = weak.upgrade() else { return };
                for (bytes, meta) in received {
                    mux.deliver(bytes, meta.addr, meta.dst_ip);
                }
            }
        });
        Ok(mux)
    }

    /// The address it is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Our address as `server` sees it, if it answers within `patience`.
    pub(super) async fn ask(&self, server: SocketAddr, patience: Duration) -> Option<SocketAddr> {
        let transaction: Transaction = rand::random();
        let request = stun::request(&transaction);
        let (tell, told) = oneshot::channel();
        *held(&self.asking) = Some((transaction, server, tell));
        let transmit = Transmit { destination: server, ecn: None, contents: &request, segment_size: None, src_ip: None };
        let sent = poll_fn(|cx| self.socket.poll_send(cx, &transmit));
        let answer = async {
            sent.await.ok()?;
            told.await.ok()
        };
        tokio::time::timeout(patience, answer).await.ok().flatten()
    }

    /// The address on the other side of a NAT, if a STUN server has told it.
    pub(super) fn reflexive(&self) -> Option<SocketAddr> {
        *held(&self.reflexive)
    }

    pub(super) fn set_reflexive(&self, address: Option<SocketAddr>) {
        *held(&self.reflexive) = address;
    }

    /// An answer of the STUN server that was asked. False if it is none.
    fn is_told(&self, bytes: &[u8], from: SocketAddr) -> bool {
        let Some((transaction, address)) = stun::mapped(bytes) else { return false };
        let asked = held(&self.asking).take_if(|(asked, server, _)| *asked == transaction && *server == from);
        asked.is_some_and(|(_, _, tell)| tell.send(address).is_ok())
    }

    /// A share for a peer; [`Self::name`] says which checks are its own.
    pub(super) fn open() -> Arc<Slot> {
        Self::share(false)
    }

    /// A share for a peer that we call, whose checks will name `ufrag`.
    pub(super) fn open_caller(&self, ufrag: &str) -> Arc<Slot> {
        let slot = Self::share(true);
        self.name(&slot, ufrag);
        slot
    }

    /// The checks of the slot's peer name `ufrag` from now on, and its path is sought anew.
    pub(super) fn name(&self, slot: &Arc<Slot>, ufrag: &str) {
        let mut routes = self.routes();
        routes.by_ufrag.retain(|_, named| !Arc::ptr_eq(named, slot));
        routes.by_ufrag.insert(ufrag.to_owned(), Arc::clone(slot));
        drop(routes);
        *held(&slot.path) = Path::default();
    }

    /// A TCP connection from `from` whose first frame is `bytes`: whose it is, if its check names a fragment of ours. `frames`
    /// will be sent what the peer is told that way.
    pub(super) fn connect(&self, bytes: &[u8], from: SocketAddr, frames: mpsc::Sender<Vec<u8>>) -> Option<Arc<Slot>> {
        let Datagram::Check { ufrag } = stun::classify(bytes) else { return None };
        let mut routes = self.routes();
        let slot = routes.by_ufrag.get(ufrag).cloned()?;
        // A peer that speaks UDP from the very same port is somebody else's.
        let is_taken = routes.by_address.get(&from).is_some_and(|route| route.verified && !Arc::ptr_eq(&route.slot, &slot));
        if is_taken {
            return None;
        }
        routes.streams.insert(from, Stream { slot: Arc::clone(&slot), frames });
        Some(slot)
    }

    /// A TCP connection is over.
    pub(super) fn disconnect(&self, from: SocketAddr, slot: &Arc<Slot>) {
        let mut routes = self.routes();
        routes.streams.remove(&from);
        if routes.by_address.get(&from).is_some_and(|route| Arc::ptr_eq(&route.slot, slot)) {
            routes.by_address.remove(&from);
        }
    }

    fn share(calls: bool) -> Arc<Slot> {
        Arc::new(Slot {
            calls,
            inbox: Mutex::default(),
            connected: AtomicBool::new(false),
            handshake_datagrams: AtomicU32::new(0),
            alert: Notify::new(),
            path: Mutex::default(),
            flights: Mutex::default(),
        })
    }

    /// Forgets a peer's share and all its addresses.
    pub(super) fn close(&self, slot: &Arc<Slot>) {
        let mut routes = self.routes();
        routes.by_ufrag.retain(|_, named| !Arc::ptr_eq(named, slot));
        routes.by_address.retain(|_, route| !Arc::ptr_eq(&route.slot, slot));
        // Their tasks find their queues gone, and close them.
        routes.streams.retain(|_, stream| !Arc::ptr_eq(&stream.slot, slot));
    }

    fn routes(&self) -> MutexGuard<'_, Routes> {
        held(&self.routes)
    }

    /// A datagram, or a frame of a TCP connection, to our address `to`.
    pub(super) fn deliver(&self, bytes: &[u8], from: SocketAddr, to: Option<IpAddr>) {
        if bytes.len() > MAX_DATAGRAM {
            return metrics::udp_dropped("oversize");
        }
        let slot = match stun::classify(bytes) {
            Datagram::Check { ufrag } => {
                let mut routes = self.routes();
                let Some(slot) = routes.by_ufrag.get(ufrag).cloned() else {
                    return metrics::udp_dropped("unknown_ufrag");
                };
                if !routes.remember(from, &slot, to, false) {
                    return metrics::udp_dropped("addresses");
                }
                held(&slot.path).checked(bytes);
                slot
            }
            Datagram::StunOther if self.is_told(bytes, from) => return,
            Datagram::StunOther => match self.routes().by_address.get_mut(&from) {
                Some(route) => {
                    route.verified |= route.slot.calls && stun::is_success(bytes);
                    Arc::clone(&route.slot)
                }
                None => return metrics::udp_dropped("unverified_source"),
            },
            kind @ (Datagram::Dtls(_) | Datagram::Rtp) => {
                let slot = match self.routes().by_address.get(&from) {
                    Some(route) if route.verified => Arc::clone(&route.slot),
                    _ => return metrics::udp_dropped("unverified_source"),
                };
                if matches!(kind, Datagram::Dtls(content) if !slot.admits_dtls(content)) {
                    return metrics::udp_dropped("dtls_budget");
                }
                if kind == Datagram::Dtls(ALERT) && slot.connected.load(Ordering::Relaxed) {
                    slot.deliver(bytes, from);
                    return slot.alert.notify_one();
                }
                if !slot.connected.load(Ordering::Relaxed) && matches!(kind, Datagram::Dtls(_)) {
                    self.repeat(&slot, bytes, from);
                }
                slot
            }
            Datagram::Junk => return metrics::udp_dropped("malformed"),
        };
        let origin = held(&slot.path).origin(bytes, from);
        slot.deliver(bytes, origin);
    }

    /// A part of the handshake came from `from`: says again what was lost.
    fn repeat(&self, slot: &Arc<Slot>, bytes: &[u8], from: SocketAddr) {
        let lost = held(&slot.flights).received(bytes).to_vec();
        for contents in &lost {
            metrics::handshake_repeated();
            let transmit = Transmit { destination: from, ecn: None, contents, segment_size: None, src_ip: None };
            // What does not go out now is lost once more, and asked for once more.
            let _ = self.transmit(slot, &mut Context::from_waker(Waker::noop()), &transmit, from);
        }
    }

    fn send(&self, slot: &Arc<Slot>, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        if !slot.connected.load(Ordering::Relaxed) && matches!(stun::classify(transmit.contents), Datagram::Dtls(_)) {
            held(&slot.flights).sent(transmit.contents);
        }
        let to = held(&slot.path).way(transmit.contents, transmit.destination);
        self.transmit(slot, cx, transmit, to)
    }

    fn transmit(
        &self,
        slot: &Arc<Slot>,
        cx: &mut Context<'_>,
        transmit: &Transmit<'_>,
        to: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        let done = Poll::Ready(Ok(transmit.contents.len()));
        let proven = stun::is_success(transmit.contents);
        let src_ip = {
            let mut routes = self.routes();
            if (proven || stun::is_request(transmit.contents)) && !routes.remember(to, slot, None, proven) {
                return done;
            }
            if let Some(stream) = routes.streams.get(&to).filter(|stream| Arc::ptr_eq(&stream.slot, slot)) {
                // A connection that is behind loses frames, as a line that is too slow loses datagrams.
                if stream.frames.try_send(transmit.contents.to_vec()).is_err() {
                    metrics::udp_dropped("tcp_queue");
                }
                return done;
            }
            routes.by_address.get(&to).and_then(|route| route.local_ip)
        };
        let transmit = Transmit { src_ip, destination: to, ..transmit.clone() };
        match self.socket.poll_send(cx, &transmit) {
            // All peers share the socket, which remembers a single waker: waiting here could wait for ever. A full
            // buffer is a loss, as it is anywhere on the way.
            Poll::Pending => {
                metrics::udp_dropped("send_buffer");
                done
            }
            ready @ Poll::Ready(_) => ready,
        }
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Routes {
    /// Notes that `address` speaks with `slot`. False if the slot has too many addresses already.
    ///
    /// A browser that reloads may come back from the same port with another session's fragment, so an address can change
    /// hands; but one that is verified only goes to a slot that it has proved itself to (`proven`).
    fn remember(&mut self, address: SocketAddr, slot: &Arc<Slot>, local_ip: Option<IpAddr>, proven: bool) -> bool {
        match self.by_address.get_mut(&address) {
            Some(route) if Arc::ptr_eq(&route.slot, slot) => {
                route.local_ip = local_ip.or(route.local_ip);
                route.verified |= proven;
                return true;
            }
            Some(route) if route.verified && !proven => return true,
            _ => {}
        }
        let held = self.by_address.values().filter(|r| Arc::ptr_eq(&r.slot, slot)).count();
        if held >= MAX_ADDRESSES {
            return false;
        }
        self.by_address.insert(address, Route { slot: Arc::clone(slot), verified: proven, local_ip });
        true
    }
}

impl Slot {
    /// After this, handshake datagrams are no longer expected.
    pub(super) fn set_connected(&self) {
        self.connected.store(true, Ordering::Relaxed);
        *held(&self.flights) = Flights::default();
    }

    /// Waits for an alert. The WebRTC stack answers a `close_notify` but tells nobody.
    pub(super) async fn alert(&self) {
        self.alert.notified().await;
    }

    fn admits_dtls(&self, content: u8) -> bool {
        const APPLICATION_DATA: u8 = 23;
        if content == APPLICATION_DATA && self.connected.load(Ordering::Relaxed) {
            return true;
        }
        self.handshake_datagrams.fetch_add(1, Ordering::Relaxed) < MAX_HANDSHAKE
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        held(&self.inbox)
    }

    fn deliver(&self, bytes: &[u8], from: SocketAddr) {
        let mut inbox = self.inbox();
        if !inbox.within_rate() {
            return metrics::udp_dropped("rate");
        }
        if inbox.queue.len() >= PEER_QUEUE {
            return metrics::udp_dropped("queue");
        }
        inbox.queue.push_back((bytes.to_vec(), from));
        let waker = inbox.waker.take();
        drop(inbox);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Inbox {
    fn within_rate(&mut self) -> bool {
        let now = Instant::now();
        if self.second.is_none_or(|second| now - second >= Duration::from_secs(1)) {
            self.second = Some(now);
            self.this_second = 0;
        }
        self.this_second += 1;
        self.this_second <= MAX_RATE
    }
}

/// Buffers for one receiving call: several datagrams from several peers, each perhaps several glued together.
struct Batch {
    buffers: Vec<Vec<u8>>,
    meta: [RecvMeta; BATCH_SIZE],
}

impl Batch {
    fn new(gro_segments: usize) -> Self {
        let len = gro_segments.max(1) * MAX_DATAGRAM + 1;
        Self { buffers: vec![vec![0; len]; BATCH_SIZE], meta: [RecvMeta::default(); BATCH_SIZE] }
    }

    async fn receive(&mut self, socket: &dyn AsyncUdpSocket) -> io::Result<impl Iterator<Item = (&[u8], &RecvMeta)>> {
        let Self { buffers, meta } = self;
        let count = loop {
            let mut slices: Vec<_> = buffers.iter_mut().map(|b| IoSliceMut::new(b)).collect();
            match poll_fn(|cx| socket.poll_recv(cx, &mut slices, meta)).await {
                Ok(count) => break count,
                // An ICMP "port unreachable" of one viewer surfaces here and concerns nobody else.
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused || e.kind() == io::ErrorKind::ConnectionReset => {}
                Err(e) => return Err(e),
            }
        };
        Ok(buffers[..count]
            .iter()
            .zip(&meta[..count])
            .flat_map(|(buffer, meta)| buffer[..meta.len].chunks(meta.stride.max(1)).map(move |datagram| (datagram, meta))))
    }
}

/// The shared socket as one peer connection sees it.
#[derive(Debug)]
struct PeerSocket {
    mux: Arc<UdpMux>,
    slot: Arc<Slot>,
    local: SocketAddr,
}

impl AsyncUdpSocket for PeerSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        self.mux.send(&self.slot, cx, transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut inbox = self.slot.inbox();
        let mut count = 0;
        for (buffer, meta) in buffers.iter_mut().zip(metas) {
            let Some((bytes, from)) = inbox.queue.pop_front() else { break };
            let len = bytes.len().min(buffer.len());
            buffer[..len].copy_from_slice(&bytes[..len]);
            *meta = RecvMeta::default();
            (meta.addr, meta.len, meta.stride) = (from, len, len.max(1));
            count += 1;
        }
        if count > 0 {
            return Poll::Ready(Ok(count));
        }
        inbox.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// tokio, but whoever asks for a UDP socket gets a share of the one we have.
#[derive(Debug)]
pub(super) struct SharedSocketRuntime {
    pub(super) mux: Arc<UdpMux>,
    pub(super) slot: Arc<Slot>,
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl Runtime for SharedSocketRuntime {
    fn spawn(&self, future: BoxFuture<'static, ()>) -> Box<dyn JoinHandle> {
        TokioRuntime.spawn(future)
    }

    /// The crate binds a throw-away port for each connection; it closes here, and only its number lives on as a key.
    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let local = socket.local_addr()?;
        Ok(Arc::new(PeerSocket { mux: Arc::clone(&self.mux), slot: Arc::clone(&self.slot), local }))
    }

    fn wrap_tcp_listener(&self, listener: std::net::TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>> {
        TokioRuntime.wrap_tcp_listener(listener)
    }

    fn connect_tcp(&self, remote: SocketAddr) -> BoxFuture<'_, io::Result<Arc<dyn AsyncTcpStream>>> {
        TokioRuntime.connect_tcp(remote)
    }

    fn resolve_host<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        TokioRuntime.resolve_host(host)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        TokioRuntime.sleep(duration)
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        TokioRuntime.interval(period)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        TokioRuntime.block_on(future);
    }

    fn yield_now(&self) -> BoxFuture<'static, ()> {
        TokioRuntime.yield_now()
    }

    fn name(&self) -> &'static str {
        "tokio, one udp socket"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECK: &[u8] = b"\x00\x01\x00\x0c\x21\x12\xa4\x42............\x00\x06\x00\x08abcd:xyz";
    const SUCCESS: &[u8] = b"\x01\x01\x00\x00\x21\x12\xa4\x42............";
    const CLIENT_HELLO: &[u8] = &[22, 254, 253, 0, 0];

    struct Bench {
        mux: Arc<UdpMux>,
        slot: Arc<Slot>,
        viewer: SocketAddr,
        stranger: SocketAddr,
    }

    fn bench() -> Bench {
        let mux = UdpMux::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let slot = UdpMux::open();
        mux.name(&slot, "abcd");
        Bench { mux, slot, viewer: "127.0.0.1:5001".parse().unwrap(), stranger: "127.0.0.1:5002".parse().unwrap() }
    }

    impl Bench {
        fn received(&self) -> usize {
            self.slot.inbox().queue.len()
        }

        fn answer_check(&self, to: SocketAddr) {
            let transmit = Transmit { destination: to, ecn: None, contents: SUCCESS, segment_size: None, src_ip: None };
            let _ = self.mux.send(&self.slot, &mut Context::from_waker(Waker::noop()), &transmit);
        }
    }

    #[tokio::test]
    async fn a_check_reaches_the_session_that_it_names() {
        let b = bench();
        b.mux.deliver(CHECK, b.viewer, None);
        assert_eq!(b.received(), 1);
    }

    #[tokio::test]
    async fn keys_from_an_address_that_only_asked_are_dropped() {
        let b = bench();
        b.mux.deliver(CHECK, b.viewer, None);
        b.mux.deliver(CLIENT_HELLO, b.viewer, None);
        assert_eq!(b.received(), 1);
    }

    #[tokio::test]
    async fn keys_pass_from_the_address_whose_check_succeeded_and_from_no_other() {
        let b = bench();
        b.mux.deliver(CHECK, b.viewer, None);
        b.answer_check(b.viewer);
        b.mux.deliver(CLIENT_HELLO, b.viewer, None);
        b.mux.deliver(CLIENT_HELLO, b.stranger, None);
        assert_eq!(b.received(), 2);
    }

    #[tokio::test]
    async fn a_flood_of_handshakes_ends_at_its_budget() {
        let b = bench();
        b.answer_check(b.viewer);
        for _ in 0..MAX_HANDSHAKE + 100 {
            b.mux.deliver(CLIENT_HELLO, b.viewer, None);
            b.slot.inbox().queue.clear();
        }
        b.mux.deliver(CLIENT_HELLO, b.viewer, None);
        assert_eq!(b.received(), 0);
        b.slot.set_connected();
        b.mux.deliver(&[23, 254, 253], b.viewer, None);
        assert_eq!(b.received(), 1, "data channels go on");
    }

    #[tokio::test]
    async fn checking_a_viewers_address_does_not_take_it_away() {
        let b = bench();
        b.answer_check(b.viewer);
        let thief = UdpMux::open();
        b.mux.name(&thief, "thief");
        let transmit = Transmit { destination: b.viewer, ecn: None, contents: CHECK, segment_size: None, src_ip: None };
        let _ = b.mux.send(&thief, &mut Context::from_waker(Waker::noop()), &transmit);
        b.mux.deliver(CLIENT_HELLO, b.viewer, None);
        assert_eq!(b.received(), 1);
        assert!(thief.inbox().queue.is_empty());
    }

    #[tokio::test]
    async fn a_peer_has_one_name_at_a_time() {
        let b = bench();
        b.mux.name(&b.slot, "efgh");
        b.mux.deliver(CHECK, b.viewer, None);
        assert_eq!(b.received(), 0);
        b.mux.name(&b.slot, "abcd");
        b.mux.deliver(CHECK, b.viewer, None);
        assert_eq!(b.received(), 1);
    }

    #[tokio::test]
    async fn what_is_sent_to_the_end_of_a_tcp_connection_goes_through_it() {
        let b = bench();
        let (frames, mut sent) = mpsc::channel(1);
        assert!(b.mux.connect(CLIENT_HELLO, b.viewer, frames.clone()).is_none());
        let slot = b.mux.connect(CHECK, b.viewer, frames).unwrap();
        b.answer_check(b.viewer);
        assert_eq!(sent.try_recv().unwrap(), SUCCESS);
        b.mux.deliver(CLIENT_HELLO, b.viewer, None);
        assert_eq!(b.received(), 1);
        b.mux.disconnect(b.viewer, &slot);
        b.mux.deliver(CLIENT_HELLO, b.viewer, None);
        assert_eq!(b.received(), 1, "its address counts for nothing once it is gone");
    }

    #[tokio::test]
    async fn a_peer_that_leaves_leaves_nothing_behind() {
        let b = bench();
        b.mux.deliver(CHECK, b.viewer, None);
        b.mux.close(&b.slot);
        let routes = b.mux.routes();
        assert!(routes.by_ufrag.is_empty() && routes.by_address.is_empty());
    }

    #[tokio::test]
    async fn an_oversized_datagram_and_a_slow_reader_cost_nothing() {
        let b = bench();
        b.answer_check(b.viewer);
        b.slot.set_connected();
        b.mux.deliver(&[0x80; MAX_DATAGRAM + 1], b.viewer, None);
        assert_eq!(b.received(), 0);
        for _ in 0..PEER_QUEUE * 2 {
            b.mux.deliver(&[0x80; 20], b.viewer, None);
        }
        assert_eq!(b.received(), PEER_QUEUE);
    }
}
