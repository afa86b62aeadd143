//! A host that mail is routed to, as operators write it in the configuration and in their orders. Not responsible for
//! looking it up.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::address::Domain;

/// A host as an operator names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// To be looked up; never for MX records.
    Name(Domain),
    /// Known.
    Address(IpAddr),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// A host of a route: `host`, `host:port`, `192.0.2.1`, `192.0.2.1:port`, `[2001:db8::1]` or `[2001:db8::1]:port`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RouteHost {
    /// Where.
    pub place: Place,
    /// The ordinary one where absent.
    pub port: Option<u16>,
}

/// Something is no host of a route.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a host: expected host, host:port, an IPv4 address or an IPv6 address in brackets")]
pub struct NotAHost {
    /// As it is written.
    pub text: String,
}

impl FromStr for RouteHost {
    type Err = NotAHost;

    fn from_str(text: &str) -> Result<Self, NotAHost> {
        let wrong = || NotAHost { text: text.to_owned() };
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self { place: Place::Address(address), port: None });
        }
        let (host, port) = match text.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
            Some((host, port)) => (host, Some(port.parse().ok().filter(|&port| port != 0).ok_or_else(wrong)?)),
            None => (text, None),
        };
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Some(address) = bare.or(Some(host).filter(|host| !host.contains(':'))).and_then(|host| host.parse().ok())
        {
            return Ok(Self { place: Place::Address(address), port });
        }
        let is_name = |name: &Domain| name.literal().is_none() && !is_address_like(name.as_str());
        let name = Domain::parse(host).ok().filter(is_name).ok_or_else(wrong)?;
        Ok(Self { place: Place::Name(name), port })
    }
}

/// No domain ends with a number (RFC 1123 §2.1; RFC 3696 §2): `256.1.1.1` is a mistaken address.
fn is_address_like(name: &str) -> bool {
    name.rsplit('.').next().is_some_and(|last| last.bytes().all(|octet| octet.is_ascii_digit()))
}

impl fmt::Display for RouteHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.place, self.port) {
            (Place::Address(address), Some(port)) => SocketAddr::new(*address, port).fmt(f),
            (place, Some(port)) => write!(f, "{place}:{port}"),
            (place, None) => place.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_as_operators_write_them() {
        for (text, place, port) in [
            ("relay.example", "relay.example", None),
            ("relay.example:2525", "relay.example", Some(2525)),
            ("sink", "sink", None),
            ("localhost:2526", "localhost", Some(2526)),
            ("192.0.2.1", "192.0.2.1", None),
            ("[192.0.2.1]", "192.0.2.1", None),
            ("192.0.2.1:587", "192.0.2.1", Some(587)),
            ("[192.0.2.1]:587", "192.0.2.1", Some(587)),
            ("[2001:db8::1]:25", "2001:db8::1", Some(25)),
            ("[2001:db8::1]", "2001:db8::1", None),
            ("2001:db8::1", "2001:db8::1", None),
        ] {
            let host: RouteHost = text.parse().unwrap();
            assert_eq!((host.place.to_string().as_str(), host.port), (place, port), "{text}");
            assert_eq!(host.to_string().parse::<RouteHost>().unwrap(), host, "{text} reads back");
        }
        for text in [
            "",
            ":25",
            "a b",
            "host:",
            "host:0",
            "host:99999",
            "2001:db8::1:99999",
            "[2001:db8::1]25",
            "host:smtp",
            "[host]:25",
            "[192.0.2.1",
            "-a",
            "a..b",
            "256.1.1.1",
            "127.1:25",
            "25",
        ] {
            assert!(text.parse::<RouteHost>().is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_host_that_reads_writes_itself(text in "\\[?[a-z0-9.:-]{0,20}\\]?(:[0-9]{1,6})?") {
            if let Ok(host) = text.parse::<RouteHost>() {
                proptest::prop_assert_eq!(host.to_string().parse::<RouteHost>().unwrap(), host);
            }
        }
    }
}
