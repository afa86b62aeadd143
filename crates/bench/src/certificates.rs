//! A certificate that the benchmark makes for itself. Responsible for the files; whose authority the tiers have is
//! `mailtier certificates`'s.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use mailtier_tls::CertificateFiles;

/// The name in it.
pub(crate) const NAME: &str = "mailtier.bench.example";

/// Makes a certificate (ECDSA, P-256) and its key below `folder`.
pub(crate) fn self_made(folder: &Path) -> anyhow::Result<CertificateFiles> {
    let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()])?;
    let files = CertificateFiles { certificate: folder.join("smtp.pem"), key: folder.join("smtp.key") };
    fs::write(&files.certificate, made.cert.pem()).context("cannot write the certificate")?;
    fs::write(&files.key, made.signing_key.serialize_pem()).context("cannot write its key")?;
    Ok(files)
}
