//! Logins: what the mechanisms of SASL (RFC 4422) say, and the arithmetic of SCRAM.
//!
//! Responsible for the server's side of PLAIN, LOGIN, SCRAM-SHA-256, SCRAM-SHA-256-PLUS, OAUTHBEARER, XOAUTH2 and
//! EXTERNAL as exchanges without input or output of their own: octets of the client go in; challenges, and questions
//! about passwords, keys, tokens and certificates come out. Of the client's side for PLAIN, LOGIN and SCRAM-SHA-256. Not
//! responsible for the protocol around an exchange, for who exists, or for whether a password is right. Nothing here
//! awaits, reads a clock or opens a socket.
//!
//! | module | holds |
//! |---|---|
//! | `exchange` | one login, whatever its mechanism, as a server has it |
//! | `client` | the same, as a client has it |
//! | `simple` | PLAIN, LOGIN, EXTERNAL |
//! | `scram` | the messages of SCRAM (RFC 5802, RFC 7677) |
//! | `keys` | what SCRAM derives from a password, and how a proof is checked |
//! | `token` | OAUTHBEARER (RFC 7628) and XOAUTH2 |
//! | `prepare` | SASLprep (RFC 4013) |

mod client;
mod exchange;
mod keys;
mod prepare;
mod scram;
mod simple;
mod token;

pub use client::{ClientExchange, Credentials, ServerFault};
pub use exchange::{Bindings, Check, Exchange, ExchangeError, Password, Step};
pub use keys::{DIGEST_OCTETS, Digest, ScramKeys, check_proof, fake_salt};
pub use prepare::{UnusableText, prepare};
