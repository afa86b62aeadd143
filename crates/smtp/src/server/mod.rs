//! The server half of the engine: one SMTP connection seen from the side that receives.
//!
//! Responsible for commands and their sequence, the extensions PIPELINING, 8BITMIME, SMTPUTF8, SIZE,
//! ENHANCEDSTATUSCODES and STARTTLS, where content ends and whether it is clean, limits and timeouts (RFC 5321 §4.5.3).
//! Not responsible for policy, sockets, TLS itself, or what becomes of a message.
//!
//! The driver asks [`ServerSession::poll`] what to do, does it, and asks again until it is told to wait for input.
//! While a question is open nothing is read: [`ServerSession::wants_input`] is the back-pressure. The exception is the
//! time before the greeting, when a driver may pass on what it can read without waiting: a client that speaks before
//! its turn is turned away (RFC 5321 §4.3.1).
//!
//! One file per command and extension; `sequence` is the table of which command fits where.

mod action;
mod command;
mod config;
mod content;
mod data;
mod eight_bit;
mod hello;
mod mail;
mod minor;
mod rcpt;
mod say;
mod sequence;
mod session;
mod size;
mod smtputf8;
mod starttls;

pub use action::{MailParameters, Question, ServerAction, Verdict};
pub use config::{ServerConfig, ServerLimits, ServerTimeouts};
pub use session::ServerSession;

#[cfg(test)]
mod tests;
