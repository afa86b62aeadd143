//! What must hold between the values of `[queue]`.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use bytesize::ByteSize;

use crate::bounds::{
    ANY, DAY, MOST_MEMORY, MOST_THREADS, SECOND, YEAR, count, duration, duration_text, fraction, line, size,
};
use crate::check::{apart, host_name, is_host_and_port};
use crate::check_listeners::tenant_number;
use crate::check_pools::provider;
use crate::check_recipients::{domain_pattern, domains};
use crate::keys::quote;
use crate::{Config, ConfigError, QueueConfig};

/// Shorter waits ask the database, or a remote host, without a pause.
const LEAST_WAIT: Duration = Duration::from_millis(100);
/// What travels with its delivery shares a frame of gRPC with others; frames have 64 MiB at most.
const MOST_INLINE: ByteSize = ByteSize::mib(16);
/// More calls of operators at a time than any machine has use for.
const MOST_CALLS: u64 = 1000;
/// With fewer the queue would do little but read deliveries again.
const LEAST_ENTRIES: u64 = 1000;

impl QueueConfig {
    /// Where it listens, by key.
    pub(crate) fn places(&self) -> Vec<(String, SocketAddr)> {
        let always = [("queue.listen", self.listen), ("queue.http_listen", self.http_listen)];
        let api = self.api_listen.map(|address| ("queue.api_listen", address));
        always.into_iter().chain(api).map(|(key, address)| (key.to_owned(), address)).collect()
    }
}

impl Config {
    pub(crate) fn check_queue(&self) -> Result<(), ConfigError> {
        let queue = &self.queue;
        host_name("queue.hostname", queue.hostname.as_deref())?;
        queue.name.as_deref().map_or(Ok(()), |name| line("queue.name", name))?;
        apart(&queue.places())?;
        check_times(queue)?;
        check_counts(queue)?;
        check_shaping(queue)?;
        self.check_queue_pools()?;
        if let Some(address) = queue.advertise.as_deref().filter(|address| !is_host_and_port(address)) {
            let problem = format!("is {}; expected host:port, as other replicas reach this one", quote(address));
            return Err(ConfigError::bad("queue.advertise", problem));
        }
        queue.check_api_certificate()?;
        let has_token = self.cluster.secret.is_some() || self.cluster.secret_file.is_some();
        if !queue.listen.ip().is_loopback() && !has_token && !self.cluster.is_closed() {
            let problem = format!(
                "is {}, which others can reach: set `cluster.secret_file` or, for TLS, `cluster.tls_certificate`; or listen on \
                 loopback",
                queue.listen
            );
            return Err(ConfigError::bad("queue.listen", problem));
        }
        Ok(())
    }
}

fn check_times(queue: &QueueConfig) -> Result<(), ConfigError> {
    for (key, value, bounds) in [
        ("queue.lease", queue.lease, SECOND..=DAY),
        ("queue.renew_every", queue.renew_every, LEAST_WAIT..=DAY),
        ("queue.worker_grace", queue.worker_grace, SECOND..=DAY),
        ("queue.retry_first", queue.retry_first, LEAST_WAIT..=YEAR),
        ("queue.retry_max", queue.retry_max, LEAST_WAIT..=YEAR),
        ("queue.priority_step", queue.priority_step, SECOND..=YEAR),
        ("queue.lifetime", queue.lifetime, SECOND..=YEAR),
        ("queue.bounce_lifetime", queue.bounce_lifetime, SECOND..=YEAR),
        ("queue.delay_warning", queue.delay_warning, SECOND..=YEAR),
        ("queue.event_retention", queue.event_retention, DAY..=YEAR * 100),
        ("queue.login_failure_window", queue.login_failure_window, Duration::from_secs(60)..=YEAR),
        ("queue.catch_up_every", queue.catch_up_every, LEAST_WAIT..=DAY),
        ("queue.reconcile_every", queue.reconcile_every, SECOND..=YEAR),
        ("queue.drain_timeout", queue.drain_timeout, Duration::ZERO..=DAY),
    ] {
        duration(key, value, bounds)?;
    }
    if queue.renew_every * 3 > queue.lease {
        let problem = format!(
            "is {}; give at most a third of `queue.lease`, {}",
            duration_text(queue.renew_every),
            duration_text(queue.lease)
        );
        return Err(ConfigError::bad("queue.renew_every", problem));
    }
    if queue.retry_first > queue.retry_max {
        let problem = format!(
            "is {}; give at most `queue.retry_max`, {}",
            duration_text(queue.retry_first),
            duration_text(queue.retry_max)
        );
        return Err(ConfigError::bad("queue.retry_first", problem));
    }
    Ok(())
}

