//! Handshakes in memory with certificates made for the occasion.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mailtier_smtp::TlsInfo;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio_rustls::{client, server};

use crate::{CertificateFiles, ClientTls, KeyExchange, ServerTls, TlsError, describe};

struct Files {
    folder: TempDir,
}

impl Files {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    fn certificate(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    /// Writes a certificate for a name, issued by itself, and its key.
    fn issue(&self, name: &str) -> CertificateDer<'static> {
        let issued = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        fs::write(self.certificate(), issued.cert.pem()).unwrap();
        fs::write(self.key(), issued.signing_key.serialize_pem()).unwrap();
        issued.cert.der().clone()
    }

    fn load(&self) -> Result<Arc<ServerTls>, TlsError> {
        ServerTls::load(&[CertificateFiles { certificate: self.certificate(), key: self.key() }], None)
    }
}

type Shaken = (
    std::io::Result<client::TlsStream<tokio::io::DuplexStream>>,
    std::io::Result<server::TlsStream<tokio::io::DuplexStream>>,
);

async fn shake_hands(server: &ServerTls, client: &ClientTls, name: &str, keys: KeyExchange) -> Shaken {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let name = ClientTls::server_name(name, IpAddr::V4(Ipv4Addr::LOCALHOST));
    tokio::join!(client.connector(keys).connect(name, near), server.acceptor().accept(far))
}

#[tokio::test]
async fn a_handshake_takes_any_certificate() {
    let files = Files::new();
    files.issue("elsewhere.example");
    let (server, client) = (files.load().unwrap(), ClientTls::new().unwrap());
    for name in ["mx.example.org", "192.0.2.1", "not a name", ""] {
        let (near, far) = shake_hands(&server, &client, name, KeyExchange::PostQuantum).await;
        let info = describe(near.unwrap().get_ref().1);
        assert_eq!(info, describe(far.unwrap().get_ref().1), "both sides agree");
        assert_eq!(info.version, "TLSv1.3");
        assert!(info.cipher.starts_with("TLS_") && !info.cipher.contains("TLS13"), "{}", info.cipher);
    }
}

#[tokio::test]
async fn key_exchange_is_post_quantum_unless_told_otherwise() {
    let files = Files::new();
    files.issue("mx.example.org");
    let (server, client) = (files.load().unwrap(), ClientTls::new().unwrap());
    for (keys, is_post_quantum) in [(KeyExchange::PostQuantum, true), (KeyExchange::Classical, false)] {
        let (near, _far) = shake_hands(&server, &client, "mx.example.org", keys).await;
        let group = near.unwrap().get_ref().1.negotiated_key_exchange_group().unwrap().name();
        assert_eq!(group == rustls::NamedGroup::X25519MLKEM768, is_post_quantum, "{group:?}");
    }
}

#[tokio::test]
async fn a_certificate_is_replaced_while_the_server_runs() {
    let files = Files::new();
    let first = files.issue("mx.example.org");
    let server = files.load().unwrap();
    let second = files.issue("mx.example.org");
    let client = ClientTls::new().unwrap();
    let presented = async || {
        let (near, _far) = shake_hands(&server, &client, "mx.example.org", KeyExchange::Classical).await;
        near.unwrap().get_ref().1.peer_certificates().unwrap().first().unwrap().clone().into_owned()
    };
    assert_eq!(presented().await, first, "not before it is told to");
    server.reload().unwrap();
    // A client that resumes a session is not shown a certificate at all, so this one has none to resume.
    let client = ClientTls::new().unwrap();
    let (near, _far) = shake_hands(&server, &client, "mx.example.org", KeyExchange::Classical).await;
    assert_eq!(near.unwrap().get_ref().1.peer_certificates().unwrap().first(), Some(&second));

    fs::write(files.key(), "nothing").unwrap();
    assert!(matches!(server.reload(), Err(TlsError::Key { .. })));
    let client = ClientTls::new().unwrap();
    assert!(
        shake_hands(&server, &client, "mx.example.org", KeyExchange::Classical).await.0.is_ok(),
        "the old one stays"
    );
}

