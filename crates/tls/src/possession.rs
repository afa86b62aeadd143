//! Whether a server holds the key of the certificate that it shows, whatever else the certificate is. Not responsible for who
//! the server is.
//!
//! The verifier of certificates reads those of today alone: version 3, and no critical extension that it does not know. A
//! certificate that it does not read has a key all the same, and mail servers have such certificates for decades. Where the
//! key is all that counts (RFC 7672 §3.1.1) or anybody will do (RFC 7435 §3), the handshake must not fail for the rest.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature, verify_tls13_signature_with_raw_key,
};
use rustls::{CertificateError, DigitallySignedStruct, Error};
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use x509_parser::parse_x509_certificate;
use x509_parser::x509::SubjectPublicKeyInfo;

/// RFC 5246 §7.4.3.
///
/// # Errors
/// The signature is not one by the certificate's key, or the certificate has none that can be read.
pub(crate) fn in_tls12(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let judged = verify_tls12_signature(message, certificate, signature, algorithms);
    or_by_key(judged, certificate, |key| {
        let key = &*key.subject_public_key.data;
        // TLS 1.2 leaves the curve to the key: which of them it is shows in which of them fits.
        let mut candidates =
            algorithms.mapping.iter().filter(|(scheme, _)| *scheme == signature.scheme).flat_map(|(_, those)| *those);
        if candidates.any(|algorithm| algorithm.verify_signature(key, message, signature.signature()).is_ok()) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        Err(CertificateError::BadSignature.into())
    })
}

/// RFC 8446 §4.4.3.
///
/// # Errors
/// The signature is not one by the certificate's key, or the certificate has none that can be read.
pub(crate) fn in_tls13(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let judged = verify_tls13_signature(message, certificate, signature, algorithms);
    or_by_key(judged, certificate, |key| {
        let key = SubjectPublicKeyInfoDer::from(key.raw);
        verify_tls13_signature_with_raw_key(message, &key, signature, algorithms)
    })
}

/// What was judged, or, where that is only that the certificate cannot be read, what its key says.
fn or_by_key(
    judged: Result<HandshakeSignatureValid, Error>,
    certificate: &CertificateDer<'_>,
    judge: impl FnOnce(&SubjectPublicKeyInfo<'_>) -> Result<HandshakeSignatureValid, Error>,
) -> Result<HandshakeSignatureValid, Error> {
    match judged {
        Err(error) if is_unread(&error) => match parse_x509_certificate(certificate) {
            Ok((_, parsed)) => judge(&parsed.tbs_certificate.subject_pki),
            Err(_) => Err(error),
        },
        judged => judged,
    }
}

/// The certificate was not read, so that nothing is known of the signature.
const fn is_unread(error: &Error) -> bool {
    matches!(error, Error::InvalidCertificate(fault) if !matches!(fault, CertificateError::BadSignature))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rcgen::{CertificateParams, CustomExtension, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384};
    use rustls::server::{ClientHello, ResolvesServerCert};
    use rustls::sign::CertifiedKey;
    use rustls::{ServerConfig, SupportedProtocolVersion, version};
    use rustls_pki_types::PrivateKeyDer;
    use tokio_rustls::TlsAcceptor;

    use crate::provider::provider;
    use crate::{ClientTls, KeyExchange, describe};

    /// Shows a certificate whatever it is.
    #[derive(Debug)]
    struct Shows(Arc<CertifiedKey>);

    impl ResolvesServerCert for Shows {
        fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            Some(Arc::clone(&self.0))
        }
    }

    /// A server whose certificate has a critical extension that nobody knows, and which signs with `key`.
    fn server(of_certificate: &KeyPair, key: &KeyPair, version: &'static SupportedProtocolVersion) -> TlsAcceptor {
        let mut params = CertificateParams::new(vec!["elsewhere.example".to_owned()]).unwrap();
        let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4, 5], vec![5, 0]);
        extension.set_criticality(true);
        params.custom_extensions.push(extension);
        let certificate = params.self_signed(of_certificate).unwrap();
        let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let signing = provider().key_provider.load_private_key(private).unwrap();
        let shown = CertifiedKey::new(vec![certificate.der().clone()], signing);
        let config = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[version]).unwrap();
        TlsAcceptor::from(Arc::new(config.with_no_client_auth().with_cert_resolver(Arc::new(Shows(Arc::new(shown))))))
    }

    #[tokio::test]
    async fn a_certificate_that_cannot_be_read_has_a_key_that_can() {
        let client = ClientTls::new().unwrap();
        for kind in [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384] {
            let (own, other) = (KeyPair::generate_for(kind).unwrap(), KeyPair::generate_for(kind).unwrap());
            for (version, name) in [(&version::TLS12, "TLSv1.2"), (&version::TLS13, "TLSv1.3")] {
                for (key, is_own) in [(&own, true), (&other, false)] {
                    let (near, far) = tokio::io::duplex(64 * 1024);
                    let host = ClientTls::server_name("mx.example", [127, 0, 0, 1].into());
                    let connecting = client.connector(KeyExchange::Classical).connect(host, near);
                    let (near, _far) = tokio::join!(connecting, server(&own, key, version).accept(far));
                    assert_eq!(near.is_ok(), is_own, "{name} {kind:?}: {:?}", near.err());
                    if let Ok(stream) = near {
                        assert_eq!(describe(stream.get_ref().1).version, name);
                    }
                }
            }
        }
    }
}
