//! The address to open on a phone, and its picture for the phone's camera.

use std::net::{IpAddr, SocketAddr};

use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

/// Where a phone in the same network finds a server that listens at `address` and has TLS; `None` if it does not.
pub(super) fn url(address: SocketAddr) -> Option<String> {
    let ip = match address.ip() {
        ip if ip.is_loopback() => return None,
        ip if !ip.is_unspecified() => ip,
        _ => {
            let interfaces = if_addrs::get_if_addrs().ok()?;
            interfaces.iter().map(if_addrs::Interface::ip).find(|ip| is_of_a_network(*ip))?
        }
    };
    Some(format!("https://{}/", SocketAddr::new(ip, address.port())))
}

fn is_of_a_network(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(v4) if !v4.is_loopback() && !v4.is_link_local())
}

/// `url` as a QR code of half blocks, light on dark as terminals are.
pub(super) fn picture(url: &str) -> Option<String> {
    let code = QrCode::new(url).ok()?;
    Some(code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phone_is_told_an_address_that_it_can_reach() {
        assert_eq!(url("127.0.0.1:8010".parse().unwrap()), None);
        assert_eq!(url("192.0.2.1:8010".parse().unwrap()).as_deref(), Some("https://192.0.2.1:8010/"));
        let picture = picture("https://192.0.2.1:8010/").unwrap();
        let width = picture.lines().next().unwrap().chars().count();
        assert!(picture.lines().count() * 2 >= width && width > 25, "{picture}");
    }
}
