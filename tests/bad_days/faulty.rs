//! A provider that fails as it is told, on bare sockets: it takes one request a connection, in whole, and answers by script.

#![expect(clippy::unwrap_used, reason = "a stand-in that cannot go on fails its test")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// What one that does not stop sends at most: whoever reads all of it has no bound.
const ENDLESS: usize = 100 << 20;

/// One answer.
#[derive(Clone)]
pub(crate) struct Act {
    /// It is a `WebSocket`, and the handshake succeeds.
    pub(crate) upgrades: bool,
    pub(crate) bytes: Vec<u8>,
    pub(crate) then: Then,
}

/// How it goes on.
#[derive(Clone)]
pub(crate) enum Then {
    /// Closes.
    Close,
    /// Closes without a good-bye.
    Reset,
    /// Says nothing more.
    Hang,
    /// This, a byte every tenth of a second.
    Drip(Vec<u8>),
    /// This, over and over.
    Repeat(Vec<u8>),
}

/// One running stand-in; it goes with the test's runtime.
pub(crate) struct Faulty {
    pub(crate) address: SocketAddr,
    inner: Arc<Inner>,
}

struct Inner {
    act: Mutex<Act>,
    /// Answers under way, and all so far.
    open: watch::Sender<usize>,
    asked: AtomicUsize,
    /// The longest of them, in bytes.
    longest: AtomicUsize,
}

impl Faulty {
    pub(crate) async fn start(act: Act) -> Self {
        Self::listen(TcpListener::bind("127.0.0.1:0").await.unwrap(), act)
    }

    pub(crate) fn listen(listener: TcpListener, act: Act) -> Self {
        let address = listener.local_addr().unwrap();
        let (open, asked, longest) = (watch::Sender::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let inner = Arc::new(Inner { act: Mutex::new(act), open, asked, longest });
        let serving = Arc::clone(&inner);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let inner = Arc::clone(&serving);
                tokio::spawn(async move { inner.serve(socket).await });
            }
        });
        Self { address, inner }
    }

    /// What it does from now on.
    pub(crate) fn will(&self, act: Act) {
        *self.inner.act.lock().unwrap() = act;
    }

    pub(crate) fn asked(&self) -> usize {
        self.inner.asked.load(Ordering::Relaxed)
    }

    /// Bytes of its longest answer that went out.
    pub(crate) fn longest(&self) -> usize {
        self.inner.longest.load(Ordering::Relaxed)
    }

    /// Whether `count` answers are under way within `limit`.
    pub(crate) async fn has_open(&self, count: usize, limit: Duration) -> bool {
        timeout(limit, self.inner.open.subscribe().wait_for(|open| *open == count)).await.is_ok()
    }
}

impl Inner {
    async fn serve(&self, mut socket: TcpStream) {
        let Some(head) = read_request(&mut socket).await else { return };
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.open.send_modify(|open| *open += 1);
        let act = self.act.lock().unwrap().clone();
        let reset = matches!(act.then, Then::Reset);
        let bytes = if act.upgrades { [handshake(&head), act.bytes].concat() } else { act.bytes };
        let (mut reading, mut writing) = socket.split();
        let answering = async {
            // A client that has left is seen by the reading half.
            let mut sent = writing.write_all(&bytes).await.map_or(0, |()| bytes.len());
            match act.then {
                Then::Close => writing.shutdown().await.unwrap_or_default(),
                Then::Reset => {}
                Then::Hang => std::future::pending().await,
                Then::Drip(bytes) => {
                    for byte in bytes {
                        sleep(Duration::from_millis(100)).await;
                        if writing.write_all(&[byte]).await.is_err() {
                            break;
                        }
                    }
                }
                Then::Repeat(bytes) => {
                    while sent < ENDLESS && writing.write_all(&bytes).await.is_ok() {
                        sent += bytes.len();
                        self.longest.fetch_max(sent, Ordering::Relaxed);
                    }
                }
            }
        };
        let mut rest = [0; 4_096];
        let leaving = async { while matches!(reading.read(&mut rest).await, Ok(1..)) {} };
        tokio::select! {
            () = answering => {}
            () = leaving => {}
        }
        if reset {
            // What was said has to arrive before the reset does.
            sleep(Duration::from_millis(50)).await;
            let _ = socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO));
        }
        drop(socket);
        self.open.send_modify(|open| *open -= 1);
    }
}

/// The head of a request whose body has been read, too.
async fn read_request(socket: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let length: usize = header(&head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    while bytes.len() < end + length {
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    assert_eq!(header(&head, "accept-encoding"), None, "nobody here unpacks");
    Some(head)
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v))
}

fn handshake(head: &str) -> Vec<u8> {
    let key = header(head, "sec-websocket-key").expect("it asks for a WebSocket");
    let protocol = header(head, "sec-websocket-protocol").map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n"));
    let accept = derive_accept_key(key.as_bytes());
    let upgrade = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
    format!("{upgrade}Sec-WebSocket-Accept: {accept}\r\n{}\r\n", protocol.unwrap_or_default()).into_bytes()
}

/// A place where TLS is spoken with a certificate that was good until 2021.
pub(crate) async fn expired() -> SocketAddr {
    let mut params = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into());
    let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let accepted = acceptor.accept(socket).await;
                assert!(accepted.is_err(), "somebody trusts a certificate that has expired");
            });
        }
    });
    address
}
