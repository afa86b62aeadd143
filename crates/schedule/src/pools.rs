//! Egress pools as an operator has them: their limits, their warm-up, and whose mail goes through which. Not responsible
//! for keeping to the limits (`scheduler`).

use mailtier_types::{Day, TenantId};

use crate::rules::GroupLimits;

/// The most pools there can be.
const MAX_POOLS: usize = 100;

/// Which egress pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolId(u8);

impl PoolId {
    /// That of all mail that no rule names another for.
    pub const DEFAULT: Self = Self(0);

    pub(crate) const fn new(number: u8) -> Self {
        Self(number)
    }

    pub(crate) const fn number(self) -> u8 {
        self.0
    }

    /// Its place among all pools.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// So many deliveries a day while receivers get to know the addresses of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WarmUp {
    /// The first day.
    pub began: Day,
    /// Of the first day, the second, and so on.
    pub per_day: Vec<u32>,
}

impl WarmUp {
    /// What may go out on a day: nothing before the first, and as much as there is (absent) after the last.
    #[must_use]
    pub fn allowance(&self, day: Day) -> Option<u64> {
        match usize::try_from(day.days_after(self.began)) {
            Ok(nth) => self.per_day.get(nth).copied().map(u64::from),
            Err(_) => Some(0),
        }
    }
}

/// One pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// As in metrics and commands, and as workers name it.
    pub name: String,
    /// Over all its mail.
    pub limits: GroupLimits,
    /// While it becomes known.
    pub warm_up: Option<WarmUp>,
    /// The pool that takes what is beyond a day of the warm-up. No way along these leads in a circle.
    pub overflow: Option<PoolId>,
}

/// Whose mail goes through a pool: where all that is given holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolRule {
    /// The pool.
    pub pool: PoolId,
    /// Of this tenant.
    pub tenant: Option<TenantId>,
    /// The domain of the reverse-path, in lower case; one that begins with a dot is for all below.
    pub sender_domain: Option<String>,
    /// The destination, likewise.
    pub destination: Option<String>,
    /// The provider of the destination.
    pub provider: Option<String>,
}

/// All pools, and the rules, of which the first that fits counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pools {
    all: Vec<Pool>,
    rules: Vec<PoolRule>,
}

impl Default for Pools {
    fn default() -> Self {
        Self::new("default", Vec::new())
    }
}

impl Pools {
    /// The default pool without limits, and others.
    #[must_use]
    pub fn new(default: &str, rules: Vec<PoolRule>) -> Self {
        let default = Pool { name: default.to_owned(), limits: GroupLimits::default(), warm_up: None, overflow: None };
        Self { all: vec![default], rules }
    }

    /// The pool of a name, made without limits if there is none. Nothing where there are too many.
    pub fn add(&mut self, name: &str) -> Option<PoolId> {
        if let Some(known) = self.find(name) {
            return Some(known);
        }
        let id = u8::try_from(self.all.len()).ok().filter(|_| self.all.len() < MAX_POOLS).map(PoolId)?;
        self.all.push(Pool { name: name.to_owned(), limits: GroupLimits::default(), warm_up: None, overflow: None });
        Some(id)
    }

