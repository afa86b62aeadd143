//! What validated records show together: where a zone ends, and what an answer is worth. Pure; the signatures were
//! checked before. Not responsible for the order of questions.

use hickory_resolver::proto::dnssec::Proof;
use hickory_resolver::proto::dnssec::rdata::{DNSSECRData, RRSIG};
use hickory_resolver::proto::op::{DnsResponse, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::proto::serialize::binary::BinDecodable as _;

use super::denial::Denial;

/// What a name is in the tree of zones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A signed zone begins.
    Signed,
    /// An unsigned zone begins, or may begin by the word of the zone above.
    Unsigned,
    /// The zone above goes on.
    Within,
    /// There is no such name, and no zone below it.
    Nowhere,
}

/// What an answer is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worth {
    /// DNSSEC vouches for all that it says.
    Secure,
    /// Nobody vouches for it, and that is the zone's own signed word: it leaves unsigned delegations out (opt-out, RFC
    /// 5155 §6), or hashes in more rounds than are followed.
    Open,
    /// It is not what the zone says.
    Bogus,
}

/// What the answer for the root's keys shows; nothing where none is trusted.
pub(super) fn root(response: &DnsResponse) -> Option<Place> {
    let is_key = |record: &Record| record.record_type() == RecordType::DNSKEY;
    secure(&response.answers).any(is_key).then_some(Place::Signed)
}

/// What the answer to a question for DS records at `name` shows, in `zone`, the last that is known to be signed (RFC 4035
/// §5.2). `is_proved`: the denial was found complete. `is_next`: the name above is known to be within the zone.
pub(super) fn place(response: &DnsResponse, name: &Name, zone: &Name, is_proved: bool, is_next: bool) -> Option<Place> {
    let mut digests = secure(&response.answers).filter_map(|record| match &record.data {
        RData::DNSSEC(DNSSECRData::DS(digest)) if record.name == *name => Some(digest),
        _ => None,
    });
    if let Some(first) = digests.next() {
        // A zone signed only in ways that we do not know counts as unsigned (RFC 4035 §5.2).
        let is_known = std::iter::once(first)
            .chain(digests)
            .any(|digest| digest.algorithm().is_supported() && digest.digest_type().is_supported());
        return Some(if is_known { Place::Signed } else { Place::Unsigned });
    }
    // No delegation is an alias.
    if is_alias(response, name) {
        return Some(Place::Within);
    }
    let mut denials = denials_of(response, zone).peekable();
    let is_nowhere = is_proved && denials.peek().is_some();
    denials.find_map(|denial| denial.place(name, is_next)).or(is_nowhere.then_some(Place::Nowhere))
}

/// What the answer to a question is worth in `zone`, the last that is known to be signed. `denial` is what its denial, if
/// it is one, was found to be.
pub(super) fn worth(response: &DnsResponse, name: &Name, kind: RecordType, zone: &Name, denial: Proof) -> Worth {
    let of_kind = |record: &&Record| record.name == *name && record.record_type() == kind;
    let mut found = response.answers.iter().filter(of_kind).peekable();
    let is_signed = match found.peek() {
        Some(_) => found.all(|record| record.proof == Proof::Secure),
        None if response.answers.is_empty() => return worth_of_denial(response, name, kind, zone, denial),
        None => is_alias(response, name),
    };
    if is_signed { worth_of_wildcard(response, zone) } else { Worth::Bogus }
}

fn worth_of_denial(response: &DnsResponse, name: &Name, kind: RecordType, zone: &Name, denial: Proof) -> Worth {
    let denials = || denials_of(response, zone);
    match denial {
        Proof::Secure if denials().next().is_some() => Worth::Secure,
        Proof::Insecure if denials().any(|denial| denial.leaves_open()) => Worth::Open,
        // hickory does not take the word of a name that renames all below it, even for the name itself.
        _ if response.response_code == ResponseCode::NoError && denials().any(|denial| denial.has_none(name, kind)) => {
            Worth::Secure
        }
        _ => Worth::Bogus,
    }
}

/// Where a wildcard made the records, it has to be shown that there was nothing nearer to make them (RFC 4035 §5.3.4).
fn worth_of_wildcard(response: &DnsResponse, zone: &Name) -> Worth {
    let nearer = secure(&response.answers).filter_map(|record| {
        let labels = usize::from(signature(record)?.input().num_labels);
        (labels < usize::from(record.name.num_labels())).then(|| record.name.trim_to(labels + 1))
    });
    let absence = |name| denials_of(response, zone).find_map(|denial| denial.absence(&name)).unwrap_or(Worth::Bogus);
    nearer.map(absence).find(|worth| *worth != Worth::Secure).unwrap_or(Worth::Secure)
}

fn secure(records: &[Record]) -> impl Iterator<Item = &Record> {
    records.iter().filter(|record| record.proof == Proof::Secure)
}

/// The name is an alias, by its own word or by that of a DNAME above it, whose aliases carry no signature (RFC 6672
/// §5.3.1).
fn is_alias(response: &DnsResponse, name: &Name) -> bool {
    response.answers.iter().filter(|record| record.name == *name).any(|record| match &record.data {
        RData::CNAME(_) if record.proof == Proof::Secure => true,
        RData::CNAME(target) => {
            secure(&response.answers).any(|above| renamed(above, name).is_some_and(|end| end == target.0))
        }
        _ => false,
    })
}

/// Where a DNAME leads a name below it (RFC 6672 §2.2).
fn renamed(above: &Record, name: &Name) -> Option<Name> {
    let RData::Unknown { code: RecordType::DNAME, rdata } = &above.data else { return None };
    let target = Name::from_bytes(&rdata.anything).ok()?;
    let below = name.iter().len().checked_sub(above.name.iter().len()).filter(|&labels| labels > 0)?;
    let prefix = Name::from_labels(name.iter().take(below)).ok().filter(|_| above.name.zone_of(name))?;
    prefix.append_domain(&target).ok()
}

/// The denials that a zone itself has signed: those of a zone above it say nothing of what is in it.
fn denials_of<'a>(response: &'a DnsResponse, zone: &'a Name) -> impl Iterator<Item = Denial<'a>> {
    secure(&response.authorities)
        .filter(|record| is_signed_by(zone, record, &response.authorities))
        .filter_map(Denial::of)
}

fn is_signed_by(zone: &Name, record: &Record, beside: &[Record]) -> bool {
    secure(beside).filter(|other| other.name == record.name).filter_map(signature).any(|signature| {
        let input = signature.input();
        input.type_covered == record.record_type() && input.signer_name == *zone
    })
}

/// The record as a signature, where it is one.
pub(super) fn signature(record: &Record) -> Option<&RRSIG> {
    match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(signature)) => Some(signature),
        _ => None,
    }
}
