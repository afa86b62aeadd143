//! SMTPUTF8, internationalised addresses (RFC 6531). Not responsible for what is in a header.

use mailtier_types::{Reply, reply};

/// RFC 6531 §3.5: an address beyond ASCII, on either side of its `@`, needs a transaction that asked for SMTPUTF8.
pub(super) fn check(asked: bool, written: &str) -> Result<(), Reply> {
    if asked || written.is_ascii() { Ok(()) } else { Err(reply::SMTPUTF8_NEEDED) }
}
