//! What must hold between values, and the values that are worked out from several keys.

use std::net::SocketAddr;
use std::path::PathBuf;

use mailtier_types::Domain;

use crate::bounds::{DAY, SECOND, count, duration, fraction};
use crate::keys::quote;
use crate::load::secret;
use crate::{ClusterConfig, Config, ConfigError, DatabaseConfig, Secret};

impl ClusterConfig {
    /// The token of services.
    ///
    /// # Errors
    /// Its file cannot be read, or both ways are used.
    pub fn service_token(&self) -> Result<Option<Secret>, ConfigError> {
        let (value, file) = (self.secret.as_ref(), self.secret_file.as_ref());
        token("cluster.secret", value, "cluster.secret_file", file)
    }

    /// The token of operators.
    ///
    /// # Errors
    /// Its file cannot be read, or both ways are used.
    pub fn admin_token(&self) -> Result<Option<Secret>, ConfigError> {
        let (value, file) = (self.admin_secret.as_ref(), self.admin_secret_file.as_ref());
        token("cluster.admin_secret", value, "cluster.admin_secret_file", file)
    }
}

/// A secret that goes into a header (RFC 6750 §2.1): what cannot stand there is no token.
fn token(
    key: &'static str,
    value: Option<&Secret>,
    file_key: &'static str,
    file: Option<&PathBuf>,
) -> Result<Option<Secret>, ConfigError> {
    let token = secret(key, value, file_key, file)?;
    let is_sendable = |token: &Secret| token.expose().bytes().all(|octet| matches!(octet, b' '..=b'~'));
    if token.as_ref().is_none_or(is_sendable) {
        return Ok(token);
    }
    let key = if file.is_some() { file_key } else { key };
    Err(ConfigError::bad(key, "has characters that cannot be sent; use letters and digits on one line"))
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

/// PostgreSQL takes no more connections than this (`MAX_BACKENDS`).
const MOST_CONNECTIONS: u64 = 262_143;

impl Config {
    /// What can be said without knowing which program asks.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        self.check_inbound()?;
        self.check_queue()?;
        self.check_outbound()?;
        self.check_feedback()?;
        self.check_tls_reports()?;
        self.check_database()?;
        self.check_telemetry()?;
        self.cluster.certificate().map(|_| ())?;
        self.cluster.service_token().map(|_| ())?;
        self.cluster.admin_token().map(|_| ())
    }

    fn check_database(&self) -> Result<(), ConfigError> {
        let database = &self.database;
        count("database.max_connections", database.max_connections, 1..=MOST_CONNECTIONS)?;
        duration("database.statement_timeout", database.statement_timeout, SECOND..=DAY)?;
        // A program that has no use for it has it not set.
        if database.url.is_some() || database.url_file.is_some() {
            database.resolved_url()?;
        }
        Ok(())
    }

    fn check_telemetry(&self) -> Result<(), ConfigError> {
        fraction("telemetry.trace_sample_ratio", self.telemetry.trace_sample_ratio)?;
        duration("telemetry.otlp_metrics_interval", self.telemetry.otlp_metrics_interval, SECOND..=DAY)?;
        self.telemetry.headers()?;
        let Some(url) = &self.telemetry.otlp_endpoint else { return Ok(()) };
        let authority = ["http://", "https://"].iter().find_map(|scheme| url.strip_prefix(scheme));
        match authority.is_none_or(|authority| authority.is_empty() || authority.contains(char::is_whitespace)) {
            true => Err(ConfigError::bad(
                "telemetry.otlp_endpoint",
                format!("is {}; expected a URL such as http://collector:4317", quote(url)),
            )),
            false => Ok(()),
        }
    }

    /// Whether all programs can run on one machine: no two of them listen at the same place.
    ///
    /// # Errors
    /// [`ConfigError`] names the two keys.
    pub fn check_one_machine(&self) -> Result<(), ConfigError> {
        let mut places = self.inbound.places();
        places.extend(self.queue.places());
        places.push(("outbound.http_listen".to_owned(), self.outbound.http_listen));
        apart(&places)
    }

    /// The configuration as TOML, secrets left out.
    ///
    /// # Errors
    /// A value has no form in TOML.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        toml::to_string(self).map_err(|error| ConfigError::Unreadable(error.to_string()))
    }
}

/// No two of these can be listened at both. Port 0 is any that is free.
pub(crate) fn apart(places: &[(String, SocketAddr)]) -> Result<(), ConfigError> {
    let clash = |a: &SocketAddr, b: &SocketAddr| {
        let same_family = a.is_ipv4() == b.is_ipv4();
        let overlap = a.ip() == b.ip() || (same_family && (a.ip().is_unspecified() || b.ip().is_unspecified()));
        a.port() != 0 && a.port() == b.port() && overlap
    };
    for (at, (key, address)) in places.iter().enumerate() {
        if let Some((other, taken)) = places.iter().take(at).find(|(_, before)| clash(before, address)) {
            return Err(ConfigError::bad(
                key.as_str(),
                format!("is {address}, but `{other}` has {taken}: only one can listen there; give it another port"),
            ));
        }
    }
    Ok(())
}

/// `host:port`, `192.0.2.1:port` or `[2001:db8::1]:port`.
pub(crate) fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => Domain::parse(host.strip_suffix('.').unwrap_or(host)).is_ok(),
    };
    is_host && port.parse::<u16>().is_ok_and(|port| port != 0)
}

/// A name others will see must say where we are: one with a dot (RFC 5321 §2.3.5), never a container's.
pub(crate) fn host_name(key: impl Into<String>, name: Option<&str>) -> Result<(), ConfigError> {
    let is_full = |name: &str| name.contains('.') && name.is_ascii() && Domain::parse(name).is_ok();
    match name.filter(|name| !is_full(name)) {
        Some(name) => {
            Err(ConfigError::bad(key, format!("is {}; give a full host name such as mx.example.com", quote(name))))
        }
        None => Ok(()),
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
