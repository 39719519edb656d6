//! The TCP port: HTTP, HTTPS, and media that has no other way in, told apart by their first byte.
//!
//! In: connections. Out: those that speak HTTP, for the web server; the others go to the media socket. One task accepts, and one
//! a connection waits for its first byte and for TLS.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use poem::Addr;
use poem::http::uri::Scheme;
use poem::listener::Acceptor;
use poem::web::{LocalAddr, RemoteAddr};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::warn;

use super::head::Head;
use crate::metrics;
use crate::places::{Place, Places};
use crate::rtc::{self, UdpMux};

/// Connections that are sorted and not yet taken. Full: they wait.
const DOOR_QUEUE: usize = 64;
/// Connections at once (L5), and from one address: a browser has six, and a school one address. Proxies that are trusted, and this
/// machine, may have all of them.
const CONNECTIONS: usize = 1_024;
const CONNECTIONS_OF_ADDRESS: usize = 256;
/// From the connection to its first byte, and to the end of its TLS handshake (L6).
const PATIENCE: Duration = Duration::from_secs(10);
/// After the machine had no descriptor left for one more (L5).
const PAUSE: Duration = Duration::from_millis(100);
/// A TLS handshake (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;

/// What lies behind the door.
pub(super) struct Inside {
    /// Takes media.
    pub(super) media: Option<Arc<UdpMux>>,
    /// Opens what is locked.
    pub(super) tls: Option<watch::Receiver<TlsAcceptor>>,
    /// May have more connections than others.
    pub(super) trusted: Vec<IpAddr>,
}

/// What the web server accepts its connections from.
pub(super) struct Door {
    local: SocketAddr,
    sorted: mpsc::Receiver<(Io, SocketAddr, Scheme)>,
}

impl Door {
    /// Accepts until it is dropped.
    pub(super) fn open(tcp: std::net::TcpListener, inside: Inside) -> io::Result<Self> {
        tcp.set_nonblocking(true)?;
        let local = tcp.local_addr()?;
        let listener = TcpListener::from_std(tcp)?;
        let (taken, sorted) = mpsc::channel(DOOR_QUEUE);
        tokio::spawn(accept(listener, Arc::new(inside), taken));
        Ok(Self { local, sorted })
    }
}

impl Acceptor for Door {
    type Io = Io;

    fn local_addr(&self) -> Vec<LocalAddr> {
        vec![LocalAddr(Addr::SocketAddr(self.local))]
    }

    async fn accept(&mut self) -> io::Result<(Io, LocalAddr, RemoteAddr, Scheme)> {
        match self.sorted.recv().await {
            Some((io, peer, scheme)) => {
                Ok((io, LocalAddr(Addr::SocketAddr(self.local)), RemoteAddr(Addr::SocketAddr(peer)), scheme))
            }
            // The accepting task only ends with us.
            None => std::future::pending().await,
        }
    }
}

async fn accept(listener: TcpListener, inside: Arc<Inside>, taken: mpsc::Sender<(Io, SocketAddr, Scheme)>) {
    let places = Places::new(CONNECTIONS, CONNECTIONS_OF_ADDRESS);
    loop {
        let accepted = tokio::select! {
            biased;
            () = taken.closed() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let ip = peer.ip().to_canonical();
                let is_trusted = ip.is_loopback() || inside.trusted.contains(&ip);
                match places.take((!is_trusted).then_some(ip)) {
                    Some(place) => drop(tokio::spawn(sort(stream, peer, place, Arc::clone(&inside), taken.clone()))),
                    None => metrics::rejected("L5"),
                }
            }
            Err(error) => {
                warn!(%error, "no connection can be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Takes one connection to where it belongs.
async fn sort(
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    inside: Arc<Inside>,
    taken: mpsc::Sender<(Io, SocketAddr, Scheme)>,
) {
    let mut first = [0];
    let first = match timeout(PATIENCE, stream.peek(&mut first)).await {
        Ok(Ok(1)) => first[0],
        Ok(_) => return,
        Err(_) => return metrics::rejected("L6"),
    };
    if let (true, Some(media)) = (rtc::is_media(first), &inside.media) {
        rtc::carry(Arc::clone(media), stream, peer).await;
        drop(place);
        return;
    }
    let (stream, scheme) = match &inside.tls {
        Some(tls) if first == HANDSHAKE => {
            let tls = tls.borrow().clone();
            match timeout(PATIENCE, tls.accept(stream)).await {
                Ok(Ok(stream)) => (Stream::Tls(Box::new(stream)), Scheme::HTTPS),
                // A browser that does not trust the certificate yet breaks off here.
                Ok(Err(_)) => return,
                Err(_) => return metrics::rejected("L6"),
            }
        }
        _ => (Stream::Plain(stream), Scheme::HTTP),
    };
    let _ = taken.send((Io { stream, head: Some(Head::begin()), _place: place }, peer, scheme)).await;
}

/// A connection that speaks HTTP.
pub(super) struct Io {
    stream: Stream,
    /// Until it has come.
    head: Option<Head>,
    _place: Place,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, head, .. } = &mut *self;
        let Some(unended) = head else { return Pin::new(stream).poll_read(cx, buffer) };
        if ready!(unended.poll_read(Pin::new(stream), cx, buffer))? {
            *head = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
