//! What can be wrong with TLS material. Not responsible for failed handshakes: those are I/O errors of a connection.

use std::path::{Path, PathBuf};

/// Certificates or keys that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file with the certificate chain.
    #[error("cannot read certificates from {path}")]
    Certificates {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: rustls_pki_types::pem::Error,
    },
    /// A file.
    #[error("cannot read {path}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A program's certificate is not good for it.
    #[error("{certificate}: {problem}")]
    Unfit {
        /// The chain.
        certificate: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The file holds no certificate.
    #[error("{path} holds no certificate")]
    NoCertificate {
        /// Which file.
        path: PathBuf,
    },
    /// The file with the private key.
    #[error("cannot read a private key from {path}")]
    Key {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: rustls_pki_types::pem::Error,
    },
    /// The key does not belong to the certificate, or is of an unknown kind.
    #[error("certificate {certificate} and key {key} cannot be used")]
    Mismatch {
        /// The chain.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The issuers of client certificates cannot be used.
    #[error("cannot verify client certificates by {path}")]
    Verifier {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: rustls::server::VerifierBuilderError,
    },
    /// The cryptographic provider does not fit.
    #[error("TLS cannot be configured")]
    Configuration(#[from] rustls::Error),
}

impl TlsError {
    /// The file that is to blame, where one is.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Certificates { path, .. }
            | Self::NoCertificate { path }
            | Self::Unreadable { path, .. }
            | Self::Key { path, .. }
            | Self::Verifier { path, .. } => Some(path),
            Self::Mismatch { certificate, .. } | Self::Unfit { certificate, .. } => Some(certificate),
            Self::Configuration(_) => None,
        }
    }
}
