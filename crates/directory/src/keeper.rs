//! Where policies of MTA-STS outlive this process (RFC 8461 §5.1): whoever keeps a worker that was just started from fetching
//! one must not make it do without. Not responsible for keeping them.

use std::future::Future;
use std::pin::Pin;

use mailtier_types::{Domain, Timestamp};

/// A policy as it was fetched, by whichever worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptPolicy {
    /// Whose.
    pub domain: Domain,
    /// The id of its record then.
    pub id: String,
    /// As it is served.
    pub text: String,
    /// When.
    pub fetched_at: Timestamp,
    /// From when it holds no more.
    pub expires_at: Timestamp,
}

/// What a keeper is going to say.
pub type Recalling<'a> = Pin<Box<dyn Future<Output = Result<Option<KeptPolicy>, String>> + Send + 'a>>;

/// See the module.
pub trait PolicyKeeper: Send + Sync + 'static {
    /// The policy that is kept of a domain; why that is not known.
    fn recall<'a>(&'a self, domain: &'a Domain) -> Recalling<'a>;

    /// Keeps a policy, in the background.
    fn keep(&self, policy: KeptPolicy);
}
