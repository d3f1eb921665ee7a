//! Whose address a request has, when it came through proxies. `X-Forwarded-For` is believed only from a trusted peer.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;

/// The sender's address: the last one in `X-Forwarded-For` that is no trusted proxy, or the peer itself.
pub fn sender_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    let mut sender = peer.to_canonical();
    if !is_trusted(&sender) {
        return sender;
    }
    let mut lines: Vec<&str> = Vec::new();
    for line in headers.get_all("x-forwarded-for") {
        let Ok(line) = line.to_str() else {
            return sender;
        };
        lines.extend(line.split(','));
    }
    for hop in lines.into_iter().rev() {
        let Some(hop) = address_of(hop.trim()) else {
            return sender;
        };
        sender = hop.to_canonical();
        if !is_trusted(&sender) {
            return sender;
        }
    }
    sender
}

/// Some proxies write the port too (Azure's gateways): `192.0.2.5:8080`, `[2001:db8::1]:80`.
fn address_of(hop: &str) -> Option<IpAddr> {
    let with_port = || Some(hop.parse::<SocketAddr>().ok()?.ip());
    let in_brackets = || hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    hop.parse().ok().or_else(with_port).or_else(in_brackets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        sender_address(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn a_stranger_cannot_choose_its_address() {
        assert_eq!(address("192.0.2.1", &["203.0.113.9"]), "192.0.2.1");
        assert_eq!(
            address("10.0.0.1", &["1.1.1.1, 203.0.113.9"]),
            "203.0.113.9"
        );
        assert_eq!(
            address("10.0.0.1", &["1.1.1.1", "203.0.113.9, 10.0.0.7"]),
            "203.0.113.9"
        );
        assert_eq!(address("10.0.0.1", &["nonsense"]), "10.0.0.1");
        assert_eq!(address("::ffff:10.0.0.1", &["203.0.113.9"]), "203.0.113.9");
    }

    #[test]
    fn a_port_behind_an_address_is_cut_off() {
        for (hop, read) in [
            ("203.0.113.9:8080", "203.0.113.9"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("1.1.1.1:5, 203.0.113.9:443, 10.0.0.7:80", "203.0.113.9"),
            // What is no address hides nothing that stands before it.
            ("203.0.113.9, 192.0.2.5:http", "10.0.0.1"),
            ("[203.0.113.9", "10.0.0.1"),
        ] {
            assert_eq!(address("10.0.0.1", &[hop]), read, "{hop}");
        }
    }
}
