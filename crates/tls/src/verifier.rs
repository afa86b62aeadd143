//! Whether a server has proved who it is, by the certificates of a handshake that is done: by DNSSEC (RFC 7672 §3) or by
//! the authorities that this system trusts.
//!
//! Nothing is said to a server before, so that a proof after the handshake is as good as one within it; and what is not
//! proved can be reported without being enforced (RFC 8461 §5). Not responsible for what has to be proved.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use mailtier_types::{DaneMatching, DaneSelector, DaneUsage, Proof, ServerIdentity, TlsFault, TlsaRecord};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use crate::TlsError;
use crate::certificate::is_among;
use crate::provider::provider;

/// Certificates of one chain that are looked at.
const MAX_CHAIN: usize = 16;

/// Why a server's certificates do not prove who it is; in the words of reports (RFC 8460 §4.3).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    /// It showed none.
    #[error("the server showed no certificate")]
    NoCertificate,
    /// It is for somebody else.
    #[error("the certificate is not for {expected}")]
    HostMismatch {
        /// Whom it should be for.
        expected: String,
    },
    /// It is not valid any more, or not yet.
    #[error("the certificate is not valid at this time")]
    Expired,
    /// Nobody whom this system trusts has issued it.
    #[error("no authority that this system trusts has issued the certificate")]
    NotTrusted,
    /// No TLSA record speaks of it.
    #[error("no TLSA record of the host fits the certificate")]
    NoTlsaFits,
    /// It is faulty otherwise.
    #[error("the certificate cannot be used: {reason}")]
    Faulty {
        /// In which way.
        reason: String,
    },
    /// This system trusts nobody.
    #[error("no certificate can be verified: this system has no trusted roots ({reasons}; package ca-certificates)")]
    NoRoots {
        /// What was tried.
        reasons: String,
    },
}

impl Unproven {
    /// In the words of reports.
    #[must_use]
    pub const fn fault(&self) -> TlsFault {
        match self {
            Self::HostMismatch { .. } => TlsFault::CertificateHostMismatch,
            Self::Expired => TlsFault::CertificateExpired,
            Self::NotTrusted => TlsFault::CertificateNotTrusted,
            // RFC 8460 §4.3.1: what has no word of its own.
            Self::NoCertificate | Self::NoTlsaFits | Self::Faulty { .. } | Self::NoRoots { .. } => {
                TlsFault::ValidationFailure
            }
        }
    }
}

/// Knows whom this system trusts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Verifier {
    roots: Arc<RootCertStore>,
    /// Why there are no roots.
    reasons: Arc<str>,
}

impl Verifier {
    /// Trusts the system's roots (`SSL_CERT_FILE` and `SSL_CERT_DIR` name others). Where there are none, no certificate
    /// is proved by them, and DANE works all the same.
    #[must_use]
    pub fn system() -> Self {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        let reasons = found.errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        Self { roots: Arc::new(roots), reasons: reasons.into() }
    }

    /// Trusts the certificates of a PEM file instead.
    ///
    /// # Errors
    /// [`TlsError`] names the file that cannot be read or holds none.
    pub fn from_file(path: &Path) -> Result<Self, TlsError> {
        let unreadable = |source| TlsError::Certificates { path: PathBuf::from(path), source };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
            roots.add(certificate.map_err(unreadable)?)?;
        }
        if roots.is_empty() {
            return Err(TlsError::NoCertificate { path: PathBuf::from(path) });
        }
        Ok(Self { roots: Arc::new(roots), reasons: Arc::default() })
    }

    #[cfg(test)]
    pub(crate) fn trusting_nobody(reasons: &str) -> Self {
        Self { roots: Arc::new(RootCertStore::empty()), reasons: reasons.into() }
    }

    /// Why no certificate can be proved by an authority, where that is so.
    #[must_use]
    pub fn lacks_roots(&self) -> Option<&str> {
        self.roots.is_empty().then_some(&*self.reasons)
    }

    /// Whether the certificates that a server showed, its own first, prove that it is who it has to be.
    ///
    /// # Errors
    /// [`Unproven`] says why they do not.
    pub fn prove(&self, identity: &ServerIdentity, chain: &[CertificateDer<'_>]) -> Result<Proof, Unproven> {
        let (own, issuers) = chain.split_first().ok_or(Unproven::NoCertificate)?;
        let issuers = issuers.get(..MAX_CHAIN).unwrap_or(issuers);
        match identity {
            ServerIdentity::Pkix { name } => {
                if self.roots.is_empty() {
                    return Err(Unproven::NoRoots { reasons: self.reasons.to_string() });
                }
                issued_for(own, issuers, &self.roots, std::slice::from_ref(name)).map(|()| Proof::Pkix)
            }
            ServerIdentity::Dane { records, names } => prove_by_dane(records, names, own, issuers),
        }
    }
}

