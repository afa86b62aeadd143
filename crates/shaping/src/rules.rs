//! The operator's limits as the schedule knows them. Pure.

use std::time::Duration;

use mailtier_config::{
    DEFAULT_POOL, DestinationConfig, QueueConfig, RateConfig, RetryConfig, SiteConfig, Unanswered, domain_pattern,
};
use mailtier_schedule::{
    DestinationLimits, GroupLimits, PoolId, PoolRule, Pools, Provider, Rate, RetryPolicy, RetryRules, Rules, Verdict,
    WarmUp,
};
use mailtier_types::{Class, TenantId};

/// The rules of a configuration.
#[must_use]
pub fn rules(config: &QueueConfig) -> Rules {
    let of_all = DestinationLimits {
        concurrency: config.destination_concurrency,
        initial_concurrency: config.initial_concurrency,
        rate: None,
    };
    let destinations = config.destinations.iter().map(|one| {
        let limits = DestinationLimits {
            concurrency: one.concurrency.unwrap_or(of_all.concurrency),
            initial_concurrency: one.initial_concurrency.unwrap_or(of_all.initial_concurrency),
            rate: one.rate.map(rate),
        };
        (as_destination(&one.domain), limits)
    });
    let providers = config.providers.iter().map(|one| Provider {
        name: one.name.clone(),
        exchangers: one.exchangers.iter().map(|domain| domain.trim_start_matches('.').to_lowercase()).collect(),
        limits: GroupLimits { concurrency: one.concurrency, rate: one.rate.map(rate) },
    });
    let tenants = config
        .tenants
        .iter()
        .map(|one| (TenantId(one.id), GroupLimits { concurrency: one.concurrency, rate: one.rate.map(rate) }));
    Rules {
        destination: of_all,
        destinations: destinations.collect(),
        providers: providers.collect(),
        sites: sites(config).collect(),
        tenant: GroupLimits::default(),
        tenants: tenants.collect(),
        pools: pools(config),
        probe: retry_policy(config),
        dead_after: config.dead_after,
    }
}

/// Whose the exchangers are that do not say it.
fn sites(config: &QueueConfig) -> impl Iterator<Item = (String, String)> + '_ {
    let of_one = |one: &SiteConfig| {
        let provider = one.provider.clone();
        one.exchangers.iter().map(|name| (as_destination(name), provider.clone())).collect::<Vec<_>>()
    };
    config.sites.iter().flat_map(of_one)
}

/// Egress pools. Names that are none were refused with the configuration.
fn pools(config: &QueueConfig) -> Pools {
    let mut pools = Pools::new(DEFAULT_POOL, Vec::new());
    for one in &config.pools {
        let id = pools.add(&one.name);
        let overflow = one.overflow.as_deref().and_then(|name| pools.add(name));
        let Some(pool) = id.and_then(|id| pools.get_mut(id)) else { continue };
        pool.limits = GroupLimits { concurrency: one.concurrency, rate: one.rate.map(rate) };
        let warm_up = one.warm_up.as_ref();
        pool.warm_up = warm_up.map(|one| WarmUp { began: one.began.0, per_day: one.per_day.clone() });
        pool.overflow = overflow;
    }
    let rules = config.pool_rules.iter().map(|one| PoolRule {
        pool: pools.find(&one.pool).unwrap_or(PoolId::DEFAULT),
        tenant: one.tenant.map(TenantId),
        sender_domain: one.sender_domain.as_deref().map(as_destination),
        destination: one.destination.as_deref().map(as_destination),
        provider: one.provider.clone(),
    });
    let rules = rules.collect();
    pools.set_rules(rules);
    pools
}

/// How single deliveries are tried again, and dead destinations too.
#[must_use]
pub fn retry_policy(config: &QueueConfig) -> RetryPolicy {
    RetryPolicy { first: config.retry_first, max: config.retry_max, jitter: config.retry_jitter }
}

