//! Whose a destination is, through which egress pool its mail goes, and which limits that comes to, by the configuration alone.
//! Not responsible for what is suspended or full just now: a queue replica knows.

use std::fmt;
use std::time::Duration;

use mailtier_config::{DEFAULT_POOL, QueueConfig};
use mailtier_route::Mail;
use mailtier_schedule::{GroupLimits, Pool, Rate, Rules};
use serde::Serialize;

/// What the queue has configured.
pub(super) struct Owners(Rules);

/// See the module.
pub(super) struct Owner {
    pub(super) provider: Option<String>,
    pub(super) pool: String,
    pub(super) limits: Vec<Limit>,
}

/// What holds for all mail of a group.
#[derive(Debug, Serialize)]
pub(super) struct Limit {
    /// Destination, provider, tenant or pool, and which.
    of: String,
    /// Attempts at a time.
    concurrency: Option<u32>,
    /// The same to begin with.
    initial_concurrency: Option<u32>,
    /// Attempts in a time.
    rate: Option<String>,
    /// The first day of the pool's warm-up (UTC), and what is beyond one of its days.
    warm_up: Option<String>,
}

impl Owners {
    /// As the queue has it.
    pub(super) fn new(queue: &QueueConfig) -> Self {
        Self(mailtier_shaping::rules(queue))
    }

    /// By the exchanger that is tried first, where there is one.
    pub(super) fn of(&self, mail: &Mail<'_>, exchanger: Option<&str>) -> Owner {
        let provider = exchanger.and_then(|exchanger| self.0.provider_of(exchanger));
        let sender_domain = mail.sender.map_or("", |sender| sender.domain_str());
        let id = self.0.pools.of_mail(mail.tenant, sender_domain, mail.recipient.domain_str(), provider);
        let pool = self.0.pools.get(id);
        let name = pool.map_or_else(|| DEFAULT_POOL.to_owned(), |pool| pool.name.clone());
        Owner { provider: provider.map(str::to_owned), pool: name, limits: self.limits(mail, provider, pool) }
    }

    fn limits(&self, mail: &Mail<'_>, provider: Option<&str>, pool: Option<&Pool>) -> Vec<Limit> {
        let destination = self.0.of_destination(mail.recipient.domain_str());
        let own = GroupLimits { concurrency: Some(destination.concurrency), rate: destination.rate };
        let initial = destination.initial_concurrency.min(destination.concurrency);
        let of_tenant = self.0.of_tenant(mail.tenant);
        let of_provider = provider.map(|name| Limit::new(format!("provider {name}"), self.0.of_provider(name)));
        let groups = [
            Some(Limit {
                initial_concurrency: Some(initial),
                ..Limit::new(format!("destination {}", mail.recipient.domain_str()), own)
            }),
            of_provider,
            Some(Limit::new(format!("tenant {}", mail.tenant.0), of_tenant)),
            pool.map(|pool| self.of_pool(pool)),
        ];
        groups.into_iter().flatten().filter(Limit::limits).collect()
    }

    fn of_pool(&self, pool: &Pool) -> Limit {
        let overflow = pool.overflow.and_then(|id| self.0.pools.get(id));
        let beyond = overflow.map_or_else(|| "waits".to_owned(), |other| format!("goes through {}", other.name));
        let warm_up = pool.warm_up.as_ref();
        let warm_up = warm_up.map(|one| format!("warming up from {}, and what is beyond a day {beyond}", one.began));
        Limit { warm_up, ..Limit::new(format!("pool {}", pool.name), pool.limits) }
    }
}

impl Limit {
    fn new(of: String, GroupLimits { concurrency, rate }: GroupLimits) -> Self {
        Self { of, concurrency, initial_concurrency: None, rate: rate.map(words), warm_up: None }
    }

    const fn limits(&self) -> bool {
        self.concurrency.is_some() || self.rate.is_some() || self.warm_up.is_some()
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.of)?;
        let at_a_time = self.concurrency.map(|count| format!("{count} at a time"));
        let at_first = self.initial_concurrency.map(|count| format!("{count} to begin with"));
        let parts = [at_a_time.as_ref(), at_first.as_ref(), self.rate.as_ref(), self.warm_up.as_ref()];
        for (part, before) in parts.into_iter().flatten().zip([" ", ", ", ", ", ", "]) {
            write!(f, "{before}{part}")?;
        }
        Ok(())
    }
}

/// As it is configured, or what comes to the same in a shorter unit.
fn words(rate: Rate) -> String {
    let units = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)];
    let whole = units.into_iter().find_map(|(unit, seconds)| {
        let per = Duration::from_secs(seconds);
        let interval_us = u128::try_from(rate.interval_us()).unwrap_or(1).max(1);
        // Intervals are rounded up to microseconds: the count is what comes to the same.
        let count = u32::try_from((per.as_micros() + interval_us / 2) / interval_us).ok().filter(|count| *count > 0)?;
        (Rate::new(count, per) == rate).then(|| format!("{count}/{unit}"))
    });
    whole.unwrap_or_else(|| format!("one in {:?}", Duration::from_micros(rate.interval_us().unsigned_abs())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_told_as_they_are_configured() {
        for (count, seconds, expected) in [
            (7, 1, "7/s"),
            (100, 60, "100/m"),
            (50_000, 3_600, "50000/h"),
            (1, 86_400, "1/d"),
            (120, 60, "2/s"),
            (3, 86_400, "3/d"),
        ] {
            assert_eq!(words(Rate::new(count, Duration::from_secs(seconds))), expected);
        }
        assert_eq!(words(Rate::every(86_400_000_001)), "one in 86400.000001s");
    }
}
