//! The client against our server and against remotes that misbehave.

use std::time::Duration;

use bytes::Bytes;
use mailtier_smtp::ServerConfig;
use mailtier_transport::client::{Connection, TlsMode};
use mailtier_types::{Cause, Stage, TroubleKind};
use tokio::io::AsyncReadExt;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::peers::{PATIENCE, Peer, impatient, options, remote, said, transaction};
use crate::served::{Seen, Served};

async fn connect(address: std::net::SocketAddr) -> Connection {
    Connection::open(address, &options(TlsMode::Off)).await.unwrap()
}

#[tokio::test]
async fn messages_arrive_as_they_were() {
    let mut served = Served::start(ServerConfig::new("mx.example.org"), None).await;
    let mut connection = connect(served.address).await;
    assert_eq!(connection.peer(), Some(served.address));
    let large: Vec<u8> = (0..60_000).flat_map(|line| format!(".{line} and some more of it\r\n").into_bytes()).collect();
    for (content, piece) in
        [(&b"Subject: x\r\n\r\n.\r\n..\r\nend\r\n"[..], 3), (b"", 1), (&large, 1000), (&large, 1 << 20)]
    {
        let body: Vec<_> = content.chunks(piece).map(Bytes::copy_from_slice).collect();
        let report = connection.deliver(transaction(&["b@example.org", "no@example.org"], content.len()), &body).await;
        assert!(report.reusable);
        assert!(report.recipients[0].is_delivered());
        assert_eq!(report.recipients[1].stage, Stage::Rcpt);
        assert_eq!(said(&report.recipients[1].cause), "550 5.7.1 Relaying denied");
        let (recipients, received) = served.message().await;
        assert_eq!(recipients, transaction(&["b@example.org"], 0).recipients);
        assert!(received == content, "{} octets", content.len());
    }
    assert!(connection.is_alive());
    connection.quit().await;
    assert!(matches!(served.next().await, Seen::End(mailtier_transport::server::SessionEnd::Finished)));
}

