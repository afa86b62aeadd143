//! The server against clients that misbehave, and against its own owner.

use std::time::Duration;

use mailtier_smtp::{ServerConfig, ServerTimeouts};
use mailtier_transport::server::SessionEnd;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::peers::{PATIENCE, Peer};
use crate::served::{Seen, Served};

async fn greeted(served: &Served) -> Peer {
    let mut peer = Peer::connect(served.address).await;
    assert!(peer.hear("\r\n").await.starts_with("220 mx.example.org "));
    peer
}

const ENVELOPE: &str = "EHLO x.example\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n";

#[tokio::test]
async fn a_whole_session_in_one_write() {
    let mut served = Served::start(ServerConfig::new("mx.example.org"), None).await;
    let mut peer = greeted(&served).await;
    peer.say(&format!("{ENVELOPE}Subject: x\r\n\r\n..x\r\n.\r\nQUIT\r\n")).await;
    let heard = peer.hear_out().await;
    let codes: Vec<_> = heard.lines().filter(|line| line.as_bytes()[3] == b' ').map(|line| &line[..3]).collect();
    assert_eq!(codes, ["250", "250", "250", "354", "250", "221"]);
    assert_eq!(served.message().await.1, b"Subject: x\r\n\r\n.x\r\n");
    assert!(matches!(served.next().await, Seen::End(SessionEnd::Finished)));
}

#[tokio::test]
async fn an_idle_client_is_told_so_and_closed() {
    let timeouts = ServerTimeouts { command: Duration::from_millis(50), ..ServerTimeouts::default() };
    let mut served = Served::start(ServerConfig { timeouts, ..ServerConfig::new("mx.example.org") }, None).await;
    let mut peer = greeted(&served).await;
    assert!(timeout(PATIENCE, peer.hear_out()).await.unwrap().starts_with("421 4.4.2 "));
    assert!(matches!(served.next().await, Seen::End(SessionEnd::Finished)));
}

#[tokio::test]
async fn a_drain_ends_idle_sessions_at_once_and_others_after_their_transaction() {
    let mut served = Served::start(ServerConfig::new("mx.example.org"), None).await;
    let mut idle = greeted(&served).await;
    let mut busy = greeted(&served).await;
    busy.say(ENVELOPE).await;
    busy.hear("354 End data with <CR><LF>.<CR><LF>\r\n").await;
    served.drain.cancel();
    assert!(timeout(PATIENCE, idle.hear_out()).await.unwrap().starts_with("421 4.3.2 "));
    assert!(matches!(served.next().await, Seen::End(SessionEnd::Finished)));
    busy.say("x\r\n.\r\n").await;
    let heard = timeout(PATIENCE, busy.hear_out()).await.unwrap();
    let (taken, parting) = heard.split_once("\r\n").unwrap();
    assert!(taken.starts_with("250 2.6.0 ") && parting.starts_with("421 4.3.2 "), "{heard}");
    assert_eq!(served.message().await.1, b"x\r\n");
    assert!(matches!(served.next().await, Seen::End(SessionEnd::Finished)));
}

#[tokio::test]
async fn a_connection_lost_in_a_transaction_resets_it() {
    for octets in ["", "half a mess", "x\r\n"] {
        let mut served = Served::start(ServerConfig::new("mx.example.org"), None).await;
        let mut peer = greeted(&served).await;
        peer.say(ENVELOPE).await;
        peer.hear("354 End data with <CR><LF>.<CR><LF>\r\n").await;
        peer.say(octets).await;
        drop(peer);
        assert!(matches!(served.next().await, Seen::Reset));
        assert!(matches!(served.next().await, Seen::End(_)));
    }
}

#[tokio::test]
async fn a_handler_that_takes_nothing_stops_the_client() {
    let mut served = Served::start(ServerConfig::new("mx.example.org"), None).await;
    served.gate.send(false).unwrap();
    let mut peer = greeted(&served).await;
    peer.say(ENVELOPE).await;
    peer.hear("354 End data with <CR><LF>.<CR><LF>\r\n").await;
    let line = format!("{}\r\n", "x".repeat(998)).into_bytes();
    let content = line.repeat(32 * 1024);
    // Far more than both sockets' buffers hold: it cannot be gone while nobody takes it.
    let stuck = timeout(Duration::from_millis(300), peer.0.write_all(&content)).await;
    assert!(stuck.is_err(), "32 MiB were taken by a handler that takes nothing");
    served.gate.send(true).unwrap();
    // How much was written before is not known, so the rest is only whole lines more or less.
    peer.say("\r\n.\r\n").await;
    assert!(timeout(PATIENCE, peer.hear("\r\n")).await.unwrap().starts_with("250 "));
    assert!(served.message().await.1.starts_with(&line));
}

#[tokio::test]
async fn the_last_words_reach_a_client_that_keeps_talking() {
    let mut served = Served::start(ServerConfig::new("mx.example.org"), None).await;
    let mut peer = greeted(&served).await;
    // A browser that was led here, with a large request (RFC 5321 section 7.8 has it cut off).
    peer.say(&format!("POST / HTTP/1.1\r\nHost: mx.example.org\r\n\r\n{}", "x".repeat(400_000))).await;
    let heard = timeout(PATIENCE, peer.hear_out()).await.unwrap();
    assert!(heard.starts_with("500 "), "{heard}");
    assert!(matches!(served.next().await, Seen::End(SessionEnd::Finished)));
}

#[tokio::test]
async fn a_client_that_reads_nothing_costs_no_memory_and_no_eternity() {
    let timeouts = ServerTimeouts { command: Duration::from_millis(200), ..ServerTimeouts::default() };
    let mut served = Served::start(ServerConfig { timeouts, ..ServerConfig::new("mx.example.org") }, None).await;
    let mut peer = greeted(&served).await;
    // Every NOOP earns a reply that is never read, until neither side can write.
    let noops = "NOOP\r\n".repeat(1_000_000);
    let _ = timeout(PATIENCE, peer.0.write_all(noops.as_bytes())).await.unwrap();
    assert!(matches!(timeout(PATIENCE, served.next()).await.unwrap(), Seen::End(_)));
}
