//! Whether a TURN server takes a name and a password: one allocation, asked for by UDP, TCP or TLS, which
//! is given back at once (RFC 8656 §7).
//!
//! In: a URL and what to say there. Out: that it works, or what is wrong. For `visavis doctor`; viewers talk to the relay themselves.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha1::Sha1;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use super::reflexive::{authority, resolve};
use super::stun::{self, Transaction};

/// An answer may take this long, each of the times that is asked.
const PATIENCE: Duration = Duration::from_secs(1);
const ATTEMPTS: usize = 3;
const LARGEST: usize = 1_500;

const ALLOCATE: [u8; 2] = [0, 3];
const REFRESH: [u8; 2] = [0, 4];
const ALLOCATED: [u8; 2] = [1, 3];
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const LIFETIME: u16 = 0x000d;
const REALM: u16 = 0x0014;
const NONCE: u16 = 0x0015;
const REQUESTED_TRANSPORT: u16 = 0x0019;
/// Its number among the protocols, and three bytes for later.
const UDP: &[u8] = &[17, 0, 0, 0];

/// Why a relay is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelayFault {
    /// Wrong name, wrong password, or expired.
    #[error("it refuses the password")]
    Refused,
    /// Nobody there, or nothing gets there.
    #[error("it does not answer")]
    Silent,
    /// Whoever answers by TLS is not who the URL says, by this machine's list of authorities.
    #[error("its certificate is not trusted")]
    Untrusted,
    /// It answers with this error.
    #[error("it answers with the error {0}")]
    Failed(u16),
}

/// Asks the relay at `url` (`turn:host:port?transport=`, UDP if it does not say; `turns:` is TLS) for an allocation.
pub async fn try_relay(url: &str, username: &str, password: &str) -> Result<(), RelayFault> {
    let mut line = Line::open(url).await?;
    let challenge = line.ask(|transaction| message(ALLOCATE, transaction, &[(REQUESTED_TRANSPORT, UDP)])).await?;
    if challenge.starts_with(&ALLOCATED) {
        return Ok(());
    }
    let value = |kind| stun::attribute(&challenge, kind).unwrap_or_default();
    let (realm, nonce) = (value(REALM).to_vec(), value(NONCE).to_vec());
    let key = Md5::digest([username.as_bytes(), b":", &realm, b":", password.as_bytes()].concat());
    let signed = |kind, transaction: &Transaction, what: (u16, &[u8])| {
        let who = [(USERNAME, username.as_bytes()), (REALM, &realm), (NONCE, &nonce)];
        sign(message(kind, transaction, &[&[what], &who[..]].concat()), &key)
    };
    let answer = line.ask(|transaction| signed(ALLOCATE, transaction, (REQUESTED_TRANSPORT, UDP))).await?;
    if !answer.starts_with(&ALLOCATED) {
        let code = stun::attribute(&answer, ERROR_CODE).unwrap_or_default();
        let code = code.get(2..4).map_or(0, |digits| u16::from(digits[0] & 7) * 100 + u16::from(digits[1]));
        return Err(if matches!(code, 401 | 403 | 441) { RelayFault::Refused } else { RelayFault::Failed(code) });
    }
    let _ = line.send(&signed(REFRESH, &rand::random(), (LIFETIME, &[0; 4]))).await;
    Ok(())
}

/// The way to a relay. What UDP loses is said again; TCP loses nothing.
enum Line {
    Udp(UdpSocket),
    Stream(Box<dyn Stream>),
}

