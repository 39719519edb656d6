//! The keys of the door: a certificate from files, or one of our own that names every address of this machine.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

use crate::config::{Tls, TlsMode};

/// How long a certificate of ours holds, and how long it is used: browsers want less than 398 days.
const VALID: Duration = Duration::from_hours(24 * 365);
const USED: Duration = Duration::from_hours(24 * 300);

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

/// What the configuration asks for; `None` without TLS. Blocks on files.
pub(super) fn acceptor(config: &Tls) -> Result<Option<TlsAcceptor>, TlsError> {
    let (certificate, key) = match config.mode {
        TlsMode::Off => return Ok(None),
        TlsMode::Files => (config.cert.clone(), config.key.clone()),
        TlsMode::Auto => own(&config.dir, &names())?,
    };
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
    Ok(Some(TlsAcceptor::from(Arc::new(server))))
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

/// The certificate of ours in `dir`, made anew if it is not there, is old, or lacks one of `names`: who has accepted it once need
/// not do so after each start.
fn own(dir: &Path, names: &[String]) -> Result<(PathBuf, PathBuf), TlsError> {
    let [certificate, key, list] = ["own-cert.pem", "own-key.pem", "own-names.txt"].map(|name| dir.join(name));
    let wanted = names.join("\n");
    let age = fs::metadata(&certificate).and_then(|file| file.modified()).ok().and_then(|made| made.elapsed().ok());
    let is_named = fs::read_to_string(&list).is_ok_and(|named| named == wanted);
    if is_named && key.exists() && age.is_some_and(|age| age < USED) {
        return Ok((certificate, key));
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
    fs::write(&list, wanted).map_err(failed(&list))?;
    Ok((certificate, key))
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

    #[test]
    fn a_certificate_of_ours_is_kept_until_the_machine_has_another_address() {
        let dir = std::env::temp_dir().join(format!("visavis-tls-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let made = |of: &[&str]| fs::read(own(&dir, &names(of)).unwrap().0).unwrap();
        let first = made(&["localhost", "192.0.2.1"]);
        assert_eq!(made(&["localhost", "192.0.2.1"]), first);
        assert_ne!(made(&["localhost", "192.0.2.2"]), first);
        assert_eq!(fs::metadata(dir.join("own-key.pem")).unwrap().permissions().mode() & 0o777, 0o600);
        let tls = Tls { mode: TlsMode::Auto, dir: dir.clone(), ..Tls::default() };
        assert!(acceptor(&tls).unwrap().is_some());
        let missing =
            Tls { mode: TlsMode::Files, cert: dir.join("none.pem"), key: dir.join("own-key.pem"), ..Tls::default() };
        assert!(acceptor(&missing).err().unwrap().to_string().contains("none.pem"));
        fs::remove_dir_all(dir).unwrap();
    }
}
