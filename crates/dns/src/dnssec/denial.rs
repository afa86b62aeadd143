//! What one signed denial shows of one name: an NSEC record (RFC 4034 §4) or an NSEC3 record (RFC 5155). Pure; its
//! signature was checked before. Not responsible for what several show together.

use data_encoding::BASE32_DNSSEC;
use hickory_resolver::proto::dnssec::rdata::{DNSSECRData, NSEC, NSEC3};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

use super::evidence::{Place, Worth};

/// Rounds of hashing beyond which a zone's denials are not followed, and count for nothing (RFC 9276 §3.2).
const MAX_ITERATIONS: u16 = 100;

/// A denial and the name it stands at.
pub(super) struct Denial<'a> {
    owner: &'a Name,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Nsec(&'a NSEC),
    Nsec3(&'a NSEC3),
}

impl<'a> Denial<'a> {
    /// The record as a denial, where it is one.
    pub(super) fn of(record: &'a Record) -> Option<Self> {
        let kind = match &record.data {
            RData::DNSSEC(DNSSECRData::NSEC(nsec)) => Kind::Nsec(nsec),
            RData::DNSSEC(DNSSECRData::NSEC3(nsec3)) => Kind::Nsec3(nsec3),
            _ => return None,
        };
        Some(Self { owner: &record.name, kind })
    }

    /// What the name is, by the zone's word. `is_next`: the name above it is known to be within the zone. Only then may an
    /// opt-out be believed, since hashes of any name, of other zones too, can lie in one (RFC 5155 §8.9).
    pub(super) fn place(&self, name: &Name, is_next: bool) -> Option<Place> {
        let open = is_next.then_some(Place::Unsigned);
        match self.kind {
            Kind::Nsec(nsec) if self.owner == name => listed(|kind| nsec.type_set().contains(kind)),
            // Between two names of which the second is below it: it has no records, and exists (RFC 8020 §2).
            Kind::Nsec(nsec) => {
                let next = nsec.next_domain_name();
                (self.owner < name && name < next && name.zone_of(next)).then_some(Place::Within)
            }
            Kind::Nsec3(nsec3) if is_costly(nsec3) => open,
            Kind::Nsec3(nsec3) => match self.hashed(nsec3, name)? {
                Hashed::Matched => listed(|kind| nsec3.type_set().contains(kind)),
                Hashed::Covered => open.filter(|_| nsec3.opt_out()),
            },
        }
    }

    /// What it is worth as proof that there is neither the name nor one below it.
    pub(super) fn absence(&self, name: &Name) -> Option<Worth> {
        match self.kind {
            Kind::Nsec(nsec) => self.lacks(nsec, name).then_some(Worth::Secure),
            Kind::Nsec3(nsec3) if is_costly(nsec3) => Some(Worth::Open),
            Kind::Nsec3(nsec3) => match self.hashed(nsec3, name)? {
                Hashed::Matched => None,
                Hashed::Covered => Some(if nsec3.opt_out() { Worth::Open } else { Worth::Secure }),
            },
        }
    }

    /// The name is there, and has no records of a kind, nor is it an alias (RFC 4035 §5.4, RFC 5155 §8.5).
    pub(super) fn has_none(&self, name: &Name, kind: RecordType) -> bool {
        let types = match self.kind {
            Kind::Nsec(nsec) if self.owner == name => nsec.type_set(),
            Kind::Nsec3(nsec3) if !is_costly(nsec3) && matches!(self.hashed(nsec3, name), Some(Hashed::Matched)) => {
                nsec3.type_set()
            }
            _ => return false,
        };
        // Of a delegation, the zone above knows only that it is one (RFC 6840 §4.1).
        let is_delegation = types.contains(RecordType::NS) && !types.contains(RecordType::SOA);
        !is_delegation && !types.contains(kind) && !types.contains(RecordType::CNAME)
    }

    /// The zone says by it that it does not say everything.
    pub(super) fn leaves_open(&self) -> bool {
        matches!(self.kind, Kind::Nsec3(nsec3) if nsec3.opt_out() || is_costly(nsec3))
    }

