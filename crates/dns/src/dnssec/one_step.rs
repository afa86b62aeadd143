//! What the validator sees of an answer: one step, and nothing that a stranger put beside it.
//!
//! An alias is answered with what lies behind it, from other zones; each name is judged on its own, so the rest is asked
//! for by its own name. Records that nothing follows from would be validated too, each with questions of its own, and so
//! are dropped before. Keys and delegations are kept, since each validation climbs over the same ones.
//!
//! Not responsible for judging anything: what is kept is as unproven as it came.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use hickory_resolver::net::xfer::DnsHandle;
use hickory_resolver::net::{DnsError as Negative, NetError};
use hickory_resolver::proto::op::{DnsRequest, Message, ResponseCode};
use hickory_resolver::proto::rr::{Name, Record, RecordType};
use moka::future::Cache;

use super::evidence::signature;
use crate::ask::{Reply, first};
use crate::lifetime::{Lifetimes, Lives};

/// Octets of keys and delegations that are kept.
const KEPT_OCTETS: u64 = 16 << 20;
/// What a record takes beside its octets in the answer.
const RECORD_OCTETS: usize = 256;
/// Name servers keep them as long as they live. This is only for the questions of one delivery and its neighbours, and
/// short, so that what an attacker says passes.
const MAX_KEPT: Duration = Duration::from_secs(60);
/// Records of a denial that are looked at: each set of them costs signatures, and maybe questions. The answer itself is
/// one set, however large.
const MAX_DENYING: usize = 64;
/// The same of DNAME records and their signatures.
const MAX_RENAMING: usize = 8;
/// What a denial is made of.
const DENYING: [RecordType; 3] = [RecordType::SOA, RecordType::NSEC, RecordType::NSEC3];

/// Name servers, of whose answers one step is left.
#[derive(Clone)]
pub(super) struct OneStep<H> {
    handle: H,
    kept: Cache<(Name, RecordType), Arc<Kept>>,
}

/// An answer, or a denial as hickory tells it.
struct Kept {
    reply: Reply,
    lifetime: Duration,
}

impl Lives for Kept {
    fn lifetime(&self) -> Duration {
        self.lifetime
    }
}

impl<H: DnsHandle> OneStep<H> {
    pub(super) fn new(handle: H) -> Self {
        let weigh = |_: &(Name, RecordType), kept: &Arc<Kept>| kept.weight();
        let kept = Cache::builder().max_capacity(KEPT_OCTETS).weigher(weigh).expire_after(Lifetimes).build();
        Self { handle, kept }
    }
}

impl<H: DnsHandle> DnsHandle for OneStep<H> {
    type Response = BoxStream<'static, Reply>;
    type Runtime = H::Runtime;

    fn send(&self, request: DnsRequest) -> Self::Response {
        let Some(query) = request.queries.first() else { return self.handle.send(request).boxed() };
        let (name, kind) = (query.name().clone(), query.query_type());
        if !matches!(kind, RecordType::DNSKEY | RecordType::DS | RecordType::NS) {
            return self.handle.send(request).map(move |reply| shorten(reply, &name, kind)).boxed();
        }
        let this = self.clone();
        stream::once(async move {
            let answer = async {
                match shorten(first(this.handle.send(request)).await, &name, kind) {
                    Err(error) if !matches!(error, NetError::Dns(Negative::NoRecordsFound(_))) => Err(error),
                    reply => Ok(Arc::new(Kept::new(reply))),
                }
            };
            let kept = this.kept.try_get_with((name.clone(), kind), answer).await;
            kept.map_err(|error| NetError::clone(&error))?.reply.clone()
        })
        .boxed()
    }
}

impl Kept {
    fn new(reply: Reply) -> Self {
        let ttl = records(&reply).map(|record| record.ttl).min().unwrap_or(0);
        Self { reply, lifetime: Duration::from_secs(ttl.into()).min(MAX_KEPT) }
    }

    fn weight(&self) -> u32 {
        let octets = self.reply.as_ref().map_or(0, |answer| answer.as_buffer().len());
        u32::try_from(octets + RECORD_OCTETS * (1 + records(&self.reply).count())).unwrap_or(u32::MAX)
    }
}

fn records(reply: &Reply) -> Box<dyn Iterator<Item = &Record> + '_> {
    match reply {
        Ok(answer) => Box::new(answer.all_sections()),
        Err(NetError::Dns(Negative::NoRecordsFound(denial))) => {
            Box::new(denial.authorities.iter().flat_map(|a| a.iter()))
        }
        Err(_) => Box::new(std::iter::empty()),
    }
}

fn shorten(reply: Reply, name: &Name, kind: RecordType) -> Reply {
    match reply {
        Ok(mut answer) => {
            keep_one_step(&mut answer, name, kind);
            Ok(answer)
        }
        Err(NetError::Dns(Negative::NoRecordsFound(mut denial))) => {
            let signed = |records: Arc<[Record]>| denials(&records, &DENYING, |signer| signer.zone_of(name));
            denial.ns = None;
            denial.authorities = denial.authorities.map(|records| signed(records).into());
            Err(NetError::Dns(Negative::NoRecordsFound(denial)))
        }
        failure @ Err(_) => failure,
    }
}

fn keep_one_step(message: &mut Message, name: &Name, kind: RecordType) {
    let mut renaming = 0;
    message.answers.retain(|record| {
        if record.name == *name {
            return [kind, RecordType::CNAME].contains(&covered(record));
        }
        // A DNAME stands above the name and makes the alias (RFC 6672 §2.2).
        let renames = record.name.zone_of(name) && covered(record) == RecordType::DNAME;
        renaming += usize::from(renames);
        renames && renaming <= MAX_RENAMING
    });
    message.additionals.clear();
    let is_alias = !message.answers.is_empty() && !message.answers.iter().any(|record| record.record_type() == kind);
    let authorities = if is_alias {
        // The code and the authority speak of the alias's end (RFC 6604 §3), but for what shows that the alias itself
        // comes from a wildcard (RFC 4035 §5.3.4): that is signed by the alias's own zone.
        message.metadata.response_code = ResponseCode::NoError;
        let zone = message.answers.iter().find_map(signature).map(|signature| &signature.input().signer_name);
        denials(&message.authorities, &[RecordType::NSEC, RecordType::NSEC3], |signer| Some(signer) == zone)
    } else {
        denials(&message.authorities, &DENYING, |signer| signer.zone_of(name))
    };
    message.authorities = authorities;
}

/// The records of these kinds that are signed by a zone that may deny, and their signatures.
fn denials(records: &[Record], kinds: &[RecordType], may_deny: impl Fn(&Name) -> bool) -> Vec<Record> {
    let signed = records.iter().filter(|record| {
        kinds.contains(&covered(record)) && signature(record).is_some_and(|s| may_deny(&s.input().signer_name))
    });
    let signed: Vec<_> = signed.map(|record| (&record.name, covered(record))).take(MAX_DENYING).collect();
    let kept = records.iter().filter(|record| signed.contains(&(&record.name, covered(record))));
    kept.take(MAX_DENYING).cloned().collect()
}

/// The kind of a record; of a signature, the kind that it signs.
fn covered(record: &Record) -> RecordType {
    signature(record).map_or(record.record_type(), |signature| signature.input().type_covered)
}
