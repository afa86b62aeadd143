//! The SMTP engines over tokio: sockets, TLS and time.
//!
//! Responsible for moving octets between a connection and an engine with few system calls and, while nothing happens,
//! little memory; for timeouts; for the change to TLS. Not responsible for what is said: the engines decide that, and
//! their owners answer their questions.
//!
//! | module | holds |
//! |---|---|
//! | [`server`] | listening, and serving one accepted connection |
//! | [`client`] | a connection to a remote that carries transactions |
//! | [`proxy`] | who a proxy says is behind it |
//! | `link` | a stream with its timer, driven by either engine |
//! | `stream` | a TCP stream, in clear or in TLS |

pub mod client;
mod link;
pub mod proxy;
pub mod server;
mod stream;
