//! What of a conversation comes back with the result of an attempt.

use mailtier_api::work::WorkResult;
use mailtier_config::Transcripts;
use mailtier_types::Transcript;

use crate::dns::{self, addresses, mx};
use crate::logins::with_login;
use crate::peer::{Peer, Script};
use crate::queue::Queue;
use crate::resolving::by_dns;
use crate::tls::server_tls;
use crate::world::{Worker, letter, smarthost};

/// The lines without their times, of each outcome that has any.
pub(crate) fn said(result: &WorkResult) -> Vec<Vec<String>> {
    let of = |transcript: &Transcript| {
        transcript.lines().map(|line| format!("{} {}", line.by.mark(), line.text)).collect::<Vec<_>>()
    };
    result.outcomes.iter().filter_map(|(_, outcome)| outcome.transcript.as_ref()).map(of).collect()
}

#[tokio::test]
async fn a_refusal_comes_with_the_whole_conversation_and_once() {
    let peer = Peer::start(Script::new().on("RCPT TO:<a", "550 5.1.1 who?").on("RCPT TO:<b", "450 4.2.1 later")).await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| smarthost(config, &peer)).await;
    let result = queue.deliver(letter(&["a@d.example", "b@d.example", "c@d.example"])).await;
    assert_eq!(result.outcomes.len(), 3);
    let [lines] = &said(&result)[..] else { panic!("{result:?}") };
    let expected = [
        "* 127.0.0.1 [127.0.0.1]",
        "< 220 peer.example ESMTP",
        "> EHLO out.example",
        "< 250-peer.example",
        "< 250-PIPELINING",
        "< 250-8BITMIME",
        "< 250 ENHANCEDSTATUSCODES",
        "> MAIL FROM:<sender@from.example>",
        "> RCPT TO:<a@d.example>",
        "> RCPT TO:<b@d.example>",
        "> RCPT TO:<c@d.example>",
        "> DATA",
        "< 250 2.0.0 ok",
        "< 550 5.1.1 who?",
        "< 450 4.2.1 later",
        "< 250 2.0.0 ok",
        "< 354 go on",
        "* content of 36 octets",
        "< 250 2.0.0 taken",
    ];
    assert_eq!(lines, &expected);
    // The connection carried a transaction already: what was said there is another attempt's.
    let result = queue.deliver(letter(&["a@d.example"])).await;
    let lines = &said(&result)[0];
    assert_eq!(lines[..2], ["* 127.0.0.1 [127.0.0.1]", "* a connection that was open is used again"], "{lines:?}");
    assert_eq!(lines[2], "> MAIL FROM:<sender@from.example>");
    assert_eq!(peer.seen().sessions, 1);
}

#[tokio::test]
async fn of_what_was_delivered_nothing_is_kept_unless_it_is_wanted() {
    for (wanted, failed, delivered) in
        [(Transcripts::None, 0, 0), (Transcripts::Failures, 1, 0), (Transcripts::All, 1, 1)]
    {
        let peer = Peer::start(Script::new().on("RCPT TO:<a", "550 5.1.1 who?")).await;
        let queue = Queue::start().await;
        let _worker = Worker::start(&queue, |config| {
            smarthost(config, &peer);
            config.outbound.transcripts = wanted;
        })
        .await;
        let (bad, good) = (letter(&["a@d.example"]), letter(&["b@d.example"]));
        assert_eq!(said(&queue.deliver(bad).await).len(), failed, "{wanted:?}");
        assert_eq!(said(&queue.deliver(good).await).len(), delivered, "{wanted:?}");
    }
}

#[tokio::test]
async fn every_host_that_was_tried_is_told_of() {
    let refusing = Script::new().banner("554 5.3.2 not today");
    let (port, [_one, _two]) =
        Peer::several([("127.0.0.31", refusing), ("127.0.0.32", Script::new().close_on("MAIL"))]).await;
    let names = dns::serve([
        ("d.example", mx(&[(10, "d0.example"), (20, "d1.example"), (30, "d2.example")])),
        ("d0.example", addresses(&["127.0.0.30"])),
        ("d1.example", addresses(&["127.0.0.31"])),
        ("d2.example", addresses(&["127.0.0.32"])),
    ])
    .await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| by_dns(config, names, port)).await;
    let result = queue.deliver(letter(&["a@d.example"])).await;
    let lines = &said(&result)[0];
    let notes: Vec<_> = lines.iter().filter(|line| line.starts_with('*')).map(String::as_str).collect();
    let refused = format!("* connect to 127.0.0.30:{port}: Connection refused (os error 111)");
    let expected = [
        "* d0.example [127.0.0.30]",
        &refused,
        "* d1.example [127.0.0.31]",
        "* d2.example [127.0.0.32]",
        "* connection lost while sending the envelope",
    ];
    assert_eq!(notes, expected, "{lines:?}");
    assert!(lines.iter().any(|line| line == "< 554 5.3.2 not today"), "{lines:?}");
}

#[tokio::test]
async fn no_password_is_in_it() {
    let script = Script::new().extension("AUTH PLAIN LOGIN").with_tls(server_tls()).on("AUTH", "535 5.7.8 no");
    let peer = Peer::start(script).await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| with_login(config, &peer)).await;
    let result = queue.deliver(letter(&["a@d.example"])).await;
    let lines = &said(&result)[0];
    assert!(lines.iter().any(|line| line == "> AUTH PLAIN [not shown]"), "{lines:?}");
    assert!(lines.iter().any(|line| line == "< 535 5.7.8 no"), "{lines:?}");
    let login = peer.seen().commands.into_iter().find(|command| command.starts_with("AUTH"));
    assert_eq!(login.as_deref(), Some("AUTH PLAIN AHVzZXIAc2VjcmV0"), "which is what is not shown");
}
