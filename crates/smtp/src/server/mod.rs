//! The server half of the engine: one SMTP connection seen from the side that receives.
//!
//! Responsible for commands and their sequence, the extensions of [`Extension`], where content ends and whether it is
//! clean, limits and timeouts (RFC 5321 §4.5.3). Not responsible for policy, sockets, TLS itself, what a login says, or
//! what becomes of a message.
//!
//! The driver asks [`ServerSession::poll`] what to do, does it, and asks again until it is told to wait for input.
//! While a question is open nothing is read: [`ServerSession::wants_input`] is the back-pressure. The exception is the
//! time before the greeting, when a driver may pass on what it can read without waiting: a client that speaks before
//! its turn is turned away (RFC 5321 §4.3.1).
//!
//! One file per command and extension; `sequence` is the table of which command fits where.

mod action;
mod auth;
mod bdat;
mod command;
mod config;
mod content;
mod data;
mod deadline;
mod deliver_by;
mod dsn;
mod eight_bit;
mod extension;
mod future_release;
mod hello;
mod inquiry;
mod mail;
mod minor;
mod normalize;
mod priority;
mod rcpt;
mod say;
mod sequence;
mod session;
mod size;
mod smtputf8;
mod starttls;
mod xclient;

pub use action::{BodyType, MailParameters, Question, RcptParameters, SaslData, ServerAction, Verdict};
pub use config::{Connection, LinePolicy, Protocol, SaslOffer, ServerConfig, ServerLimits, ServerTimeouts};
pub use extension::{Extension, Extensions};
pub use session::ServerSession;
pub use xclient::ClientAttribute;

#[cfg(test)]
mod tests;
