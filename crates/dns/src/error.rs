//! What can go wrong with a question, told apart by what follows from it. Not responsible for the outcome of a
//! delivery.

use hickory_resolver::net::{DnsError as Negative, NetError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// The name does not exist (NXDOMAIN, RFC 8020): asking again soon gives the same.
    #[error("domain {name} does not exist")]
    NoSuchDomain {
        /// What was asked for.
        name: String,
    },
    /// The name exists and has no such record (RFC 2308 §2.2).
    #[error("{name} has no {kind} record")]
    NoData {
        /// What was asked for.
        name: String,
        /// The kind of record.
        kind: &'static str,
    },
    /// No name server gave an answer: SERVFAIL, REFUSED, a timeout, an answer that cannot be read.
    #[error("looking up {kind} of {name} failed: {reason}")]
    Temporary {
        /// What was asked for.
        name: String,
        /// The kind of record.
        kind: &'static str,
        /// What the name servers did.
        reason: String,
    },
    /// There are records, or a denial, that DNSSEC does not vouch for, in a zone that is not shown to be unsigned (RFC 4035
    /// §4.3): forged, broken, or out of date.
    #[error("DNSSEC validation of {kind} of {name} failed: {reason}")]
    Bogus {
        /// What was asked for.
        name: String,
        /// The kind of record.
        kind: &'static str,
        /// Where the chain of signatures ends.
        reason: String,
    },
    /// The resolver cannot be set up.
    #[error("name servers cannot be used: {reason}")]
    Configuration {
        /// What is wrong.
        reason: String,
    },
}

impl DnsError {
    /// Whether asking again can help.
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        matches!(self, Self::Temporary { .. } | Self::Bogus { .. } | Self::Configuration { .. })
    }

    /// What a failed lookup of `kind` records of `name` means.
    pub(crate) fn from_lookup(error: &NetError, name: &str, kind: &'static str) -> Self {
        let name = name.to_owned();
        match error {
            NetError::Dns(Negative::NoRecordsFound(NoRecords { response_code: ResponseCode::NXDomain, .. })) => {
                Self::NoSuchDomain { name }
            }
            NetError::Dns(Negative::NoRecordsFound(NoRecords { response_code: ResponseCode::NoError, .. })) => {
                Self::NoData { name, kind }
            }
            other => Self::Temporary { name, kind, reason: other.to_string() },
        }
    }
}
