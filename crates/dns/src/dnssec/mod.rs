//! Validation of our own (RFC 4035 §5), for name servers that do not validate or are not to be believed.
//!
//! A question is looked at from the top of the tree: where a zone on the way to the name is shown to be unsigned, the
//! answer is taken as it is, and counts as not secure; only what stands in a signed zone is validated. So an unsigned
//! name costs one question more, and cannot fall to what is wrong with signatures: validators stumble over names deep
//! below unsigned delegations. What is neither validly signed nor shown to be unsigned is bogus.
//!
//! Signatures are hickory's, and denials that take more than one record. Not responsible for what answers mean, nor for
//! keeping them.

mod anchors;
mod chain;
mod denial;
mod evidence;
mod one_step;

use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::net::dnssec::DnssecDnsHandle;
use hickory_resolver::net::xfer::DnsHandle as _;
use hickory_resolver::net::{DnsError as Negative, NetError};
use hickory_resolver::proto::dnssec::{Proof, TrustAnchors as Keys};
use hickory_resolver::proto::rr::{Name, RecordType};
use moka::future::Cache;

use crate::ask::{Reply, Servers, first, question, text};
use crate::error::DnsError;
pub use anchors::{TrustAnchors, TrustAnchorsError};
use chain::Chain;
use evidence::Worth;
use one_step::OneStep;

/// A question may take this many times what it may take without validation.
const PATIENCE: u32 = 2;
/// Signatures found good, kept so that the same one is not computed again.
const KEPT_PROOFS: usize = 16_384;
/// Keys of the root that were found by their digests are looked up again after this.
const ANCHORED_FOR: Duration = Duration::from_secs(3600);

type Handle = DnssecDnsHandle<OneStep<Servers>>;

/// Asks and validates.
pub(crate) struct Validator {
    servers: OneStep<Servers>,
    anchors: TrustAnchors,
    /// The one that checks signatures, once the keys it starts from are known.
    handle: Cache<(), Arc<Handle>>,
    chain: Chain,
    timeout: Duration,
}

/// An answer that may be used, and whether DNSSEC vouches for it.
pub(crate) struct Judged {
    /// One step: the records of the name, or the alias it is, without what lies behind; or a denial.
    pub(crate) reply: Reply,
    /// DNSSEC vouches for it.
    pub(crate) secure: bool,
}

impl Validator {
    /// `timeout` is what a question may take without validation.
    pub(crate) fn new(servers: Servers, anchors: TrustAnchors, timeout: Duration) -> Self {
        Self {
            servers: OneStep::new(servers),
            anchors,
            handle: Cache::builder().max_capacity(1).time_to_live(ANCHORED_FOR).build(),
            chain: Chain::new(),
            timeout: timeout.saturating_mul(PATIENCE),
        }
    }

    /// What may be believed of a name.
    ///
    /// # Errors
    /// [`DnsError::Bogus`], or what kept the name servers from answering.
    pub(crate) async fn ask(&self, name: &Name, kind: RecordType) -> Result<Judged, DnsError> {
        let late = |_| DnsError::from_lookup(&NetError::Timeout, &text(name), kind.into());
        tokio::time::timeout(self.timeout, self.judge(name, kind)).await.map_err(late)?
    }

    async fn judge(&self, name: &Name, kind: RecordType) -> Result<Judged, DnsError> {
        let bogus = |reason| DnsError::Bogus { name: text(name), kind: kind.into(), reason };
        let handle = self.handle.try_get_with((), self.anchored()).await;
        let handle = handle.map_err(|error| match &*error {
            Unanchored::Unfit => bogus(chain::no_root()),
            Unanchored::Unanswered(error) => DnsError::from_lookup(error, ".", "DNSKEY"),
        })?;
        let standing = self.chain.of(&handle, name).await?;
        if standing.unsigned {
            return Ok(Judged { reply: first(self.servers.send(question(name, kind))).await, secure: false });
        }
        let (response, denial) = match first(handle.send(question(name, kind))).await {
            Ok(response) => (response, Proof::Secure),
            Err(NetError::Dns(Negative::Nsec { response, proof, .. })) => (*response, proof),
            failure @ Err(_) => return Ok(Judged { reply: failure, secure: false }),
        };
        match evidence::worth(&response, name, kind, &standing.zone, denial) {
            Worth::Secure => Ok(Judged { reply: Ok(response), secure: true }),
            Worth::Open => Ok(Judged { reply: Ok(response), secure: false }),
            Worth::Bogus => Err(bogus(standing.reason())),
        }
    }

    /// With the keys that are trusted to begin with. Where only digests of them are known, they are asked for.
    async fn anchored(&self) -> Result<Arc<Handle>, Unanchored> {
        let mut keys = self.anchors.keys().clone();
        if self.anchors.has_digests() {
            let root = Name::root();
            let answer = first(self.servers.send(question(&root, RecordType::DNSKEY))).await;
            let answer = answer.map_err(Unanchored::Unanswered)?;
            self.anchors.add_fitting(&answer.answers, &mut keys);
        }
        match keys.is_empty() {
            true => Err(Unanchored::Unfit),
            false => Ok(Arc::new(handle(self.servers.clone(), keys))),
        }
    }
}

/// Why there is nothing to begin with.
enum Unanchored {
    Unanswered(NetError),
    /// The root has other keys.
    Unfit,
}

fn handle(servers: OneStep<Servers>, keys: Keys) -> Handle {
    DnssecDnsHandle::with_trust_anchor(servers, Arc::new(keys)).validation_cache_size(KEPT_PROOFS)
}
