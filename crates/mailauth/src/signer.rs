//! DKIM signatures of what this system sends (RFC 6376, RFC 8463). Not responsible for keeping keys, nor for which messages
//! are signed.

use mail_auth::common::crypto::{DkimKey, Ed25519Key, RsaKey};
use mail_auth::common::headers::HeaderWriter as _;
use mail_auth::dkim::{Canonicalization, DkimSigner, Done};
use mailtier_types::Domain;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;

/// Fields that are signed where a message has them: what RFC 6376 §5.4.1 names and receivers show or go by.
pub const SIGNED_FIELDS: &[&str] = &[
    "From",
    "Reply-To",
    "Subject",
    "Date",
    "To",
    "Cc",
    "Message-ID",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "Auto-Submitted",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "TLS-Required",
    "TLS-Report-Domain",
    "TLS-Report-Submitter",
];

/// Why a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningKeyError {
    /// There is no PEM in it that holds a private key.
    #[error(
        "holds no private key in PEM (expected `-----BEGIN PRIVATE KEY-----` or `-----BEGIN RSA PRIVATE KEY-----`)"
    )]
    NotPem,
    /// The key is of no kind that DKIM knows.
    #[error("holds a key that is neither RSA of at least 1024 bits nor Ed25519: {0}")]
    Kind(String),
}

/// A message could not be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message cannot be signed: {0}")]
pub struct SignError(String);

/// Signs messages in the name of one domain. Relaxed canonicalization, no body length: what is added is not signed for.
pub struct Signer {
    inner: DkimSigner<DkimKey, Done>,
    name: String,
}

/// The key is not shown.
impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Signer {
    /// Signs as `domain`, whose record `<selector>._domainkey.<domain>` has the public half of the key, which is an RSA key
    /// (PKCS #1 or PKCS #8) or one of Ed25519 (PKCS #8), in PEM.
    ///
    /// # Errors
    /// [`SigningKeyError`] says what is wrong with the key.
    pub fn new(domain: &Domain, selector: &str, pem: &str) -> Result<Self, SigningKeyError> {
        let signer = DkimSigner::from_key(key(pem)?).domain(domain.as_str()).selector(selector);
        let inner = signer
            .headers(SIGNED_FIELDS.iter().copied())
            .header_canonicalization(Canonicalization::Relaxed)
            .body_canonicalization(Canonicalization::Relaxed);
        Ok(Self { inner, name: format!("{selector}._domainkey.{domain}") })
    }

    /// The DKIM-Signature field for a message, with its line end: it goes before the message.
    ///
    /// # Errors
    /// The message has none of the fields that are signed.
    pub fn field(&self, message: &[u8]) -> Result<String, SignError> {
        let signature = self.inner.sign(message).map_err(|error| SignError(error.to_string()))?;
        Ok(signature.to_header())
    }
}

fn key(pem: &str) -> Result<DkimKey, SigningKeyError> {
    let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| SigningKeyError::NotPem)?;
    if let PrivateKeyDer::Pkcs8(pkcs8) = &der
        && let Ok(key) = Ed25519Key::from_pkcs8_maybe_unchecked_der(pkcs8.secret_pkcs8_der())
    {
        return Ok(key.into());
    }
    RsaKey::from_key_der(der).map(DkimKey::Rsa).map_err(|error| SigningKeyError::Kind(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _, RsaKeyPair};
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use mail_auth::common::parse::TxtRecordParser as _;
    use mail_auth::common::verify::DomainKey;
    use mail_auth::{AuthenticatedMessage, DkimResult, MessageAuthenticator, Parameters, ResolverCache, Txt};

    use super::*;

    const MESSAGE: &str = "From: <tls@example.com>\r\nTo: <r@d.example>\r\nSubject: Report Domain: d.example\r\n\
        TLS-Required: No\r\n\r\nbody  with spaces \r\n\r\n";

    fn pem(der: &[u8]) -> String {
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der))
    }

    /// The records of DNS, as far as they are known.
    struct Records(HashMap<Box<str>, Txt>);

    impl ResolverCache<Box<str>, Txt> for Records {
        fn get<Q: std::hash::Hash + Eq + ?Sized>(&self, name: &Q) -> Option<Txt>
        where
            Box<str>: std::borrow::Borrow<Q>,
        {
            self.0.get(name).cloned()
        }

        fn remove<Q: std::hash::Hash + Eq + ?Sized>(&self, _: &Q) -> Option<Txt>
        where
            Box<str>: std::borrow::Borrow<Q>,
        {
            None
        }

        fn insert(&self, _: Box<str>, _: Txt, _: std::time::Instant) {}
    }

    async fn verdict(message: &str, record: &str) -> DkimResult {
        let key = DomainKey::parse(record.as_bytes()).unwrap();
        let records = Records(HashMap::from([("s1._domainkey.example.com.".into(), Txt::DomainKey(Arc::new(key)))]));
        let parsed = AuthenticatedMessage::parse(message.as_bytes()).unwrap();
        let parameters = Parameters::new(&parsed).with_txt_cache(&records);
        let resolver = MessageAuthenticator::new_cloudflare().unwrap();
        resolver.verify_dkim(parameters).await.first().unwrap().result().clone()
    }

    #[tokio::test]
    async fn signatures_of_both_kinds_hold_until_something_changes() {
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let rsa_pem = pem(AsDer::<Pkcs8V1Der<'_>>::as_der(&rsa).unwrap().as_ref());
        let public = AsDer::<PublicKeyX509Der<'_>>::as_der(rsa.public_key()).unwrap();
        let rsa_record = format!("v=DKIM1; k=rsa; p={}", STANDARD.encode(public.as_ref()));
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new()).unwrap();
        let ed25519 = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let ed25519_record = format!("v=DKIM1; k=ed25519; p={}", STANDARD.encode(ed25519.public_key().as_ref()));
        let domain = Domain::parse("example.com").unwrap();
        for (pem, record) in [(rsa_pem, rsa_record), (pem(pkcs8.as_ref()), ed25519_record)] {
            let signer = Signer::new(&domain, "s1", &pem).unwrap();
            let field = signer.field(MESSAGE.as_bytes()).unwrap();
            assert!(field.starts_with("DKIM-Signature: ") && field.ends_with("\r\n"), "{field}");
            let signed = format!("{field}{MESSAGE}");
            assert_eq!(verdict(&signed, &record).await, DkimResult::Pass, "{signed}");
            for changed in [signed.replace("body", "b0dy"), signed.replace("TLS-Required: No", "TLS-Required: Yes")] {
                assert_ne!(verdict(&changed, &record).await, DkimResult::Pass, "{changed}");
            }
        }
    }

    #[test]
    fn what_is_no_key_is_named() {
        let domain = Domain::parse("d.example").unwrap();
        assert_eq!(Signer::new(&domain, "s", "nothing").unwrap_err(), SigningKeyError::NotPem);
        let error = Signer::new(&domain, "s", &pem(b"no key")).unwrap_err();
        assert!(matches!(error, SigningKeyError::Kind(_)), "{error}");
    }
}
