//! Whose address a request has, when it came through proxies. `X-Forwarded-For` is believed only from a trusted peer.

use std::net::IpAddr;

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
        let Ok(hop) = hop.trim().parse::<IpAddr>() else {
            return sender;
        };
        sender = hop.to_canonical();
        if !is_trusted(&sender) {
            return sender;
        }
    }
    sender
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
}
