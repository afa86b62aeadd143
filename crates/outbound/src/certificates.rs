//! Certificates that hosts are shown, of routes and of pools. Not responsible for when they are.

use std::error::Error as _;
use std::sync::Arc;

use mailtier_config::{ClientCertificate, ConfigError};
use mailtier_tls::{CertificateFiles, ClientTls};

/// Reads one.
///
/// # Errors
/// [`ConfigError`] names the key, the file and what is wrong with it.
pub(crate) fn read(files: &ClientCertificate) -> Result<Arc<ClientTls>, ConfigError> {
    let ClientCertificate { certificate, key, named_by } = files.clone();
    ClientTls::with_certificate(&CertificateFiles { certificate, key }).map_err(|error| {
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        ConfigError::bad(named_by, format!("cannot be used: {error}{cause}"))
    })
}