    /// What begins another zone, or renames all below it, says nothing of what is below (RFC 6840 §4.1, RFC 6672
    /// §5.3.4.1).
    fn lacks(&self, nsec: &NSEC, name: &Name) -> bool {
        let (next, types) = (nsec.next_domain_name(), nsec.type_set());
        let is_left = types.contains(RecordType::NS) && !types.contains(RecordType::SOA);
        let is_left = is_left || types.contains(RecordType::DNAME);
        // The last one goes round to the first.
        let is_covered = self.owner < name && (name < next || next <= self.owner);
        is_covered && !name.zone_of(next) && !(is_left && self.owner.zone_of(name))
    }

    fn hashed(&self, nsec3: &NSEC3, name: &Name) -> Option<Hashed> {
        let owner = BASE32_DNSSEC.decode(&self.owner.iter().next()?.to_ascii_lowercase()).ok()?;
        let hash = nsec3.hash_algorithm().hash(nsec3.salt(), name, nsec3.iterations()).ok()?;
        let (owner, hash, next) = (owner.as_slice(), hash.as_ref(), nsec3.next_hashed_owner_name());
        if owner == hash {
            return Some(Hashed::Matched);
        }
        // The last one goes round to the first (RFC 5155 §3.1.7).
        let is_covered = if owner < next { owner < hash && hash < next } else { owner < hash || hash < next };
        is_covered.then_some(Hashed::Covered)
    }
}

/// How a name's hash lies to a record's.
enum Hashed {
    Matched,
    Covered,
}

/// Whether its hashes are more work than a name is worth.
fn is_costly(nsec3: &NSEC3) -> bool {
    nsec3.iterations() > MAX_ITERATIONS
}