#[tokio::test]
async fn what_is_refused_is_reported_and_the_connection_goes_on() {
    let mut served = Served::start(ServerConfig::new("mx.example.org"), None).await;
    let mut connection = connect(served.address).await;
    let body = [Bytes::from_static(b"REFUSE\r\n")];
    for (recipient, stage) in
        [("no@example.org", Stage::Rcpt), ("b@example.org", Stage::Final), ("no@example.org", Stage::Rcpt)]
    {
        let report = connection.deliver(transaction(&[recipient], 8), &body).await;
        assert_eq!(report.recipients[0].stage, stage);
        assert!(!report.recipients[0].is_delivered() && report.reusable);
    }
    let many: Vec<_> = (0..500).map(|number| format!("b{number}@example.org")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let report = connection.deliver(transaction(&many, 2), &[Bytes::from_static(b"x\r\n")]).await;
    assert!(report.recipients.len() == 500 && report.recipients.iter().all(|recipient| recipient.is_delivered()));
    while !matches!(served.next().await, Seen::Message { recipients, .. } if recipients.len() == 500) {}
}

#[tokio::test]
async fn eight_bit_content_is_declared_whatever_the_transaction_says() {
    let mut served = Served::start(ServerConfig::new("mx.example.org"), None).await;
    let mut connection = connect(served.address).await;
    for (content, expected) in [("é\r\n", true), ("e\r\n", false)] {
        for declared in [true, false] {
            let transaction = mailtier_smtp::Transaction { eight_bit: declared, ..transaction(&["b@example.org"], 3) };
            let report = connection.deliver(transaction, &[Bytes::from_static(content.as_bytes())]).await;
            assert!(report.recipients[0].is_delivered());
            assert!(matches!(served.next().await, Seen::Message { eight_bit, .. } if eight_bit == expected));
        }
    }
}

#[tokio::test]
async fn a_small_message_goes_out_in_one_piece_with_its_dot() {
    let (tell, told) = oneshot::channel();
    let tell = std::sync::Mutex::new(Some(tell));
    let address = remote(move |mut peer, _| {
        let tell = tell.lock().unwrap().take();
        async move {
            peer.greet("250-PIPELINING\r\n").await;
            let mut group = vec![0; 4096];
            let count = peer.0.read(&mut group).await.unwrap();
            group.truncate(count);
            peer.say("250 ok\r\n250 ok\r\n354 go\r\n").await;
            let mut content = vec![0; 4096];
            let count = peer.0.read(&mut content).await.unwrap();
            content.truncate(count);
            peer.say("250 ok\r\n").await;
            tell.unwrap().send((group, content)).ok();
        }
    })
    .await;
    let body = [Bytes::from_static(b"Subject: x\r\n\r\n"), Bytes::from_static(b"x")];
    let report = connect(address).await.deliver(transaction(&["b@example.org"], 15), &body).await;
    assert!(report.recipients[0].is_delivered());
    let (group, content) = told.await.unwrap();
    assert_eq!(String::from_utf8(group).unwrap(), "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n");
    assert_eq!(String::from_utf8(content).unwrap(), "Subject: x\r\n\r\nx\r\n.\r\n");
}

#[tokio::test]
async fn the_reply_of_a_remote_that_gives_up_early_is_what_counts() {
    let address = remote(|mut peer, _| async move {
        peer.greet("250-PIPELINING\r\n").await;
        peer.hear("DATA\r\n").await;
        peer.say("250 ok\r\n250 ok\r\n354 go\r\n").await;
        peer.hear("x").await;
        peer.say("552 5.3.4 too much\r\n").await;
        // Closing with input unread resets the connection.
    })
    .await;
    let body = vec![Bytes::from(vec![b'x'; 1 << 20]); 64];
    let delivered = connect(address).await.deliver(transaction(&["b@example.org"], 64 << 20), &body).await;
    assert!(!delivered.reusable);
    let recipient = &delivered.recipients[0];
    assert_eq!(recipient.stage, Stage::Final);
    // The reset may overtake the reply: then the connection was lost, and it is never taken for a delivery.
    let said = said(&recipient.cause);
    assert!(said == "552 5.3.4 too much" || said.starts_with("Closed"), "{said}");
}

#[tokio::test]
async fn a_remote_that_replies_and_reads_no_more_is_heard() {
    let address = remote(|mut peer, _| async move {
        peer.greet("250-PIPELINING\r\n").await;
        peer.hear("DATA\r\n").await;
        peer.say("250 ok\r\n250 ok\r\n354 go\r\n").await;
        peer.hear("x").await;
        peer.say("421 4.3.2 going down\r\n").await;
        std::future::pending::<()>().await;
    })
    .await;
    let body = vec![Bytes::from(vec![b'x'; 1 << 20]); 64];
    let mut connection = connect(address).await;
    let report = timeout(PATIENCE, connection.deliver(transaction(&["b@example.org"], 64 << 20), &body)).await.unwrap();
    assert_eq!(said(&report.recipients[0].cause), "421 4.3.2 going down");
    assert!(!report.reusable && !connection.is_alive());
}

#[tokio::test]
async fn no_remote_is_waited_for_for_ever() {
    let stages = [Stage::Banner, Stage::Ehlo, Stage::Mail, Stage::Rcpt, Stage::Data, Stage::Final];
    // Each remote replies so many times; all are tried at once.
    let mut attempts = tokio::task::JoinSet::new();
    for (replies, stage) in stages.into_iter().enumerate() {
        attempts.spawn(async move { (stage, attempt_at_one_that_stops(replies).await) });
    }
    while let Some(attempt) = timeout(PATIENCE, attempts.join_next()).await.unwrap() {
        let (expected, (stage, cause)) = attempt.unwrap();
        assert_eq!(stage, expected);
        let kind = if stage == Stage::Final { TroubleKind::Unanswered } else { TroubleKind::Timeout };
        assert!(matches!(&cause, Cause::Trouble(trouble) if trouble.kind == kind), "{cause:?}");
    }
}

async fn attempt_at_one_that_stops(replies: usize) -> (Stage, Cause) {
    let address = remote(move |mut peer, _| async move {
        let replies = ["220 mx\r\n", "250 mx\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n"].into_iter().take(replies);
        for (number, reply) in replies.enumerate() {
            if number > 0 {
                peer.hear("\r\n").await;
            }
            peer.say(reply).await;
        }
        std::future::pending::<()>().await;
    })
    .await;
    match Connection::open(address, &impatient(Duration::from_secs(1))).await {
        Err(failure) => (failure.stage, failure.cause),
        Ok(mut connection) => {
            let body = [Bytes::from_static(b"x\r\n")];
            let mut report = connection.deliver(transaction(&["b@example.org"], 3), &body).await;
            let recipient = report.recipients.remove(0);
            (recipient.stage, recipient.cause)
        }
    }
}

#[tokio::test]
async fn a_remote_that_reads_nothing_is_given_up() {
    let address = remote(|mut peer, _| async move {
        peer.greet("250-PIPELINING\r\n").await;
        peer.hear("DATA\r\n").await;
        peer.say("250 ok\r\n250 ok\r\n354 go\r\n").await;
        std::future::pending::<()>().await;
    })
    .await;
    let mut connection = Connection::open(address, &impatient(Duration::from_secs(1))).await.unwrap();
    let body = vec![Bytes::from(vec![b'x'; 1 << 20]); 64];
    let report = timeout(PATIENCE, connection.deliver(transaction(&["b@example.org"], 64 << 20), &body)).await.unwrap();
    assert_eq!(said(&report.recipients[0].cause), "Timeout: timed out while sending the content");
}

#[tokio::test]
async fn nobody_there() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let failure = Connection::open(address, &options(TlsMode::Off)).await.unwrap_err();
    assert_eq!(failure.stage, Stage::Connect);
    assert!(failure.tls_fault.is_none());
    assert!(matches!(&failure.cause, Cause::Trouble(trouble) if trouble.kind == TroubleKind::Connect), "{failure:?}");
}

