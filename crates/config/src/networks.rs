//! Networks as operators write them: with a prefix length, or a single address, as Postfix's `mynetworks` takes them.
//! Not responsible for what a network may do.

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Deserializer};

/// What is said of a text that is no network.
pub(crate) const EXPECTED: &str = "expected a network such as 192.0.2.0/24 or 2001:db8::/32, or a single address";
/// How many bits of an IPv4-mapped address (RFC 4291 §2.5.5.2) are not the IPv4 address.
const MAPPED_BITS: u8 = 96;

struct Network(IpNet);

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(text.trim()).map(Self).ok_or_else(|| serde::de::Error::custom(EXPECTED))
    }
}

/// A network; a single address is the one of its full length. IPv4 within IPv6 is what it is, because so are clients.
pub(crate) fn parse(text: &str) -> Option<IpNet> {
    let network = text.parse().ok().or_else(|| Some(IpNet::from(text.parse::<std::net::IpAddr>().ok()?)))?;
    let mapped = match network {
        IpNet::V6(network) if network.prefix_len() >= MAPPED_BITS => network
            .addr()
            .to_ipv4_mapped()
            .and_then(|address| Ipv4Net::new(address, network.prefix_len() - MAPPED_BITS).ok()),
        IpNet::V4(_) | IpNet::V6(_) => None,
    };
    Some(mapped.map_or(network, IpNet::V4))
}

/// For a key that holds some.
pub(crate) fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    Ok(Vec::<Network>::deserialize(deserializer)?.into_iter().map(|network| network.0).collect())
}

/// For a key that need not be set.
pub(crate) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<IpNet>>, D::Error> {
    list(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_may_be_a_single_address() {
        for (text, network) in [
            ("192.0.2.0/24", Some("192.0.2.0/24")),
            ("192.0.2.1", Some("192.0.2.1/32")),
            ("2001:db8::1", Some("2001:db8::1/128")),
            ("::ffff:192.0.2.1", Some("192.0.2.1/32")),
            ("::ffff:192.0.2.0/120", Some("192.0.2.0/24")),
            ("192.0.2.0/33", None),
            ("192.0.2", None),
            ("mx.example.com", None),
        ] {
            assert_eq!(parse(text).map(|network| network.to_string()).as_deref(), network, "{text}");
        }
    }
}