/// What stands at a name, by the list of its kinds of records (RFC 6840 §4.4).
fn listed(has: impl Fn(RecordType) -> bool) -> Option<Place> {
    match (has(RecordType::NS), has(RecordType::SOA), has(RecordType::DS)) {
        (true, false, false) => Some(Place::Unsigned),
        (false, false, false) => Some(Place::Within),
        // Of the zone below, or against what was answered.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_resolver::proto::dnssec::Nsec3HashAlgorithm;

    fn name(text: &str) -> Name {
        Name::from_ascii(format!("{text}.")).unwrap()
    }

    fn nsec(owner: &str, next: &str, types: &[RecordType]) -> Record {
        let nsec = NSEC::new(name(next), types.iter().copied());
        Record::from_rdata(name(owner), 300, RData::DNSSEC(DNSSECRData::NSEC(nsec)))
    }

    /// From one hash to the next, both given as texts of base 32.
    fn nsec3(owner: &str, next: &str, opt_out: bool, iterations: u16, types: &[RecordType]) -> Record {
        let next = BASE32_DNSSEC.decode(next.as_bytes()).unwrap();
        let salt = vec![0xaa, 0xbb, 0xcc, 0xdd];
        let nsec3 = NSEC3::new(Nsec3HashAlgorithm::SHA1, opt_out, iterations, salt, next, types.iter().copied());
        Record::from_rdata(name(&format!("{owner}.example")), 300, RData::DNSSEC(DNSSECRData::NSEC3(nsec3)))
    }

    fn place(record: &Record, of: &str, is_next: bool) -> Option<Place> {
        Denial::of(record).unwrap().place(&name(of), is_next)
    }

    fn absence(record: &Record, of: &str) -> Option<Worth> {
        Denial::of(record).unwrap().absence(&name(of))
    }

    #[test]
    fn a_list_of_kinds_tells_what_begins_at_a_name() {
        use RecordType::{A, DS, NS, SOA};
        for (types, expected) in
            [(&[NS][..], Some(Place::Unsigned)), (&[A], Some(Place::Within)), (&[NS, DS], None), (&[NS, SOA], None)]
        {
            assert_eq!(place(&nsec("b.example", "c.example", types), "B.example", false), expected, "{types:?}");
        }
    }

    #[test]
    fn between_two_names_are_names_without_records_and_no_names() {
        let record = nsec("a.example", "x.c.example", &[RecordType::A]);
        assert_eq!(place(&record, "c.example", false), Some(Place::Within));
        assert_eq!(place(&record, "b.example", false), None);
        for (of, expected) in [
            ("b.example", Some(Worth::Secure)),
            ("b.a.example", Some(Worth::Secure)),
            ("c.example", None),
            ("a.example", None),
            ("d.example", None),
        ] {
            assert_eq!(absence(&record, of), expected, "{of}");
        }
        let last = nsec("x.example", "example", &[RecordType::A]);
        assert_eq!(absence(&last, "z.example"), Some(Worth::Secure));
        assert_eq!(absence(&last, "b.example"), None);
        for left in [RecordType::NS, RecordType::DNAME] {
            let record = nsec("a.example", "c.example", &[left]);
            assert_eq!(absence(&record, "b.a.example"), None, "{left} says nothing of what is below");
            assert_eq!(absence(&record, "b.example"), Some(Worth::Secure));
        }
    }

    #[test]
    fn a_name_without_a_kind_is_none_of_an_alias_or_a_delegation() {
        use RecordType::{A, CNAME, DNAME, MX, NS, SOA};
        for (types, expected) in [
            (&[A][..], true),
            (&[DNAME], true),
            (&[NS, SOA], true),
            (&[A, MX], false),
            (&[CNAME], false),
            (&[NS], false),
        ] {
            let plain = nsec("b.example", "c.example", types);
            assert_eq!(Denial::of(&plain).unwrap().has_none(&name("b.example"), MX), expected, "{types:?}");
            assert!(!Denial::of(&plain).unwrap().has_none(&name("a.b.example"), MX));
            let hashed = nsec3(A_HASH, NS1, false, 12, types);
            assert_eq!(Denial::of(&hashed).unwrap().has_none(&name("a.example"), MX), expected, "{types:?}");
            assert!(!Denial::of(&hashed).unwrap().has_none(&name("b.example"), MX));
        }
    }

    /// RFC 5155 appendix A: the hashes of a.example and of ns1.example with 12 rounds.
    const A_HASH: &str = "35mthgpgcu1qg68fab165klnsnk3dpvl";
    const NS1: &str = "2t7b4g4vsa5smi47k61mv5bv1a22bojr";

    #[test]
    fn hashes_match_and_cover() {
        let at = nsec3(A_HASH, "b4um86eghhds6nea196smvmlo4ors995", true, 12, &[RecordType::NS]);
        assert_eq!(place(&at, "a.example", false), Some(Place::Unsigned));
        assert_eq!(absence(&at, "a.example"), None);
        // From the hash of ns1 to that of the next one in the appendix lies that of a.
        for (opt_out, is_next, expected) in
            [(true, true, Some(Place::Unsigned)), (true, false, None), (false, true, None)]
        {
            let over = nsec3(NS1, "b4um86eghhds6nea196smvmlo4ors995", opt_out, 12, &[]);
            assert_eq!(place(&over, "a.example", is_next), expected, "opt-out {opt_out}, next {is_next}");
            let worth = if opt_out { Worth::Open } else { Worth::Secure };
            assert_eq!(absence(&over, "a.example"), Some(worth));
        }
        let round = nsec3("t644ebqk9bibcna874givr6joj62mlhv", A_HASH, false, 12, &[]);
        assert_eq!(absence(&round, "ns1.example"), Some(Worth::Secure), "the last one goes round");
        assert_eq!(absence(&round, "a.example"), None);
    }

    #[test]
    fn what_is_hashed_too_often_counts_for_nothing() {
        let costly = nsec3(A_HASH, NS1, false, MAX_ITERATIONS + 1, &[]);
        assert_eq!(place(&costly, "b.example", true), Some(Place::Unsigned), "RFC 9276 section 3.2");
        assert_eq!(place(&costly, "b.example", false), None);
        assert_eq!(absence(&costly, "b.example"), Some(Worth::Open));
        assert!(Denial::of(&costly).unwrap().leaves_open());
    }
}
