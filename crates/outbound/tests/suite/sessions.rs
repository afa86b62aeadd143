//! Connections that carry more than one message, and how they end.

use mailtier_config::RouteConfig;
use std::time::Duration;

use crate::peer::{Peer, Script};
use crate::queue::Queue;
use crate::world::{Worker, letter, only, smarthost};

#[tokio::test]
async fn one_connection_carries_message_after_message() {
    let peer = Peer::start(Script::new()).await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| smarthost(config, &peer)).await;
    for _ in 0..5 {
        assert!(only(&queue.deliver(letter(&["a@d.example"])).await).is_delivered());
    }
    let seen = peer.seen();
    assert_eq!((seen.sessions, seen.taken.len()), (1, 5));
    assert_eq!(seen.commands.iter().filter(|command| command.starts_with("EHLO")).count(), 1);
}

#[tokio::test]
async fn a_refused_recipient_does_not_cost_the_connection() {
    let peer = Peer::start(Script::new().on("RCPT TO:<bad", "550 5.1.1 no such user")).await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| smarthost(config, &peer)).await;
    assert!(!only(&queue.deliver(letter(&["bad@d.example"])).await).is_delivered());
    assert!(only(&queue.deliver(letter(&["good@d.example"])).await).is_delivered());
    assert_eq!(peer.seen().sessions, 1);
}

#[tokio::test]
async fn a_connection_that_died_while_idle_is_replaced_without_a_deferral() {
    for script in [Script::new().close_after(1), Script::new().once("MAIL", "250 2.1.0 ok").close_on("MAIL")] {
        let peer = Peer::start(script).await;
        let queue = Queue::start().await;
        let _worker = Worker::start(&queue, |config| smarthost(config, &peer)).await;
        assert!(only(&queue.deliver(letter(&["a@d.example"])).await).is_delivered());
        let again = queue.deliver(letter(&["a@d.example"])).await;
        // The second script closes every connection at its second MAIL, the new one at its first.
        if only(&again).is_delivered() {
            assert_eq!(peer.seen().taken.len(), 2);
        }
        assert_eq!(peer.seen().sessions, 2, "{again:?}");
    }
}

#[tokio::test]
async fn words_of_farewell_on_an_idle_connection_count_for_nothing() {
    let peer = Peer::start(Script::new().once("MAIL", "250 2.1.0 ok").once("MAIL", "421 4.4.2 idle too long")).await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| smarthost(config, &peer)).await;
    for _ in 0..2 {
        assert!(only(&queue.deliver(letter(&["a@d.example"])).await).is_delivered());
    }
    assert_eq!((peer.seen().sessions, peer.seen().taken.len()), (2, 2));
}

#[tokio::test]
async fn a_connection_is_closed_properly_when_it_has_done_enough() {
    let peer = Peer::start(Script::new()).await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| {
        smarthost(config, &peer);
        config.outbound.deliveries_per_connection = 2;
    })
    .await;
    for _ in 0..4 {
        assert!(only(&queue.deliver(letter(&["a@d.example"])).await).is_delivered());
    }
    let seen = peer.until(|seen| quits(&seen.commands) == 2).await;
    assert_eq!(seen.taken.iter().map(|taken| taken.session).collect::<Vec<_>>(), [1, 1, 2, 2]);
}

#[tokio::test]
async fn an_idle_connection_is_let_go_with_quit() {
    let peer = Peer::start(Script::new()).await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| {
        smarthost(config, &peer);
        config.outbound.idle_timeout = Duration::from_millis(50);
    })
    .await;
    assert!(only(&queue.deliver(letter(&["a@d.example"])).await).is_delivered());
    peer.until(|seen| quits(&seen.commands) == 1).await;
}

#[tokio::test]
async fn an_idle_connection_gives_way_when_another_host_needs_its_place() {
    let (one, two) = (Peer::start(Script::new()).await, Peer::start(Script::new()).await);
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| {
        smarthost(config, &one);
        let hosts = vec![two.address.to_string()];
        config.outbound.routes.push(RouteConfig::to_hosts("two.example", hosts));
        config.outbound.max_connections = 1;
    })
    .await;
    for to in ["a@one.example", "a@two.example", "b@one.example", "b@two.example"] {
        assert!(only(&queue.deliver(letter(&[to])).await).is_delivered(), "{to}");
    }
    queue.dispatch((0..20).map(|n| letter(&[if n % 2 == 0 { "c@one.example" } else { "c@two.example" }]))).await;
    queue.results(24).await;
    assert_eq!(one.seen().taken.len() + two.seen().taken.len(), 24);
}

fn quits(commands: &[String]) -> usize {
    commands.iter().filter(|command| *command == "QUIT").count()
}
