//! What a program shows the queue, and what it asks of it in return. Not responsible for connections.

use std::sync::Arc;

use mailtier_config::{ClusterConfig, ConfigError, Secret};
use mailtier_tls::{ClusterTls, Tier};

/// A token, a certificate, both or nothing.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    pub(crate) token: Option<Secret>,
    pub(crate) tls: Option<Arc<ClusterTls>>,
    /// Whether a queue that speaks no TLS yet is spoken to without.
    pub(crate) falls_back: bool,
}

impl Credentials {
    /// A program's own.
    ///
    /// # Errors
    /// [`ConfigError`] names the key, and what is wrong with its file.
    pub fn configured(cluster: &ClusterConfig, tier: Tier) -> Result<Self, ConfigError> {
        Ok(Self {
            token: cluster.service_token()?,
            tls: ClusterTls::configured(cluster, tier)?,
            falls_back: !cluster.tls_required,
        })
    }

    /// An operator's: a token and, for https://, what the queue's certificate is checked by.
    #[must_use]
    pub const fn of_operator(token: Secret, tls: Option<Arc<ClusterTls>>) -> Self {
        Self { token: Some(token), tls, falls_back: false }
    }

    /// The certificate, where there is one, to be kept new.
    #[must_use]
    pub const fn tls(&self) -> Option<&Arc<ClusterTls>> {
        self.tls.as_ref()
    }

    /// The URL of another replica, by its address.
    #[must_use]
    pub fn url_of(&self, address: &str) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{address}")
    }
}

/// A token alone, or nothing.
impl From<Option<&Secret>> for Credentials {
    fn from(token: Option<&Secret>) -> Self {
        Self { token: token.cloned(), ..Self::default() }
    }
}

impl From<&Self> for Credentials {
    fn from(credentials: &Self) -> Self {
        credentials.clone()
    }
}
