//! What limits hold for whom: an operator's rules by destination, provider and tenant. Not responsible for keeping to
//! them (`scheduler`).

use std::collections::HashMap;

use mailtier_types::{SliceWish, TenantId};

use crate::backoff::RetryPolicy;
use crate::pools::Pools;
use crate::rate::Rate;

/// Limits of one destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DestinationLimits {
    /// Attempts at a time at the most.
    pub concurrency: u32,
    /// Attempts at a time to begin with; each success makes it a little more, each refused connection half as much.
    pub initial_concurrency: u32,
    /// Attempts in a time.
    pub rate: Option<Rate>,
}

/// Limits of all destinations of one provider, of all mail of one tenant, or of an egress pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupLimits {
    /// Attempts at a time; absent: no limit.
    pub concurrency: Option<u32>,
    /// Attempts in a time.
    pub rate: Option<Rate>,
}

impl GroupLimits {
    /// What is left for each replica where so many keep to them together: rates are divided exactly, and of attempts at
    /// a time each has one at least.
    #[must_use]
    pub fn shared_by(self, replicas: u32) -> Self {
        let replicas = replicas.max(1);
        Self {
            concurrency: self.concurrency.map(|limit| (limit / replicas).max(1)),
            rate: self.rate.map(|rate| rate.shared_by(replicas)),
        }
    }
}

impl From<&SliceWish> for GroupLimits {
    fn from(wish: &SliceWish) -> Self {
        Self { concurrency: wish.concurrency, rate: wish.interval_us.map(Rate::every) }
    }
}

/// Everyone whose mail exchangers have names below certain domains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// As in metrics and commands.
    pub name: String,
    /// Domains of its exchangers, in lower case: themselves and all below.
    pub exchangers: Vec<String>,
    /// Over all its destinations.
    pub limits: GroupLimits,
}

/// All rules: they stay as a scheduler finds them at its beginning.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// Of destinations no rule names.
    pub destination: DestinationLimits,
    /// By name; one that begins with a dot is for all below.
    pub destinations: HashMap<String, DestinationLimits>,
    /// The first that fits counts.
    pub providers: Vec<Provider>,
    /// Providers of exchangers whose names do not say whose they are: by name in lower case; one that begins with a dot is
    /// for all below. It goes before what [`Provider::exchangers`] says.
    pub sites: HashMap<String, String>,
    /// Of tenants no rule names.
    pub tenant: GroupLimits,
    /// By tenant.
    pub tenants: HashMap<TenantId, GroupLimits>,
    /// Egress pools, and whose mail goes through which.
    pub pools: Pools,
    /// How a destination that cannot be reached is tried again.
    pub probe: RetryPolicy,
    /// So many attempts in a row that did not reach it, and a destination counts as dead; 0: none ever does.
    pub dead_after: u16,
}

impl Rules {
    /// The same for every destination, with nothing learnt from failures, and no other limits.
    #[must_use]
    pub fn plain(concurrency: u32) -> Self {
        let concurrency = concurrency.max(1);
        Self {
            destination: DestinationLimits { concurrency, initial_concurrency: concurrency, rate: None },
            destinations: HashMap::new(),
            providers: Vec::new(),
            sites: HashMap::new(),
            tenant: GroupLimits::default(),
            tenants: HashMap::new(),
            pools: Pools::default(),
            probe: RetryPolicy::default(),
            dead_after: 0,
        }
    }

    /// Other rules in the place of these, with the same egress pools: only those's limits may be others.
    #[must_use]
    pub fn renewed(&self, new: Self) -> Self {
        let mut pools = self.pools.clone();
        for (_, pool) in new.pools.iter() {
            if let Some(known) = pools.find(&pool.name).and_then(|id| pools.get_mut(id)) {
                known.limits = pool.limits;
            }
        }
        Self { pools, ..new }
    }

    /// Whether exchangers tell the same.
    pub(crate) fn have_same_providers(&self, other: &Self) -> bool {
        let exchangers = |rules: &Self| -> Vec<_> {
            rules.providers.iter().map(|provider| (provider.name.clone(), provider.exchangers.clone())).collect()
        };
        self.sites == other.sites && exchangers(self) == exchangers(other)
    }

    /// Of one destination: its own, or those of the nearest domain above that has some.
    #[must_use]
    pub fn of_destination(&self, name: &str) -> DestinationLimits {
        nearest(&self.destinations, name).copied().unwrap_or(self.destination)
    }

