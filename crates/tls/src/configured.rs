//! The server's side of TLS as `[inbound]` and `[queue]` have it, and which key is to blame when it cannot be used. Not
//! responsible for reading certificates.

use std::error::Error as _;
use std::path::Path;
use std::sync::Arc;

use mailtier_config::{ConfigError, InboundConfig, QueueConfig};

use crate::{CertificateFiles, ServerTls, TlsError};

impl ServerTls {
    /// Reads what `[inbound]` names; nothing where that is nothing.
    ///
    /// # Errors
    /// [`ConfigError`] names the key, the file and what is wrong with it.
    pub fn configured(inbound: &InboundConfig) -> Result<Option<Arc<Self>>, ConfigError> {
        let pairs = inbound.certificates().into_iter();
        let files: Vec<_> = pairs.map(|(certificate, key)| CertificateFiles { certificate, key }).collect();
        if files.is_empty() {
            return Ok(None);
        }
        Self::load(&files, inbound.tls_client_ca.as_deref()).map(Some).map_err(|error| {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            ConfigError::bad(key_to_blame(inbound, &error), format!("cannot be used: {error}{cause}"))
        })
    }

    /// Reads the certificate of the HTTP API; nothing where there is none.
    ///
    /// # Errors
    /// As [`configured`](Self::configured).
    pub fn of_api(queue: &QueueConfig) -> Result<Option<Arc<Self>>, ConfigError> {
        let Some((certificate, key)) = queue.api_certificate() else { return Ok(None) };
        let files = CertificateFiles { certificate, key };
        Self::load(std::slice::from_ref(&files), None).map(Some).map_err(|error| {
            let is_key = error.file() == Some(&files.key);
            let blamed = if is_key { "queue.api_tls_key" } else { "queue.api_tls_certificate" };
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            ConfigError::bad(blamed, format!("cannot be used: {error}{cause}"))
        })
    }
}

fn key_to_blame(inbound: &InboundConfig, error: &TlsError) -> &'static str {
    let is = |key: &Option<std::path::PathBuf>, file: &Path| key.as_deref() == Some(file);
    match error.file() {
        Some(file) if is(&inbound.tls_client_ca, file) => "inbound.tls_client_ca",
        Some(file) if is(&inbound.tls_key, file) => "inbound.tls_key",
        Some(file) if !is(&inbound.tls_certificate, file) => "inbound.tls_certificates",
        _ => "inbound.tls_certificate",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_to_blame_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let certified = rcgen::generate_simple_self_signed(vec!["mx.example.com".to_owned()]).unwrap();
        let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
        std::fs::write(&chain, certified.cert.pem()).unwrap();
        std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
        let good = InboundConfig {
            tls_certificate: Some(chain.clone()),
            tls_key: Some(key),
            tls_client_ca: Some(chain),
            ..InboundConfig::default()
        };
        assert!(ServerTls::configured(&good).unwrap().is_some());
        assert!(ServerTls::configured(&InboundConfig::default()).unwrap().is_none());
        let missing = || Some("/nonexistent/file".into());
        for (bad, blamed) in [
            (InboundConfig { tls_certificate: missing(), ..good.clone() }, "`inbound.tls_certificate` "),
            (InboundConfig { tls_key: missing(), ..good.clone() }, "`inbound.tls_key` "),
            (InboundConfig { tls_client_ca: missing(), ..good.clone() }, "`inbound.tls_client_ca` "),
            (
                InboundConfig { tls_certificates: vec!["/nonexistent/file:/k".into()], ..good.clone() },
                "`inbound.tls_certificates` ",
            ),
        ] {
            let error = ServerTls::configured(&bad).unwrap_err().to_string();
            assert!(error.starts_with(blamed) && error.contains("/nonexistent/file"), "{error}");
        }
        let api = |certificate: &Option<std::path::PathBuf>, key: &Option<std::path::PathBuf>| {
            let (api_tls_certificate, api_tls_key) = (certificate.clone(), key.clone());
            ServerTls::of_api(&QueueConfig { api_tls_certificate, api_tls_key, ..QueueConfig::default() })
        };
        assert!(api(&good.tls_certificate, &good.tls_key).unwrap().is_some());
        assert!(api(&None, &None).unwrap().is_none());
        let bad_key = api(&good.tls_certificate, &missing()).unwrap_err().to_string();
        assert!(bad_key.starts_with("`queue.api_tls_key` cannot be used: "), "{bad_key}");
        let bad_certificate = api(&missing(), &good.tls_key).unwrap_err().to_string();
        assert!(bad_certificate.starts_with("`queue.api_tls_certificate` cannot be used: "), "{bad_certificate}");
    }
}
