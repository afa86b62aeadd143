//! Encryption towards servers, whoever they are (RFC 3207, RFC 7435). Not responsible for who they are: that is looked at
//! when the handshake is done, by [`Verifier`](crate::Verifier).

use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::TlsConnector;

use crate::possession;
use crate::provider::{classical_provider, provider};
use crate::server::read;
use crate::{CertificateFiles, TlsError};

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
}

impl ClientTls {
    /// Any certificate will do in the handshake.
    ///
    /// # Errors
    /// [`TlsError::Configuration`] when the provider lacks every protocol version.
    pub fn new() -> Result<Arc<Self>, TlsError> {
        Self::with(None)
    }

    /// The same, and a server that asks who we are is shown this certificate (RFC 8446 §4.4.2).
    ///
    /// # Errors
    /// [`TlsError`] names the file and what is wrong with it.
    pub fn with_certificate(files: &CertificateFiles) -> Result<Arc<Self>, TlsError> {
        Self::with(Some(&read(&files.certificate, &files.key)?))
    }

    fn with(own: Option<&CertifiedKey>) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self {
            post_quantum: Arc::new(configure(provider(), own)?),
            classical: Arc::new(configure(classical_provider(), own)?),
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

    /// What the server is asked for. A name that no certificate could have is replaced by the address.
    #[must_use]
    pub fn server_name(name: &str, address: IpAddr) -> ServerName<'static> {
        ServerName::try_from(name.to_owned()).unwrap_or_else(|_| ServerName::from(address))
    }
}

fn configure(provider: Arc<CryptoProvider>, own: Option<&CertifiedKey>) -> Result<ClientConfig, TlsError> {
    let any = AnyCertificate(Arc::clone(&provider));
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(any));
    Ok(match own {
        Some(own) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own.clone()))),
        None => builder.with_no_client_auth(),
    })
}

#[cfg(test)]
impl ClientTls {
    /// For clients that tests put together themselves.
    pub(crate) fn any_certificate() -> Arc<dyn ServerCertVerifier> {
        Arc::new(AnyCertificate(provider()))
    }
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
        possession::in_tls12(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        possession::in_tls13(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
