//! What answers mean for mail: mail exchangers, the null MX, and the merging of the two address families. Pure; not
//! responsible for asking.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use hickory_resolver::proto::rr::RData;
use hickory_resolver::proto::rr::rdata::MX;
use mailtier_types::{Domain, TlsaRecord};

use crate::error::DnsError;

/// Records of one MX answer that are looked at; the best are kept.
pub const MAX_MX_RECORDS: usize = 100;
/// Addresses of one host and family that are looked at.
pub const MAX_ADDRESSES_PER_HOST: usize = 32;

/// A mail exchanger (RFC 1035 §3.3.9).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MxRecord {
    /// Lower is tried earlier.
    pub preference: u16,
    /// Its name.
    pub host: Domain,
}

/// Where a domain that exists takes its mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MxAnswer {
    /// These hosts, best preference first; at least one and at most [`MAX_MX_RECORDS`].
    Records(Vec<MxRecord>),
    /// Nowhere: the domain says that it takes no mail (RFC 7505 §3).
    Null,
    /// There are records, and no host is named by any of them.
    Unusable,
    /// There is no MX record: the domain itself is the implicit exchanger (RFC 5321 §5.1).
    Implicit,
}

/// Where a domain takes its mail, and whether that is certain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mx {
    /// What it says.
    pub answer: MxAnswer,
    /// DNSSEC vouches for it; true as well where there is no MX record, since then the domain's addresses decide.
    pub secure: bool,
}

/// What is known of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// IPv6 before IPv4; at least one.
    pub addresses: Vec<IpAddr>,
    /// What its owner says of its certificates.
    pub tlsa: Tlsa,
}

/// The TLSA records for a port of a host (RFC 7672 §2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tlsa {
    /// None that DNSSEC vouches for, or they were not asked for.
    None,
    /// There are some.
    Records {
        /// Where they stand: the name that a certificate is looked for under (RFC 7672 §2.2.3).
        base: Domain,
        /// Those that mail can use. None: the host promises TLS, and no certificate that can be looked for.
        usable: Arc<[TlsaRecord]>,
    },
    /// Whether there are any could not be learnt: to go on without would be what an attacker wants (RFC 7672 §2.1.3).
    Unknown(DnsError),
}

/// Reads the addresses of an answer.
pub(crate) fn addresses_in<'a>(
    answer: impl Iterator<Item = &'a RData>,
    kind: &'static str,
    host: &str,
) -> Result<Vec<IpAddr>, DnsError> {
    let addresses = answer.filter_map(|data| match data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    });
    let found: Vec<_> = addresses.take(MAX_ADDRESSES_PER_HOST).collect();
    if found.is_empty() { Err(DnsError::NoData { name: host.to_owned(), kind }) } else { Ok(found) }
}

/// Reads the MX records of an answer.
pub(crate) fn exchangers<'a>(records: impl Iterator<Item = &'a MX>) -> MxAnswer {
    let mut null = false;
    let mut count = 0_usize;
    let mut usable: Vec<MxRecord> = Vec::new();
    for record in records {
        count += 1;
        // RFC 7505 §3: the root as exchanger. Beside other records it names no host either, and is passed over.
        if record.exchange.is_root() {
            null = true;
            continue;
        }
        let name = record.exchange.to_ascii();
        if let Ok(host) = Domain::parse(name.trim_end_matches('.')) {
            usable.push(MxRecord { preference: record.preference, host });
        }
    }
    usable.sort_unstable();
    let mut seen = HashSet::new();
    usable.retain(|record| seen.insert(record.host.clone()));
    usable.truncate(MAX_MX_RECORDS);
    match (usable.is_empty(), null, count) {
        (false, ..) => MxAnswer::Records(usable),
        (true, true, 1) => MxAnswer::Null,
        (true, _, 0) => MxAnswer::Implicit,
        (true, ..) => MxAnswer::Unusable,
    }
}

