//! Recipients with reverse-paths of their own: each is in a transaction of its own, within one attempt.

use mailtier_api::work::Dispatch;
use mailtier_types::ReversePath;

use crate::peer::{Peer, Script};
use crate::queue::Queue;
use crate::world::{Worker, letter, lines, smarthost};

const RECIPIENTS: [&str; 3] = ["a@d.example", "b@d.example", "c@d.example"];

/// To three recipients, whose return paths have their numbers.
fn with_own_paths() -> Dispatch {
    let path = |text: String| ReversePath::parse(&text).unwrap();
    Dispatch {
        return_path: Some(path("bounces+all@back.example".to_owned())),
        return_paths: (0..3).map(|number| path(format!("bounces+{number}@back.example"))).collect(),
        ..letter(&RECIPIENTS)
    }
}

/// Who got the message with which reverse-path.
fn taken(peer: &Peer) -> Vec<(String, Vec<String>)> {
    let pair = |taken: &crate::peer::Taken| {
        let path = taken.mail.split(['<', '>']).nth(1).unwrap().to_owned();
        (path, taken.recipients.clone())
    };
    peer.seen().taken.iter().map(pair).collect()
}

fn expected(numbers: impl IntoIterator<Item = usize>) -> Vec<(String, Vec<String>)> {
    let pair =
        |number: usize| (format!("bounces+{number}@back.example"), vec![format!("RCPT TO:<{}>", RECIPIENTS[number])]);
    numbers.into_iter().map(pair).collect()
}

#[tokio::test]
async fn each_recipient_is_in_a_transaction_with_its_own_and_keeps_its_own_result() {
    for script in [Script::new(), Script::new().extension("CHUNKING"), Script::with_extensions(&[])] {
        let peer = Peer::start(script.on("RCPT TO:<b", "550 5.1.1 no such user")).await;
        let queue = Queue::start().await;
        let _worker = Worker::start(&queue, |config| smarthost(config, &peer)).await;
        let result = queue.deliver(with_own_paths()).await;
        let told = [
            "a,c: final host 127.0.0.1 said: 250 2.0.0 taken (in reply to final)",
            "b: rcpt host 127.0.0.1 said: 550 5.1.1 no such user (in reply to rcpt)",
        ];
        assert_eq!(lines(&result), told);
        assert_eq!((taken(&peer), peer.seen().sessions), (expected([0, 2]), 1));
    }
}

/// There is no word about the others in it, so they need not wait for the next attempt.
#[tokio::test]
async fn a_remote_that_lets_go_between_two_transactions_is_connected_to_again() {
    let farewells = || Script::new().once("MAIL", "250 ok").once("MAIL", "421 4.4.2 one at a time");
    for script in [Script::new().close_after(1), farewells()] {
        let peer = Peer::start(script).await;
        let queue = Queue::start().await;
        let _worker = Worker::start(&queue, |config| smarthost(config, &peer)).await;
        let result = queue.deliver(with_own_paths()).await;
        assert_eq!(lines(&result), ["a,b,c: final host 127.0.0.1 said: 250 2.0.0 taken (in reply to final)"]);
        assert_eq!(taken(&peer), expected(0..3));
    }
}

/// Otherwise those behind the first would never have their turn.
#[tokio::test]
async fn a_remote_that_never_answers_the_content_gets_it_for_each_recipient() {
    let peer = Peer::start(Script::new().close_on("DATA-END")).await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| smarthost(config, &peer)).await;
    let result = queue.deliver(with_own_paths()).await;
    let lost = "connection lost while waiting for the reply to the end of data";
    assert_eq!(lines(&result), [format!("a,b,c: final {lost} (host 127.0.0.1, final)")]);
    assert_eq!((peer.seen().sessions, peer.seen().contents), (3, 3));
}

#[tokio::test]
async fn a_remote_that_takes_nobody_is_not_connected_to_for_ever() {
    let peer = Peer::start(Script::new().once("MAIL", "250 ok").close_on("MAIL")).await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| smarthost(config, &peer)).await;
    let result = queue.deliver(with_own_paths()).await;
    let told = [
        "a: final host 127.0.0.1 said: 250 2.0.0 taken (in reply to final)",
        "b,c: mail connection lost while sending the envelope (host 127.0.0.1, mail)",
    ];
    assert_eq!(lines(&result), told);
    assert_eq!(peer.seen().sessions, 2);
}
