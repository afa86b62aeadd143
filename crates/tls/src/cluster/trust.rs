//! Who is believed to be of the installation: whoever its authority has given a certificate, by whatever name or address it
//! was reached. Not responsible for roles.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ParsedCertificate, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::provider::provider;

/// Which side of a connection a certificate was shown on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// By who connected.
    Client,
    /// By who was connected to.
    Server,
}

/// An authority, as both sides ask it.
#[derive(Clone, Debug)]
pub(crate) struct Trust {
    roots: Arc<RootCertStore>,
    clients: Arc<dyn ClientCertVerifier>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Trust {
    /// In these certificates.
    pub(crate) fn in_roots(roots: RootCertStore) -> Result<Self, VerifierBuilderError> {
        let roots = Arc::new(roots);
        // Operators have no certificate: each service says who may call it.
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider());
        let clients = clients.allow_unauthenticated().build()?;
        Ok(Self { roots, clients, algorithms: provider().signature_verification_algorithms })
    }

    /// Whether a chain is good for a side, now.
    pub(crate) fn check(&self, side: Side, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Error> {
        let (own, issuers) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
        match side {
            Side::Client => self.clients.verify_client_cert(own, issuers, now).map(|_| ()),
            Side::Server => {
                let own = ParsedCertificate::try_from(own)?;
                verify_server_cert_signed_by_trust_anchor(&own, &self.roots, issuers, now, self.algorithms.all)
            }
        }
    }

    /// For servers.
    pub(crate) fn clients(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.clients)
    }
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let own = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(&own, &self.roots, intermediates, now, self.algorithms.all)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
