//! The SMTP engine, both roles, without input or output of its own (sans-io).
//!
//! [`ServerSession`] and [`ClientSession`] each are one SMTP connection: octets and the time go in, octets and questions
//! come out, and whoever drives them owns the socket, the clock and every decision that needs to wait. Nothing here
//! awaits, reads a clock or opens a socket, so that whole dialogues, every border between two reads and every timeout
//! can be tested in microseconds.
//!
//! | module | holds |
//! |---|---|
//! | `server` | the receiving half: commands, sequence, content, limits and timeouts |
//! | `client` | the sending half: greeting, transactions, pipelining, replies |
//! | `syntax` | what a line, a path and a parameter look like |
//! | `tls` | the facts of a TLS connection |
//!
//! Not responsible for policy (who may send what to whom), for TLS, or for what a message contains beyond its lines.

mod client;
mod server;
mod syntax;
mod tls;

pub use client::{
    Capabilities, ClientAction, ClientConfig, ClientSession, ClientTimeouts, Limits, MAX_UNASKED_OCTETS,
    RecipientReport, RemainingTime, SessionFailure, Transaction, TransactionReport, Wishes, parse_reply,
};
pub use server::{
    BodyType, ClientAttribute, Connection, Extension, Extensions, LinePolicy, MailParameters, Protocol, Question,
    RcptParameters, SaslData, SaslOffer, ServerAction, ServerConfig, ServerLimits, ServerSession, ServerTimeouts,
    Verdict,
};
pub use tls::{ChannelBindings, ClientCertificate, TlsInfo};
