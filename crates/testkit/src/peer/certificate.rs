//! A certificate that nobody trusts, for peers that offer STARTTLS.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use mailtier_tls::{CertificateFiles, ServerTls};
use tempfile::TempDir;

/// A self-signed certificate and its key, in files that are removed with it.
#[derive(Debug)]
pub struct Certificate {
    folder: TempDir,
}

impl Certificate {
    /// A new one for a host.
    ///
    /// # Errors
    /// It cannot be made or written.
    pub fn for_host(name: &str) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("mailtier-certificate").tempdir()?;
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()])?;
        let certificate = Self { folder };
        fs::write(certificate.chain(), made.cert.pem())?;
        fs::write(certificate.key(), made.signing_key.serialize_pem())?;
        Ok(certificate)
    }

    /// The chain (PEM).
    #[must_use]
    pub fn chain(&self) -> PathBuf {
        self.folder.path().join("chain.pem")
    }

    /// The key (PEM).
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    /// For a server.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn server(&self) -> anyhow::Result<Arc<ServerTls>> {
        Ok(ServerTls::load(&[CertificateFiles { certificate: self.chain(), key: self.key() }], None)?)
    }
}
