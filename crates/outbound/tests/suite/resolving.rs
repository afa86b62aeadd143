//! Where mail goes: MX records, addresses, routes, and what is said when there is nowhere to go.

use std::net::SocketAddr;
use std::time::Duration;

use mailtier_api::work::Dispatch;
use mailtier_config::{Config, RouteConfig, Transcripts};
use mailtier_types::{Cause, Stage, TroubleKind};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::dns::{self, Say, addresses, mx};
use crate::peer::{Peer, Script};
use crate::queue::Queue;
use crate::transcripts::said;
use crate::world::{Worker, letter, only, smarthost};

#[tokio::test]
async fn a_message_goes_to_the_best_exchanger_that_takes_it() {
    let closed = Script::new().close_at_banner();
    let refusing = Script::new().banner("554 no mail here");
    let (port, [first, second, third, fourth]) = Peer::several([
        ("127.0.0.11", closed),
        ("127.0.0.12", refusing),
        ("127.0.0.13", Script::new()),
        ("127.0.0.14", Script::new()),
    ])
    .await;
    let names = dns::serve([
        (
            "d.example",
            mx(&[(40, "d4.example"), (30, "d3.example"), (20, "d2.example"), (10, "d1.example"), (5, "d0.example")]),
        ),
        ("d0.example", addresses(&["127.0.0.15"])),
        ("d1.example", addresses(&["127.0.0.11"])),
        ("d2.example", addresses(&["127.0.0.12"])),
        ("d3.example", addresses(&["127.0.0.13"])),
        ("d4.example", addresses(&["127.0.0.14"])),
    ])
    .await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| by_dns(config, names, port)).await;
    let result = queue.deliver(letter(&["a@d.example"])).await;
    let outcome = only(&result);
    assert!(outcome.is_delivered(), "{outcome}");
    let remote = outcome.remote.clone().unwrap();
    assert_eq!((remote.name.as_str(), remote.address.unwrap().to_string().as_str()), ("d3.example", "127.0.0.13"));
    assert_eq!([&first, &second, &third, &fourth].map(|peer| peer.seen().sessions), [1, 1, 1, 0]);
    assert_eq!(third.seen().taken.len(), 1);
}

#[tokio::test]
async fn both_families_are_tried_and_a_dead_address_does_not_matter() {
    let (port, [four]) = Peer::several([("127.0.0.1", Script::new())]).await;
    let names = dns::serve([("d.example", addresses(&["::1", "127.0.0.1"]))]).await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| by_dns(config, names, port)).await;
    assert!(only(&queue.deliver(letter(&["a@d.example"])).await).is_delivered());
    assert_eq!(four.seen().taken.len(), 1);
}

#[tokio::test]
async fn an_address_of_ipv6_is_as_good() {
    let (port, [six, four]) = Peer::several([("::1", Script::new()), ("127.0.0.1", Script::new())]).await;
    let names = dns::serve([("d.example", addresses(&["127.0.0.1", "::1"]))]).await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| by_dns(config, names, port)).await;
    assert!(only(&queue.deliver(letter(&["a@d.example"])).await).is_delivered());
    assert_eq!((six.seen().taken.len(), four.seen().taken.len()), (1, 0), "IPv6 has the first turn");
}