/// RFC 7672 §3.1: any record will do. Where none fits, an issuer that fits says best what is wrong.
fn prove_by_dane(
    records: &[TlsaRecord],
    names: &[String],
    own: &CertificateDer<'_>,
    issuers: &[CertificateDer<'_>],
) -> Result<Proof, Unproven> {
    // §3.1.1: neither the name nor the dates of the certificate matter: DNSSEC speaks for both.
    if records.iter().any(|record| record.usage == DaneUsage::EndEntity && fits(record, own)) {
        return Ok(Proof::DaneEndEntity);
    }
    let anchors = trust_anchors(records, issuers);
    if anchors.is_empty() {
        return Err(Unproven::NoTlsaFits);
    }
    match issued_for(own, issuers, &anchors, names) {
        Err(Unproven::HostMismatch { .. }) if names.iter().any(|name| is_common_name(own, name)) => {}
        issued => issued?,
    }
    Ok(Proof::DaneTrustAnchor)
}

/// §3.2.3: the common name counts where the certificate has no DNS-ID; an asterisk is all of the first label.
fn is_common_name(certificate: &CertificateDer<'_>, name: &str) -> bool {
    let Ok((_, parsed)) = parse_x509_certificate(certificate) else { return false };
    let is_dns_id = |general: &GeneralName<'_>| matches!(general, GeneralName::DNSName(_));
    // An extension that cannot be read may hold one.
    let has_dns_id = parsed
        .subject_alternative_name()
        .map_or(true, |names| names.is_some_and(|names| names.value.general_names.iter().any(is_dns_id)));
    let common_names = parsed.subject().iter_common_name().filter_map(|common| common.as_str().ok());
    let common_names: Vec<String> = common_names.map(str::to_ascii_lowercase).collect();
    !has_dns_id && is_among(&name.to_ascii_lowercase(), &common_names)
}

/// §3.1.2: the issuers that records speak of, shown by the server or published whole.
fn trust_anchors(records: &[TlsaRecord], issuers: &[CertificateDer<'_>]) -> RootCertStore {
    let mut anchors = RootCertStore::empty();
    let of_issuers = records.iter().filter(|record| record.usage == DaneUsage::TrustAnchor);
    for record in of_issuers {
        let shown = issuers.iter().filter(|issuer| fits(record, issuer)).map(|issuer| issuer.clone().into_owned());
        let is_whole = (record.selector, record.matching) == (DaneSelector::Certificate, DaneMatching::Exact);
        let published = is_whole.then(|| CertificateDer::from(record.data.to_vec()));
        anchors.add_parsable_certificates(shown.chain(published));
    }
    anchors
}

/// Whether a record speaks of this certificate (RFC 6698 §2.1).
fn fits(record: &TlsaRecord, certificate: &CertificateDer<'_>) -> bool {
    let parsed;
    let part: &[u8] = match record.selector {
        DaneSelector::Certificate => certificate,
        DaneSelector::PublicKey => match parse_x509_certificate(certificate) {
            Ok((_, certificate)) => {
                parsed = certificate;
                parsed.tbs_certificate.subject_pki.raw
            }
            Err(_) => return false,
        },
    };
    match record.matching {
        DaneMatching::Exact => part == &*record.data,
        DaneMatching::Sha256 => digest(&SHA256, part).as_ref() == &*record.data,
        DaneMatching::Sha512 => digest(&SHA512, part).as_ref() == &*record.data,
    }
}

/// Whether a certificate is valid now, issued under one of these roots, and for one of these names.
fn issued_for(
    own: &CertificateDer<'_>,
    issuers: &[CertificateDer<'_>],
    roots: &RootCertStore,
    names: &[String],
) -> Result<(), Unproven> {
    let parsed = ParsedCertificate::try_from(own).map_err(|error| unproven(&error))?;
    let algorithms = provider().signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(&parsed, roots, issuers, UnixTime::now(), algorithms)
        .map_err(|error| unproven(&error))?;
    let is_for = |name: &String| {
        ServerName::try_from(name.as_str()).is_ok_and(|name| verify_server_name(&parsed, &name).is_ok())
    };
    if names.iter().any(is_for) { Ok(()) } else { Err(Unproven::HostMismatch { expected: names.join(" or ") }) }
}

fn unproven(error: &Error) -> Unproven {
    match error {
        Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => Unproven::Expired,
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => Unproven::NotTrusted,
        other => Unproven::Faulty { reason: other.to_string() },
    }
}
