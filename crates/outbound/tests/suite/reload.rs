//! Another configuration while deliveries are under way.

use mailtier_config::{EgressPoolConfig, RouteConfig, Secret};

use crate::peer::{Peer, Script};
use crate::queue::Queue;
use crate::world::{Worker, letter, only, smarthost};

#[tokio::test]
async fn a_route_that_changes_counts_for_the_next_attempt_and_over_no_old_connection() {
    let (old, new) = (Peer::start(Script::new()).await, Peer::start(Script::new()).await);
    let queue = Queue::start().await;
    let worker = Worker::start(&queue, |config| smarthost(config, &old)).await;
    assert!(only(&queue.deliver(letter(&["a@d.example"])).await).is_delivered());
    worker.reload(|config| smarthost(config, &new)).unwrap();
    assert!(only(&queue.deliver(letter(&["a@d.example"])).await).is_delivered());
    assert_eq!((old.seen().taken.len(), new.seen().taken.len()), (1, 1));
    old.until(|seen| seen.commands.iter().any(|command| command.starts_with("QUIT"))).await;
    // Another name, to the same host: what was opened under the old one is not used.
    let named = |config: &mut mailtier_config::Config| {
        smarthost(config, &new);
        config.outbound.ehlo_name = Some("renamed.example".into());
    };
    worker.reload(named).unwrap();
    assert!(only(&queue.deliver(letter(&["a@d.example"])).await).is_delivered());
    let seen = new.seen();
    assert_eq!(seen.sessions, 2);
    assert!(seen.commands.iter().any(|command| command == "EHLO renamed.example"), "{:?}", seen.commands);
}

#[tokio::test]
async fn what_is_under_way_ends_as_it_began() {
    let (slow, new) = (Peer::start(Script::new()).await, Peer::start(Script::new()).await);
    let queue = Queue::start().await;
    let worker = Worker::start(&queue, |config| smarthost(config, &slow)).await;
    let many: Vec<_> = (0..50).map(|_| letter(&["a@d.example"])).collect();
    let results = async {
        queue.dispatch(many).await;
        queue.results(50).await
    };
    let reloads = async {
        for turn in 0..20 {
            let to = if turn % 2 == 0 { &new } else { &slow };
            worker.reload(|config| smarthost(config, to)).unwrap();
            tokio::task::yield_now().await;
        }
    };
    let (results, ()) = tokio::join!(results, reloads);
    assert!(results.iter().all(|result| only(result).is_delivered()));
    assert_eq!(slow.seen().taken.len() + new.seen().taken.len(), 50, "each once");
}

#[tokio::test]
async fn a_bad_route_changes_nothing_and_a_pool_that_is_gone_stays() {
    let (peer, other) = (Peer::start(Script::new()).await, Peer::start(Script::new()).await);
    let queue = Queue::start().await;
    let worker = Worker::start(&queue, |config| smarthost(config, &peer)).await;
    let bad = |config: &mut mailtier_config::Config| {
        config.outbound.routes = vec![RouteConfig {
            user: Some("u".into()),
            password: Some(Secret::new("p".into())),
            client_certificate: Some("/nonexistent".into()),
            client_key: Some("/nonexistent".into()),
            ..RouteConfig::to_hosts("*", vec![other.address.to_string()])
        }];
    };
    assert!(worker.reload(bad).is_err());
    assert!(only(&queue.deliver(letter(&["a@d.example"])).await).is_delivered());
    let pools = |config: &mut mailtier_config::Config| {
        smarthost(config, &peer);
        config.outbound.pools = vec![EgressPoolConfig { name: "bulk".into(), ..EgressPoolConfig::default() }];
    };
    worker.reload(pools).unwrap();
    assert!(only(&queue.deliver(letter(&["a@d.example"])).await).is_delivered(), "the pool `default` was promised");
    assert!(other.seen().taken.is_empty());
}
