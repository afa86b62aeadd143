//! TLS from the first octet (RFC 8314), client certificates, and the login that they are (RFC 4422 appendix A).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mailtier_sasl::{Credentials, Password};
use mailtier_tls::{CertificateFiles, ClientTls, ServerTls};
use mailtier_transport::client::{ConnectFailure, Connection, Login, TlsMode, TlsUse};
use mailtier_types::{SaslMechanism, Stage};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::peers::{options, remote, said};

/// An authority, and the certificate that it issued for `relay`.
struct Identity {
    authority: PathBuf,
    files: CertificateFiles,
}

fn identity(folder: &Path) -> Identity {
    let authority_key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = parameters.self_signed(&authority_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut client = CertificateParams::new(vec!["relay.example".to_owned()]).unwrap();
    client.distinguished_name.push(DnType::CommonName, "relay");
    let issued = client.signed_by(&key, &Issuer::from_params(&parameters, &authority_key)).unwrap();
    let path = |name: &str| folder.join(name);
    std::fs::write(path("ca.pem"), root.pem()).unwrap();
    std::fs::write(path("client.pem"), issued.pem()).unwrap();
    std::fs::write(path("client.key"), key.serialize_pem()).unwrap();
    let files = CertificateFiles { certificate: path("client.pem"), key: path("client.key") };
    Identity { authority: path("ca.pem"), files }
}

/// Serves connections that begin in TLS; tells who the client is, and what it says.
async fn served(tls: Arc<ServerTls>) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = tls.acceptor().accept(stream).await else { continue };
            let client = tls.describe(stream.get_ref().1).client.and_then(|client| client.common_name);
            tell.send(client.unwrap_or_else(|| "nobody".to_owned())).unwrap();
            let mut stream = BufStream::new(stream);
            let mut reply = "220 mx.example.org\r\n";
            loop {
                stream.write_all(reply.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
                let mut line = String::new();
                if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                    break;
                }
                reply = match line.split(' ').next() {
                    Some("EHLO") => "250-mx.example.org\r\n250 AUTH PLAIN EXTERNAL\r\n",
                    Some("AUTH") => "235 2.7.0 in\r\n",
                    _ => "221 bye\r\n",
                };
                tell.send(line.trim_end().to_owned()).unwrap();
            }
        }
    });
    (address, told)
}

fn server(authority: &Path) -> Arc<ServerTls> {
    let folder = tempfile::tempdir().unwrap();
    let issued = rcgen::generate_simple_self_signed(vec!["mx.example.org".to_owned()]).unwrap();
    let (certificate, key) = (folder.path().join("certificate.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate, issued.cert.pem()).unwrap();
    std::fs::write(&key, issued.signing_key.serialize_pem()).unwrap();
    ServerTls::load(&[CertificateFiles { certificate, key }], Some(authority)).unwrap()
}

fn implicit(tls: Arc<ClientTls>) -> TlsMode {
    TlsMode::Implicit(TlsUse::with_anyone(tls))
}

fn external(name: &str, mechanisms: &[SaslMechanism]) -> Login {
    let credentials = Credentials { name: name.to_owned(), password: Password("secret".to_owned()) };
    Login { credentials, mechanisms: mechanisms.to_vec(), in_clear: true }
}

#[tokio::test]
async fn the_greeting_comes_within_tls_and_who_asks_is_shown_the_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let identity = identity(folder.path());
    let (address, mut told) = served(server(&identity.authority)).await;
    for (tls, client) in
        [(ClientTls::new().unwrap(), "nobody"), (ClientTls::with_certificate(&identity.files).unwrap(), "relay")]
    {
        let connection = Connection::open(address, &options(implicit(tls))).await.unwrap();
        assert_eq!(connection.tls().unwrap().version, "TLSv1.3");
        assert_eq!(told.recv().await.unwrap(), client);
        assert_eq!(told.recv().await.unwrap(), "EHLO client.example", "said once");
        connection.quit().await;
        assert_eq!(told.recv().await.unwrap(), "QUIT");
    }
}

#[tokio::test]
async fn a_certificate_is_a_login_where_the_server_takes_it_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let identity = identity(folder.path());
    let (address, mut told) = served(server(&identity.authority)).await;
    let tls = ClientTls::with_certificate(&identity.files).unwrap();
    for (name, said) in [("", "AUTH EXTERNAL ="), ("billing", "AUTH EXTERNAL YmlsbGluZw==")] {
        let mut connection = Connection::open(address, &options(implicit(Arc::clone(&tls)))).await.unwrap();
        let mechanisms = [SaslMechanism::External, SaslMechanism::Plain];
        connection.log_in(&external(name, &mechanisms)).await.unwrap();
        drop(connection);
        let heard = [told.recv().await.unwrap(), told.recv().await.unwrap(), told.recv().await.unwrap()];
        assert_eq!(heard, ["relay", "EHLO client.example", said]);
    }
}

#[tokio::test]
async fn without_tls_no_certificate_was_shown_and_another_mechanism_is_used() {
    for (mechanisms, expected) in [
        (&[SaslMechanism::External][..], Err("Login: the remote offers no login with EXTERNAL")),
        (&[SaslMechanism::External, SaslMechanism::Plain], Ok(())),
    ] {
        let address = remote(|mut peer, _| async move {
            peer.greet("250-AUTH EXTERNAL PLAIN\r\n").await;
            let mut line = [0; 64];
            if peer.0.read(&mut line).await.unwrap() > 0 {
                assert!(line.starts_with(b"AUTH PLAIN "));
                peer.say("235 in\r\n").await;
            }
        })
        .await;
        let mut connection = Connection::open(address, &options(TlsMode::Off)).await.unwrap();
        let result = connection.log_in(&external("user", mechanisms)).await;
        assert_eq!(result.map_err(|failure: ConnectFailure| said(&failure.cause)), expected.map_err(str::to_owned));
    }
}

#[tokio::test]
async fn a_port_without_tls_is_told_and_nothing_goes_out_in_clear() {
    let address = remote(|mut peer, _| async move {
        peer.say("220 mx.example.org in clear\r\n").await;
        let mut octets = [0; 4096];
        let count = peer.0.read(&mut octets).await.unwrap_or(0);
        assert!(!octets[..count].windows(4).any(|word| word == b"EHLO"));
    })
    .await;
    let failure = Connection::open(address, &options(implicit(ClientTls::new().unwrap()))).await.unwrap_err();
    assert_eq!((failure.stage, failure.tls_fault.is_some()), (Stage::StartTls, true));
    assert!(said(&failure.cause).starts_with("Tls: TLS handshake failed: "), "{failure:?}");
}

#[test]
fn certificates_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let one = identity(folder.path());
    let other = tempfile::tempdir().unwrap();
    let mixed = CertificateFiles { key: identity(other.path()).files.key, ..one.files.clone() };
    let absent = CertificateFiles { certificate: folder.path().join("absent.pem"), ..one.files };
    for (files, named) in [(mixed, "client.key"), (absent, "absent.pem")] {
        let error = ClientTls::with_certificate(&files).unwrap_err();
        assert!(error.to_string().contains(named), "{error}");
    }
}
