//! STARTTLS, both roles.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use mailtier_smtp::ServerConfig;
use mailtier_tls::{CertificateFiles, ClientTls, ServerTls};
use mailtier_transport::client::{Connection, TlsMode, TlsUse};
use mailtier_transport::server::{Accepted, SessionEnd};
use mailtier_types::{Cause, Stage, TroubleKind};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::peers::{PATIENCE, Peer, options, remote, said, transaction};
use crate::served::{Seen, Served};

pub(crate) fn server_tls() -> Arc<ServerTls> {
    let folder = TempDir::new().unwrap();
    let issued = rcgen::generate_simple_self_signed(vec!["mx.example.org".to_owned()]).unwrap();
    let (certificate, key) = (folder.path().join("certificate.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate, issued.cert.pem()).unwrap();
    std::fs::write(&key, issued.signing_key.serialize_pem()).unwrap();
    ServerTls::load(&[CertificateFiles { certificate, key }], None).unwrap()
}

fn offering() -> ServerConfig {
    ServerConfig { starttls: true, ..ServerConfig::new("mx.example.org") }
}

#[tokio::test]
async fn mail_in_tls_where_it_is_offered() {
    let mut served = Served::start(offering(), Some(server_tls())).await;
    let tls = TlsUse::with_anyone(ClientTls::new().unwrap());
    let large: Vec<u8> = (0..60_000).flat_map(|line| format!(".{line} and some more of it\r\n").into_bytes()).collect();
    for mode in [TlsMode::Opportunistic(tls.clone()), TlsMode::Required(tls)] {
        let mut connection = Connection::open(served.address, &options(mode)).await.unwrap();
        assert!(!connection.capabilities().starttls, "what was said in clear is forgotten");
        assert!(connection.is_alive());
        for content in [&b"x\r\n"[..], &large] {
            let body = [Bytes::copy_from_slice(content)];
            let report = connection.deliver(transaction(&["b@example.org"], content.len()), &body).await;
            assert!(report.recipients[0].is_delivered(), "{report:?}");
            let Seen::Message { content: received, tls, .. } = served.next().await else { panic!("no message") };
            assert!(received == content);
            let (tls, ours) = (tls.unwrap(), connection.tls().unwrap());
            assert_eq!((&tls.version, &tls.cipher), (&ours.version, &ours.cipher));
            assert_eq!(tls.version, "TLSv1.3");
            assert!(tls.bindings.exporter.is_some() && tls.bindings.end_point.is_some());
        }
        connection.quit().await;
        assert!(matches!(served.next().await, Seen::End(SessionEnd::Finished)));
    }
}

#[tokio::test]
async fn without_an_offer_opportunistic_goes_on_in_clear_and_required_does_not() {
    let served = Served::start(ServerConfig::new("mx.example.org"), None).await;
    let tls = TlsUse::with_anyone(ClientTls::new().unwrap());
    let connection = Connection::open(served.address, &options(TlsMode::Opportunistic(tls.clone()))).await.unwrap();
    assert_eq!(connection.tls(), None);
    let failure = Connection::open(served.address, &options(TlsMode::Required(tls))).await.unwrap_err();
    assert_eq!((failure.stage, failure.tls_fault.is_some()), (Stage::StartTls, true));
    assert!(matches!(&failure.cause, Cause::Trouble(trouble) if trouble.kind == TroubleKind::Tls), "{failure:?}");
}

#[tokio::test]
async fn a_refusal_of_starttls_is_told_from_other_failures() {
    let address = remote(|mut peer, _| async move {
        peer.greet("250-STARTTLS\r\n").await;
        peer.hear("STARTTLS\r\n").await;
        peer.say("454 4.7.0 not today\r\n").await;
    })
    .await;
    let tls = TlsMode::Opportunistic(TlsUse::with_anyone(ClientTls::new().unwrap()));
    let failure = Connection::open(address, &options(tls)).await.unwrap_err();
    assert_eq!((failure.stage, failure.tls_fault.is_some()), (Stage::StartTls, true));
    assert_eq!(said(&failure.cause), "454 4.7.0 not today");
}

#[tokio::test]
async fn a_failed_handshake_is_tried_once_more_without_post_quantum_keys() {
    static HELLOS: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let address = remote(|mut peer, number| async move {
        peer.greet("250-STARTTLS\r\n").await;
        peer.hear("STARTTLS\r\n").await;
        peer.say("220 go\r\n").await;
        // TLSPlaintext (RFC 8446 §5.1): type, version, length.
        let mut header = [0; 5];
        tokio::io::AsyncReadExt::read_exact(&mut peer.0, &mut header).await.unwrap();
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        HELLOS.get(number).expect("no third attempt").store(length, Ordering::SeqCst);
        peer.say("this is not TLS").await;
    })
    .await;
    let tls = TlsMode::Opportunistic(TlsUse::with_anyone(ClientTls::new().unwrap()));
    let failure = Connection::open(address, &options(tls)).await.unwrap_err();
    assert_eq!((failure.stage, failure.tls_fault.is_some()), (Stage::StartTls, true));
    let [first, second] = [0, 1].map(|number| HELLOS[number].load(Ordering::SeqCst));
    assert!(first > 1000 && second > 0 && second < 600, "{first} and {second} octets of ClientHello");
}

#[tokio::test]
async fn words_injected_between_the_reply_to_starttls_and_the_handshake_end_the_session() {
    let address = remote(|mut peer, _| async move {
        peer.greet("250-STARTTLS\r\n").await;
        peer.hear("STARTTLS\r\n").await;
        peer.say("220 go\r\n250-mx.example.org\r\n250 X-INJECTED\r\n").await;
    })
    .await;
    let tls = TlsMode::Opportunistic(TlsUse::with_anyone(ClientTls::new().unwrap()));
    let failure = Connection::open(address, &options(tls)).await.unwrap_err();
    assert_eq!(failure.stage, Stage::StartTls);
    assert!(said(&failure.cause).starts_with("Protocol: "), "{failure:?}");
}

#[tokio::test]
async fn commands_injected_after_starttls_are_never_obeyed() {
    let mut served = Served::start(offering(), Some(server_tls())).await;
    let mut peer = Peer::connect(served.address).await;
    peer.hear("\r\n").await;
    peer.say("EHLO x.example\r\n").await;
    peer.hear_reply().await;
    peer.say("STARTTLS\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\nx\r\n.\r\n").await;
    let heard = timeout(PATIENCE, peer.hear_out()).await.unwrap();
    assert!(!heard.contains("250 ") && !heard.contains("354 "), "{heard}");
    loop {
        match served.next().await {
            Seen::Message { .. } => panic!("what was injected was obeyed"),
            Seen::Reset => {}
            Seen::End(_) => break,
        }
    }
}

#[tokio::test]
async fn a_handshake_that_trickles_is_not_waited_for() {
    let tls = server_tls();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut peer = Peer::connect(listener.local_addr().unwrap()).await;
    let (stream, _) = listener.accept().await.unwrap();
    let dripping = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        // A record of 512 octets (RFC 8446 §5.1), each of which comes well within the time.
        for octet in [&[0x16, 3, 1, 2, 0][..], &[1; 512]].concat() {
            ticks.tick().await;
            let _ = tokio::io::AsyncWriteExt::write_all(&mut peer.0, &[octet]).await;
        }
    });
    let accepted = Accepted::in_tls(stream, &tls, Duration::from_millis(300)).await;
    assert_eq!(accepted.map(|_| ()).unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    dripping.abort();
}

#[tokio::test]
async fn a_client_that_cannot_shake_hands_ends_its_session() {
    let mut served = Served::start(offering(), Some(server_tls())).await;
    let mut peer = Peer::connect(served.address).await;
    peer.hear("\r\n").await;
    peer.say("EHLO x.example\r\n").await;
    peer.hear_reply().await;
    peer.say("STARTTLS\r\n").await;
    assert!(peer.hear("\r\n").await.starts_with("220 "));
    peer.say("this is not a ClientHello").await;
    loop {
        match timeout(PATIENCE, served.next()).await.unwrap() {
            Seen::End(end) => {
                assert!(matches!(end, SessionEnd::TlsFailed(_)), "{end:?}");
                break;
            }
            Seen::Reset => {}
            Seen::Message { .. } => panic!("no message was sent"),
        }
    }
}