/// The addresses of both families as one answer. A family that could not be asked is overlooked where the other has
/// addresses; without any, the failure that may pass decides.
pub(crate) fn merge_families(
    v6: Result<Vec<IpAddr>, DnsError>,
    v4: Result<Vec<IpAddr>, DnsError>,
) -> Result<Vec<IpAddr>, DnsError> {
    match (v6, v4) {
        (Ok(mut v6), Ok(v4)) => {
            v6.extend(v4);
            Ok(v6)
        }
        (Ok(one), Err(_)) | (Err(_), Ok(one)) => Ok(one),
        (Err(v6), Err(v4)) => Err(if v6.is_temporary() || matches!(v4, DnsError::NoData { .. }) { v6 } else { v4 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_resolver::proto::rr::Name;

    fn mx(preference: u16, exchange: &str) -> MX {
        MX::new(preference, Name::from_ascii(exchange).unwrap())
    }

    fn read(records: &[MX]) -> MxAnswer {
        exchangers(records.iter())
    }

    fn names(answer: MxAnswer) -> Vec<String> {
        match answer {
            MxAnswer::Records(records) => {
                records.into_iter().map(|record| format!("{} {}", record.preference, record.host)).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_best_come_first_and_a_host_named_twice_counts_once_at_its_best() {
        // The same host with two preferences: RFC 5321 knows no meaning for it, trying it twice gains nothing.
        let answer = read(&[mx(20, "b.example."), mx(30, "a.example."), mx(10, "A.example."), mx(10, "a.example.")]);
        assert_eq!(names(answer), ["10 a.example", "20 b.example"]);
    }

    #[test]
    fn a_null_mx_is_one_only_when_alone() {
        assert_eq!(read(&[mx(0, ".")]), MxAnswer::Null);
        assert_eq!(names(read(&[mx(0, "."), mx(10, "a.example.")])), ["10 a.example"]);
        assert_eq!(read(&[mx(0, "."), mx(5, ".")]), MxAnswer::Unusable);
        assert_eq!(read(&[]), MxAnswer::Implicit);
    }

    fn odd(label: &str) -> Name {
        Name::from_labels([label.as_bytes(), b"example"]).unwrap()
    }

    #[test]
    fn names_no_host_can_have_are_passed_over() {
        assert_eq!(read(&[MX::new(10, odd("a b")), MX::new(20, odd("a\0"))]), MxAnswer::Unusable);
        assert_eq!(names(read(&[MX::new(10, odd("a b")), mx(20, "b.example.")])), ["20 b.example"]);
    }

    #[test]
    fn an_answer_of_thousands_keeps_the_best_hundred() {
        let many: Vec<_> = (0..5000_u16).rev().map(|n| mx(n, &format!("mx{n}.example."))).collect();
        let kept = names(read(&many));
        assert_eq!(kept.len(), MAX_MX_RECORDS);
        assert_eq!(kept[0], "0 mx0.example");
        assert_eq!(kept[99], "99 mx99.example");
    }

    #[test]
    fn one_family_is_enough_and_doubt_beats_denial() {
        let six: IpAddr = "2001:db8::1".parse().unwrap();
        let four: IpAddr = "192.0.2.1".parse().unwrap();
        let temporary =
            || DnsError::Temporary { name: "h".to_owned(), kind: "A", reason: "query timed out".to_owned() };
        let none = || DnsError::NoData { name: "h".to_owned(), kind: "AAAA" };
        let missing = || DnsError::NoSuchDomain { name: "h".to_owned() };
        assert_eq!(merge_families(Ok(vec![six]), Ok(vec![four])), Ok(vec![six, four]));
        assert_eq!(merge_families(Err(temporary()), Ok(vec![four])), Ok(vec![four]));
        assert_eq!(merge_families(Ok(vec![six]), Err(none())), Ok(vec![six]));
        assert_eq!(merge_families(Err(none()), Err(temporary())), Err(temporary()));
        assert_eq!(merge_families(Err(temporary()), Err(missing())), Err(temporary()));
        assert_eq!(merge_families(Err(missing()), Err(none())), Err(missing()));
        assert_eq!(merge_families(Err(none()), Err(missing())), Err(missing()));
        assert_eq!(merge_families(Err(none()), Err(none())), Err(none()));
    }
}
