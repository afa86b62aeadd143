//! Replicas that fail in every way: nothing is lost, nothing is stored twice, and the client hears the truth.

use std::time::Duration;

use tokio::net::TcpListener;

use crate::client::{noise, queued_as};
use crate::queue::{Mode, Queue, refusal};
use crate::system::{System, config};

const CONTENT: &[u8] = b"Subject: hello\r\n\r\ntext\r\n";

#[tokio::test]
async fn a_lost_verdict_leads_to_the_same_id_at_another_replica() {
    for failing in [Mode::HangUp, Mode::StoreAndHangUp, Mode::Silent] {
        let queue = Queue::new();
        let (one, two) = (queue.replica(1, failing.clone()).await, queue.replica(2, Mode::Accept).await);
        let mut config = config(&[&one, &two]);
        config.inbound.submit_timeout = Duration::from_secs(6);
        let system = System::ready(config).await;
        let mut client = system.client().await;
        // Replicas take turns, once both are connected. Large messages, so that parts matter.
        let large = b"0123456789 text text text text text\r\n".repeat(80_000);
        let mut ids = Vec::new();
        while queue.read(|stored| stored.seen.iter().all(|(replica, _, _)| *replica != 1)) {
            ids.push(queued_as(&client.mail(&["a@example.org"], &large).await));
        }
        for id in &ids {
            assert!(queue.content(*id).ends_with(&large), "{failing:?}");
        }
        queue.read(|stored| {
            assert_eq!(stored.messages.len(), ids.len(), "{failing:?}: each message once");
            let again: Vec<_> = stored.seen.iter().filter(|(_, _, resubmission)| *resubmission).collect();
            assert!(!again.is_empty(), "{failing:?}: a submission after a lost verdict says so");
            assert!(again.iter().all(|(_, id, _)| ids.contains(id)), "{failing:?}: with the same id");
        });
    }
}

/// As one whose process is stopped, or that is cut off from its database: its stream stays open.
#[tokio::test]
async fn a_replica_that_keeps_one_client_waiting_is_not_asked_by_the_next() {
    let queue = Queue::new();
    let (one, two) = (queue.replica(1, Mode::Silent).await, queue.replica(2, Mode::Accept).await);
    let mut config = config(&[&one, &two]);
    config.inbound.submit_timeout = Duration::from_secs(6);
    let system = System::ready(config).await;
    let mut client = system.client().await;
    let asked = || queue.read(|stored| stored.seen.iter().filter(|(replica, _, _)| *replica == 1).count());
    while asked() == 0 {
        queued_as(&client.mail(&["a@example.org"], CONTENT).await);
    }
    for _ in 0..6 {
        queued_as(&client.mail(&["a@example.org"], CONTENT).await);
    }
    assert_eq!(asked(), 1);
}

#[tokio::test]
async fn a_large_message_needs_little_memory() {
    let queue = Queue::new();
    let replica = queue.replica(0, Mode::Accept).await;
    let mut config = config(&[&replica]);
    // A sixth of the message.
    config.inbound.memory_budget = bytesize::ByteSize::mib(5);
    let system = System::ready(config).await;
    let mut client = system.client().await;
    let content = noise(30 << 20);
    assert!(client.say(&format!("MAIL FROM:<a@example.com> SIZE={}", content.len())).await.starts_with("250 "));
    assert!(client.say("RSET").await.starts_with("250 "));
    let id = queued_as(&client.mail(&["a@example.org"], &content).await);
    assert!(queue.content(id).ends_with(&content));
}

