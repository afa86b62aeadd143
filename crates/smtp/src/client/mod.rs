//! The client half of the engine: one SMTP connection seen from the side that delivers.
//!
//! Responsible for the dialogue: greeting, EHLO or HELO, STARTTLS, AUTH, transactions with pipelining (RFC 2920), what each
//! reply means for each recipient, dot-stuffing, and every timeout of RFC 5321 §4.5.3.2. Not responsible for sockets,
//! TLS itself, choosing hosts, or what an outcome leads to.
//!
//! The driver moves octets and time: it feeds [`ClientSession::handle_input`], [`ClientSession::handle_timeout`] and
//! asks [`ClientSession::poll`] what to do next.

mod body;
mod capabilities;
mod config;
mod dialogue;
mod exchange;
mod login;
mod origin;
mod recorder;
mod reply_reader;
mod session;
mod transaction;

#[cfg(test)]
mod tests;

pub use capabilities::{Capabilities, Limits};
pub use config::{ClientConfig, ClientTimeouts};
pub use exchange::MAX_UNASKED_OCTETS;
pub use reply_reader::parse_reply;
pub use session::{ClientAction, ClientSession};
pub use transaction::{RecipientReport, RemainingTime, SessionFailure, Transaction, TransactionReport, Wishes};
