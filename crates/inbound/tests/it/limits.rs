//! Limits, and the end of the program.

use std::time::Duration;

use bytesize::ByteSize;
use mailtier_config::TenantConfig;

use crate::client::{Client, noise, queued_as};
use crate::queue::Mode;
use crate::system::usual;

#[tokio::test]
async fn a_message_that_has_come_around_is_a_loop() {
    let (queue, _replica, system) = usual(|config| config.inbound.max_received_hops = 20).await;
    let mut client = system.client().await;
    let hops =
        |count| [b"Received: by x\r\n".repeat(count), b"Subject: x\r\n\r\nReceived: not a hop\r\n".to_vec()].concat();
    assert_eq!(client.mail(&["a@example.org"], &hops(21)).await, "554 5.4.6 Too many hops, mail loop");
    queued_as(&client.mail(&["a@example.org"], &hops(20)).await);
    assert_eq!(queue.read(|stored| stored.messages.len()), 1);
}

#[tokio::test]
async fn memory_for_messages_is_bounded() {
    let (queue, replica, system) = usual(|config| {
        config.inbound.memory_budget = ByteSize::kib(100);
        config.inbound.submit_timeout = Duration::from_secs(3);
    })
    .await;
    let mut client = system.client().await;
    assert_eq!(
        client.say("MAIL FROM:<a@example.com> SIZE=200000").await,
        "452 4.3.1 Insufficient system storage, try again later"
    );
    let content = b"text text text\r\n".repeat(10_000);
    assert_eq!(
        client.mail(&["a@example.org"], &content).await,
        "452 4.3.1 Insufficient system storage, try again later"
    );
    // What waits for the queue counts as well, and is given back.
    replica.set(Mode::Silent);
    let mut waiting = system.client().await;
    waiting.say("MAIL FROM:<a@example.com>").await;
    waiting.say("RCPT TO:<a@example.org>").await;
    waiting.say("DATA").await;
    waiting.send(&[noise(80_000), b".\r\n".to_vec()].concat()).await;
    queue.until(|stored| stored.seen.len() == 1).await;
    assert!(client.say("MAIL FROM:<a@example.com> SIZE=60000").await.starts_with("452 "));
    replica.set(Mode::Accept);
    replica.kill();
    assert!(waiting.reply().await.starts_with("451 "), "no other replica");
    assert!(client.say("MAIL FROM:<a@example.com> SIZE=60000").await.starts_with("250 "));
}

#[tokio::test]
async fn a_tenant_has_messages_of_its_size_whatever_is_declared() {
    let (queue, _replica, system) = usual(|config| {
        config.inbound.tenants =
            vec![TenantConfig { id: 0, max_message_size: Some(ByteSize::kib(64)), ..TenantConfig::default() }];
    })
    .await;
    let mut client = system.client().await;
    assert_eq!(client.say("MAIL FROM:<a@example.com> SIZE=65537").await, "552 5.3.4 Message exceeds the size limit");
    let line = b"0123456789012345678901234567890123456789012345678901234567890\r\n";
    assert_eq!(
        client.mail(&["a@example.org"], &line.repeat(1100)).await,
        "552 5.3.4 Message exceeds the size limit",
        "who declares nothing"
    );
    queued_as(&client.mail(&["a@example.org"], &line.repeat(1000)).await);
    assert_eq!(queue.read(|stored| stored.messages.len()), 1);
}

#[tokio::test]
async fn memory_for_envelopes_is_bounded() {
    let (queue, _replica, system) = usual(|config| config.inbound.memory_budget = ByteSize::kib(100)).await;
    let mut client = system.client().await;
    client.say("MAIL FROM:<a@example.com>").await;
    let mut taken = 0;
    let refusal = loop {
        let said = client.say(&format!("RCPT TO:<a{taken}@example.org> ORCPT=rfc822;{}", "x".repeat(400))).await;
        if !said.starts_with("250 ") {
            break said;
        }
        taken += 1;
    };
    assert_eq!(refusal, "452 4.3.1 Insufficient system storage, try again later");
    assert!((100..250).contains(&taken), "{taken}");
    client.say("RSET").await;
    queued_as(&client.mail(&["a@example.org", "a@example.org"], b"Subject: x\r\n\r\n").await);
    assert_eq!(queue.read(|stored| stored.messages.len()), 1);
}

