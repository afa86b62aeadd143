//! What a plan leaves out, and why, for people who ask. Not responsible for leaving it out.

use std::fmt;
use std::net::IpAddr;

/// Why something is not tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// RFC 5321 §5.1.
    OwnName,
    /// The same.
    NotBetterThanUs,
    /// The same, by address.
    OwnAddress,
    /// It stands beside one that is our own.
    BesideUs,
    /// A stranger's DNS does not choose which of our machines we talk to.
    Private,
    /// Of a family that is not used.
    Family,
    /// Beyond what one attempt tries.
    TooMany,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OwnName => "is this system itself (outbound.own_names, inbound.hostname, ehlo_name)",
            Self::NotBetterThanUs => "is no better than this system, which is an exchanger too",
            Self::OwnAddress => "is an address of this system (outbound.own_addresses)",
            Self::BesideUs => "is no better than an exchanger that has an address of this system",
            Self::Private => "is a private or reserved address (outbound.allow_private_addresses)",
            Self::Family => "is of a family that is not used here (outbound.ip_preference, or the pool's addresses)",
            Self::TooMany => "is beyond what one attempt tries",
        })
    }
}

/// A host, or one of its addresses, that is not tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Omission {
    /// The host.
    pub host: String,
    /// All of it where absent.
    pub address: Option<IpAddr>,
    /// Why.
    pub reason: Reason,
}
