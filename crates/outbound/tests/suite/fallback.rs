//! What happens within one attempt when a host refuses, breaks off or takes only some: who is tried next, and what is
//! told about whom.

use mailtier_config::RouteConfig;
use mailtier_types::{Cause, Stage, TroubleKind};

use crate::dns::{self, addresses, mx};
use crate::peer::{Peer, Script};
use crate::queue::Queue;
use crate::resolving::by_dns;
use crate::world::{TEXT, Worker, letter, lines, only, smarthost, with_body};

/// A worker whose mail for d.example goes to `first`, then to a host that takes all.
async fn with_second(first: Script) -> (Queue, Worker, Peer, Peer) {
    let (port, [one, two]) = Peer::several([("127.0.0.31", first), ("127.0.0.32", Script::new())]).await;
    let names = dns::serve([
        ("d.example", mx(&[(10, "d1.example"), (20, "d2.example")])),
        ("d1.example", addresses(&["127.0.0.31"])),
        ("d2.example", addresses(&["127.0.0.32"])),
    ])
    .await;
    let queue = Queue::start().await;
    let worker = Worker::start(&queue, |config| by_dns(config, names, port)).await;
    (queue, worker, one, two)
}

#[tokio::test]
async fn content_and_envelope_arrive_as_they_were() {
    let peer = Peer::start(Script::new()).await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| smarthost(config, &peer)).await;
    let result = queue.deliver(letter(&["a@d.example", "b@d.example"])).await;
    assert_eq!(lines(&result), ["a,b: final host 127.0.0.1 said: 250 2.0.0 taken (in reply to final)"]);
    let seen = peer.seen();
    assert_eq!(seen.taken.len(), 1);
    assert!(seen.taken[0].mail.starts_with("MAIL FROM:<sender@from.example>"), "{}", seen.taken[0].mail);
    assert_eq!(seen.taken[0].recipients, ["RCPT TO:<a@d.example>", "RCPT TO:<b@d.example>"]);
    assert_eq!(
        seen.taken[0].content,
        TEXT.replace("\r\n.dot", "\r\n..dot"),
        "dots are stuffed (RFC 5321 section 4.5.2)"
    );
    assert_eq!(seen.commands[0], "EHLO out.example");
}

#[tokio::test]
async fn a_session_that_ends_under_a_message_moves_it_to_the_next_host() {
    for script in [
        Script::new().close_at_banner(),
        Script::new().banner("421 too busy"),
        Script::new().banner("554 go away"),
        Script::new().close_on("EHLO"),
        Script::new().on("EHLO", "421 too busy"),
        Script::new().close_on("MAIL"),
        Script::new().last_words("MAIL", "421 shutting down"),
        Script::new().close_on("RCPT"),
        Script::new().last_words("RCPT", "421 shutting down"),
        Script::new().close_on("DATA"),
        Script::new().last_words("DATA", "421 shutting down"),
        Script::new().on("EHLO", "nonsense"),
    ] {
        let (queue, _worker, one, two) = with_second(script).await;
        let result = queue.deliver(letter(&["a@d.example"])).await;
        let outcome = only(&result);
        assert!(outcome.is_delivered(), "{outcome}, after {:?}", one.seen().commands);
        assert_eq!(outcome.remote.as_ref().unwrap().name, "d2.example");
        assert_eq!((one.seen().sessions, two.seen().taken.len()), (1, 1));
    }
}

#[tokio::test]
async fn a_word_about_the_message_is_the_last_one_of_the_attempt() {
    for (script, stage, class) in [
        (Script::new().on("MAIL", "451 not now"), Stage::Mail, 4),
        (Script::new().on("MAIL", "550 not from you"), Stage::Mail, 5),
        (Script::new().on("RCPT", "450 4.2.0 greylisted"), Stage::Rcpt, 4),
        (Script::new().on("RCPT", "550 5.1.1 no such user"), Stage::Rcpt, 5),
        (Script::new().on("DATA-END", "451 try later"), Stage::Final, 4),
        (Script::new().on("DATA-END", "554 5.7.1 spam"), Stage::Final, 5),
    ] {
        let (queue, _worker, _one, two) = with_second(script).await;
        let result = queue.deliver(letter(&["a@d.example"])).await;
        let outcome = only(&result);
        assert_eq!((outcome.stage, outcome.status().class()), (stage, class), "{outcome}");
        assert_eq!(outcome.remote.as_ref().unwrap().name, "d1.example");
        assert_eq!(two.seen().sessions, 0, "{outcome}");
    }
}

