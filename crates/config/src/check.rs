//! What must hold between values, and the values that are worked out from several keys.

use std::time::Duration;

use crate::load::secret;
use crate::{ClusterConfig, Config, ConfigError, DatabaseConfig, Secret};

impl ClusterConfig {
    /// The token of services.
    ///
    /// # Errors
    /// Its file cannot be read, or both ways are used.
    pub fn service_token(&self) -> Result<Option<Secret>, ConfigError> {
        secret("cluster.secret", self.secret.as_ref(), "cluster.secret_file", self.secret_file.as_ref())
    }

    /// The token of operators.
    ///
    /// # Errors
    /// Its file cannot be read, or both ways are used.
    pub fn admin_token(&self) -> Result<Option<Secret>, ConfigError> {
        let (value, file) = (self.admin_secret.as_ref(), self.admin_secret_file.as_ref());
        secret("cluster.admin_secret", value, "cluster.admin_secret_file", file)
    }
}

impl DatabaseConfig {
    /// The URL of the database.
    ///
    /// # Errors
    /// Neither way is used, or both, or the file cannot be read.
    pub fn resolved_url(&self) -> Result<Secret, ConfigError> {
        let form = "postgres://user@host/database";
        let url = secret("database.url", self.url.as_ref(), "database.url_file", self.url_file.as_ref())?
            .ok_or_else(|| ConfigError::bad("database.url", format!("is not set; give it or `url_file`: {form}")))?;
        if ["postgres://", "postgresql://"].iter().any(|scheme| url.expose().starts_with(scheme)) {
            Ok(url)
        } else {
            Err(ConfigError::bad("database.url", format!("is no URL of PostgreSQL; expected {form}")))
        }
    }
}

impl Config {
    /// What can be said without knowing which program asks.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        self.check_inbound()?;
        self.check_queue()?;
        self.check_outbound()?;
        if !(0.0..=1.0).contains(&self.telemetry.trace_sample_ratio) {
            return Err(ConfigError::bad("telemetry.trace_sample_ratio", "must lie between 0 and 1"));
        }
        // A program that has no use for it has it not set.
        if self.database.url.is_some() || self.database.url_file.is_some() {
            self.database.resolved_url()?;
        }
        self.cluster.service_token().map(|_| ())?;
        self.cluster.admin_token().map(|_| ())
    }

    fn check_queue(&self) -> Result<(), ConfigError> {
        let queue = &self.queue;
        host_name("queue.hostname", queue.hostname.as_deref())?;
        if queue.renew_every.is_zero() || queue.renew_every * 3 > queue.lease {
            return Err(ConfigError::bad(
                "queue.renew_every",
                "must be above zero and at most a third of `queue.lease`",
            ));
        }
        if queue.retry_first.is_zero() || queue.retry_first > queue.retry_max {
            return Err(ConfigError::bad("queue.retry_first", "must be above zero and at most `queue.retry_max`"));
        }
        if !(0.0..=1.0).contains(&queue.retry_jitter) {
            return Err(ConfigError::bad("queue.retry_jitter", "must lie between 0 and 1"));
        }
        for (key, value) in [("queue.lifetime", queue.lifetime), ("queue.bounce_lifetime", queue.bounce_lifetime)] {
            if value < Duration::from_secs(1) {
                return Err(ConfigError::bad(key, "must be at least a second"));
            }
        }
        if queue.destination_concurrency == 0 {
            return Err(ConfigError::bad("queue.destination_concurrency", "must be at least 1"));
        }
        if !queue.listen.ip().is_loopback() && self.cluster.secret.is_none() && self.cluster.secret_file.is_none() {
            return Err(ConfigError::bad(
                "queue.listen",
                format!(
                    "is {}, which others can reach: set `cluster.secret_file`, or listen on loopback",
                    queue.listen
                ),
            ));
        }
        Ok(())
    }

    fn check_outbound(&self) -> Result<(), ConfigError> {
        let outbound = &self.outbound;
        host_name("outbound.ehlo_name", outbound.ehlo_name.as_deref())?;
        replicas("outbound.queue", &outbound.queue)?;
        if outbound.max_in_flight == 0 {
            return Err(ConfigError::bad("outbound.max_in_flight", "must be at least 1"));
        }
        if outbound.max_connections == 0 {
            return Err(ConfigError::bad("outbound.max_connections", "must be at least 1"));
        }
        for route in &outbound.routes {
            if route.domain.is_empty() {
                return Err(ConfigError::bad("outbound.routes", "has an empty `domain`; `*` means all"));
            }
        }
        Ok(())
    }

    /// The configuration as TOML, secrets left out.
    ///
    /// # Errors
    /// A value has no form in TOML.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        toml::to_string(self).map_err(|error| ConfigError::Unreadable(error.to_string()))
    }
}

/// Replicas of the queue: at least one, each `http://host:port`.
pub(crate) fn replicas(key: &'static str, urls: &[String]) -> Result<(), ConfigError> {
    if urls.is_empty() {
        return Err(ConfigError::bad(key, "is empty; name at least one replica, http://host:port"));
    }
    let is_usable = |url: &&String| {
        let authority = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
        let parts = authority.and_then(|authority| authority.rsplit_once(':'));
        parts.is_some_and(|(host, port)| {
            !host.is_empty() && !host.contains(['/', '@']) && port.parse::<u16>().is_ok_and(|port| port != 0)
        })
    };
    match urls.iter().find(|url| !is_usable(url)) {
        Some(url) => Err(ConfigError::bad(key, format!("holds `{url}`; expected http://host:port"))),
        None => Ok(()),
    }
}

/// A name others will see must say where we are: one with a dot (RFC 5321 §2.3.5), never a container's.
pub(crate) fn host_name(key: &'static str, name: Option<&str>) -> Result<(), ConfigError> {
    match name {
        Some(name) if !name.contains('.') || !name.is_ascii() || name.contains(char::is_whitespace) => {
            Err(ConfigError::bad(key, format!("is `{name}`; give a full host name such as mx.example.com")))
        }
        _ => Ok(()),
    }
}

/// A configured host name, else the system's where that has a dot.
///
/// # Errors
/// Neither is usable; the message names the key to set.
pub fn resolve_host_name(key: &'static str, configured: Option<&str>) -> Result<String, ConfigError> {
    if let Some(name) = configured {
        return Ok(name.to_owned());
    }
    let system = system_name();
    if system.contains('.') {
        return Ok(system);
    }
    Err(ConfigError::bad(
        key,
        format!("is not set, and the system's name `{system}` has no dot; set it, such as mx.example.com"),
    ))
}

/// The system's name.
#[must_use]
pub fn system_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).unwrap_or_default()
}