#[test]
fn what_is_wrong_with_files_is_said() {
    let files = Files::new();
    assert!(matches!(files.load(), Err(TlsError::Certificates { .. })), "not there");
    files.issue("mx.example.org");
    let key = fs::read(files.key()).unwrap();
    fs::write(files.certificate(), "").unwrap();
    assert!(matches!(files.load(), Err(TlsError::NoCertificate { .. })));
    files.issue("mx.example.org");
    fs::write(files.key(), key).unwrap();
    let error = files.load().unwrap_err();
    assert!(matches!(error, TlsError::Mismatch { .. }), "the key of another certificate: {error:?}");
    assert!(error.to_string().contains("key.pem"), "{error}");
    assert!(matches!(
        ServerTls::load(&[CertificateFiles { certificate: files.certificate(), key: "/nonexistent".into() }], None),
        Err(TlsError::Key { .. })
    ));
}

/// An authority and what it issued for a client: its own certificate, and chain and key of the client.
fn client_identity(folder: &Path) -> (PathBuf, Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = authority.self_signed(&authority_key).unwrap();
    let path = folder.join("ca.pem");
    fs::write(&path, root.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut client = CertificateParams::new(vec!["relay.example.com".to_owned()]).unwrap();
    client.subject_alt_names.push(SanType::Rfc822Name("user@example.org".try_into().unwrap()));
    client.distinguished_name.push(DnType::CommonName, "user");
    let issued = client.signed_by(&key, &Issuer::from_params(&authority, &authority_key)).unwrap();
    (path, vec![issued.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
}

/// A client that takes any certificate and shows its own; what the server then knows of it, and what it exported.
async fn shown(
    server: &ServerTls,
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
) -> (TlsInfo, Vec<u8>) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = Arc::new(RootCertStore::empty());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let mut config = match identity {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.dangerous().set_certificate_verifier(ClientTls::any_certificate());
    let (near, far) = tokio::io::duplex(64 * 1024);
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = rustls_pki_types::ServerName::try_from("mx.example.org").unwrap();
    let (near, far) = tokio::join!(connector.connect(name, near), server.acceptor().accept(far));
    let (near, far) = (near.unwrap(), far.unwrap());
    let exported = near.get_ref().1.export_keying_material(vec![0; 32], b"EXPORTER-Channel-Binding", None).unwrap();
    (server.describe(far.get_ref().1), exported)
}

#[tokio::test]
async fn a_client_is_who_its_certificate_says_where_we_trust_the_issuer() {
    let files = Files::new();
    let own = files.issue("mx.example.org");
    let (ca, chain, key) = client_identity(files.folder.path());
    let pair = [CertificateFiles { certificate: files.certificate(), key: files.key() }];
    let server = ServerTls::load(&pair, Some(&ca)).unwrap();
    let (info, exported) = shown(&server, Some((chain, key))).await;
    let client = info.client.unwrap();
    assert_eq!(client.addresses, ["user@example.org"]);
    assert_eq!((client.names, client.common_name), (vec!["relay.example.com".to_owned()], Some("user".to_owned())));
    assert_eq!(info.bindings.exporter, Some(exported), "both ends are bound to the same (RFC 9266)");
    // RFC 5929 section 4.1: ECDSA with SHA-256 here.
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &own);
    assert_eq!(info.bindings.end_point.as_deref(), Some(digest.as_ref()));

    let (_, stranger, key) = client_identity(Files::new().folder.path());
    assert_eq!(shown(&server, Some((stranger, key))).await.0.client, None, "served, as nobody");
    assert_eq!(shown(&server, None).await.0.client, None);
}

#[tokio::test]
async fn each_name_has_its_certificate() {
    let (first, second) = (Files::new(), Files::new());
    let (one, other) = (first.issue("mx.example.org"), second.issue("*.example.net"));
    let pair = |files: &Files| CertificateFiles { certificate: files.certificate(), key: files.key() };
    let server = ServerTls::load(&[pair(&first), pair(&second)], None).unwrap();
    for (name, expected) in [
        ("mx.example.org", &one),
        ("MX.example.net", &other),
        ("a.b.example.net", &one),
        ("unheard.example", &one),
        ("192.0.2.1", &one),
    ] {
        let client = ClientTls::new().unwrap();
        let (near, _far) = shake_hands(&server, &client, name, KeyExchange::Classical).await;
        assert_eq!(near.unwrap().get_ref().1.peer_certificates().unwrap().first(), Some(expected), "{name}");
    }
}
