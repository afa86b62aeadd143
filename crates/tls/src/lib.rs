//! TLS: configuration of rustls for both roles of SMTP, and TLS between the programs.
//!
//! Responsible for certificates and keys (with reloading), the one cryptographic provider (aws-lc-rs, passed
//! explicitly, so that no global default matters), and whether a server has proved who it is. Not responsible for when TLS
//! is used or what a failed handshake leads to.

mod certificate;
mod client;
mod client_certificate;
mod cluster;
mod configured;
mod describe;
mod error;
mod possession;
mod provider;
mod server;
mod verifier;

#[cfg(test)]
mod proofs;
#[cfg(test)]
mod tests;

pub use client::{ClientTls, KeyExchange};
pub use cluster::{ClusterStream, ClusterTls, HandshakeError, Identity, Look, Renewal, Tier};
pub use describe::describe;
pub use error::TlsError;
pub use server::{CertificateFiles, ServerTls};
pub use verifier::{Unproven, Verifier};
