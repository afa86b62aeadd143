//! Down the tree, zone by zone, from the root to a name: how far it is signed, and whether the rest is shown not to be
//! (RFC 4035 §4.3, §5.2). Remembers what it finds. Not responsible for reading proofs.

use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::net::xfer::DnsHandle as _;
use hickory_resolver::net::{DnsError as Negative, NetError};
use hickory_resolver::proto::op::DnsResponse;
use hickory_resolver::proto::rr::{Name, RecordType};
use moka::future::Cache;

use super::Handle;
use super::evidence::{self, Place};
use crate::ask::{first, question, text};
use crate::error::DnsError;
use crate::lifetime::{Lifetimes, Lives};

/// Names whose place is remembered.
const KEPT_PLACES: u64 = 32_768;
/// No place is remembered longer: a zone that becomes signed, or is not any more, is followed within the hour.
const MAX_KEPT: Duration = Duration::from_secs(900);
/// Steps that are looked at; names of mail have three to six. Below, nothing is shown to be unsigned.
const MAX_STEPS: usize = 24;

/// What was found on the way to a name.
pub(super) struct Standing {
    /// Below an unsigned delegation: nothing there is signed so that it could be followed from the root.
    pub(super) unsigned: bool,
    /// The last zone that is signed.
    pub(super) zone: Name,
    /// Where below that it could not be told, first.
    pub(super) doubt: Option<Name>,
}

impl Standing {
    /// Why a name that stands so has no answer, for operators.
    pub(super) fn reason(&self) -> String {
        match &self.doubt {
            Some(place) if place.is_root() => no_root(),
            Some(place) => {
                format!("whether {} is signed is neither shown nor denied by signed records", text(place))
            }
            None if self.zone.is_root() => "it does not carry valid signatures of the root".to_owned(),
            None => format!("it does not carry valid signatures of {}", text(&self.zone)),
        }
    }
}

/// Why nothing can be validated.
pub(super) fn no_root() -> String {
    "the root does not carry signatures of a trust anchor: the name servers do not pass on DNSSEC's records, the trust \
     anchors are out of date, or the clock is wrong"
        .to_owned()
}

/// A place that was found, and for how long.
struct Found {
    place: Place,
    lifetime: Duration,
}

impl Lives for Found {
    fn lifetime(&self) -> Duration {
        self.lifetime
    }
}

/// The tree, as far as it was walked.
pub(super) struct Chain {
    found: Cache<Name, Arc<Found>>,
}

/// Why a place was not found.
enum Lost {
    /// No signed record tells.
    Doubt,
    Unanswered(NetError),
}

impl Chain {
    pub(super) fn new() -> Self {
        Self { found: Cache::builder().max_capacity(KEPT_PLACES).expire_after(Lifetimes).build() }
    }

    /// How a name stands.
    ///
    /// # Errors
    /// No name server answers at all.
    pub(super) async fn of(&self, handle: &Handle, name: &Name) -> Result<Standing, DnsError> {
        let mut standing = Standing { unsigned: false, zone: Name::root(), doubt: None };
        for labels in 0..=name.iter().len().min(MAX_STEPS) {
            let at = name.trim_to(labels);
            match self.step(handle, &at, &standing).await {
                Ok(Place::Signed) => standing = Standing { unsigned: false, zone: at, doubt: None },
                Ok(Place::Within) => {}
                Ok(Place::Unsigned) => {
                    standing.unsigned = true;
                    break;
                }
                Ok(Place::Nowhere) => break,
                // Without keys of the root nothing further can be shown.
                Err(Lost::Doubt) => {
                    let is_root = at.is_root();
                    standing.doubt.get_or_insert(at);
                    if is_root {
                        break;
                    }
                }
                Err(Lost::Unanswered(error)) => {
                    return Err(DnsError::from_lookup(&error, &text(&at), kind_at(&at).into()));
                }
            }
        }
        Ok(standing)
    }

    /// Several who come by at once wait for one answer.
    async fn step(&self, handle: &Handle, at: &Name, so_far: &Standing) -> Result<Place, Lost> {
        let found = self.found.try_get_with_by_ref(at, look(handle, at, so_far)).await;
        found.map(|found| found.place).map_err(|lost| match &*lost {
            Lost::Doubt => Lost::Doubt,
            Lost::Unanswered(error) => Lost::Unanswered(error.clone()),
        })
    }
}

/// What is asked for at a step: the zone's own keys at the root, and further down what the zone above says of them.
fn kind_at(at: &Name) -> RecordType {
    if at.is_root() { RecordType::DNSKEY } else { RecordType::DS }
}

async fn look(handle: &Handle, at: &Name, so_far: &Standing) -> Result<Arc<Found>, Lost> {
    let (response, is_proved) = match first(handle.send(question(at, kind_at(at)))).await {
        Ok(response) => (response, true),
        // Each record was validated; only what they show together was not. Some of them show enough alone.
        Err(NetError::Dns(Negative::Nsec { response, .. })) => (*response, false),
        Err(error) if at.is_root() || is_silence(&error) => return Err(Lost::Unanswered(error)),
        Err(error) => {
            tracing::debug!(%at, %error, "cannot be followed from the root");
            return Err(Lost::Doubt);
        }
    };
    let place = match at.is_root() {
        true => evidence::root(&response),
        false => evidence::place(&response, at, &so_far.zone, is_proved, so_far.doubt.is_none()),
    };
    tracing::debug!(%at, ?place, "walked");
    place.map(|place| Arc::new(Found { place, lifetime: lifetime(&response) })).ok_or(Lost::Doubt)
}

/// No name server said anything. One that fails may do so for this one question, and know the next.
const fn is_silence(error: &NetError) -> bool {
    matches!(error, NetError::Timeout | NetError::NoConnections | NetError::Io(_) | NetError::Busy)
}

fn lifetime(response: &DnsResponse) -> Duration {
    let ttl = response.all_sections().map(|record| record.ttl).min().unwrap_or(0);
    Duration::from_secs(ttl.into()).min(MAX_KEPT)
}
