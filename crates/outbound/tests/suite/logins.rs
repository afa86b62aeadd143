//! Logins at smarthosts.

use mailtier_config::{Config, Secret, TlsPolicy};
use mailtier_types::{Cause, Stage, TroubleKind};

use crate::peer::{Peer, Script};
use crate::queue::Queue;
use crate::tls::server_tls;
use crate::world::{Worker, letter, only, smarthost};

pub(crate) fn with_login(config: &mut Config, peer: &Peer) {
    smarthost(config, peer);
    let route = &mut config.outbound.routes[0];
    (route.user, route.password) = (Some("user".to_owned()), Some(Secret::new("secret".to_owned())));
    route.tls = Some(TlsPolicy::Required);
}

fn is_login(command: &&String) -> bool {
    command.starts_with("AUTH")
}

#[tokio::test]
async fn we_log_in_once_for_a_connection_and_within_tls() {
    let script = Script::new().with_tls(server_tls()).extension("AUTH LOGIN PLAIN");
    let peer = Peer::start(script.on("AUTH PLAIN AHVzZXIAc2VjcmV0", "235 2.7.0 in").on("AUTH", "535 no")).await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| with_login(config, &peer)).await;
    for to in ["a@d.example", "b@e.example"] {
        let result = queue.deliver(letter(&[to])).await;
        assert!(only(&result).is_delivered() && only(&result).tls.is_some(), "{result:?}");
    }
    let seen = peer.seen();
    assert_eq!((seen.sessions, seen.commands.iter().filter(is_login).count()), (1, 1));
}

#[tokio::test]
async fn old_servers_are_told_name_and_password_one_after_the_other() {
    let script = Script::new().with_tls(server_tls()).extension("AUTH=LOGIN");
    let script =
        script.on("AUTH LOGIN", "334 VXNlcm5hbWU6").on("dXNlcg==", "334 UGFzc3dvcmQ6").on("c2VjcmV0", "235 in");
    let peer = Peer::start(script).await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| with_login(config, &peer)).await;
    assert!(only(&queue.deliver(letter(&["a@d.example"])).await).is_delivered());
}

#[tokio::test]
async fn a_login_that_is_refused_puts_mail_off_and_is_not_said_again_with_every_message() {
    let script = Script::new().with_tls(server_tls()).extension("AUTH PLAIN").on("AUTH", "535 5.7.8 who are you?");
    let peer = Peer::start(script).await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| with_login(config, &peer)).await;
    for (to, more) in [("a@d.example", ""), ("b@e.example", " (a moment ago; it is not asked again for ")] {
        let result = queue.deliver(letter(&[to])).await;
        let outcome = only(&result);
        let Cause::Trouble(trouble) = &outcome.cause else { panic!("{outcome}") };
        assert_eq!((trouble.kind, outcome.stage), (TroubleKind::Login, Stage::Ehlo), "{outcome}");
        let expected = format!("the login was refused: 535 5.7.8 who are you?{more}");
        assert!(trouble.text.starts_with(&expected), "{outcome}");
        assert!(trouble.kind.is_temporary() && outcome.status().to_string() == "4.7.8");
    }
    let seen = peer.seen();
    assert_eq!(seen.commands.iter().filter(is_login).count(), 1, "{:?}", seen.commands);
    assert!(!seen.commands.iter().any(|command| command.starts_with("MAIL")));
}

#[tokio::test]
async fn no_password_goes_out_in_clear_nor_to_whom_it_is_not_offered() {
    for (script, tls, in_clear, kind, stage) in [
        // No TLS at all, TLS of somebody else, no offer within TLS.
        (Script::new().extension("AUTH PLAIN"), Some(TlsPolicy::Required), false, TroubleKind::Tls, Stage::StartTls),
        (Script::new().extension("AUTH PLAIN").with_tls(server_tls()), None, false, TroubleKind::Tls, Stage::StartTls),
        (Script::new().with_tls(server_tls()), Some(TlsPolicy::Required), false, TroubleKind::Login, Stage::Ehlo),
        (Script::new(), Some(TlsPolicy::Off), true, TroubleKind::Login, Stage::Ehlo),
    ] {
        let peer = Peer::start(script).await;
        let queue = Queue::start().await;
        let _worker = Worker::start(&queue, |config| {
            with_login(config, &peer);
            (config.outbound.routes[0].tls, config.outbound.routes[0].sasl_in_clear) = (tls, in_clear);
        })
        .await;
        let result = queue.deliver(letter(&["a@d.example"])).await;
        let Cause::Trouble(trouble) = &only(&result).cause else { panic!("{result:?}") };
        assert_eq!((trouble.kind, only(&result).stage), (kind, stage), "{}", only(&result));
        assert_eq!(peer.seen().commands.iter().filter(is_login).count(), 0);
        assert!(peer.seen().taken.is_empty());
    }
}

#[tokio::test]
async fn where_an_operator_says_so_we_log_in_without_tls() {
    let script = Script::new().extension("AUTH PLAIN").on("AUTH PLAIN AHVzZXIAc2VjcmV0", "235 in");
    let peer = Peer::start(script).await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| {
        with_login(config, &peer);
        (config.outbound.routes[0].tls, config.outbound.routes[0].sasl_in_clear) = (Some(TlsPolicy::Off), true);
    })
    .await;
    assert!(only(&queue.deliver(letter(&["a@d.example"])).await).is_delivered());
}

#[tokio::test]
async fn another_routes_mail_does_not_go_over_a_connection_that_is_logged_in() {
    let script = Script::new().extension("AUTH PLAIN").on("AUTH", "235 in");
    let peer = Peer::start(script).await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| {
        with_login(config, &peer);
        let route = &mut config.outbound.routes[0];
        (route.tls, route.sasl_in_clear, route.domain) = (Some(TlsPolicy::Off), true, Some("in.example".to_owned()));
        let mut other = route.clone();
        (other.user, other.password, other.domain) = (None, None, None);
        config.outbound.routes.push(other);
    })
    .await;
    for to in ["a@in.example", "a@out.example", "b@in.example", "b@out.example"] {
        assert!(only(&queue.deliver(letter(&[to])).await).is_delivered());
    }
    let seen = peer.seen();
    let session_of = |to: &str| seen.taken.iter().find(|taken| taken.recipients[0].contains(to)).unwrap().session;
    assert_eq!(session_of("a@in"), session_of("b@in"));
    assert_eq!(session_of("a@out"), session_of("b@out"));
    assert_ne!(session_of("a@in"), session_of("a@out"));
    assert_eq!(seen.commands.iter().filter(is_login).count(), 1);
}
