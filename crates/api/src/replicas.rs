//! Where the queue replicas are: the configured URLs, each resolved to every address behind its name, again and again. Not
//! responsible for connecting.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::SocketAddr;

use crate::error::ApiError;

/// Finds the addresses behind `host:port`.
pub trait Lookup: Send + Sync + 'static {
    /// All of them.
    fn addresses(&self, authority: &str) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send;
}

/// By the system's own means: the queue lives in the operator's network, whose names may stand in a hosts file or a
/// cluster's DNS.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    async fn addresses(&self, authority: &str) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host(authority).await?.collect())
    }
}

/// `http://host:port` or `https://host:port`, as an operator writes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct QueueUrl {
    scheme: &'static str,
    authority: String,
}

impl QueueUrl {
    fn parse(text: &str) -> Result<Self, ApiError> {
        let invalid = || ApiError::Endpoint { endpoint: text.to_owned(), reason: "it has no host and port".to_owned() };
        let split = |scheme: &'static str| text.strip_prefix(scheme).map(|rest| (scheme, rest.trim_end_matches('/')));
        let (scheme, authority) = split("http://").or_else(|| split("https://")).ok_or_else(invalid)?;
        let (host, port) = authority.rsplit_once(':').ok_or_else(invalid)?;
        if host.is_empty() || host.contains(['/', '@']) || port.parse::<u16>().is_err() {
            return Err(invalid());
        }
        Ok(Self { scheme, authority: authority.to_owned() })
    }
}

impl fmt::Display for QueueUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.scheme, self.authority)
    }
}

/// The replicas behind some URLs.
#[derive(Debug)]
pub struct Replicas<L = SystemLookup> {
    urls: Vec<QueueUrl>,
    lookup: L,
    /// As each name was last known.
    known: BTreeMap<QueueUrl, BTreeSet<SocketAddr>>,
}

impl<L: Lookup> Replicas<L> {
    /// Reads the URLs.
    ///
    /// # Errors
    /// [`ApiError::Endpoint`] shows the one that is none.
    pub fn new(urls: &[String], lookup: L) -> Result<Self, ApiError> {
        let urls = urls.iter().map(|text| QueueUrl::parse(text)).collect::<Result<_, _>>()?;
        Ok(Self { urls, lookup, known: BTreeMap::new() })
    }

    /// The URL of every address. A name that cannot be resolved, or is without addresses, leads where it led before: a name
    /// server's trouble is no reason to give up replicas that work.
    pub async fn resolve(&mut self) -> BTreeSet<String> {
        for url in &self.urls {
            match self.lookup.addresses(&url.authority).await {
                Ok(found) if found.is_empty() => {
                    tracing::warn!(queue = %url, "the name has no addresses at the moment")
                }
                Ok(found) => drop(self.known.insert(url.clone(), found.into_iter().collect())),
                Err(error) => tracing::warn!(queue = %url, %error, "cannot resolve the queue's name"),
            }
        }
        let at = |(url, addresses): (&QueueUrl, &BTreeSet<SocketAddr>)| {
            let scheme = url.scheme;
            addresses.iter().map(move |address| format!("{scheme}{address}")).collect::<Vec<_>>()
        };
        self.known.iter().flat_map(at).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use parking_lot::Mutex;

    use super::*;

    #[test]
    fn urls_as_operators_write_them() {
        for text in ["http://127.0.0.1:7070", "http://queue:7070", "https://[::1]:7070", "https://queue.mail.svc:7070/"]
        {
            assert_eq!(QueueUrl::parse(text).unwrap().to_string(), text.trim_end_matches('/'));
        }
        for text in ["", "queue:7070", "http://queue", "http://:7070", "http://queue:port", "http://u@q:1", "ftp://q:1"]
        {
            assert!(QueueUrl::parse(text).is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn every_address_of_a_name_is_a_replica() {
        let urls =
            ["http://127.0.0.1:7070/".to_owned(), "https://[::1]:7070".to_owned(), "http://localhost:7071".to_owned()];
        let found = Replicas::new(&urls, SystemLookup).unwrap().resolve().await;
        for url in ["http://127.0.0.1:7070", "https://[::1]:7070", "http://127.0.0.1:7071"] {
            assert!(found.contains(url), "{url}: {found:?}");
        }
    }

    /// Answers each name by a script of its own.
    struct Script(Mutex<BTreeMap<&'static str, VecDeque<io::Result<Vec<SocketAddr>>>>>);

    impl Lookup for Script {
        async fn addresses(&self, authority: &str) -> io::Result<Vec<SocketAddr>> {
            self.0.lock().get_mut(authority).and_then(VecDeque::pop_front).unwrap()
        }
    }

    #[tokio::test]
    async fn replicas_come_and_go_with_their_names_and_stay_when_names_fail() {
        let address = |number: u8| SocketAddr::from(([10, 0, 0, number], 7070));
        let failed = || Err(io::Error::other("SERVFAIL"));
        let script = BTreeMap::from([
            ("a:7070", VecDeque::from([Ok(vec![address(1)]), failed(), Ok(Vec::new()), Ok(vec![address(2)])])),
            ("b:7070", VecDeque::from([failed(), Ok(vec![address(3)]), Ok(vec![address(3), address(4)]), failed()])),
        ]);
        let urls = ["https://a:7070".to_owned(), "http://b:7070".to_owned()];
        let mut replicas = Replicas::new(&urls, Script(Mutex::new(script))).unwrap();
        let expected: [&[&str]; 4] = [
            &["https://10.0.0.1:7070"],
            &["http://10.0.0.3:7070", "https://10.0.0.1:7070"],
            &["http://10.0.0.3:7070", "http://10.0.0.4:7070", "https://10.0.0.1:7070"],
            &["http://10.0.0.3:7070", "http://10.0.0.4:7070", "https://10.0.0.2:7070"],
        ];
        for expected in expected {
            assert_eq!(replicas.resolve().await.into_iter().collect::<Vec<_>>(), expected);
        }
    }
}