#[tokio::test]
async fn chunks_that_are_not_stored_go_to_another_replica() {
    for failing in [Mode::HangUpOnParts, Mode::Silent] {
        let queue = Queue::new();
        let (one, two) = (queue.replica(1, failing.clone()).await, queue.replica(2, Mode::Accept).await);
        let mut config = config(&[&one, &two]);
        config.inbound.submit_timeout = Duration::from_secs(6);
        let system = System::ready(config).await;
        let mut client = system.client().await;
        let content = noise(5 << 20);
        // Replicas take turns, once both are connected.
        for _ in 0..4 {
            let id = queued_as(&client.mail(&["a@example.org"], &content).await);
            assert!(queue.content(id).ends_with(&content), "{failing:?}");
        }
    }
    let queue = Queue::new();
    let replica = queue.replica(0, Mode::Silent).await;
    let mut config = config(&[&replica]);
    config.inbound.submit_timeout = Duration::from_millis(300);
    let system = System::ready(config).await;
    let reply = system.client().await.mail(&["a@example.org"], &noise(8 << 20)).await;
    assert_eq!(reply, "451 4.3.0 Message not stored, try again", "nobody stores them");
}

#[tokio::test]
async fn when_no_replica_answers_the_client_keeps_the_message() {
    let queue = Queue::new();
    let replica = queue.replica(0, Mode::Silent).await;
    let mut config = config(&[&replica]);
    config.inbound.submit_timeout = Duration::from_millis(300);
    let system = System::ready(config).await;
    let mut client = system.client().await;
    assert_eq!(client.mail(&["a@example.org"], CONTENT).await, "451 4.3.0 Message not stored, try again");
    assert_eq!(queue.read(|stored| stored.messages.len()), 0);
    replica.set(Mode::Accept);
    queued_as(&client.mail(&["a@example.org"], CONTENT).await);
}

#[tokio::test]
async fn a_refusal_of_every_replica_is_the_clients_reply() {
    let queue = Queue::new();
    let (one, two) = (queue.replica(1, Mode::Refuse(refusal())).await, queue.replica(2, Mode::Refuse(refusal())).await);
    let system = System::ready(config(&[&one, &two])).await;
    let mut client = system.client().await;
    // The second may connect a moment later: until then the first one's refusal is all there is.
    assert_eq!(client.mail(&["a@example.org"], CONTENT).await, "452 4.3.1 Disk full");
    two.set(Mode::Accept);
    one.kill();
    queued_as(&client.mail(&["a@example.org"], CONTENT).await);
}

#[tokio::test]
async fn without_a_queue_there_are_no_ids_and_no_mail() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let queue = Queue::new();
    let mut config = config(&[]);
    config.inbound.queue = vec![format!("http://{address}")];
    let system = System::start(config).await;
    let mut client = system.client().await;
    client.say("MAIL FROM:<sender@example.com>").await;
    client.say("RCPT TO:<a@example.org>").await;
    assert_eq!(client.say("DATA").await, "451 4.3.0 Message not stored, try again");
    assert_eq!(system.health.not_ready_because(), Some("no queue replica is connected"));
    let replica = queue.replica_on(TcpListener::bind(address).await.unwrap(), 0, Mode::Accept);
    system.until_ready(true).await;
    assert_eq!(client.say("RSET").await, "250 2.0.0 OK");
    queued_as(&client.mail(&["a@example.org"], CONTENT).await);
    replica.kill();
    system.until_ready(false).await;
}

#[tokio::test]
async fn new_sessions_are_shed_while_the_queue_stays_away() {
    let queue = Queue::new();
    let replica = queue.replica(0, Mode::Accept).await;
    let mut config = config(&[&replica]);
    config.inbound.submit_timeout = Duration::from_millis(10);
    let system = System::ready(config).await;
    let mut early = system.client().await;
    replica.kill();
    system.until_ready(false).await;
    loop {
        let mut client = crate::client::Client::connect(system.address).await;
        let greeting = client.reply().await;
        if greeting == "421 4.3.2 Queue not available, try again later" {
            assert_eq!(client.line().await, None);
            break;
        }
    }
    assert_eq!(early.say("NOOP").await, "250 2.0.0 OK", "sessions that are there stay");
}
