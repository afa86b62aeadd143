//! Routes by recipient domain: exact, by suffix, or for all. Not responsible for resolving the hosts they name.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use mailtier_types::Domain;

/// Whether a connection is encrypted (RFC 3207, RFC 7435).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TlsPolicy {
    /// STARTTLS is not used even where it is offered.
    Off,
    /// STARTTLS where it is offered, with any certificate; without it where it fails.
    #[default]
    Opportunistic,
    /// Never a message in clear.
    Required,
    /// Only to a host that shows a certificate for its name, by a root that the system trusts.
    Verified,
}

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

/// A route cannot be used as it is written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// Not a host of a route.
    #[error("{text:?} is not a host: expected host, host:port, an IPv4 address or an IPv6 address in brackets")]
    Host {
        /// As it is written.
        text: String,
    },
    /// Not what a route can be for.
    #[error("{text:?} is not a domain of a route: expected example.com, .example.com for what is below it, or *")]
    Pattern {
        /// As it is written.
        text: String,
    },
    /// Two routes for the same domain.
    #[error("there are two routes for {text:?}")]
    Twice {
        /// As it is written.
        text: String,
    },
}

impl FromStr for RouteHost {
    type Err = RouteError;

    fn from_str(text: &str) -> Result<Self, RouteError> {
        let wrong = || RouteError::Host { text: text.to_owned() };
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
        let name = Domain::parse(host).ok().filter(|name| name.literal().is_none()).ok_or_else(wrong)?;
        Ok(Self { place: Place::Name(name), port })
    }
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

/// Where mail for some domains goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// In the order in which they are tried. None: the domain's own mail exchangers, which makes an exception to a
    /// wider route.
    pub hosts: Vec<RouteHost>,
    /// The ordinary one where absent.
    pub tls: Option<TlsPolicy>,
}

/// A route and what it is for, as written in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteRule {
    /// `example.com`, `.example.com` for all below it, or `*` for all.
    pub domain: String,
    /// As [`RouteHost`] reads them.
    pub hosts: Vec<String>,
    /// The ordinary one where absent.
    pub tls: Option<TlsPolicy>,
}

/// All routes. A domain's own route goes before that of the longest suffix, and that before the one for all.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    exact: HashMap<Box<str>, Arc<Route>>,
    /// Keys without the leading dot.
    below: HashMap<Box<str>, Arc<Route>>,
    all: Option<Arc<Route>>,
}

impl RouteTable {
    /// Reads the routes.
    ///
    /// # Errors
    /// [`RouteError`] names the first that cannot be used.
    pub fn new(rules: impl IntoIterator<Item = RouteRule>) -> Result<Self, RouteError> {
        let mut table = Self::default();
        for rule in rules {
            let hosts = rule.hosts.iter().map(|host| host.parse()).collect::<Result<_, _>>()?;
            table.add(&rule.domain, Arc::new(Route { hosts, tls: rule.tls }))?;
        }
        Ok(table)
    }

    fn add(&mut self, pattern: &str, route: Arc<Route>) -> Result<(), RouteError> {
        let domain = |text: &str| {
            Domain::parse(text)
                .map(|domain| domain.as_str().into())
                .map_err(|_| RouteError::Pattern { text: pattern.to_owned() })
        };
        let before = match pattern.strip_prefix('.') {
            Some(suffix) => self.below.insert(domain(suffix)?, route),
            None if pattern == "*" => self.all.replace(route),
            None => self.exact.insert(domain(pattern)?, route),
        };
        before.map_or(Ok(()), |_| Err(RouteError::Twice { text: pattern.to_owned() }))
    }

    /// The route for a recipient's domain, if there is one.
    #[must_use]
    pub fn find(&self, domain: &Domain) -> Option<&Arc<Route>> {
        let name = domain.as_str();
        self.exact.get(name).or_else(|| self.find_below(name)).or(self.all.as_ref())
    }

    /// By the longest suffix, cut at dots.
    fn find_below(&self, name: &str) -> Option<&Arc<Route>> {
        if self.below.is_empty() || name.starts_with('[') {
            return None;
        }
        let mut rest = name;
        while let Some((_, parent)) = rest.split_once('.') {
            if let Some(route) = self.below.get(parent) {
                return Some(route);
            }
            rest = parent;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(domain: &str, host: &str) -> RouteRule {
        RouteRule { domain: domain.to_owned(), hosts: vec![host.to_owned()], tls: None }
    }

    #[test]
    fn the_nearest_route_wins() {
        let table = RouteTable::new([
            rule("example.com", "exact"),
            rule(".example.com", "below"),
            rule(".deep.example.com", "deeper"),
            rule("Bücher.example", "books"),
            rule("[192.0.2.1]", "literal"),
            rule("*", "all"),
        ])
        .unwrap();
        for (domain, expected) in [
            ("example.com", "exact"),
            ("EXAMPLE.com", "exact"),
            ("a.example.com", "below"),
            ("a.b.example.com", "below"),
            ("deep.example.com", "below"),
            ("a.deep.example.com", "deeper"),
            ("notexample.com", "all"),
            ("com", "all"),
            ("xn--bcher-kva.example", "books"),
            ("[192.0.2.1]", "literal"),
            ("[192.0.2.2]", "all"),
            ("[IPv6:2001:db8::1]", "all"),
        ] {
            let found = table.find(&Domain::parse(domain).unwrap()).unwrap();
            assert_eq!(found.hosts[0].to_string(), expected, "{domain}");
        }
    }

    #[test]
    fn without_a_route_for_all_most_domains_have_none() {
        let table = RouteTable::new([rule(".example.com", "below")]).unwrap();
        assert!(table.find(&Domain::parse("example.com").unwrap()).is_none(), "below means below");
        assert!(table.find(&Domain::parse("example.org").unwrap()).is_none());
    }

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

    #[test]
    fn mistakes_are_named() {
        let twice = RouteTable::new([rule("example.com", "a"), rule("EXAMPLE.com", "b")]).unwrap_err();
        assert_eq!(twice, RouteError::Twice { text: "EXAMPLE.com".to_owned() });
        for pattern in ["", ".", "*.example.com", "a b", ".."] {
            let wrong = RouteTable::new([rule(pattern, "a")]).unwrap_err();
            assert_eq!(wrong, RouteError::Pattern { text: pattern.to_owned() });
        }
        let wrong = RouteTable::new([rule("example.com", "a:b")]).unwrap_err();
        assert!(wrong.to_string().contains("\"a:b\""), "{wrong}");
    }
}
