//! How much a delivering client trusts a server: not at all (RFC 3207, RFC 7435), or by the system's roots. Not
//! responsible for which of them a destination asks for.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::TlsConnector;

use crate::TlsError;
use crate::provider::{classical_provider, provider};

/// Which key exchanges a client offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyExchange {
    /// X25519MLKEM768 first, and the classical ones.
    PostQuantum,
    /// Without it: its ClientHello does not fit into one segment, which upsets some old servers.
    Classical,
}

/// What a client needs to begin TLS. Sessions of one value are resumed where a server allows it.
#[derive(Debug)]
pub struct ClientTls {
    post_quantum: Arc<ClientConfig>,
    classical: Arc<ClientConfig>,
    is_verified: bool,
}

impl ClientTls {
    /// Encryption without authentication: any certificate will do (RFC 7435).
    ///
    /// # Errors
    /// [`TlsError::Configuration`] when the provider lacks every protocol version.
    pub fn opportunistic() -> Result<Arc<Self>, TlsError> {
        Self::build(None)
    }

    /// The certificate must be issued for the server's name under one of the system's trusted roots.
    ///
    /// # Errors
    /// [`TlsError::NoRoots`] when the system has none.
    pub fn verified() -> Result<Arc<Self>, TlsError> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let reasons = found.errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            return Err(TlsError::NoRoots { reasons });
        }
        Self::build(Some(&Arc::new(roots)))
    }

    pub(crate) fn build(roots: Option<&Arc<RootCertStore>>) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self {
            post_quantum: Arc::new(configure(provider(), roots)?),
            classical: Arc::new(configure(classical_provider(), roots)?),
            is_verified: roots.is_some(),
        }))
    }

    /// For the next handshake.
    #[must_use]
    pub fn connector(&self, keys: KeyExchange) -> TlsConnector {
        TlsConnector::from(Arc::clone(match keys {
            KeyExchange::PostQuantum => &self.post_quantum,
            KeyExchange::Classical => &self.classical,
        }))
    }

    /// What the certificate is asked for. Where nothing is verified, a name that no certificate could have is replaced
    /// by the address.
    ///
    /// # Errors
    /// [`TlsError::ServerName`] when the name is to be verified and is none.
    pub fn server_name(&self, name: &str, address: IpAddr) -> Result<ServerName<'static>, TlsError> {
        match ServerName::try_from(name.to_owned()) {
            Ok(name) => Ok(name),
            Err(_) if self.is_verified => Err(TlsError::ServerName { name: name.to_owned() }),
            Err(_) => Ok(ServerName::from(address)),
        }
    }
}

fn configure(provider: Arc<CryptoProvider>, roots: Option<&Arc<RootCertStore>>) -> Result<ClientConfig, TlsError> {
    let any = AnyCertificate(Arc::clone(&provider));
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = match roots {
        Some(roots) => builder.with_root_certificates(Arc::clone(roots)),
        None => builder.dangerous().with_custom_certificate_verifier(Arc::new(any)),
    };
    Ok(builder.with_no_client_auth())
}

#[cfg(test)]
impl ClientTls {
    /// For clients that tests put together themselves.
    pub(crate) fn any_certificate() -> Arc<dyn ServerCertVerifier> {
        Arc::new(AnyCertificate(provider()))
    }
}

/// Whether a handshake failed since the server's certificate was refused: it will be again.
#[must_use]
pub fn is_certificate_refused(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidCertificate(_)))
}

/// Accepts any certificate, and still checks that the server holds its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
