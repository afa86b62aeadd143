//! What must hold between the tables of the queue about egress pools. Not responsible for those of workers
//! (`check_egress`).

use std::collections::HashSet;

use crate::bounds::{ANY, count};
use crate::check_listeners::tenant_number;
use crate::check_recipients::{domain_pattern, domains};
use crate::keys::quote;
use crate::pools::DEFAULT_POOL;
use crate::words::expected;
use crate::{Config, ConfigError, PoolConfig, PoolRuleConfig, QueueConfig};

/// Pools of an installation. Each has series of its own among the metrics.
const MOST_POOLS: usize = 100;
/// A rule more is a look more at each delivery.
const MOST_RULES: usize = 1000;
/// Octets of a name, which stands in log lines and metrics.
const LONGEST_NAME: usize = 64;
/// Days of a warm-up; receivers know an address after some weeks.
const MOST_DAYS: usize = 366;

impl QueueConfig {
    /// Every pool there is, `default` among them.
    #[must_use]
    pub fn pool_names(&self) -> Vec<&str> {
        let named = self.pools.iter().map(|pool| pool.name.as_str());
        named.chain(self.pools.iter().all(|pool| pool.name != DEFAULT_POOL).then_some(DEFAULT_POOL)).collect()
    }

    /// Pools that no mail can ever go through: no rule names them, and none that is used overflows into them.
    #[must_use]
    pub fn unused_pools(&self) -> Vec<&str> {
        let ruled = self.pool_rules.iter().map(|rule| rule.pool.as_str());
        let is_caught = self.pool_rules.last().is_some_and(is_for_all);
        let mut used: HashSet<&str> = ruled.chain((!is_caught).then_some(DEFAULT_POOL)).collect();
        let mut todo: Vec<&str> = used.iter().copied().collect();
        while let Some(name) = todo.pop() {
            let overflow = self.pools.iter().find(|pool| pool.name == name).and_then(|pool| pool.overflow.as_deref());
            todo.extend(overflow.filter(|overflow| used.insert(overflow)));
        }
        self.pools.iter().map(|pool| pool.name.as_str()).filter(|name| !used.contains(name)).collect()
    }
}

impl Config {
    /// The tables of `[queue]`.
    pub(crate) fn check_queue_pools(&self) -> Result<(), ConfigError> {
        let queue = &self.queue;
        if queue.pools.len() > MOST_POOLS {
            let problem = format!("has {} tables; give at most {MOST_POOLS}", queue.pools.len());
            return Err(ConfigError::bad("queue.pools", problem));
        }
        if queue.pool_rules.len() > MOST_RULES {
            let problem = format!("has {} tables; give at most {MOST_RULES}", queue.pool_rules.len());
            return Err(ConfigError::bad("queue.pool_rules", problem));
        }
        let known = queue.pool_names();
        for (index, pool) in queue.pools.iter().enumerate() {
            check_pool(&queue.pools, index, pool, &known)?;
        }
        for (index, pool) in queue.pools.iter().enumerate() {
            no_circle(&queue.pools, index, pool)?;
        }
        for (index, rule) in queue.pool_rules.iter().enumerate() {
            check_rule(queue, index, rule, &known)?;
        }
        Ok(())
    }
}

fn check_pool(all: &[PoolConfig], index: usize, pool: &PoolConfig, known: &[&str]) -> Result<(), ConfigError> {
    let key = |name: &str| format!("queue.pools[{index}].{name}");
    pool_name(&key("name"), &pool.name)?;
    if all.iter().take(index).any(|before| before.name == pool.name) {
        return Err(ConfigError::bad(key("name"), format!("is {} again; keep one", quote(&pool.name))));
    }
    if let Some(most) = pool.concurrency {
        count(key("concurrency"), most, 1..=ANY)?;
    }
    if let Some(warm_up) = &pool.warm_up {
        let key = key("warm_up.per_day");
        if warm_up.per_day.is_empty() {
            return Err(ConfigError::bad(key, "is empty; give the deliveries of each day, such as [50, 100, 500]"));
        }
        if warm_up.per_day.len() > MOST_DAYS {
            let problem = format!("has {} days; give at most {MOST_DAYS}", warm_up.per_day.len());
            return Err(ConfigError::bad(key, problem));
        }
        warm_up.per_day.iter().try_for_each(|most| count(key.as_str(), *most, 1..=ANY))?;
    }
    let Some(overflow) = &pool.overflow else { return Ok(()) };
    if pool.warm_up.is_none() {
        let problem = "is set without `warm_up`: it takes what is beyond the deliveries of a day; give both or neither";
        return Err(ConfigError::bad(key("overflow"), problem));
    }
    among(&key("overflow"), overflow, known)
}

