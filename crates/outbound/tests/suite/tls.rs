//! STARTTLS towards remote hosts: used where it is offered, done without where it may be, insisted on where it must be.

use std::sync::Arc;

use mailtier_config::TlsPolicy;
use mailtier_tls::{CertificateFiles, ServerTls};
use mailtier_types::{Cause, Stage, TroubleKind};

use crate::peer::{Peer, Script};
use crate::queue::Queue;
use crate::world::{Worker, letter, only, smarthost};

pub(crate) fn server_tls() -> Arc<ServerTls> {
    let issued = rcgen::generate_simple_self_signed(vec!["peer.example".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("certificate.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate, issued.cert.pem()).unwrap();
    std::fs::write(&key, issued.signing_key.serialize_pem()).unwrap();
    ServerTls::load(&[CertificateFiles { certificate, key }], None).unwrap()
}

#[tokio::test]
async fn an_offer_of_tls_is_taken_whatever_the_certificate() {
    let peer = Peer::start(Script::new().with_tls(server_tls())).await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| smarthost(config, &peer)).await;
    for _ in 0..2 {
        let result = queue.deliver(letter(&["a@d.example"])).await;
        let outcome = only(&result);
        assert!(outcome.is_delivered(), "{outcome}");
        assert!(outcome.tls.as_deref().unwrap().starts_with("TLSv1.3 TLS_"), "{:?}", outcome.tls);
    }
    let seen = peer.seen();
    assert!(seen.taken.iter().all(|taken| taken.tls));
    assert_eq!(seen.sessions, 1, "the encrypted connection is used again");
    assert_eq!(seen.commands.iter().filter(|command| command.starts_with("EHLO")).count(), 2, "RFC 3207 section 4.2");
}

#[tokio::test]
async fn where_tls_is_a_bonus_its_failure_costs_only_the_encryption() {
    for script in [Script::new().with_broken_tls(), Script::new().with_broken_tls().on("STARTTLS", "454 4.7.0 not now")]
    {
        let peer = Peer::start(script).await;
        let queue = Queue::start().await;
        let _worker = Worker::start(&queue, |config| smarthost(config, &peer)).await;
        let result = queue.deliver(letter(&["a@d.example"])).await;
        let outcome = only(&result);
        assert!(outcome.is_delivered() && outcome.tls.is_none(), "{outcome}");
        assert!(!peer.seen().taken[0].tls);
    }
}

#[tokio::test]
async fn where_tls_is_a_must_no_message_goes_out_in_clear() {
    for script in [Script::new(), Script::new().with_broken_tls()] {
        let peer = Peer::start(script).await;
        let queue = Queue::start().await;
        let _worker = Worker::start(&queue, |config| {
            smarthost(config, &peer);
            config.outbound.routes[0].tls = Some(TlsPolicy::Required);
        })
        .await;
        let result = queue.deliver(letter(&["a@d.example"])).await;
        let outcome = only(&result);
        let Cause::Trouble(trouble) = &outcome.cause else { panic!("{outcome}") };
        assert_eq!((outcome.stage, trouble.kind), (Stage::StartTls, TroubleKind::Tls), "{outcome}");
        assert!(!peer.seen().commands.iter().any(|command| command.starts_with("MAIL")));
    }
}

#[tokio::test]
async fn an_operator_can_do_without_tls() {
    let peer = Peer::start(Script::new().with_tls(server_tls())).await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| {
        smarthost(config, &peer);
        config.outbound.tls = TlsPolicy::Off;
    })
    .await;
    assert!(only(&queue.deliver(letter(&["a@d.example"])).await).tls.is_none());
    assert!(!peer.seen().commands.contains(&"STARTTLS".to_owned()));
}