#[tokio::test]
async fn sessions_beyond_the_limit_hear_421() {
    let (_queue, _replica, system) = usual(|config| config.inbound.max_sessions = 2).await;
    let (mut one, _two) = (system.client().await, system.client().await);
    let mut three = Client::connect(system.address).await;
    assert_eq!(three.reply().await, "421 4.7.0 Too many connections, try again later");
    assert_eq!(three.line().await, None);
    assert_eq!(one.say("QUIT").await, "221 2.0.0 Bye");
    loop {
        let mut next = Client::connect(system.address).await;
        if next.reply().await.starts_with("220 ") {
            break;
        }
    }
}

#[tokio::test]
async fn a_drain_finishes_transactions_and_takes_no_more() {
    let (queue, _replica, system) = usual(|_| {}).await;
    let (mut idle, mut busy) = (system.client().await, system.client().await);
    busy.say("MAIL FROM:<sender@example.com>").await;
    busy.say("RCPT TO:<a@example.org>").await;
    busy.say("DATA").await;
    system.shutdown.cancel();
    assert_eq!(idle.reply().await, "421 4.3.2 Service shutting down, try again");
    assert_eq!(idle.line().await, None);
    system.until_ready(false).await;
    queued_as(&busy.say("Subject: last\r\n\r\ntext\r\n.").await);
    assert_eq!(busy.reply().await, "421 4.3.2 Service shutting down, try again");
    tokio::time::timeout(Duration::from_secs(10), system.finished).await.unwrap().unwrap().unwrap();
    assert_eq!(queue.read(|stored| stored.messages.len()), 1);
    assert!(tokio::net::TcpStream::connect(system.address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_drain_ends_although_a_client_does_not() {
    let (_queue, _replica, system) = usual(|config| config.inbound.drain_timeout = Duration::from_millis(200)).await;
    let mut busy = system.client().await;
    busy.say("MAIL FROM:<sender@example.com>").await;
    system.shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(10), system.finished).await.unwrap().unwrap().unwrap();
    assert_eq!(busy.line().await, None);
}

#[tokio::test]
async fn what_gathers_goes_to_the_queue_together() {
    let (queue, _replica, system) = usual(|_| {}).await;
    let mut sessions = Vec::new();
    for _ in 0..40 {
        sessions.push(system.client().await);
    }
    let sends = sessions.into_iter().map(|mut client| {
        tokio::spawn(async move {
            for _ in 0..10 {
                queued_as(&client.mail(&["a@example.org"], b"Subject: x\r\n\r\ntext\r\n").await);
            }
        })
    });
    for send in sends.collect::<Vec<_>>() {
        send.await.unwrap();
    }
    queue.read(|stored| {
        assert_eq!(stored.messages.len(), 400, "ids are never given twice");
        assert!(stored.frames < 400, "{} frames for 400 messages", stored.frames);
    });
}

#[tokio::test]
async fn what_is_refused_uses_up_no_rate() {
    let (_queue, _replica, system) = usual(|config| {
        config.inbound.client_recipients_per_minute = 1;
        config.inbound.client_messages_per_minute = 1;
        config.inbound.memory_budget = ByteSize::kib(100);
    })
    .await;
    let mut client = system.client().await;
    for _ in 0..3 {
        assert!(client.say("MAIL FROM:<a@example.com> SIZE=200000").await.starts_with("452 "));
    }
    assert!(client.say("MAIL FROM:<a@example.com>").await.starts_with("250 "));
    for _ in 0..3 {
        assert!(client.say("RCPT TO:<a@example.com>").await.starts_with("550 "));
    }
    assert!(client.say("RCPT TO:<a@example.org>").await.starts_with("250 "));
    assert!(client.say("RCPT TO:<b@example.org>").await.starts_with("450 4.7.1 "));
    client.say("RSET").await;
    assert!(client.say("MAIL FROM:<a@example.com>").await.starts_with("450 4.7.1 "));
}