#[tokio::test]
async fn reasons_not_to_try_anyone_are_told_apart() {
    let names = dns::serve([
        ("null.example", mx(&[(0, "")])),
        ("broken.example", Say::ServFail),
        ("here.example", mx(&[(10, "mx.here.example")])),
        ("mx.here.example", addresses(&["127.0.0.1", "10.1.2.3"])),
        ("loop.example", mx(&[(10, "out.example"), (20, "mx.here.example")])),
    ])
    .await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| {
        by_dns(config, names, 25);
        config.outbound.allow_private_addresses = false;
    })
    .await;
    for (domain, kind) in [
        ("null.example", TroubleKind::NullMx),
        ("missing.example", TroubleKind::NoSuchDomain),
        ("broken.example", TroubleKind::DnsTemporary),
        ("here.example", TroubleKind::NoSuchDomain),
        ("loop.example", TroubleKind::Loop),
        ("[127.0.0.1]", TroubleKind::NoSuchDomain),
    ] {
        let result = queue.deliver(letter(&[&format!("a@{domain}")])).await;
        let outcome = only(&result);
        let Cause::Trouble(trouble) = &outcome.cause else { panic!("{domain}: {outcome}") };
        assert_eq!((trouble.kind, outcome.stage), (kind, Stage::Resolve), "{domain}: {outcome}");
        assert!(outcome.remote.is_none());
    }
}

/// An address that takes no further connection and refuses none: its queue is full, and nobody takes from it.
async fn silent(address: SocketAddr) -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(address).unwrap();
    let listener = socket.listen(1).unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
        waiting.push(stream.unwrap());
    }
    (listener, waiting)
}

#[tokio::test]
async fn an_address_that_does_not_answer_costs_one_message_its_time_and_not_each() {
    let (port, [second]) = Peer::several([("127.0.0.13", Script::new())]).await;
    let queue_of_first = silent(SocketAddr::new([127, 0, 0, 91].into(), port)).await;
    let names = dns::serve([
        ("d.example", mx(&[(10, "d1.example"), (20, "d2.example")])),
        ("e.example", mx(&[(10, "d1.example")])),
        ("d1.example", addresses(&["127.0.0.91"])),
        ("d2.example", addresses(&["127.0.0.13"])),
    ])
    .await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| {
        by_dns(config, names, port);
        config.outbound.connect_timeout = Duration::from_secs(1);
        config.outbound.transcripts = Transcripts::All;
        config.outbound.idle_timeout = Duration::ZERO;
    })
    .await;
    let first = format!("* connect to 127.0.0.91:{port}: timed out");
    for (number, waits) in [(1, true), (2, false), (3, false)] {
        let result = queue.deliver(letter(&["a@d.example"])).await;
        assert!(only(&result).is_delivered(), "{result:?}");
        let told = &said(&result)[0];
        assert_eq!(told.contains(&first), waits, "message {number}: {told:?}");
        let passed_over = "* d1.example [127.0.0.91] did not answer a while ago, and comes after all others";
        assert_eq!(told[0] == passed_over, !waits, "message {number}: {told:?}");
    }
    assert_eq!(second.seen().taken.len(), 3);
    // Where there is no other it is tried all the same, and has come back.
    let result = queue.deliver(letter(&["a@e.example"])).await;
    assert!(only(&result).to_string().contains("timed out"), "{result:?}");
    drop(queue_of_first);
    let _first = Peer::there(SocketAddr::new([127, 0, 0, 91].into(), port), Script::new()).await;
    assert!(only(&queue.deliver(letter(&["a@e.example"])).await).is_delivered());
    let result = queue.deliver(letter(&["a@d.example"])).await;
    assert_eq!(only(&result).remote.as_ref().unwrap().name, "d1.example", "the best exchanger, since it answers again");
}

#[tokio::test]
async fn routes_replace_dns_and_the_nearest_one_counts() {
    let (smart, exact) = (Peer::start(Script::new()).await, Peer::start(Script::new()).await);
    let queue = Queue::start().await;
    let dead = "127.0.0.1:1".to_owned();
    let _worker = Worker::start(&queue, |config| {
        smarthost(config, &smart);
        let hosts = vec![dead, exact.address.to_string()];
        config.outbound.routes.push(RouteConfig::to_hosts(".routed.example", hosts));
    })
    .await;
    for to in ["a@routed.example", "b@deep.routed.example"] {
        assert!(only(&queue.deliver(letter(&[to])).await).is_delivered());
    }
    assert_eq!(smart.seen().taken[0].recipients, ["RCPT TO:<a@routed.example>"]);
    assert_eq!(exact.seen().taken[0].recipients, ["RCPT TO:<b@deep.routed.example>"], "the second host of the route");
}