    /// Of one tenant.
    #[must_use]
    pub fn of_tenant(&self, tenant: TenantId) -> GroupLimits {
        self.tenants.get(&tenant).copied().unwrap_or(self.tenant)
    }

    /// Whose an exchanger is.
    #[must_use]
    pub fn provider_of(&self, exchanger: &str) -> Option<&str> {
        if let Some(provider) = self.site_of(exchanger) {
            return Some(provider);
        }
        let fits = |provider: &&Provider| provider.exchangers.iter().any(|domain| is_below(exchanger, domain));
        self.providers.iter().find(fits).map(|provider| provider.name.as_str())
    }

    fn site_of(&self, exchanger: &str) -> Option<&str> {
        if self.sites.is_empty() {
            return None;
        }
        let name = exchanger.strip_suffix('.').unwrap_or(exchanger).to_ascii_lowercase();
        nearest(&self.sites, &name).map(String::as_str)
    }

    /// Of one provider.
    #[must_use]
    pub fn of_provider(&self, name: &str) -> GroupLimits {
        self.providers.iter().find(|provider| provider.name == name).map(|provider| provider.limits).unwrap_or_default()
    }
}

/// Whether a host has the name of a domain, or one below it.
pub(crate) fn is_below(host: &str, domain: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let parts = host.len().checked_sub(domain.len()).and_then(|start| host.split_at_checked(start));
    parts.is_some_and(|(before, end)| end.eq_ignore_ascii_case(domain) && (before.is_empty() || before.ends_with('.')))
}

/// What is said of a domain: by its own name, or for the nearest domain above, whose name then begins with a dot.
pub(crate) fn nearest<'a, T>(rules: &'a HashMap<String, T>, name: &str) -> Option<&'a T> {
    if rules.is_empty() {
        return None;
    }
    let above = name.match_indices('.').filter_map(|(dot, _)| name.get(dot..));
    std::iter::once(name).chain(above).find_map(|name| rules.get(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(concurrency: u32) -> DestinationLimits {
        DestinationLimits { concurrency, initial_concurrency: 1, rate: None }
    }

    #[test]
    fn the_nearest_rule_counts() {
        let mut rules = Rules::plain(20);
        rules.destinations = [("example.com", 1), (".example.com", 2), (".com", 3)]
            .map(|(name, concurrency)| (name.to_owned(), limits(concurrency)))
            .into();
        for (name, concurrency) in [
            ("example.com", 1),
            ("a.example.com", 2),
            ("b.a.example.com", 2),
            ("notexample.com", 3),
            ("com", 20),
            ("example.org", 20),
        ] {
            assert_eq!(rules.of_destination(name).concurrency, concurrency, "{name}");
        }
    }

    #[test]
    fn exchangers_tell_the_provider() {
        let provider = |name: &str, domain: &str| Provider {
            name: name.to_owned(),
            exchangers: vec![domain.to_owned()],
            limits: GroupLimits { concurrency: Some(7), rate: None },
        };
        let mut rules = Rules::plain(20);
        rules.providers = vec![provider("one", "mx.example.net"), provider("two", "example.net")];
        for (exchanger, name) in [
            ("mx.example.net", Some("one")),
            ("A.MX.Example.NET.", Some("one")),
            ("mail.example.net", Some("two")),
            ("notexample.net", None),
            ("net", None),
            ("", None),
        ] {
            assert_eq!(rules.provider_of(exchanger), name, "{exchanger}");
        }
        let site = |name: &str, provider: &str| (name.to_owned(), provider.to_owned());
        rules.sites =
            [site("mx.customer.example", "two"), site(".mx.example.net", "two"), site("a.mx.example.net", "one")]
                .into();
        for (exchanger, name) in [
            ("MX.customer.example.", Some("two")),
            ("a.mx.customer.example", None),
            ("b.mx.example.net", Some("two")),
            ("a.mx.example.net", Some("one")),
            ("mx.example.net", Some("one")),
        ] {
            assert_eq!(rules.provider_of(exchanger), name, "{exchanger}: the most precise site goes first");
        }
        assert_eq!(rules.of_provider("two").shared_by(3).concurrency, Some(2));
        assert_eq!(rules.of_provider("two").shared_by(30).concurrency, Some(1));
        assert_eq!(rules.of_provider("three"), GroupLimits::default());
    }
}
