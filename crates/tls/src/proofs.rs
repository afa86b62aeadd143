//! Chains made for the occasion, and whether they prove what they should: every usage, selector and matching type of TLSA
//! records, and authorities that are trusted or not.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use mailtier_types::{Proof, ServerIdentity, TlsaRecord};
use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair, PublicKeyData as _};
use rustls_pki_types::CertificateDer;
use tempfile::TempDir;

use crate::{Unproven, Verifier};

/// An authority, one under it, and servers with certificates of the latter.
struct Authority {
    root: Certificate,
    root_key: KeyPair,
    below: CertificateParams,
    below_certificate: Certificate,
    below_key: KeyPair,
    folder: TempDir,
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

impl Authority {
    fn new(name: &str) -> Self {
        let (root_key, below_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let top = authority_params(name);
        let root = top.self_signed(&root_key).unwrap();
        let below = authority_params(&format!("below {name}"));
        let below_certificate = below.signed_by(&below_key, &Issuer::from_params(&top, &root_key)).unwrap();
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("roots.pem"), root.pem()).unwrap();
        Self { root, root_key, below, below_certificate, below_key, folder }
    }

    /// What a server of this name shows, and its key.
    fn issue(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> (Vec<CertificateDer<'static>>, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let own = params.signed_by(&key, &Issuer::from_params(&self.below, &self.below_key)).unwrap();
        (vec![own.der().clone(), self.below_certificate.der().clone(), self.root.der().clone()], key)
    }

    fn verifier(&self) -> Verifier {
        Verifier::from_file(&self.folder.path().join("roots.pem")).unwrap()
    }
}

fn expired(params: &mut CertificateParams) {
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
}

fn pkix(name: &str) -> ServerIdentity {
    ServerIdentity::Pkix { name: name.to_owned() }
}

fn dane(records: &[TlsaRecord]) -> ServerIdentity {
    ServerIdentity::Dane { records: records.into(), names: vec!["mx.example".to_owned(), "d.example".to_owned()] }
}

fn record(usage: u8, selector: u8, matching: u8, part: &[u8]) -> TlsaRecord {
    let data = match matching {
        1 => digest(&SHA256, part).as_ref().to_vec(),
        2 => digest(&SHA512, part).as_ref().to_vec(),
        _ => part.to_vec(),
    };
    TlsaRecord::usable(usage, selector, matching, &data).unwrap()
}

#[test]
fn an_authority_speaks_for_names_it_has_issued_for() {
    let (trusted, stranger) = (Authority::new("trusted"), Authority::new("stranger"));
    let verifier = trusted.verifier();
    let (chain, _) = trusted.issue("mx.example", |_| {});
    assert_eq!(verifier.prove(&pkix("mx.example"), &chain), Ok(Proof::Pkix));
    assert_eq!(verifier.prove(&pkix("mx.example"), &chain[..1]), Err(Unproven::NotTrusted), "the issuer is missing");
    let mismatch = Unproven::HostMismatch { expected: "mx2.example".to_owned() };
    assert_eq!(verifier.prove(&pkix("mx2.example"), &chain), Err(mismatch));
    assert_eq!(verifier.prove(&pkix("mx.example"), &[]), Err(Unproven::NoCertificate));
    let (old, _) = trusted.issue("mx.example", expired);
    assert_eq!(verifier.prove(&pkix("mx.example"), &old), Err(Unproven::Expired));
    let (foreign, _) = stranger.issue("mx.example", |_| {});
    assert_eq!(verifier.prove(&pkix("mx.example"), &foreign), Err(Unproven::NotTrusted));
    let (wild, _) = trusted.issue("*.mail.example", |_| {});
    assert_eq!(verifier.prove(&pkix("mx.mail.example"), &wild), Ok(Proof::Pkix));
    let garbage = [CertificateDer::from(vec![1, 2, 3])];
    assert!(matches!(verifier.prove(&pkix("mx.example"), &garbage), Err(Unproven::Faulty { .. })));
}

#[test]
fn a_certificate_of_the_server_is_compared_and_nothing_else() {
    let stranger = Authority::new("stranger");
    let verifier = Authority::new("trusted").verifier();
    // RFC 7672 section 3.1.1: another name and dates long gone do not matter.
    let (chain, key) = stranger.issue("elsewhere.example", expired);
    let (own, spki) = (chain[0].to_vec(), key.subject_public_key_info());
    for (selector, part) in [(0, &own), (1, &spki)] {
        for matching in [0, 1, 2] {
            let good = record(3, selector, matching, part);
            let other = record(3, selector, matching, b"another");
            assert_eq!(
                verifier.prove(&dane(&[other.clone(), good]), &chain),
                Ok(Proof::DaneEndEntity),
                "{selector} {matching}"
            );
            assert_eq!(verifier.prove(&dane(&[other]), &chain), Err(Unproven::NoTlsaFits), "{selector} {matching}");
        }
    }
    let issuer = record(3, 0, 1, &chain[1]);
    assert_eq!(verifier.prove(&dane(&[issuer]), &chain), Err(Unproven::NoTlsaFits), "an issuer is not the server");
}

#[test]
fn a_trust_anchor_speaks_for_the_names_of_the_host_and_the_domain() {
    let stranger = Authority::new("stranger");
    let verifier = Authority::new("trusted").verifier();
    let root_spki = stranger.root_key.subject_public_key_info();
    for name in ["mx.example", "d.example"] {
        let (chain, _) = stranger.issue(name, |_| {});
        for anchor in [
            record(2, 0, 1, stranger.root.der()),
            record(2, 0, 2, stranger.below_certificate.der()),
            record(2, 1, 1, &root_spki),
            record(2, 1, 0, &stranger.below_key.subject_public_key_info()),
            record(2, 0, 0, stranger.root.der()),
        ] {
            assert_eq!(
                verifier.prove(&dane(std::slice::from_ref(&anchor)), &chain),
                Ok(Proof::DaneTrustAnchor),
                "{name} {anchor:?}"
            );
        }
    }
    let anchor = dane(&[record(2, 0, 1, stranger.root.der())]);
    let (elsewhere, _) = stranger.issue("elsewhere.example", |_| {});
    assert!(matches!(verifier.prove(&anchor, &elsewhere), Err(Unproven::HostMismatch { .. })));
    let (old, _) = stranger.issue("mx.example", expired);
    assert_eq!(verifier.prove(&anchor, &old), Err(Unproven::Expired));
    let (chain, key) = stranger.issue("mx.example", |_| {});
    assert_eq!(
        verifier.prove(&anchor, &chain[..2]),
        Err(Unproven::NoTlsaFits),
        "RFC 7672 section 3.1.2: it has to be shown"
    );
    let whole = dane(&[record(2, 0, 0, stranger.root.der())]);
    assert_eq!(verifier.prove(&whole, &chain[..2]), Ok(Proof::DaneTrustAnchor), "unless it is published whole");
    let own = dane(&[record(2, 1, 1, &key.subject_public_key_info())]);
    assert_eq!(verifier.prove(&own, &chain), Err(Unproven::NoTlsaFits), "a server is not its own issuer");
    // A certificate of another authority beside the anchor: it fits a record and has issued nothing here.
    let other = Authority::new("other");
    let mixed = [chain[0].clone(), chain[1].clone(), other.root.der().clone()];
    assert_eq!(verifier.prove(&dane(&[record(2, 0, 1, other.root.der())]), &mixed), Err(Unproven::NotTrusted));
}

/// RFC 7672 section 3.2.3; an authority that this system trusts speaks for DNS-IDs alone (RFC 8461 section 4.1).
#[test]
fn a_common_name_counts_under_a_trust_anchor_where_there_is_no_other_name() {
    let trusted = Authority::new("trusted");
    let verifier = trusted.verifier();
    let anchor = dane(&[record(2, 0, 1, trusted.root.der())]);
    for (common, other, is_for) in [
        ("mx.example", None, true),
        ("MX.Example", None, true),
        ("*.example", None, true),
        ("*.mx.example", None, false),
        ("*", None, false),
        ("elsewhere.example", None, false),
        ("mx.example", Some("elsewhere.example"), false),
    ] {
        let (chain, _) = trusted.issue("elsewhere.example", |params| {
            params.distinguished_name.push(DnType::CommonName, common);
            params.subject_alt_names.retain(|_| other.is_some());
        });
        let mismatch = |expected: &str| Err(Unproven::HostMismatch { expected: expected.to_owned() });
        let expected = if is_for { Ok(Proof::DaneTrustAnchor) } else { mismatch("mx.example or d.example") };
        assert_eq!(verifier.prove(&anchor, &chain), expected, "{common} {other:?}");
        assert_eq!(verifier.prove(&pkix("mx.example"), &chain), mismatch("mx.example"), "{common} {other:?}");
    }
}

#[test]
fn files_of_authorities_are_read_or_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("roots.pem");
    assert!(Verifier::from_file(&path).unwrap_err().to_string().contains("roots.pem"));
    std::fs::write(&path, "nothing").unwrap();
    assert!(Verifier::from_file(&path).unwrap_err().to_string().contains("roots.pem"));
    let nobody = Verifier::trusting_nobody("none found");
    assert_eq!(nobody.lacks_roots(), Some("none found"));
    let error = nobody.prove(&pkix("mx.example"), &Authority::new("any").issue("mx.example", |_| {}).0).unwrap_err();
    assert!(error.to_string().contains("none found"), "{error}");
    let records: Arc<[TlsaRecord]> = Arc::new([]);
    let none = ServerIdentity::Dane { records, names: vec!["mx.example".to_owned()] };
    assert_eq!(none.server_name(), Some("mx.example"));
}