/// TCP, or TLS over it.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Line {
    async fn open(url: &str) -> Result<Self, RelayFault> {
        let silent = |_| RelayFault::Silent;
        let server = resolve(url, true).await.ok_or(RelayFault::Silent)?;
        let is_tls = url.starts_with("turns:");
        if is_tls || url.ends_with("transport=tcp") {
            let connecting = timeout(PATIENCE, TcpStream::connect(server)).await;
            let stream = connecting.map_err(|_| RelayFault::Silent)?.map_err(silent)?;
            return Ok(Self::Stream(if is_tls { tls(url, stream).await? } else { Box::new(stream) }));
        }
        let socket = UdpSocket::bind(SocketAddr::from(([0, 0, 0, 0], 0))).await.map_err(silent)?;
        socket.connect(server).await.map_err(silent)?;
        Ok(Self::Udp(socket))
    }

    /// Sends a request until it is answered.
    async fn ask(&mut self, request: impl Fn(&Transaction) -> Vec<u8>) -> Result<Vec<u8>, RelayFault> {
        let transaction: Transaction = rand::random();
        let request = request(&transaction);
        let attempts = if matches!(self, Self::Udp(_)) { ATTEMPTS } else { 1 };
        for _ in 0..attempts {
            let _ = self.send(&request).await;
            if let Ok(Ok(answer)) = timeout(PATIENCE, self.receive()).await
                && stun::transaction(&answer) == Some(transaction)
            {
                return Ok(answer);
            }
        }
        Err(RelayFault::Silent)
    }

    async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.send(message).await.map(drop),
            Self::Stream(stream) => {
                stream.write_all(message).await?;
                stream.flush().await
            }
        }
    }

    /// The next message, which on TCP says its own length (RFC 8489 §6.2.2).
    async fn receive(&mut self) -> io::Result<Vec<u8>> {
        match self {
            Self::Udp(socket) => {
                let mut message = vec![0; LARGEST];
                let len = socket.recv(&mut message).await?;
                message.truncate(len);
                Ok(message)
            }
            Self::Stream(stream) => {
                let mut message = vec![0; stun::HEADER];
                stream.read_exact(&mut message).await?;
                let len = usize::from(u16::from_be_bytes([message[2], message[3]]));
                if len > LARGEST {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                message.resize(stun::HEADER + len, 0);
                stream.read_exact(&mut message[stun::HEADER..]).await?;
                Ok(message)
            }
        }
    }
}

/// TLS with whom `url` names, as the authorities of this machine vouch for them.
async fn tls(url: &str, stream: TcpStream) -> Result<Box<dyn Stream>, RelayFault> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name =
        authority(url).and_then(|(host, _)| ServerName::try_from(host.to_owned()).ok()).ok_or(RelayFault::Untrusted)?;
    let shaken = timeout(PATIENCE, TlsConnector::from(Arc::new(config)).connect(name, stream)).await;
    match shaken.map_err(|_| RelayFault::Silent)? {
        Ok(stream) => Ok(Box::new(stream)),
        // What the library says of a certificate; all else is a connection that ended.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(RelayFault::Untrusted),
        Err(_) => Err(RelayFault::Silent),
    }
}

fn message(kind: [u8; 2], transaction: &Transaction, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = stun::request(transaction).to_vec();
    bytes[..2].copy_from_slice(&kind);
    attributes.iter().for_each(|(kind, value)| push(&mut bytes, *kind, value));
    bytes
}

fn push(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    bytes.extend(kind.to_be_bytes());
    bytes.extend((value.len() as u16).to_be_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    let len = bytes.len() - stun::HEADER;
    set_len(bytes, len);
}

fn set_len(bytes: &mut [u8], len: usize) {
    bytes[2..4].copy_from_slice(&(len as u16).to_be_bytes());
}

/// Adds MESSAGE-INTEGRITY, which counts its own 24 bytes (RFC 8489 §14.5).
fn sign(mut bytes: Vec<u8>, key: &[u8]) -> Vec<u8> {
    let len = bytes.len() - stun::HEADER + 24;
    set_len(&mut bytes, len);
    let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(&bytes);
    let code = mac.finalize().into_bytes();
    push(&mut bytes, MESSAGE_INTEGRITY, &code);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_there_is_no_wrong_password() {
        let deaf = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let url = format!("turn:127.0.0.1:{}?transport=udp", deaf.local_addr().unwrap().port());
        assert_eq!(try_relay(&url, "a", "b").await, Err(RelayFault::Silent));
    }

    #[test]
    fn a_signature_counts_itself() {
        let signed = sign(message(ALLOCATE, &[7; 12], &[(USERNAME, b"abc")]), b"key");
        assert_eq!(signed.len(), 20 + 8 + 24);
        assert_eq!(signed[2..4], [0, 32]);
        assert_eq!(stun::attribute(&signed, USERNAME), Some(&b"abc"[..]));
    }
}
