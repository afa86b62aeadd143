//! An authority that peers can be told to trust, and the certificates it issues. Not responsible for who trusts it.

use std::fs;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use tempfile::TempDir;

/// A certificate and its key, in files (PEM).
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// The authority. The files are removed with it.
#[derive(Debug)]
pub struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// Its certificate cannot be made or written.
    pub fn new() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("mailtier-authority").tempdir()?;
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        parameters.distinguished_name.push(DnType::CommonName, "Mailtier's tests");
        let key = KeyPair::generate()?;
        let certificate = parameters.self_signed(&key)?;
        let authority = Self { folder, issuer: Issuer::new(parameters, key) };
        fs::write(authority.certificate(), certificate.pem())?;
        Ok(authority)
    }

    /// Its own certificate (PEM), for who is to trust it.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// A certificate for a server: names and addresses it is reached by.
    ///
    /// # Errors
    /// A name is none, or the files cannot be written.
    pub fn issue_for_hosts(&self, names: &[&str]) -> anyhow::Result<Issued> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.issue("host", CertificateParams::new(names)?)
    }

    /// A certificate for a user with a mail address.
    ///
    /// # Errors
    /// The address is none, or the files cannot be written.
    pub fn issue_for_address(&self, address: &str) -> anyhow::Result<Issued> {
        let mut parameters = CertificateParams::default();
        parameters.subject_alt_names = vec![SanType::Rfc822Name(address.try_into()?)];
        self.issue("user", parameters)
    }

    fn issue(&self, name: &str, mut parameters: CertificateParams) -> anyhow::Result<Issued> {
        // Python 3.13 and later trust no certificate without it.
        parameters.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = parameters.signed_by(&key, &self.issuer)?;
        let place = |kind: &str| self.folder.path().join(format!("{name}-{kind}.pem"));
        let issued = Issued { certificate: place("certificate"), key: place("key") };
        fs::write(&issued.certificate, certificate.pem())?;
        fs::write(&issued.key, key.serialize_pem())?;
        Ok(issued)
    }
}
