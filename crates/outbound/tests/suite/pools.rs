//! Egress pools: mail of each leaves with its own name and addresses, and over no other's connection.

use std::net::{IpAddr, Ipv4Addr};

use mailtier_api::work::Dispatch;
use mailtier_config::EgressPoolConfig;
use mailtier_types::{Cause, Egress, Stage, TroubleKind};

use crate::peer::{Peer, Script};
use crate::queue::Queue;
use crate::world::{Worker, letter, only, smarthost};

fn pool(name: &str, ehlo_name: Option<&str>, sources: &[[u8; 4]]) -> EgressPoolConfig {
    EgressPoolConfig {
        name: name.to_owned(),
        ehlo_name: ehlo_name.map(str::to_owned),
        source_ipv4: sources.iter().copied().map(Ipv4Addr::from).collect(),
        ..EgressPoolConfig::default()
    }
}

fn through(pool: &str) -> Dispatch {
    Dispatch { pool: pool.to_owned(), ..letter(&["a@b.example"]) }
}

fn local(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}

#[tokio::test]
async fn mail_of_each_pool_leaves_with_its_name_and_addresses() {
    let (queue, peer) = (Queue::start().await, Peer::start(Script::new()).await);
    let _worker = Worker::start(&queue, |config| {
        smarthost(config, &peer);
        config.outbound.pools = vec![
            pool("warm", Some("warm.example.com"), &[[127, 0, 0, 2], [127, 0, 0, 3]]),
            pool("cold", None, &[[127, 0, 0, 4]]),
            pool("any", None, &[]),
        ];
    })
    .await;
    let told = queue.until(|told| told.pool_credits.len() == 3).await;
    assert_eq!(told.pools, ["warm", "cold", "any"]);
    assert_eq!(told.credit, 0, "nothing is asked for through a pool that is not served");
    for (name, hello, source) in [
        ("warm", "warm.example.com", Some(local(2))),
        ("cold", "out.example", Some(local(4))),
        ("warm", "warm.example.com", Some(local(2))),
        ("any", "out.example", None),
        ("cold", "out.example", Some(local(4))),
    ] {
        let result = queue.deliver(through(name)).await;
        assert_eq!(
            only(&result).egress,
            Some(Egress { pool: name.to_owned(), source, has_others: name == "warm" }),
            "{result:?}"
        );
        let seen = peer.seen();
        let session = seen.taken.last().unwrap().session;
        assert_eq!(seen.clients[session - 1], source.unwrap_or(local(1)), "{name}");
        let hellos: Vec<&String> = seen.commands.iter().filter(|command| command.starts_with("EHLO")).collect();
        assert_eq!(hellos[session - 1], &format!("EHLO {hello}"), "{name}");
    }
    let sessions: Vec<usize> = peer.seen().taken.iter().map(|taken| taken.session).collect();
    assert_eq!(sessions, [1, 2, 1, 3, 2], "each pool's connection is used again by its own mail");
}

#[tokio::test]
async fn addresses_are_used_in_turn() {
    let (queue, peer) = (Queue::start().await, Peer::start(Script::new()).await);
    let _worker = Worker::start(&queue, |config| {
        smarthost(config, &peer);
        config.outbound.deliveries_per_connection = 1;
        config.outbound.pools = vec![pool("default", None, &[[127, 0, 0, 2], [127, 0, 0, 3]])];
    })
    .await;
    for _ in 0..4 {
        queue.deliver(letter(&["a@b.example"])).await;
    }
    assert_eq!(peer.seen().clients, [local(2), local(3), local(2), local(3)]);
}

#[tokio::test]
async fn what_a_pool_cannot_do_is_our_trouble_and_passes() {
    let (queue, peer) = (Queue::start().await, Peer::start(Script::new()).await);
    let _worker = Worker::start(&queue, |config| {
        smarthost(config, &peer);
        config.outbound.pools = vec![
            pool("gone", None, &[[192, 0, 2, 77]]),
            EgressPoolConfig { source_ipv6: vec!["::1".parse().unwrap()], ..pool("six", None, &[]) },
        ];
    })
    .await;
    for (name, told) in [
        ("gone", "cannot send from the source address 192.0.2.77"),
        ("six", "the egress pool `six` has IPv6 and no IPv4 addresses"),
        ("unheard-of", "this worker does not serve the egress pool `unheard-of`"),
    ] {
        let result = queue.deliver(through(name)).await;
        let outcome = only(&result);
        let Cause::Trouble(trouble) = &outcome.cause else { panic!("{name}: {outcome}") };
        assert!(trouble.text.contains(told), "{name}: {outcome}");
        assert_eq!((trouble.kind, outcome.status().class()), (TroubleKind::Local, 4), "{name}");
        assert!(outcome.stage <= Stage::Connect);
    }
    assert_eq!(peer.seen().sessions, 0);
}

#[tokio::test]
async fn a_worker_without_pools_serves_the_default_one_and_says_nothing_of_it() {
    let (queue, peer) = (Queue::start().await, Peer::start(Script::new()).await);
    let _worker = Worker::start(&queue, |config| smarthost(config, &peer)).await;
    let told = queue.until(|told| told.credit > 0).await;
    assert_eq!((told.pools.as_slice(), told.pool_credits.len()), (&["default".to_owned()][..], 0));
    assert_eq!(only(&queue.deliver(letter(&["a@b.example"])).await).egress, None);
}
