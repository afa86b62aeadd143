//! Owners that change, die and come back: no result is lost, nothing is delivered twice, nothing is begun for nobody.

use std::time::Duration;

use mailtier_types::Epoch;
use tokio::sync::watch;

use crate::peer::{Peer, Script};
use crate::queue::Queue;
use crate::world::{SHARD, Worker, letter, only, smarthost};

/// A peer that says 250 to the end of data once it is told to.
async fn holding_peer() -> (Peer, watch::Sender<bool>) {
    let (go, held) = watch::channel(false);
    (Peer::start(Script::new().hold_final(held)).await, go)
}

#[tokio::test]
async fn a_new_owner_learns_what_is_under_way_and_gets_its_result() {
    let (peer, go) = holding_peer().await;
    let (old, new) = (Queue::start().await, Queue::start().await);
    let _worker = Worker::over(&[&old, &new], |config| smarthost(config, &peer)).await;
    let dispatch = letter(&["a@d.example"]);
    old.dispatch([dispatch.clone()]).await;
    peer.until(|seen| seen.contents == 1).await;
    new.take_over(&[(SHARD, Epoch(2))]).await;
    let held = new.until(|told| told.holdings.iter().any(|holding| !holding.in_flight.is_empty())).await;
    let holding = held.holdings.last().unwrap();
    assert_eq!(holding.shards, [(SHARD, Epoch(2))]);
    assert_eq!((holding.in_flight[0].delivery, holding.in_flight[0].attempt), (dispatch.delivery, 1));
    go.send_replace(true);
    assert!(only(&new.results(1).await[0]).is_delivered());
    assert!(old.told().results.is_empty());
    assert_eq!(peer.seen().taken.len(), 1);
}

#[tokio::test]
async fn a_result_nobody_settled_is_told_to_the_next_owner_and_not_delivered_again() {
    let peer = Peer::start(Script::new()).await;
    let (old, new) = (Queue::unsettling().await, Queue::start().await);
    let _worker = Worker::over(&[&old, &new], |config| smarthost(config, &peer)).await;
    let dispatch = letter(&["a@d.example"]);
    let result = old.deliver(dispatch.clone()).await;
    old.kill();
    new.take_over(&[(SHARD, Epoch(2))]).await;
    assert_eq!(new.results(1).await[0], result);
    let mut again = dispatch;
    again.epoch = Epoch(2);
    let mut fresh = letter(&["b@d.example"]);
    fresh.epoch = Epoch(2);
    let fresh = new.deliver(fresh).await;
    assert!(only(&fresh).is_delivered(), "settled and forgotten");
    assert_eq!(peer.seen().taken.len(), 2);
    new.dispatch([again]).await;
    peer.until(|seen| seen.taken.len() == 3).await;
}

#[tokio::test]
async fn an_owner_that_comes_back_is_told_again_until_it_settles() {
    let peer = Peer::start(Script::new()).await;
    let queue = Queue::unsettling().await;
    let _worker = Worker::start(&queue, |config| smarthost(config, &peer)).await;
    let dispatch = letter(&["a@d.example"]);
    let result = queue.deliver(dispatch.clone()).await;
    queue.take_over(&[(SHARD, Epoch(1))]).await;
    assert_eq!(queue.results(2).await[1], result, "asked, it is told again");
    queue.dispatch([dispatch.clone()]).await;
    assert_eq!(queue.results(3).await[2], result, "and instead of a second delivery");
    queue.settle(&result).await;
    queue.take_over(&[(SHARD, Epoch(1))]).await;
    queue.until(|told| told.holdings.len() == 3).await;
    assert_eq!(queue.told().results.len(), 3, "nothing is left to tell");
    assert_eq!(peer.seen().taken.len(), 1);
}

#[tokio::test]
async fn an_older_owner_is_refused() {
    let peer = Peer::start(Script::new()).await;
    let (old, new) = (Queue::start().await, Queue::start().await);
    let _worker = Worker::over(&[&old, &new], |config| smarthost(config, &peer)).await;
    new.take_over(&[(SHARD, Epoch(5))]).await;
    new.until(|told| told.holdings.iter().any(|holding| !holding.shards.is_empty())).await;
    let mut stale = letter(&["a@d.example"]);
    stale.epoch = Epoch(4);
    let refused = old.deliver(stale).await;
    assert!(refused.not_attempted && refused.outcomes.is_empty(), "{refused:?}");
    let mut current = letter(&["b@d.example"]);
    current.epoch = Epoch(5);
    assert!(only(&new.deliver(current).await).is_delivered());
    assert_eq!(peer.seen().taken[0].recipients, ["RCPT TO:<b@d.example>"]);
}

#[tokio::test]
async fn the_same_delivery_twice_is_attempted_once() {
    let (peer, go) = holding_peer().await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| smarthost(config, &peer)).await;
    let (twice, marker) = (letter(&["a@d.example"]), letter(&["b@d.example"]));
    queue.dispatch([twice.clone(), twice, marker]).await;
    peer.until(|seen| seen.contents == 2).await;
    go.send_replace(true);
    queue.results(2).await;
    assert_eq!((queue.told().results.len(), peer.seen().taken.len()), (2, 2));
}

