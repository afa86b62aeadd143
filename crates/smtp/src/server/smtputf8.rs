//! SMTPUTF8, internationalised addresses (RFC 6531). Not responsible for what is in a header.

use mailtier_types::{Mailbox, Reply, reply};

/// RFC 6531 §3.5: an address beyond ASCII needs a transaction that asked for SMTPUTF8.
pub(super) fn check(asked: bool, mailbox: Option<&Mailbox>) -> Result<(), Reply> {
    if !asked && mailbox.is_some_and(Mailbox::needs_smtputf8) { Err(reply::SMTPUTF8_NEEDED) } else { Ok(()) }
}