/// Mail that overflows must come to a pool that keeps it.
fn no_circle(all: &[PoolConfig], index: usize, pool: &PoolConfig) -> Result<(), ConfigError> {
    let mut way = vec![pool.name.as_str()];
    let mut next = pool.overflow.as_deref();
    while let Some(name) = next {
        if way.contains(&name) {
            let problem = format!("leads in a circle: {} → {name}; let one of them do without", way.join(" → "));
            return Err(ConfigError::bad(format!("queue.pools[{index}].overflow"), problem));
        }
        way.push(name);
        next = all.iter().find(|pool| pool.name == name).and_then(|pool| pool.overflow.as_deref());
    }
    Ok(())
}

fn check_rule(queue: &QueueConfig, index: usize, rule: &PoolRuleConfig, known: &[&str]) -> Result<(), ConfigError> {
    let key = |name: &str| format!("queue.pool_rules[{index}].{name}");
    among(&key("pool"), &rule.pool, known)?;
    rule.tenant.map_or(Ok(()), |tenant| tenant_number(key("tenant"), tenant))?;
    for (name, domain) in [("sender_domain", &rule.sender_domain), ("destination", &rule.destination)] {
        domain.as_ref().map_or(Ok(()), |domain| domains(&key(name), std::slice::from_ref(domain)))?;
    }
    rule.provider.as_ref().map_or(Ok(()), |name| provider(&key("provider"), name, queue))?;
    let earlier = queue.pool_rules.iter().take(index);
    match earlier.clone().position(|before| is_for_all(before) || is_same(before, rule)) {
        Some(before) => {
            let problem = format!("never counts: `queue.pool_rules[{before}]` fits all that this would; put it after");
            Err(ConfigError::bad(format!("queue.pool_rules[{index}]"), problem))
        }
        None => Ok(()),
    }
}

/// The name of a provider.
pub(crate) fn provider(key: &str, name: &str, queue: &QueueConfig) -> Result<(), ConfigError> {
    let known: Vec<&str> = queue.providers.iter().map(|provider| provider.name.as_str()).collect();
    if known.is_empty() {
        let problem = format!("is {}, but there is no provider: see [[queue.providers]]", quote(name));
        return Err(ConfigError::bad(key, problem));
    }
    among(key, name, &known)
}

/// A rule without conditions.
const fn is_for_all(rule: &PoolRuleConfig) -> bool {
    rule.tenant.is_none() && rule.sender_domain.is_none() && rule.destination.is_none() && rule.provider.is_none()
}

/// The same conditions.
fn is_same(one: &PoolRuleConfig, other: &PoolRuleConfig) -> bool {
    let pattern = |name: &Option<String>| name.as_deref().and_then(|name| domain_pattern(name).ok());
    one.tenant == other.tenant
        && one.provider == other.provider
        && pattern(&one.sender_domain) == pattern(&other.sender_domain)
        && pattern(&one.destination) == pattern(&other.destination)
}

/// A name for log lines, metrics and commands.
pub(crate) fn pool_name(key: &str, name: &str) -> Result<(), ConfigError> {
    let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(is_plain) {
        let problem =
            format!("is {}; give 1 to {LONGEST_NAME} letters, digits, `-`, `_` and `.`, such as warm-1", quote(name));
        return Err(ConfigError::bad(key, problem));
    }
    Ok(())
}

/// A name that stands elsewhere.
pub(crate) fn among(key: &str, name: &str, known: &[&str]) -> Result<(), ConfigError> {
    match known.contains(&name) {
        true => Ok(()),
        false => Err(ConfigError::bad(key, format!("is {}; {}", quote(name), expected(name, known)))),
    }
}