    /// The pool of a name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<PoolId> {
        self.iter().find(|(_, pool)| pool.name == name).map(|(id, _)| id)
    }

    /// One pool; the default one for an id of other pools than these.
    #[must_use]
    pub fn get(&self, id: PoolId) -> Option<&Pool> {
        self.all.get(id.index())
    }

    /// One pool, to be changed.
    pub fn get_mut(&mut self, id: PoolId) -> Option<&mut Pool> {
        self.all.get_mut(id.index())
    }

    /// Every pool.
    pub fn iter(&self) -> impl Iterator<Item = (PoolId, &Pool)> {
        (0..).map(PoolId).zip(&self.all)
    }

    /// Replaces the rules.
    pub fn set_rules(&mut self, rules: Vec<PoolRule>) {
        self.rules = rules;
    }

    /// Whether some rule asks for the sender.
    #[must_use]
    pub fn ask_for_senders(&self) -> bool {
        self.rules.iter().any(|rule| rule.sender_domain.is_some())
    }

    /// The places of the rules that may count for a mail: those for certain providers, and the first that is for all.
    pub(crate) fn candidates(&self, tenant: TenantId, sender_domain: &str, destination: &str) -> Vec<u16> {
        let fits = |rule: &PoolRule| {
            rule.tenant.is_none_or(|one| one == tenant)
                && rule.sender_domain.as_deref().is_none_or(|pattern| is_of(sender_domain, pattern))
                && rule.destination.as_deref().is_none_or(|pattern| is_of(destination, pattern))
        };
        let mut candidates = Vec::new();
        for (place, rule) in (0..).zip(&self.rules).filter(|(_, rule)| fits(rule)) {
            candidates.push(place);
            if rule.provider.is_none() {
                break;
            }
        }
        candidates
    }

    /// The pool of a mail: by the first rule that fits.
    #[must_use]
    pub fn of_mail(&self, tenant: TenantId, sender_domain: &str, destination: &str, provider: Option<&str>) -> PoolId {
        self.choose(&self.candidates(tenant, sender_domain, destination), provider)
    }

    /// The pool by the first of some candidates that fits, with what is known of the destination's provider.
    pub(crate) fn choose(&self, candidates: &[u16], provider: Option<&str>) -> PoolId {
        let mut rules = candidates.iter().filter_map(|place| self.rules.get(usize::from(*place)));
        let fits = |rule: &&PoolRule| rule.provider.is_none() || rule.provider.as_deref() == provider;
        rules.find(fits).map_or(PoolId::DEFAULT, |rule| rule.pool)
    }
}

/// Whether a domain is the one that is meant, or below it where the pattern begins with a dot.
fn is_of(domain: &str, pattern: &str) -> bool {
    match pattern.starts_with('.') {
        true => domain.len() > pattern.len() && domain.ends_with(pattern),
        false => domain == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warm_up_promotes_itself_day_by_day() {
        let began: Day = "2026-11-20".parse().unwrap();
        let warm_up = WarmUp { began, per_day: vec![50, 100, 500] };
        for (day, allowed) in [
            ("2026-11-01", Some(0)),
            ("2026-11-19", Some(0)),
            ("2026-11-20", Some(50)),
            ("2026-11-21", Some(100)),
            ("2026-11-22", Some(500)),
            ("2026-11-23", None),
            ("2030-01-01", None),
        ] {
            assert_eq!(warm_up.allowance(day.parse().unwrap()), allowed, "{day}");
        }
    }

    #[test]
    fn the_first_rule_that_fits_counts() {
        let mut pools = Pools::default();
        let [a, b, c] = ["a", "b", "c"].map(|name| pools.add(name).unwrap());
        let rule = |pool| PoolRule { pool, ..PoolRule::default() };
        pools.set_rules(vec![
            PoolRule { tenant: Some(TenantId(7)), provider: Some("google".into()), ..rule(a) },
            PoolRule { tenant: Some(TenantId(7)), ..rule(b) },
            PoolRule { sender_domain: Some(".example.com".into()), ..rule(c) },
            PoolRule { destination: Some("dest.example".into()), ..rule(a) },
            PoolRule { provider: Some("google".into()), ..rule(b) },
        ]);
        for (tenant, sender, destination, provider, pool) in [
            (7, "x.example", "d.example", Some("google"), a),
            (7, "x.example", "d.example", None, b),
            (7, "a.example.com", "dest.example", Some("other"), b),
            (8, "a.example.com", "dest.example", Some("google"), c),
            (8, "example.com", "dest.example", Some("google"), a),
            (8, "notexample.com", "d.example", Some("google"), b),
            (8, "", "d.example", None, PoolId::DEFAULT),
        ] {
            let candidates = pools.candidates(TenantId(tenant), sender, destination);
            assert_eq!(pools.choose(&candidates, provider), pool, "{tenant} {sender} {destination} {provider:?}");
            assert_eq!(pools.of_mail(TenantId(tenant), sender, destination, provider), pool);
        }
        assert!(pools.ask_for_senders() && !Pools::default().ask_for_senders());
        assert_eq!((pools.add("b"), pools.find("nobody")), (Some(b), None));
        (pools.iter().count()..MAX_POOLS).for_each(|number| assert!(pools.add(&number.to_string()).is_some()));
        assert_eq!(pools.add("one too many"), None);
    }
}
