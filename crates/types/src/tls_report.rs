//! What sessions with the hosts of a domain came to, in the words of SMTP TLS Reporting (RFC 8460). Not responsible for
//! counting them, nor for the form of a report.

use std::net::IpAddr;

use crate::day::Day;
use crate::timestamp::Timestamp;

/// Defines the words of reports once, with the numbers under which they are stored and sent.
macro_rules! numbered_words {
    (
        $(#[doc = $about:literal])*
        $name:ident {
            $(
                $(#[doc = $doc:literal])*
                $variant:ident = $number:literal, $word:literal;
            )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum $name {
            $(
                $(#[doc = $doc])*
                $variant = $number,
            )*
        }

        impl $name {
            /// All there are.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The number that is stored and sent.
            #[must_use]
            pub const fn number(self) -> i16 {
                self as i16
            }

            /// From that number.
            #[must_use]
            pub const fn from_number(number: i16) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The word of RFC 8460.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }

            /// From that word.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.word() == word)
            }
        }
    };
}

numbered_words! {
    /// Why a session was not as a policy, or the hope for encryption, would have it (RFC 8460 §4.3).
    TlsFault {
        /// The host offers no STARTTLS.
        StarttlsNotSupported = 1, "starttls-not-supported";
        /// The certificate is for another.
        CertificateHostMismatch = 2, "certificate-host-mismatch";
        /// It is not valid any more, or not yet.
        CertificateExpired = 3, "certificate-expired";
        /// Nobody who is trusted issued it.
        CertificateNotTrusted = 4, "certificate-not-trusted";
        /// Anything that has no word of its own.
        ValidationFailure = 5, "validation-failure";
        /// None of the TLSA records can be used.
        TlsaInvalid = 6, "tlsa-invalid";
        /// Whether there are TLSA records could not be learnt.
        DnssecInvalid = 7, "dnssec-invalid";
        /// This system asks for TLSA records where there are none.
        DaneRequired = 8, "dane-required";
        /// The MTA-STS policy cannot be fetched.
        StsPolicyFetchError = 9, "sts-policy-fetch-error";
        /// The MTA-STS policy cannot be read.
        StsPolicyInvalid = 10, "sts-policy-invalid";
        /// Nobody who is trusted vouches for the host of the MTA-STS policy.
        StsWebpkiInvalid = 11, "sts-webpki-invalid";
    }
}

numbered_words! {
    /// Which kind of policy a session was held against (RFC 8460 §4.4).
    TlsPolicyKind {
        /// DANE.
        Tlsa = 1, "tlsa";
        /// MTA-STS.
        Sts = 2, "sts";
        /// Neither.
        NoPolicyFound = 3, "no-policy-found";
    }
}

/// The policy that a session was held against.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TlsPolicyFound {
    /// Which kind.
    pub kind: TlsPolicyKind,
    /// Its text, line by line; empty where there is none, or where it is not known any more.
    pub lines: Vec<String>,
    /// The patterns of hosts in it.
    pub hosts: Vec<String>,
}

impl TlsPolicyFound {
    /// Of this kind, without a text.
    #[must_use]
    pub const fn untold(kind: TlsPolicyKind) -> Self {
        Self { kind, lines: Vec::new(), hosts: Vec::new() }
    }
}

/// How a session failed (RFC 8460 §4.4). What is not known is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TlsFailure {
    /// In the words of the RFC.
    pub fault: TlsFault,
    /// Our address.
    pub sending_address: Option<IpAddr>,
    /// The host's name, as the MX record has it.
    pub host: String,
    /// Its address.
    pub host_address: Option<IpAddr>,
    /// More of why, one line.
    pub reason: String,
}

impl TlsFailure {
    /// Only that it failed, and how: what is counted where there is no room for more.
    #[must_use]
    pub const fn untold(fault: TlsFault) -> Self {
        Self { fault, sending_address: None, host: String::new(), host_address: None, reason: String::new() }
    }
}

/// How many sessions were held against one policy, and what they came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyCounts {
    /// The policy.
    pub policy: TlsPolicyFound,
    /// Sessions that were as it asks for.
    pub successes: u64,
    /// The others, by what was wrong; each kind once.
    pub failures: Vec<(TlsFailure, u64)>,
}

impl PolicyCounts {
    /// Sessions that were not as the policy asks for.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failures.iter().map(|(_, count)| count).fold(0, |sum, count| sum.saturating_add(*count))
    }
}

/// The sessions of a day (UTC) with the hosts of a domain that asks for reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainCounts {
    /// Which day.
    pub day: Day,
    /// Whose hosts.
    pub domain: String,
    /// Where reports go: `mailto:` and `https:` URIs.
    pub destinations: Vec<String>,
    /// By policy.
    pub policies: Vec<PolicyCounts>,
}

/// What somebody else has counted of one policy of a domain of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedTlsReport {
    /// Who says so.
    pub organization: String,
    /// The report's own name.
    pub id: String,
    /// The first moment that it is about.
    pub begins_at: Timestamp,
    /// The last.
    pub ends_at: Timestamp,
    /// Whose policy.
    pub domain: String,
    /// What was counted.
    pub counts: PolicyCounts,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers_name_the_same() {
        for fault in TlsFault::ALL {
            assert_eq!(TlsFault::from_number(fault.number()), Some(*fault));
            assert_eq!(TlsFault::from_word(fault.word()), Some(*fault));
        }
        for kind in TlsPolicyKind::ALL {
            assert_eq!(TlsPolicyKind::from_number(kind.number()), Some(*kind));
            assert_eq!(TlsPolicyKind::from_word(kind.word()), Some(*kind));
        }
        assert_eq!((TlsFault::from_number(0), TlsFault::from_word("unheard-of")), (None, None));
    }
}