#[tokio::test]
async fn our_own_address_can_be_chosen() {
    let (tell, told) = oneshot::channel();
    let tell = std::sync::Mutex::new(Some(tell));
    let address = remote(move |mut peer, _| {
        let tell = tell.lock().unwrap().take();
        async move {
            tell.unwrap().send(peer.0.peer_addr().unwrap()).ok();
            peer.greet("").await;
        }
    })
    .await;
    let source = "127.0.0.9".parse().unwrap();
    let mut options = options(TlsMode::Off);
    options.source = Some(source);
    Connection::open(address, &options).await.unwrap();
    assert_eq!(told.await.unwrap().ip(), source);

    options.source = Some("192.0.2.7".parse().unwrap());
    let failure = Connection::open(address, &options).await.unwrap_err();
    assert!(matches!(&failure.cause, Cause::Trouble(trouble) if trouble.kind == TroubleKind::Local), "{failure:?}");
}

#[tokio::test]
async fn an_idle_connection_that_was_closed_or_spoken_on_is_not_alive() {
    for parting in ["", "421 4.4.2 idle too long\r\n"] {
        let (go, gone) = oneshot::channel::<()>();
        let gone = std::sync::Mutex::new(Some(gone));
        let address = remote(move |mut peer, _| {
            let gone = gone.lock().unwrap().take();
            async move {
                peer.greet("").await;
                gone.unwrap().await.ok();
                peer.say(parting).await;
                if !parting.is_empty() {
                    std::future::pending::<()>().await;
                }
            }
        })
        .await;
        let mut connection = connect(address).await;
        assert!(connection.is_alive());
        go.send(()).unwrap();
        let noticed = async {
            while connection.is_alive() {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, noticed).await.unwrap();
        let report = connection.deliver(transaction(&["b@example.org"], 3), &[]).await;
        assert_eq!(report.recipients[0].stage, Stage::Mail);
        assert!(!report.reusable);
    }
}

#[tokio::test]
async fn a_transaction_that_was_dropped_leaves_nothing_behind() {
    let address = remote(|mut peer: Peer, _| async move {
        peer.greet("250-PIPELINING\r\n").await;
        peer.hear("DATA\r\n").await;
        std::future::pending::<()>().await;
    })
    .await;
    let mut connection = connect(address).await;
    let given_up =
        timeout(Duration::from_millis(50), connection.deliver(transaction(&["b@example.org"], 0), &[])).await;
    assert!(given_up.is_err());
    let report = connection.deliver(transaction(&["c@example.org"], 0), &[]).await;
    assert!(!report.reusable);
    assert!(said(&report.recipients[0].cause).starts_with("Closed"));
}
