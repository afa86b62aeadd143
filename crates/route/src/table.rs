//! Routes by recipient domain: exact, by suffix, or for all. Not responsible for resolving the hosts they name.

use std::collections::HashMap;
use std::sync::Arc;

use mailtier_types::{Domain, NotAHost, RouteHost};

/// What an operator asks of the encryption of connections (RFC 3207, RFC 7435). What owners of domains ask for with DANE
/// and MTA-STS comes on top, but for [`TlsPolicy::Off`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TlsPolicy {
    /// STARTTLS is not used even where it is offered.
    Off,
    /// STARTTLS where it is offered, with any certificate; without it where it fails.
    #[default]
    Opportunistic,
    /// Never a message in clear.
    Required,
    /// Only to a host that shows a certificate for its name, by a root that the system trusts, or as its TLSA records
    /// say.
    Verified,
    /// Only to a host that shows a certificate as its TLSA records say (RFC 7672).
    Dane,
}

/// A route cannot be used as it is written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// Not a host of a route.
    #[error(transparent)]
    Host(#[from] NotAHost),
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
