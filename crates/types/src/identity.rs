//! Who a TLS server has to prove to be before it gets a message. Not responsible for the proof: that is the `tls`
//! crate's.

use std::fmt;
use std::sync::Arc;

/// What the certificate of a TLSA record is to the server (RFC 6698 §2.1.1), as far as mail knows it: the usages that
/// lean on public authorities are unusable for SMTP (RFC 7672 §3.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DaneUsage {
    /// DANE-TA(2): an issuer of the server's certificate.
    TrustAnchor,
    /// DANE-EE(3): the server's certificate itself.
    EndEntity,
}

/// Which part of a certificate is compared (RFC 6698 §2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DaneSelector {
    /// Cert(0): all of it.
    Certificate,
    /// SPKI(1): its public key.
    PublicKey,
}

/// How it is compared (RFC 6698 §2.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DaneMatching {
    /// Full(0): as it is.
    Exact,
    /// SHA2-256(1).
    Sha256,
    /// SHA2-512(2).
    Sha512,
}

/// A TLSA record that can be used for mail.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TlsaRecord {
    /// What it speaks of.
    pub usage: DaneUsage,
    /// Which part.
    pub selector: DaneSelector,
    /// Compared how.
    pub matching: DaneMatching,
    /// With what.
    pub data: Box<[u8]>,
}

/// As in a zone file (RFC 6698 §2.2).
impl fmt::Display for TlsaRecord {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usage = match self.usage {
            DaneUsage::TrustAnchor => 2,
            DaneUsage::EndEntity => 3,
        };
        let selector = match self.selector {
            DaneSelector::Certificate => 0,
            DaneSelector::PublicKey => 1,
        };
        let matching = match self.matching {
            DaneMatching::Exact => 0,
            DaneMatching::Sha256 => 1,
            DaneMatching::Sha512 => 2,
        };
        write!(formatter, "{usage} {selector} {matching} ")?;
        self.data.iter().try_for_each(|octet| write!(formatter, "{octet:02x}"))
    }
}

impl TlsaRecord {
    /// Reads the fields of a record; nothing where it cannot be used: an unknown number, or a digest of another length.
    #[must_use]
    pub fn usable(usage: u8, selector: u8, matching: u8, data: &[u8]) -> Option<Self> {
        let usage = match usage {
            2 => DaneUsage::TrustAnchor,
            3 => DaneUsage::EndEntity,
            _ => return None,
        };
        let selector = match selector {
            0 => DaneSelector::Certificate,
            1 => DaneSelector::PublicKey,
            _ => return None,
        };
        let (matching, fits) = match matching {
            0 => (DaneMatching::Exact, !data.is_empty()),
            1 => (DaneMatching::Sha256, data.len() == 32),
            2 => (DaneMatching::Sha512, data.len() == 64),
            _ => return None,
        };
        fits.then(|| Self { usage, selector, matching, data: data.into() })
    }

    /// Drops digests where a stronger one of the same part is published (RFC 7671 §9): who publishes both means the
    /// weaker for clients that know no better.
    pub fn keep_strongest(records: &mut Vec<Self>) {
        let strongest = |one: &Self, all: &[Self]| {
            let same = all.iter().filter(|other| (other.usage, other.selector) == (one.usage, one.selector));
            same.map(|other| other.matching).max()
        };
        let all = records.clone();
        records.retain(|one| one.matching == DaneMatching::Exact || Some(one.matching) == strongest(one, &all));
    }
}

/// Who a server has to prove to be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServerIdentity {
    /// A certificate for the name, under a root that this system trusts (RFC 5280, RFC 6125).
    Pkix {
        /// The host.
        name: String,
    },
    /// A certificate that DNSSEC vouches for (RFC 7672 §3.1).
    Dane {
        /// Any of these will do; never empty.
        records: Arc<[TlsaRecord]>,
        /// A certificate issued under a trust anchor has to be for one of these (RFC 7672 §3.2.2). The first is where
        /// the records stand, and what the server is asked for by SNI (§8.1).
        names: Vec<String>,
    },
}

impl ServerIdentity {
    /// The name that the server is asked for (RFC 6066 §3).
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        match self {
            Self::Pkix { name } => Some(name),
            Self::Dane { names, .. } => names.first().map(String::as_str),
        }
    }
}

/// How a server has proved who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Proof {
    /// By a public authority.
    Pkix,
    /// By an issuer that DNSSEC vouches for.
    DaneTrustAnchor,
    /// By a certificate or key that DNSSEC vouches for.
    DaneEndEntity,
}

impl fmt::Display for Proof {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Pkix => "pkix",
            Self::DaneTrustAnchor => "dane-ta",
            Self::DaneEndEntity => "dane-ee",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_records_that_mail_can_use_are_read() {
        for (usage, selector, matching, octets, usable) in [
            (3, 1, 1, 32, true),
            (2, 0, 2, 64, true),
            (3, 0, 0, 500, true),
            (0, 1, 1, 32, false),
            (1, 1, 1, 32, false),
            (4, 1, 1, 32, false),
            (3, 2, 1, 32, false),
            (3, 1, 3, 32, false),
            (3, 1, 1, 31, false),
            (3, 1, 2, 32, false),
            (3, 1, 0, 0, false),
        ] {
            let read = TlsaRecord::usable(usage, selector, matching, &vec![7; octets]);
            assert_eq!(read.is_some(), usable, "{usage} {selector} {matching} of {octets} octets");
        }
    }

    #[test]
    fn a_weaker_digest_of_the_same_part_does_not_count() {
        let record = |usage, selector, matching| {
            let octets = if matching == 2 { 64 } else { 32 };
            TlsaRecord::usable(usage, selector, matching, &vec![7; octets]).unwrap()
        };
        let mut records =
            vec![record(3, 1, 1), record(3, 1, 2), record(3, 1, 0), record(3, 0, 1), record(2, 1, 1), record(2, 1, 1)];
        TlsaRecord::keep_strongest(&mut records);
        let expected = [record(3, 1, 2), record(3, 1, 0), record(3, 0, 1), record(2, 1, 1), record(2, 1, 1)];
        assert_eq!(records, expected);
    }
}
