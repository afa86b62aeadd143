//! TLS between the programs: its files belong together, and the URLs of the queue fit it. Not responsible for reading
//! certificates.

use std::path::PathBuf;

use crate::check::is_host_and_port;
use crate::keys::quote;
use crate::{ClusterConfig, Config, ConfigError, QueueConfig};

/// The files of a program's certificate for TLS between the programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterCertificate {
    /// The chain, its own certificate first.
    pub certificate: PathBuf,
    /// The key of the first certificate.
    pub key: PathBuf,
    /// Who issues the certificates of the installation.
    pub authority: PathBuf,
}

impl ClusterConfig {
    /// The certificate for TLS between the programs, where there is one.
    ///
    /// # Errors
    /// Some of its files are named, and some are not.
    pub fn certificate(&self) -> Result<Option<ClusterCertificate>, ConfigError> {
        let (certificate, key, authority) = (self.tls_certificate.clone(), self.tls_key.clone(), self.tls_ca.clone());
        let files = [("tls_certificate", &certificate), ("tls_key", &key), ("tls_ca", &authority)];
        let set = files.iter().find(|(_, file)| file.is_some());
        if let (Some((set, _)), Some((missing, _))) = (set, files.iter().find(|(_, file)| file.is_none())) {
            let problem =
                format!("is not set, but `cluster.{set}` is: give all three of TLS between the programs, or none");
            return Err(ConfigError::bad(format!("cluster.{missing}"), problem));
        }
        let all = certificate.zip(key).zip(authority);
        Ok(all.map(|((certificate, key), authority)| ClusterCertificate { certificate, key, authority }))
    }

    /// Whether every call to the queue is over TLS.
    pub(crate) const fn is_closed(&self) -> bool {
        self.tls_certificate.is_some() && self.tls_required
    }
}

impl QueueConfig {
    /// The certificate of the HTTP API and its key, where there is one.
    #[must_use]
    pub fn api_certificate(&self) -> Option<(PathBuf, PathBuf)> {
        self.api_tls_certificate.clone().zip(self.api_tls_key.clone())
    }

    pub(crate) fn check_api_certificate(&self) -> Result<(), ConfigError> {
        let missing =
            |key: &str, other: &str| Err(ConfigError::bad(key, format!("is not set, but `{other}` is; give both")));
        match (self.api_tls_certificate.is_some(), self.api_tls_key.is_some()) {
            (true, false) => missing("queue.api_tls_key", "queue.api_tls_certificate"),
            (false, true) => missing("queue.api_tls_certificate", "queue.api_tls_key"),
            _ => Ok(()),
        }
    }
}

impl Config {
    /// Whether the queue can be reached as `inbound.queue` says; to be asked by mailtier-inbound alone, since programs share
    /// a file in which others' keys may be as they are by default.
    ///
    /// # Errors
    /// [`ConfigError`] says which way does not fit `[cluster]`.
    pub fn check_inbound_queue(&self) -> Result<(), ConfigError> {
        self.fitting("inbound.queue", &self.inbound.queue)
    }

    /// The same of `outbound.queue` and mailtier-outbound.
    ///
    /// # Errors
    /// As [`check_inbound_queue`](Self::check_inbound_queue).
    pub fn check_outbound_queue(&self) -> Result<(), ConfigError> {
        self.fitting("outbound.queue", &self.outbound.queue)
    }

    fn fitting(&self, key: &str, urls: &[String]) -> Result<(), ConfigError> {
        let has_certificate = self.cluster.tls_certificate.is_some();
        let is_secure = |url: &str| url.starts_with("https://");
        for url in urls {
            let problem = if is_secure(url) && !has_certificate {
                "TLS needs a certificate; set `cluster.tls_certificate`, `tls_key` and `tls_ca`, or give http://"
            } else if !is_secure(url) && self.cluster.is_closed() {
                "with `cluster.tls_certificate` the queue is reached over TLS; give https://, or set `cluster.tls_required` to \
                 false while the installation is moved to TLS"
            } else {
                continue;
            };
            return Err(ConfigError::bad(key, format!("holds {}: {problem}", quote(url))));
        }
        Ok(())
    }
}

/// Replicas of the queue: at least one, each `http://host:port` or `https://host:port`.
pub(crate) fn replicas(key: &'static str, urls: &[String]) -> Result<(), ConfigError> {
    if urls.is_empty() {
        return Err(ConfigError::bad(key, "is empty; name at least one replica, http://host:port"));
    }
    let is_usable = |url: &&String| {
        let rest = ["http://", "https://"].iter().find_map(|scheme| url.strip_prefix(scheme));
        rest.is_some_and(|rest| is_host_and_port(rest.trim_end_matches('/')))
    };
    match urls.iter().find(|url| !is_usable(url)) {
        Some(url) => {
            let problem = format!("holds {}; expected http://host:port, or https:// with TLS", quote(url));
            Err(ConfigError::bad(key, problem))
        }
        None => Ok(()),
    }
}