/// How single deliveries are tried again, by destination and by class of failure.
#[must_use]
pub fn retry_rules(config: &QueueConfig) -> RetryRules {
    let mut rules = RetryRules::new(retry_policy(config));
    let standard = rules.standard;
    let waits = |first: Option<Duration>, max: Option<Duration>| RetryPolicy {
        first: first.unwrap_or(standard.first),
        max: max.unwrap_or(standard.max),
        ..standard
    };
    // Both use one set of words.
    let class = |one: &RetryConfig| one.class.word().parse().unwrap_or(Class::Other);
    rules.classes.extend(config.retries.iter().map(|one| (class(one), waits(one.first, one.max))));
    let own = config.destinations.iter().filter(|one| one.retry_first.is_some() || one.retry_max.is_some());
    rules.unanswered = unanswered(config.unanswered);
    let own_word = |one: &DestinationConfig| Some((as_destination(&one.domain), unanswered(one.unanswered?)));
    rules.unanswered_at = config.destinations.iter().filter_map(own_word).collect();
    rules.destinations = own.map(|one| (as_destination(&one.domain), waits(one.retry_first, one.retry_max))).collect();
    rules
}

fn rate(rate: RateConfig) -> Rate {
    Rate::new(rate.count, rate.per())
}

/// A domain as deliveries have it. What is no domain was refused with the configuration.
fn as_destination(name: &str) -> String {
    domain_pattern(name).unwrap_or_else(|_| name.to_owned())
}

const fn unanswered(word: Unanswered) -> Verdict {
    match word {
        Unanswered::Retry => Verdict::Temporary,
        Unanswered::Fail => Verdict::Permanent,
    }
}

#[cfg(test)]
mod tests {
    use mailtier_config::{DestinationConfig, ProviderConfig, RetryClass, TenantLimitConfig};

    use super::*;

    #[test]
    fn every_class_of_the_configuration_is_one_of_the_schedule() {
        use RetryClass as Word;
        let words =
            [Word::Greylisted, Word::Throttled, Word::MailboxFull, Word::Unreachable, Word::Security, Word::Other];
        assert_eq!(words.map(|word| word.word().parse()), Class::ALL.map(Ok));
        let minute = Duration::from_secs(60);
        let retries = vec![RetryConfig { class: Word::MailboxFull, first: Some(minute), max: None }];
        let own = DestinationConfig {
            domain: ".Own.example".into(),
            retry_max: Some(minute * 5),
            unanswered: Some(Unanswered::Fail),
            ..Default::default()
        };
        let rules = retry_rules(&QueueConfig { retries, destinations: vec![own], ..QueueConfig::default() });
        let waits = |policy: RetryPolicy| (policy.first, policy.max);
        assert_eq!(waits(rules.classes[&Class::MailboxFull]), (minute, Duration::from_secs(4000)));
        assert_eq!(waits(rules.classes[&Class::Greylisted]), (minute * 5, minute * 30));
        assert_eq!(waits(rules.destinations[".own.example"]), (minute * 5, minute * 5));
        assert_eq!(rules.unanswered, Verdict::Temporary);
        assert_eq!(rules.unanswered_at, [(".own.example".to_owned(), Verdict::Permanent)].into());
    }

    #[test]
    fn what_is_not_said_of_somebody_is_as_for_everybody() {
        let config = QueueConfig {
            destinations: vec![
                DestinationConfig { domain: "Bücher.example".into(), concurrency: Some(2), ..Default::default() },
                DestinationConfig { domain: ".Example.com".into(), rate: "10/s".parse().ok(), ..Default::default() },
            ],
            providers: vec![ProviderConfig {
                name: "Big".into(),
                exchangers: vec![".MX.example.net".into()],
                rate: "1000/h".parse().ok(),
                ..Default::default()
            }],
            tenants: vec![TenantLimitConfig { id: 7, concurrency: Some(3), ..Default::default() }],
            sites: vec![SiteConfig { exchangers: vec![".Own.example".into()], provider: "Big".into() }],
            ..QueueConfig::default()
        };
        let rules = rules(&config);
        let own = rules.of_destination("xn--bcher-kva.example");
        assert_eq!((own.concurrency, own.initial_concurrency, own.rate), (2, 5, None));
        let below = rules.of_destination("a.example.com");
        assert_eq!((below.concurrency, below.rate.is_some()), (20, true));
        assert_eq!(rules.of_destination("example.com").rate, None);
        assert_eq!(rules.provider_of("one.mx.example.net"), Some("Big"));
        assert_eq!(rules.provider_of("mx.own.example"), Some("Big"));
        assert!(rules.of_provider("Big").rate.is_some());
        assert_eq!(rules.of_tenant(TenantId(7)).concurrency, Some(3));
        assert_eq!(rules.of_tenant(TenantId(8)), GroupLimits::default());
    }
}
