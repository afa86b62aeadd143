//! Which way the recipients of a delivery take, and ways that are no mail host.

use mailtier_api::work::Dispatch;
use mailtier_config::{MessageClass, RouteConfig, RouteVia};
use mailtier_types::{Cause, ReversePath, Stage, TenantId, TroubleKind};

use crate::peer::{Peer, Script};
use crate::queue::Queue;
use crate::world::{Worker, letter, lines, only, smarthost};

fn via(via: RouteVia) -> RouteConfig {
    RouteConfig { via: Some(via), ..RouteConfig::default() }
}

#[tokio::test]
async fn recipients_of_one_domain_take_their_own_ways_in_one_attempt() {
    let (ordinary, special) = (Peer::start(Script::new()).await, Peer::start(Script::new().on("RCPT", "550 no")).await);
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| {
        smarthost(config, &ordinary);
        let one = |text: &str| Some(text.to_owned());
        config.outbound.routes.extend([
            RouteConfig { recipient: one("Sink@d.example"), name: one("sink"), ..via(RouteVia::Discard) },
            RouteConfig { recipient: one("wait@d.example"), ..via(RouteVia::Hold) },
            RouteConfig {
                recipient: one("no@d.example"),
                hosts: vec![special.address.to_string()],
                ..RouteConfig::default()
            },
        ]);
    })
    .await;
    let to = ["a@d.example", "sink@d.example", "wait@d.example", "no@d.example", "b@d.example"];
    let result = queue.deliver(letter(&to)).await;
    assert_eq!(
        lines(&result),
        [
            "a,b: final host 127.0.0.1 said: 250 2.0.0 taken (in reply to final)",
            "no: rcpt host 127.0.0.1 said: 550 no (in reply to rcpt)",
            "sink: final 250 2.0.0 discarded by the route `sink` (in reply to final)",
            "wait: resolve held by the route `recipient wait@d.example` (resolve)",
        ]
    );
    assert_eq!(ordinary.seen().taken[0].recipients, ["RCPT TO:<a@d.example>", "RCPT TO:<b@d.example>"]);
    assert!(!result.own_way, "some took the way of all");
    let held = queue.deliver(letter(&["wait@d.example"])).await;
    let Cause::Trouble(trouble) = &only(&held).cause else { panic!("{held:?}") };
    assert_eq!((trouble.kind, held.own_way), (TroubleKind::Held, true));
    // An operator has let it go: it takes the way that it would take without that route.
    let released = queue.deliver(Dispatch { was_held: true, ..letter(&["wait@d.example"]) }).await;
    assert!(only(&released).is_delivered(), "{released:?}");
    assert_eq!(ordinary.seen().taken[1].recipients, ["RCPT TO:<wait@d.example>"]);
}

#[tokio::test]
async fn senders_tenants_and_classes_have_ways_of_their_own() {
    let peers = [Peer::start(Script::new()).await, Peer::start(Script::new()).await, Peer::start(Script::new()).await];
    let [all, corp, bulk] = &peers;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| {
        smarthost(config, all);
        let to = |peer: &Peer| RouteConfig { hosts: vec![peer.address.to_string()], ..RouteConfig::default() };
        config.outbound.routes[0].domain = None;
        config.outbound.routes.extend([
            RouteConfig { sender: Some("corp.example".to_owned()), ..to(corp) },
            RouteConfig { tenant: Some(7), class: Some(MessageClass::Bulk), ..to(bulk) },
        ]);
    })
    .await;
    let from = |sender: &str| ReversePath::parse(sender).unwrap();
    let letters = [
        letter(&["a@d.example"]),
        // Its bounces come back elsewhere, and its route is still its sender's.
        Dispatch {
            sender: from("s@corp.example"),
            return_path: Some(from("bounces+x@back.example")),
            ..letter(&["b@d.example"])
        },
        Dispatch { sender: from(""), ..letter(&["c@d.example"]) },
        Dispatch { tenant: TenantId(7), priority: -4, ..letter(&["d@d.example"]) },
        Dispatch { tenant: TenantId(7), priority: 0, ..letter(&["e@d.example"]) },
    ];
    let mut own = Vec::new();
    for letter in letters {
        let result = queue.deliver(letter).await;
        assert!(only(&result).is_delivered());
        own.push(result.own_way);
    }
    assert_eq!(
        own,
        [false, true, false, true, false],
        "what a sender's smarthost does says nothing of the destination"
    );
    let taken = |peer: &Peer| peer.seen().taken.iter().map(|taken| taken.recipients[0].clone()).collect::<Vec<_>>();
    assert_eq!(taken(all), ["RCPT TO:<a@d.example>", "RCPT TO:<c@d.example>", "RCPT TO:<e@d.example>"]);
    assert_eq!(
        (taken(corp), taken(bulk)),
        (vec!["RCPT TO:<b@d.example>".to_owned()], vec!["RCPT TO:<d@d.example>".to_owned()])
    );
    assert!(corp.seen().taken[0].mail.starts_with("MAIL FROM:<bounces+x@back.example>"));
}