#[tokio::test]
async fn an_operators_way_for_one_delivery_comes_before_routes_and_dns() {
    let (smart, ordered) = (Peer::start(Script::new()).await, Peer::start(Script::new()).await);
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| smarthost(config, &smart)).await;
    // A private address, after one where nobody listens: an operator may name it as the configuration may.
    let hosts = ["127.0.0.1:1", &ordered.address.to_string()].map(|host| host.parse().unwrap()).to_vec();
    let dispatch = Dispatch { hosts, ..letter(&["a@d.example"]) };
    assert!(only(&queue.deliver(dispatch).await).is_delivered());
    assert!(only(&queue.deliver(letter(&["b@d.example"])).await).is_delivered());
    assert_eq!(ordered.seen().taken[0].recipients, ["RCPT TO:<a@d.example>"]);
    assert_eq!(smart.seen().taken[0].recipients, ["RCPT TO:<b@d.example>"], "the others go their own way");
    assert_eq!((ordered.seen().taken.len(), smart.seen().taken.len()), (1, 1));
}

#[tokio::test]
async fn when_nobody_can_be_reached_the_last_hope_speaks() {
    let (port, [_refusing]) = Peer::several([("127.0.0.21", Script::new().banner("554 never"))]).await;
    let names = dns::serve([
        ("d.example", mx(&[(10, "d1.example"), (20, "d2.example")])),
        ("d1.example", addresses(&["127.0.0.22"])),
        ("d2.example", addresses(&["127.0.0.21"])),
        ("e.example", mx(&[(10, "d2.example")])),
    ])
    .await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| by_dns(config, names, port)).await;
    let result = queue.deliver(letter(&["a@d.example"])).await;
    let outcome = only(&result);
    assert_eq!(outcome.stage, Stage::Connect, "a host that may come back outlives one that refuses: {outcome}");
    assert_eq!(outcome.status().to_string(), "4.4.1");
    assert_eq!(outcome.remote.as_ref().unwrap().name, "d1.example");
    let result = queue.deliver(letter(&["a@e.example"])).await;
    let outcome = only(&result);
    assert_eq!((outcome.stage, outcome.status().class()), (Stage::Banner, 5), "{outcome}");
}

/// Resolves by this name server and connects to this port.
pub(crate) fn by_dns(config: &mut Config, names: std::net::SocketAddr, port: u16) {
    config.outbound.dns_servers = vec![names];
    config.outbound.smtp_port = port;
    config.outbound.allow_private_addresses = true;
}

#[tokio::test]
async fn who_asks_first_learns_the_exchanger_and_nothing_is_attempted() {
    let (port, [peer]) = Peer::several([("127.0.0.1", Script::new())]).await;
    let names = dns::serve([
        ("d.example", mx(&[(20, "second.example"), (10, "first.example")])),
        ("first.example", addresses(&["127.0.0.1"])),
        ("second.example", addresses(&["127.0.0.2"])),
        ("broken.example", Say::ServFail),
    ])
    .await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| by_dns(config, names, port)).await;
    let asking = |recipient| Dispatch { resolve_first: true, body: None, ..letter(&[recipient]) };
    let answer = queue.deliver(asking("a@d.example")).await;
    assert_eq!((answer.not_attempted, answer.exchanger.as_deref()), (true, Some("first.example")));
    assert_eq!((answer.outcomes.len(), peer.seen().sessions), (0, 0));
    // Where nobody is found there is nobody to protect, and the attempt says why.
    let failed = queue.deliver(asking("a@broken.example")).await;
    let Cause::Trouble(trouble) = &only(&failed).cause else { panic!("{failed:?}") };
    assert_eq!((trouble.kind, failed.exchanger.is_none()), (TroubleKind::DnsTemporary, true));
}
