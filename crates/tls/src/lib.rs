//! TLS for SMTP: configuration of rustls for both roles.
//!
//! Responsible for certificates and keys (with reloading), the one cryptographic provider (aws-lc-rs, passed
//! explicitly, so that no global default matters), and how much a client trusts a server. Not responsible for when TLS
//! is used or what a failed handshake leads to.

mod certificate;
mod client;
mod client_certificate;
mod configured;
mod describe;
mod error;
mod provider;
mod server;

#[cfg(test)]
mod tests;

pub use client::{ClientTls, KeyExchange, is_certificate_refused};
pub use describe::describe;
pub use error::TlsError;
pub use server::{CertificateFiles, ServerTls};