/// The tables of limits: each names somebody once, and somebody's limit lets something pass.
fn check_shaping(queue: &QueueConfig) -> Result<(), ConfigError> {
    let mut seen = HashSet::new();
    for (index, one) in queue.destinations.iter().enumerate() {
        let key = |name: &str| format!("queue.destinations[{index}].{name}");
        domains(&key("domain"), std::slice::from_ref(&one.domain))?;
        if !seen.insert(domain_pattern(&one.domain).unwrap_or_default()) {
            return Err(ConfigError::bad(key("domain"), format!("is {} again; keep one", quote(&one.domain))));
        }
        concurrency(key("concurrency"), one.concurrency)?;
        concurrency(key("initial_concurrency"), one.initial_concurrency)?;
        waits(&key("retry_first"), one.retry_first, &key("retry_max"), one.retry_max, queue)?;
    }
    let mut seen = HashSet::new();
    for (index, one) in queue.retries.iter().enumerate() {
        let key = |name: &str| format!("queue.retries[{index}].{name}");
        if !seen.insert(one.class.word()) {
            return Err(ConfigError::bad(key("class"), format!("is {} again; keep one", quote(one.class.word()))));
        }
        if one.first.is_none() && one.max.is_none() {
            return Err(ConfigError::bad(key("first"), "is not set, nor is `max`: then nothing is said; set one"));
        }
        waits(&key("first"), one.first, &key("max"), one.max, queue)?;
    }
    let mut seen = HashSet::new();
    for (index, one) in queue.providers.iter().enumerate() {
        let key = |name: &str| format!("queue.providers[{index}].{name}");
        line(key("name"), &one.name)?;
        if !seen.insert(one.name.as_str()) {
            return Err(ConfigError::bad(key("name"), format!("is {} again; keep one", quote(&one.name))));
        }
        if one.exchangers.is_empty() {
            return Err(ConfigError::bad(key("exchangers"), "is empty; name the domains of its mail exchangers"));
        }
        domains(&key("exchangers"), &one.exchangers)?;
        concurrency(key("concurrency"), one.concurrency)?;
    }
    check_sites(queue)?;
    let mut seen = HashSet::new();
    for (index, one) in queue.tenants.iter().enumerate() {
        let key = |name: &str| format!("queue.tenants[{index}].{name}");
        tenant_number(key("id"), one.id)?;
        if !seen.insert(one.id) {
            return Err(ConfigError::bad(key("id"), format!("is {} again; keep one", one.id)));
        }
        concurrency(key("concurrency"), one.concurrency)?;
    }
    Ok(())
}

/// Each exchanger is one provider's.
fn check_sites(queue: &QueueConfig) -> Result<(), ConfigError> {
    let mut seen = HashSet::new();
    for (index, one) in queue.sites.iter().enumerate() {
        let key = |name: &str| format!("queue.sites[{index}].{name}");
        provider(&key("provider"), &one.provider, queue)?;
        if one.exchangers.is_empty() {
            return Err(ConfigError::bad(key("exchangers"), "is empty; name the mail exchangers"));
        }
        domains(&key("exchangers"), &one.exchangers)?;
        for name in &one.exchangers {
            if !seen.insert(domain_pattern(name).unwrap_or_default()) {
                return Err(ConfigError::bad(key("exchangers"), format!("holds {} again; keep one", quote(name))));
            }
        }
    }
    Ok(())
}

/// Two waits, of which either may be that of `[queue]`.
fn waits(
    first_key: &str,
    first: Option<Duration>,
    max_key: &str,
    max: Option<Duration>,
    queue: &QueueConfig,
) -> Result<(), ConfigError> {
    first.map_or(Ok(()), |first| duration(first_key, first, LEAST_WAIT..=YEAR))?;
    max.map_or(Ok(()), |max| duration(max_key, max, LEAST_WAIT..=YEAR))?;
    let (least, most) = (first.unwrap_or(queue.retry_first), max.unwrap_or(queue.retry_max));
    if (first.is_some() || max.is_some()) && least > most {
        let (key, other) = match first {
            Some(_) => (first_key, if max.is_some() { max_key } else { "queue.retry_max" }),
            None => (max_key, "queue.retry_first"),
        };
        let problem = format!(
            "does not fit `{other}`: the first wait would be {}, and the longest {}; set both",
            duration_text(least),
            duration_text(most)
        );
        return Err(ConfigError::bad(key, problem));
    }
    Ok(())
}

fn concurrency(key: String, most: Option<u32>) -> Result<(), ConfigError> {
    most.map_or(Ok(()), |most| count(key, most, 1..=ANY))
}

fn check_counts(queue: &QueueConfig) -> Result<(), ConfigError> {
    fraction("queue.retry_jitter", f64::from(queue.retry_jitter))?;
    count("queue.destination_concurrency", queue.destination_concurrency, 1..=ANY)?;
    count("queue.initial_concurrency", queue.initial_concurrency, 1..=ANY)?;
    count("queue.max_entries", queue.max_entries, LEAST_ENTRIES..=ANY)?;
    count("queue.max_entries_per_destination", queue.max_entries_per_destination, 1..=ANY)?;
    count("queue.login_failures_per_account", queue.login_failures_per_account, 1..=ANY)?;
    count("queue.login_failures_per_client", queue.login_failures_per_client, 1..=ANY)?;
    count("queue.api_calls", queue.api_calls, 1..=MOST_CALLS)?;
    count("queue.threads", queue.threads, 0..=MOST_THREADS)?;
    size("queue.body_cache", queue.body_cache, ByteSize::b(0)..=MOST_MEMORY)?;
    size("queue.inline_body", queue.inline_body, ByteSize::b(0)..=MOST_INLINE)
}
