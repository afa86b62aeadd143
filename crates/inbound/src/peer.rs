//! What is known about the client of a session. Not responsible for believing it.

use std::net::SocketAddr;

/// The client.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Where it connected from.
    pub(crate) address: SocketAddr,
    /// It may send to any recipient.
    pub(crate) trusted: bool,
    /// What it said in EHLO or HELO; empty before.
    pub(crate) helo: String,
    /// It said EHLO.
    pub(crate) extended: bool,
    /// Version and cipher, with TLS.
    pub(crate) tls: Option<String>,
}

impl Peer {
    /// A client that has just connected.
    pub(crate) const fn new(address: SocketAddr, trusted: bool) -> Self {
        Self { address, trusted, helo: String::new(), extended: false, tls: None }
    }
}