#[tokio::test]
async fn hosts_of_one_rank_share_the_mail_and_stand_in_for_each_other() {
    let (one, two) = (Peer::start(Script::new()).await, Peer::start(Script::new()).await);
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| {
        let rank = format!("{} | 127.0.0.1:1 | {}", one.address, two.address);
        config.outbound.routes = vec![RouteConfig::to_hosts("*", vec![rank])];
        config.outbound.idle_connections = 0;
    })
    .await;
    queue.dispatch((0..40).map(|n| letter(&[&format!("a{n}@d.example")]))).await;
    let results = queue.results(40).await;
    assert!(results.iter().all(|result| only(result).is_delivered()));
    let counts = [one.seen().taken.len(), two.seen().taken.len()];
    assert!(counts.iter().all(|count| *count > 5), "{counts:?}");
}

#[tokio::test]
async fn what_came_before_an_attempt_is_broken_off_is_told() {
    let (go, gate) = tokio::sync::watch::channel(false);
    let first = Peer::start(Script::new().hold_final(gate)).await;
    let second = Peer::start(Script::new()).await;
    let queue = Queue::start().await;
    let mut worker = Worker::start(&queue, |config| {
        smarthost(config, &second);
        let hosts = vec![first.address.to_string()];
        let recipient = Some("a@d.example".to_owned());
        config.outbound.routes.push(RouteConfig { recipient, hosts, ..RouteConfig::default() });
    })
    .await;
    queue.dispatch([letter(&["a@d.example", "b@d.example"])]).await;
    first.until(|seen| seen.contents == 1).await;
    worker.shut_down();
    worker.health.subscribe().wait_for(|reason| *reason == Some("draining")).await.unwrap();
    go.send_replace(true);
    let result = queue.results(1).await.pop().unwrap();
    assert_eq!(
        lines(&result),
        [
            "a: final host 127.0.0.1 said: 250 2.0.0 taken (in reply to final)",
            "b: resolve the attempt was broken off before this recipient's turn (resolve)",
        ],
        "whoever has the message must not get it again"
    );
    assert!(!second.seen().commands.iter().any(|command| command.starts_with("MAIL")), "nothing new is begun");
    worker.ended().await;
}

#[tokio::test]
async fn a_question_comes_before_anything_is_done() {
    let peer = Peer::start(Script::new()).await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| {
        smarthost(config, &peer);
        let sink = Some("a@d.example".to_owned());
        config.outbound.routes.push(RouteConfig { recipient: sink, ..via(RouteVia::Discard) });
    })
    .await;
    let asking = Dispatch { resolve_first: true, body: None, ..letter(&["a@d.example", "b@d.example"]) };
    let answer = queue.deliver(asking).await;
    assert_eq!((answer.exchanger.as_deref(), answer.not_attempted), (Some("127.0.0.1"), true));
    assert_eq!(peer.seen().sessions, 0);
    // Nobody's: it is done at once.
    let asking = Dispatch { resolve_first: true, body: None, ..letter(&["a@d.example"]) };
    let outcome = only(&queue.deliver(asking).await).clone();
    assert!(outcome.is_delivered() && outcome.stage == Stage::Final && outcome.remote.is_none(), "{outcome}");
}
