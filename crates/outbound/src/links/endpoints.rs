//! Where the queue replicas are: the configured endpoints, each resolved to every address behind its name, again and
//! again. Not responsible for connecting.

use std::collections::BTreeSet;
use std::net::SocketAddr;

/// An endpoint cannot be used as it is written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an endpoint of the queue: expected http://host:port")]
pub(crate) struct InvalidEndpoint {
    text: String,
}

/// `http://host:port`, as an operator writes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Endpoint {
    /// `host:port`.
    authority: String,
}

impl Endpoint {
    /// Reads an endpoint.
    ///
    /// # Errors
    /// [`InvalidEndpoint`].
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidEndpoint> {
        let invalid = || InvalidEndpoint { text: text.to_owned() };
        let authority = text.strip_prefix("http://").ok_or_else(invalid)?.trim_end_matches('/');
        let (host, port) = authority.rsplit_once(':').ok_or_else(invalid)?;
        if host.is_empty() || host.contains(['/', '@']) || port.parse::<u16>().is_err() {
            return Err(invalid());
        }
        Ok(Self { authority: authority.to_owned() })
    }

    /// Every address behind the name, by the system's own means: the queue lives in the operator's network, whose names
    /// may stand in a hosts file or a cluster's DNS.
    pub(crate) async fn resolve(&self) -> std::io::Result<BTreeSet<SocketAddr>> {
        Ok(tokio::net::lookup_host(&self.authority).await?.collect())
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_as_operators_write_them() {
        for text in ["http://127.0.0.1:7070", "http://queue:7070", "http://[::1]:7070", "http://queue.mail.svc:7070/"] {
            let endpoint = Endpoint::parse(text).unwrap();
            assert_eq!(endpoint.to_string(), text.trim_end_matches('/'));
        }
        for text in ["", "queue:7070", "http://queue", "http://:7070", "http://queue:port", "http://u@q:1", "ftp://q:1"]
        {
            assert!(Endpoint::parse(text).is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn an_address_resolves_to_itself() {
        let found = Endpoint::parse("http://127.0.0.1:7070").unwrap().resolve().await.unwrap();
        assert_eq!(found, BTreeSet::from(["127.0.0.1:7070".parse().unwrap()]));
    }
}
