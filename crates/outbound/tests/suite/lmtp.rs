//! LMTP, over TCP and over sockets of this machine.

use mailtier_config::{Config, RouteConfig, RouteVia};
use mailtier_types::{Cause, Stage, TroubleKind};
use tempfile::TempDir;

use crate::peer::{Peer, Script};
use crate::queue::Queue;
use crate::world::{TEXT, Worker, letter, lines, only};

fn to_store(config: &mut Config, hosts: Vec<String>) {
    config.outbound.routes = vec![RouteConfig { via: Some(RouteVia::Lmtp), hosts, ..RouteConfig::default() }];
}

fn picky() -> Script {
    Script::lmtp()
        .on("DATA-END RCPT TO:<full@d.example>", "452 4.2.2 full")
        .on("DATA-END RCPT TO:<gone@d.example>", "550 5.1.1 gone")
        .on("RCPT TO:<unknown@d.example>", "550 5.1.1 who?")
}

async fn check_partial_results(peer: &Peer, hosts: Vec<String>, name: &str) {
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| to_store(config, hosts)).await;
    let to = ["a@d.example", "full@d.example", "unknown@d.example", "gone@d.example", "b@d.example"];
    let result = queue.deliver(letter(&to)).await;
    assert_eq!(
        lines(&result),
        [
            format!("a,b: final host {name} said: 250 2.0.0 stored (in reply to final)"),
            format!("full: final host {name} said: 452 4.2.2 full (in reply to final)"),
            format!("gone: final host {name} said: 550 5.1.1 gone (in reply to final)"),
            format!("unknown: rcpt host {name} said: 550 5.1.1 who? (in reply to rcpt)"),
        ]
    );
    assert!(only(&queue.deliver(letter(&["c@e.example"])).await).is_delivered());
    let seen = peer.seen();
    assert_eq!(seen.sessions, 1, "the connection is kept for the next message");
    assert_eq!(seen.commands[0], "LHLO out.example");
    assert_eq!(seen.taken[0].recipients, ["RCPT TO:<a@d.example>", "RCPT TO:<b@d.example>"]);
    assert_eq!(seen.taken[0].content, TEXT.replace("\r\n.", "\r\n.."));
}

#[tokio::test]
async fn each_recipient_has_a_result_of_its_own_over_tcp() {
    let peer = Peer::start(picky()).await;
    check_partial_results(&peer, vec![peer.address.to_string()], "127.0.0.1").await;
}

#[tokio::test]
async fn and_over_a_socket() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("lmtp");
    let peer = Peer::at(&path, picky());
    let path = path.display().to_string();
    check_partial_results(&peer, vec![format!("unix:{path}.none"), format!("unix:{path}")], &path).await;
}

#[tokio::test]
async fn a_server_that_closes_midway_leaves_those_without_a_reply_for_later() {
    let peer = Peer::start(Script::lmtp().close_on("DATA-END RCPT TO:<b@d.example>")).await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| to_store(config, vec![peer.address.to_string()])).await;
    let result = queue.deliver(letter(&["a@d.example", "b@d.example", "c@d.example"])).await;
    let said = lines(&result);
    assert!(said[0].starts_with("a: final host 127.0.0.1 said: 250"), "{said:?}");
    let expected = "b,c: final connection lost while waiting for the reply to the end of data";
    assert!(said[1].starts_with(expected), "{said:?}");
}

#[tokio::test]
async fn a_socket_that_is_not_there_is_unreachable() {
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| to_store(config, vec!["unix:/nonexistent/lmtp".to_owned()])).await;
    let result = queue.deliver(letter(&["a@d.example"])).await;
    let Cause::Trouble(trouble) = &only(&result).cause else { panic!("{result:?}") };
    assert_eq!((trouble.kind, only(&result).stage), (TroubleKind::Connect, Stage::Connect));
    assert!(trouble.text.starts_with("connect to /nonexistent/lmtp: No such file"), "{}", trouble.text);
}
