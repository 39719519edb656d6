//! Media over TCP (RFC 6544, passive), for networks that let no UDP through: datagrams in the frames of RFC 4571.
//!
//! In: a connection whose first byte says that it is none of HTTP's. Each frame passes the guard of the one UDP socket as if it
//! were a datagram from the connection's other end; what the stack sends there comes back here. One task a connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::UdpMux;
use super::socket::MAX_DATAGRAM;
use crate::metrics;

/// Frames that wait for a connection: 300 ms at the most that is sent. Full: the newest is lost and counted.
const TCP_QUEUE: usize = 64;
/// From the connection to its first frame.
const FIRST_FRAME: Duration = Duration::from_secs(10);
/// A browser checks its path every few seconds; one that is silent for this long is gone (RFC 7675).
const SILENCE: Duration = Duration::from_secs(30);
/// What the kernel may hold back for a connection that is slow: more would only be late.
const SEND_BUFFER: usize = 64 << 10;
/// Of it, what is not on its way yet, in bytes: in a network that is gone for a while this would grow old.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 4 << 10;
/// Who waits for longer than this to send has nothing behind it that is worth sending: media are late, checks are repeated.
const LATE: Duration = Duration::from_millis(150);

/// Whether a connection that begins with `byte` carries frames: the first is a check, and shorter than a datagram.
pub fn is_media(byte: u8) -> bool {
    usize::from(byte) <= MAX_DATAGRAM >> 8
}

/// Carries media between a connection from `peer` and whoever its first check names, until either is gone.
pub async fn carry(mux: Arc<UdpMux>, stream: TcpStream, peer: SocketAddr) {
    let _ = stream.set_nodelay(true);
    let socket = socket2::SockRef::from(&stream);
    let _ = socket.set_send_buffer_size(SEND_BUFFER);
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_notsent_lowat(UNSENT);
    let local = stream.local_addr().ok().map(|address| address.ip());
    let (mut incoming, outgoing) = stream.into_split();
    let mut frame = Vec::with_capacity(MAX_DATAGRAM);
    if !matches!(timeout(FIRST_FRAME, read(&mut incoming, &mut frame)).await, Ok(Some(()))) {
        return;
    }
    let (queue, frames) = mpsc::channel(TCP_QUEUE);
    let Some(slot) = mux.connect(&frame, peer, queue) else { return };
    let reading = async {
        loop {
            mux.deliver(&frame, peer, local);
            if !matches!(timeout(SILENCE, read(&mut incoming, &mut frame)).await, Ok(Some(()))) {
                return;
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = write(outgoing, frames) => {}
    }
    mux.disconnect(peer, &slot);
}

/// The next frame; `None` at the end, or if it is longer than a datagram may be.
async fn read(incoming: &mut OwnedReadHalf, frame: &mut Vec<u8>) -> Option<()> {
    let len = usize::from(incoming.read_u16().await.ok()?);
    if len > MAX_DATAGRAM {
        return None;
    }
    frame.resize(len, 0);
    incoming.read_exact(frame).await.ok()?;
    Some(())
}

async fn write(mut outgoing: OwnedWriteHalf, mut frames: mpsc::Receiver<Vec<u8>>) {
    let mut framed = Vec::with_capacity(MAX_DATAGRAM + 2);
    while let Some(frame) = frames.recv().await {
        let Ok(len) = u16::try_from(frame.len()) else { continue };
        framed.clear();
        framed.extend(len.to_be_bytes());
        framed.extend(frame);
        let began = Instant::now();
        if outgoing.write_all(&framed).await.is_err() {
            return;
        }
        if began.elapsed() > LATE {
            while frames.try_recv().is_ok() {
                metrics::udp_dropped("tcp_late");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECK: &[u8] = b"\x00\x01\x00\x0c\x21\x12\xa4\x42............\x00\x06\x00\x08abcd:xyz";

    async fn carried(first: &[u8], name: &str) -> (TcpStream, tokio::task::JoinHandle<()>) {
        let mux = UdpMux::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        mux.name(&UdpMux::open(), name);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        client.write_all(first).await.unwrap();
        (client, tokio::spawn(carry(mux, stream, peer)))
    }

    fn framed(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
    }

    #[tokio::test]
    async fn a_check_of_ours_keeps_the_connection_and_any_other_closes_it() {
        let (_client, task) = carried(&framed(CHECK), "abcd").await;
        assert!(timeout(Duration::from_millis(200), task).await.is_err());
        for (first, name) in
            [(framed(CHECK), "other"), (framed(b"\x80\x60 media before any check"), "abcd"), (vec![5, 255], "abcd")]
        {
            let (_client, task) = carried(&first, name).await;
            timeout(Duration::from_secs(5), task).await.unwrap().unwrap();
        }
    }

    #[test]
    fn neither_http_nor_tls_begins_like_a_frame() {
        assert!(is_media(0) && is_media(5));
        assert!(!is_media(0x16) && !b"GPHDOC\r\n".iter().any(|byte| is_media(*byte)));
    }
}