#[tokio::test]
async fn nothing_is_begun_for_an_owner_that_is_gone() {
    let (go, held) = watch::channel(false);
    let peer = Peer::start(Script::new().hold_banner(held)).await;
    let queue = Queue::start().await;
    let worker = Worker::start(&queue, |config| {
        smarthost(config, &peer);
        config.queue.worker_grace = Duration::ZERO;
        config.outbound.idle_timeout = Duration::from_millis(10);
    })
    .await;
    queue.dispatch([letter(&["a@d.example"])]).await;
    peer.until(|seen| seen.sessions == 1).await;
    queue.kill();
    worker.health.subscribe().wait_for(Option::is_some).await.unwrap();
    go.send_replace(true);
    let seen = peer.until(|seen| seen.commands.last().is_some_and(|command| command == "QUIT")).await;
    assert_eq!(seen.commands, ["EHLO out.example", "QUIT"]);
}

#[tokio::test]
async fn a_worker_is_ready_when_a_queue_can_give_it_work() {
    let queue = Queue::start().await;
    let worker = Worker::start(&queue, |_| {}).await;
    worker.health.subscribe().wait_for(Option::is_none).await.unwrap();
    queue.kill();
    worker.health.subscribe().wait_for(Option::is_some).await.unwrap();
}

#[tokio::test]
async fn credit_is_bounded_over_all_replicas_and_comes_back() {
    let (peer, go) = holding_peer().await;
    let (one, two) = (Queue::start().await, Queue::start().await);
    let _worker = Worker::over(&[&one, &two], |config| {
        smarthost(config, &peer);
        config.outbound.max_in_flight = 8;
    })
    .await;
    two.until(|told| told.credit > 0).await;
    let mut sent = 0;
    while sent + two.told().credit < 8 {
        let granted = one.until(|told| told.credit > sent).await.credit;
        one.dispatch((sent..granted).map(|_| letter(&["a@d.example"]))).await;
        sent = granted;
    }
    assert!(sent >= 5, "one replica can use most of it, and not only {sent}");
    assert!(sent + two.told().credit <= 8 + 2, "{sent} and {}", two.told().credit);
    go.send_replace(true);
    one.results(sent as usize).await;
    one.until(|told| told.credit > sent).await;
}

#[tokio::test]
async fn a_worker_that_leaves_finishes_what_it_began_and_returns_the_rest() {
    let (peer, go) = holding_peer().await;
    let queue = Queue::start().await;
    let mut worker = Worker::start(&queue, |config| smarthost(config, &peer)).await;
    queue.dispatch([letter(&["a@d.example"])]).await;
    peer.until(|seen| seen.contents == 1).await;
    worker.shut_down();
    worker.health.subscribe().wait_for(|reason| *reason == Some("draining")).await.unwrap();
    let late = queue.deliver(letter(&["b@d.example"])).await;
    assert!(late.not_attempted);
    go.send_replace(true);
    assert!(only(&queue.results(2).await[1]).is_delivered());
    worker.ended().await;
    assert_eq!(peer.until(|seen| seen.commands.last().is_some_and(|last| last == "QUIT")).await.taken.len(), 1);
}

#[tokio::test]
async fn a_worker_that_leaves_waits_until_its_results_are_settled() {
    let peer = Peer::start(Script::new()).await;
    let queue = Queue::unsettling().await;
    let mut worker = Worker::start(&queue, |config| smarthost(config, &peer)).await;
    let result = queue.deliver(letter(&["a@d.example"])).await;
    worker.shut_down();
    let ended = worker.ended();
    tokio::pin!(ended);
    tokio::select! {
        biased;
        () = &mut ended => panic!("it left with a result that nobody settled"),
        told = queue.until(|told| told.linked) => drop(told),
    }
    queue.settle(&result).await;
    ended.await;
}

/// With one delivery at a time, more than sixteen unsettled results are too many.
#[tokio::test]
async fn a_worker_asks_for_no_more_while_too_much_is_unsettled_and_goes_on_when_it_is_settled() {
    let peer = Peer::start(Script::new()).await;
    let queue = Queue::unsettling().await;
    let _worker = Worker::start(&queue, |config| {
        smarthost(config, &peer);
        config.outbound.max_in_flight = 1;
    })
    .await;
    let mut granted = 0;
    while granted < 17 {
        granted = queue.until(|told| told.credit > granted).await.credit;
        queue.deliver(letter(&["a@d.example"])).await;
    }
    let results = queue.results(17).await;
    // What was sent before is answered before: the worker has had its chance to ask for more.
    queue.take_over(&[(SHARD, Epoch(1))]).await;
    let told = queue.until(|told| told.holdings.len() >= 2).await;
    assert_eq!(told.credit, granted, "seventeen are unsettled");
    queue.settle(&results[0]).await;
    queue.until(|told| told.credit > granted).await;
}
