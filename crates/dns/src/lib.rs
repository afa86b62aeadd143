//! The names of mail: which hosts take a domain's mail, and at which addresses they are. The only crate that speaks
//! DNS.
//!
//! Responsible for asking, for telling apart "does not exist", "has none" and "could not be asked", for the cache and
//! for limits on what an answer may hold. Not responsible for the order in which hosts are tried: that is `route`.

mod answer;
mod ask;
mod dane;
mod dnssec;
mod error;
mod lifetime;
mod resolver;

pub use answer::{Host, MAX_ADDRESSES_PER_HOST, MAX_MX_RECORDS, Mx, MxAnswer, MxRecord, Tlsa};
pub use dnssec::{TrustAnchors, TrustAnchorsError};
pub use error::DnsError;
pub use resolver::Resolver;