#[tokio::test]
async fn a_connection_lost_after_the_content_is_not_followed_by_a_second_copy() {
    let (queue, _worker, one, two) = with_second(Script::new().close_on("DATA-END")).await;
    let result = queue.deliver(letter(&["a@d.example"])).await;
    let outcome = only(&result);
    let Cause::Trouble(trouble) = &outcome.cause else { panic!("{outcome}") };
    assert_eq!((outcome.stage, trouble.kind), (Stage::Final, TroubleKind::Unanswered), "{outcome}");
    assert_eq!((one.seen().contents, two.seen().sessions), (1, 0));
}

#[tokio::test]
async fn recipients_have_outcomes_of_their_own() {
    let script = Script::new()
        .on("RCPT TO:<b@", "550 5.1.1 no such user")
        .on("RCPT TO:<d@", "550 5.1.1 no such user")
        .on("RCPT TO:<c@", "450 4.2.1 busy");
    let peer = Peer::start(script).await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| smarthost(config, &peer)).await;
    let everyone = ["a@d.example", "b@d.example", "c@d.example", "d@d.example", "e@d.example"];
    let result = queue.deliver(letter(&everyone)).await;
    assert_eq!(
        lines(&result),
        [
            "a,e: final host 127.0.0.1 said: 250 2.0.0 taken (in reply to final)",
            "b,d: rcpt host 127.0.0.1 said: 550 5.1.1 no such user (in reply to rcpt)",
            "c: rcpt host 127.0.0.1 said: 450 4.2.1 busy (in reply to rcpt)",
        ]
    );
    assert_eq!(peer.seen().taken[0].recipients, ["RCPT TO:<a@d.example>", "RCPT TO:<e@d.example>"]);
}

#[tokio::test]
async fn recipients_beyond_a_hosts_limit_follow_in_more_transactions() {
    let peer = Peer::start(Script::new().recipients_limit(2)).await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| smarthost(config, &peer)).await;
    let everyone = ["a@d.example", "b@d.example", "c@d.example", "d@d.example", "e@d.example"];
    let result = queue.deliver(letter(&everyone)).await;
    assert!(only(&result).is_delivered());
    assert_eq!(result.outcomes[0].0.len(), 5);
    let seen = peer.seen();
    assert_eq!(seen.taken.iter().map(|taken| taken.recipients.len()).collect::<Vec<_>>(), [2, 2, 1]);
    assert_eq!(seen.sessions, 1);
}

#[tokio::test]
async fn what_a_remote_cannot_take_is_not_forced_on_it() {
    let peer = Peer::start(Script::new()).await;
    let able = Peer::start(Script::new().extension("SMTPUTF8")).await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| {
        smarthost(config, &peer);
        config.outbound.routes[0].domain = Some("old.example".to_owned());
        config.outbound.routes.push(RouteConfig::to_hosts("new.example", vec![able.address.to_string()]));
    })
    .await;
    let text = "Subject: grüße\r\n\r\nHallo\r\n";
    let international =
        |to: &str| with_body(&[to], text, |options| (options.smtputf8, options.eight_bit) = (true, true));
    let refused = queue.deliver(international("a@old.example")).await;
    let Cause::Trouble(trouble) = &only(&refused).cause else { panic!("{refused:?}") };
    assert_eq!(trouble.kind, TroubleKind::Smtputf8);
    assert!(only(&queue.deliver(international("ä@new.example")).await).is_delivered());
    let taken = able.seen().taken.pop().unwrap();
    assert!(taken.mail.contains(" SMTPUTF8") && taken.mail.contains(" BODY=8BITMIME"), "{}", taken.mail);
    assert_eq!((taken.recipients[0].as_str(), taken.content.as_str()), ("RCPT TO:<ä@new.example>", text));
    assert!(peer.seen().taken.is_empty());
}
