//! SPF, DKIM, DMARC and ARC: whether a message comes from where it says.
//!
//! Responsible for the glue between this system and the `mail-auth` crate: turning the facts of a session (client
//! address, EHLO name, reverse-path) and a message's content into verdicts, turning verdicts into an
//! Authentication-Results field (RFC 8601), removing such fields that strangers put there in our name (RFC 8601 §5),
//! signing what we send (DKIM, RFC 6376; ARC seals, RFC 8617), and choosing what a DMARC policy (RFC 7489) asks of the
//! receiver. Where the crate's words differ from what receivers expect, the difference is mended here: a body that was
//! changed on the way is `fail`, not neutral.
//!
//! Not responsible for looking anything up: DNS answers are given to it (`dns` asks for them); nor for logins (that is
//! `sasl`), for keeping keys, for whether a verdict leads to a refusal (inbound's policy decides), or for the text of
//! messages (`message`).

mod signer;

pub use signer::{SIGNED_FIELDS, SignError, Signer, SigningKeyError};
