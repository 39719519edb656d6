//! The keys of the door: a certificate from files, or one of our own that names every address of this machine.
//!
//! In: the configuration. Out: what opens TLS connections, replaced when the files are, or the addresses. One task.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

use tracing::{info, warn};

use crate::config::{Tls, TlsMode};

/// How long a certificate of ours holds, and how long it is used: browsers want less than 398 days.
const VALID: Duration = Duration::from_hours(24 * 365);
const USED: Duration = Duration::from_hours(24 * 300);
/// How often the files are looked at.
const LOOK: Duration = Duration::from_mins(1);

const OWN_CERTIFICATE: &str = "own-cert.pem";
const OWN_KEY: &str = "own-key.pem";

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}: {source}")]
    Pem {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// Certificate and key do not fit.
    #[error("the certificate and the key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
    /// None could be made.
    #[error("no certificate could be made: {0}")]
    Made(#[from] rcgen::Error),
}

/// What the configuration asks for, now and later; `None` without TLS.
pub(super) async fn keep(config: &Tls) -> Result<Option<watch::Receiver<TlsAcceptor>>, TlsError> {
    if config.mode == TlsMode::None {
        return Ok(None);
    }
    let (first, mut read) = read(config).await?;
    let (acceptors, receiver) = watch::channel(first);
    let config = config.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                biased;
                () = acceptors.closed() => return,
                () = sleep(LOOK) => {}
            }
            if written(&config) == read && config.mode == TlsMode::Files {
                continue;
            }
            match self::read(&config).await {
                Ok((_, again)) if again == read => {}
                Ok((acceptor, again)) => {
                    info!("the certificate was read again");
                    acceptors.send_replace(acceptor);
                    read = again;
                }
                Err(error) => warn!(%error, "the new certificate cannot be used: the old one stays"),
            }
        }
    });
    Ok(Some(receiver))
}

/// When certificate and key were written.
type Written = [Option<SystemTime>; 2];

fn written(config: &Tls) -> Written {
    let (certificate, key) = files(config);
    [certificate, key].map(|file| fs::metadata(file).and_then(|file| file.modified()).ok())
}

async fn read(config: &Tls) -> Result<(TlsAcceptor, Written), TlsError> {
    let config = config.clone();
    let read = move || {
        let acceptor = acceptor(&config)?;
        Ok((acceptor, written(&config)))
    };
    let joined = tokio::task::spawn_blocking(read).await;
    joined.unwrap_or_else(|error| Err(TlsError::File { path: PathBuf::new(), source: io::Error::other(error) }))
}

fn files(config: &Tls) -> (PathBuf, PathBuf) {
    match config.mode {
        TlsMode::Files => (config.cert.clone(), config.key.clone()),
        TlsMode::None | TlsMode::Auto => (config.dir.join(OWN_CERTIFICATE), config.dir.join(OWN_KEY)),
    }
}

/// What opens connections with the files as they are; makes those of our own if need be. Blocks on files.
pub(super) fn acceptor(config: &Tls) -> Result<TlsAcceptor, TlsError> {
    if config.mode == TlsMode::Auto {
        make_own(&config.dir, &names())?;
    }
    let (certificate, key) = files(config);
    let chain = CertificateDer::pem_file_iter(&certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|source| TlsError::Pem { path: certificate, source })?;
    let key = PrivateKeyDer::from_pem_file(&key).map_err(|source| TlsError::Pem { path: key, source })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(server)))
}

/// Every name and address under which this machine can be asked for.
fn names() -> Vec<String> {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let ips = interfaces.iter().map(if_addrs::Interface::ip).filter(|ip| match ip {
        IpAddr::V4(v4) => !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    });
    let own = (!host.is_empty()).then(|| [host.clone(), format!("{host}.local")]);
    let mut names: Vec<String> =
        ["localhost".to_owned()].into_iter().chain(own.into_iter().flatten()).chain(ips.map(|ip| ip.to_string())).collect();
    names.sort();
    names.dedup();
    names
}

/// A certificate of ours in `dir`, unless one is there that is not old and has all of `names`: who has accepted it once need not do
/// so after each start.
fn make_own(dir: &Path, names: &[String]) -> Result<(), TlsError> {
    let [certificate, key, list] = [OWN_CERTIFICATE, OWN_KEY, "own-names.txt"].map(|name| dir.join(name));
    let wanted = names.join("\n");
    let age = fs::metadata(&certificate).and_then(|file| file.modified()).ok().and_then(|made| made.elapsed().ok());
    let is_named = fs::read_to_string(&list).is_ok_and(|named| named == wanted);
    if is_named && key.exists() && age.is_some_and(|age| age < USED) {
        return Ok(());
    }
    let mut params = CertificateParams::new(names)?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, "visavis");
    params.distinguished_name = subject;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    #[expect(clippy::disallowed_methods, reason = "a certificate is valid by the calendar")]
    let now = SystemTime::now();
    // Clocks differ.
    params.not_before = (now - Duration::from_hours(24)).into();
    params.not_after = (now + VALID).into();
    let pair = KeyPair::generate()?;
    let made = params.self_signed(&pair)?;
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::File { path, source }
    };
    fs::create_dir_all(dir).map_err(failed(dir))?;
    write_secret(&key, &pair.serialize_pem()).map_err(failed(&key))?;
    fs::write(&certificate, made.pem()).map_err(failed(&certificate))?;
    fs::write(&list, wanted).map_err(failed(&list))
}

/// A file that only its owner reads.
fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let _ = fs::remove_file(path);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("visavis-tls-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        dir
    }

    fn made(dir: &Path, names: &[&str]) -> Vec<u8> {
        make_own(dir, &names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap();
        fs::read(dir.join(OWN_CERTIFICATE)).unwrap()
    }

    #[test]
    fn a_certificate_of_ours_is_kept_until_the_machine_has_another_address() {
        let dir = folder("own");
        let first = made(&dir, &["localhost", "192.0.2.1"]);
        assert_eq!(made(&dir, &["localhost", "192.0.2.1"]), first);
        assert_ne!(made(&dir, &["localhost", "192.0.2.2"]), first);
        assert_eq!(fs::metadata(dir.join(OWN_KEY)).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(acceptor(&Tls { mode: TlsMode::Auto, dir: dir.clone(), ..Tls::default() }).is_ok());
        let missing = Tls { mode: TlsMode::Files, cert: dir.join("none.pem"), key: dir.join(OWN_KEY), ..Tls::default() };
        assert!(acceptor(&missing).err().unwrap().to_string().contains("none.pem"));
        fs::remove_dir_all(dir).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewed_certificate_is_taken_without_a_restart_and_a_broken_one_is_not() {
        let dir = folder("renewed");
        made(&dir, &["localhost"]);
        let [cert, key] = [OWN_CERTIFICATE, OWN_KEY].map(|name| dir.join(name));
        let config = Tls { mode: TlsMode::Files, cert: cert.clone(), key, ..Tls::default() };
        let mut acceptors = keep(&config).await.unwrap().unwrap();
        sleep(LOOK * 3).await;
        assert!(!acceptors.has_changed().unwrap());
        made(&dir, &["localhost", "192.0.2.1"]);
        acceptors.changed().await.unwrap();
        fs::write(&cert, "nothing of that kind").unwrap();
        sleep(LOOK * 3).await;
        assert!(!acceptors.has_changed().unwrap());
        fs::remove_dir_all(dir).unwrap();
    }
}
