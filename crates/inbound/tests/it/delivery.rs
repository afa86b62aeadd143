//! What the queue gets of what a client sends.

use std::path::Path;

use mailtier_tls::ClientTls;
use mailtier_types::BodyEncoding;

use crate::client::{Client, queued_as};
use crate::system::{System, usual};

const CONTENT: &[u8] = b"Message-ID: <1@example.com>\r\nSubject: hello\r\n\r\nThe text.\r\n";

/// The content without the Received field before it, which is returned unfolded.
fn split_received(content: &[u8]) -> (String, Vec<u8>) {
    let text = String::from_utf8_lossy(content).into_owned();
    assert!(text.starts_with("Received: "), "{text}");
    let end = text.match_indices("\r\n").find(|(at, _)| !text[at + 2..].starts_with([' ', '\t'])).unwrap().0 + 2;
    let unfolded = text[..end].split_whitespace().collect::<Vec<_>>().join(" ");
    (unfolded, content[end..].to_vec())
}

#[tokio::test]
async fn a_message_reaches_the_queue_as_it_was_sent() {
    let (queue, _replica, system) = usual(|_| {}).await;
    let mut client = system.client().await;
    let id = queued_as(&client.mail(&["a@example.org", "b@sub.example.org", "a@example.org"], CONTENT).await);
    let (received, content) = split_received(&queue.content(id));
    assert_eq!(content, CONTENT);
    assert!(received.contains("from client.example.com ([127.0.0.1])"), "{received}");
    assert!(received.contains("by mx.example.org") && received.contains("with ESMTP"), "{received}");
    assert!(received.contains(&format!("id {id}")), "{received}");
    assert!(!received.contains(" for "), "recipients must not learn of each other: {received}");
    queue.read(|stored| {
        let envelope = &stored.messages[&id].envelope;
        let options = &envelope.options;
        assert_eq!(envelope.sender.as_str(), "sender@example.com");
        assert_eq!(
            envelope.recipients.iter().map(|r| r.as_str()).collect::<Vec<_>>(),
            ["a@example.org", "b@sub.example.org"]
        );
        assert_eq!((options.fanout, options.chunks), (2, 1));
        assert_eq!(options.header_message_id, "<1@example.com>");
        assert_eq!(
            (options.client_address.as_str(), options.client_helo.as_str()),
            ("127.0.0.1", "client.example.com")
        );
        assert_eq!(options.size_bytes, queue.content(id).len() as u64);
        assert!(!options.eight_bit && !options.smtputf8);
    });
    assert_eq!(client.say("QUIT").await, "221 2.0.0 Bye");
}

/// RFC 8689 section 5: it travels with the message, for whoever delivers it.
#[tokio::test]
async fn who_does_without_tls_is_heard() {
    let (queue, _replica, system) = usual(|_| {}).await;
    let mut client = system.client().await;
    for (field, expected) in [("TLS-Required: No\r\n", true), ("TLS-Required: Yes\r\n", false), ("", false)] {
        let content = [field.as_bytes(), CONTENT].concat();
        let id = queued_as(&client.mail(&["a@example.org"], &content).await);
        queue.read(|stored| {
            assert_eq!(stored.messages[&id].envelope.options.tls_optional, expected, "{field}");
        });
    }
}

#[tokio::test]
async fn anyone_may_write_to_the_postmaster_of_this_host() {
    let (queue, _replica, system) =
        usual(|config| config.inbound.postmaster = Some("admin@elsewhere.example".into())).await;
    let mut client = system.client().await;
    let id = queued_as(&client.mail(&["Postmaster", "postmaster@MX.example.org"], CONTENT).await);
    queue.read(|stored| {
        let recipients = &stored.messages[&id].envelope.recipients;
        assert_eq!(recipients.iter().map(|r| r.as_str()).collect::<Vec<_>>(), ["admin@elsewhere.example"]);
    });
    client.say("MAIL FROM:<sender@example.com>").await;
    assert_eq!(client.say("RCPT TO:<admin@elsewhere.example>").await, "550 5.7.1 Relaying denied");
}

#[tokio::test]
async fn content_without_a_header_section_gets_none_from_us_either() {
    let (queue, _replica, system) = usual(|_| {}).await;
    let mut client = system.client().await;
    for (content, left) in [
        (&b"no field\r\n"[..], &b"\r\nno field\r\n"[..]),
        (b" as if folded\r\n", b"\r\n as if folded\r\n"),
        (b"\r\ntext\r\n", b"\r\ntext\r\n"),
        (b"", b""),
    ] {
        let id = queued_as(&client.mail(&["a@example.org"], content).await);
        let (received, rest) = split_received(&queue.content(id));
        assert!(received.ends_with("+0000"), "nothing was added to our own field: {received}");
        assert_eq!(rest, left);
    }
}

#[tokio::test]
async fn eight_bit_content_stays_byte_for_byte_and_asks_for_what_it_needs() {
    let (queue, _replica, system) = usual(|_| {}).await;
    let mut client = system.client().await;
    let body =
        [b"Subject: x\r\n\r\n".to_vec(), (1..=255).filter(|o| ![b'\r', b'\n'].contains(o)).collect(), b"\r\n".to_vec()];
    for (parameters, recipient, header, eight_bit, smtputf8) in [
        ("", "a@example.org", "", true, false),
        (" BODY=8BITMIME SMTPUTF8", "a@example.org", "", true, false),
        (" SMTPUTF8", "a@example.org", "Comments: grüße\r\n", true, true),
        (" SMTPUTF8", "jürgen@example.org", "", true, true),
    ] {
        client.say(&format!("MAIL FROM:<sender@example.com>{parameters}")).await;
        client.say(&format!("RCPT TO:<{recipient}>")).await;
        client.say("DATA").await;
        let content = [header.as_bytes(), &body.concat()].concat();
        client.send(&content).await;
        let id = queued_as(&client.say(".").await);
        assert_eq!(split_received(&queue.content(id)).1, content);
        queue.read(|stored| {
            let options = &stored.messages[&id].envelope.options;
            assert_eq!((options.eight_bit, options.smtputf8), (eight_bit, smtputf8), "{parameters} {recipient}");
        });
    }
}

#[tokio::test]
async fn a_large_message_is_uploaded_ahead_and_complete() {
    let (queue, _replica, system) = usual(|_| {}).await;
    let mut client = system.client().await;
    let line = b"0123456789abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ\r\n";
    let content = [b"Subject: large\r\n\r\n".to_vec(), line.repeat(60_000)].concat();
    let id = queued_as(&client.mail(&["a@example.org"], &content).await);
    let (received, stored) = split_received(&queue.content(id));
    assert!(stored == content, "{} octets of {}", stored.len(), content.len());
    assert!(received.contains("for <a@example.org>"), "{received}");
    queue.read(|stored| {
        let submission = &stored.messages[&id];
        assert_eq!((submission.parts, submission.envelope.options.chunks), (3, 4));
        assert_eq!(submission.envelope.options.encoding, BodyEncoding::Zstd);
    });
}

#[tokio::test]
async fn an_upload_that_is_given_up_is_removed() {
    let (queue, _replica, system) = usual(|_| {}).await;
    let mut client = system.client().await;
    client.say("MAIL FROM:<sender@example.com>").await;
    client.say("RCPT TO:<a@example.org>").await;
    client.say("DATA").await;
    client.send(&b"text\r\n".repeat(400_000)).await;
    queue.until(|stored| !stored.parts.is_empty()).await;
    drop(client);
    queue.until(|stored| stored.aborted.len() == 1).await;
    queue.read(|stored| assert!(stored.parts.keys().all(|(id, _)| *id == stored.aborted[0])));
}

#[tokio::test]
async fn strangers_are_not_relayed_for_and_our_networks_are() {
    let (_queue, _replica, system) = usual(|_| {}).await;
    let mut client = system.client().await;
    client.say("MAIL FROM:<a@example.org>").await;
    for denied in ["a@example.com", "a%example.com@example.org", "a@example.org.example.com", "a@[127.0.0.1]"] {
        assert_eq!(client.say(&format!("RCPT TO:<{denied}>")).await, "550 5.7.1 Relaying denied", "{denied}");
    }
    assert_eq!(client.say("RCPT TO:<Postmaster>").await, "250 2.1.5 Recipient OK");
    client.say("RSET").await;
    // RFC 5321 section 3.6.1 and appendix F.2: whatever form a route has, and whoever asks, the null sender too.
    client.say("MAIL FROM:<> SMTPUTF8").await;
    for denied in [
        "<@example.org:a@example.com>",
        "<@example.org,@mx.example.org:a@example.com>",
        "<\"a@example.com\"@example.org>",
        "<\"a%example.com\"@example.org>",
        "<example.com!a@example.org>",
        "<a%example.com%example.org@example.org>",
        "<a@[IPv6:::1]>",
        "<a@[127.0.0.1]>",
        "<a@exаmple.org>",
        "<a@example。com>",
        "<a@ｅxample.com>",
    ] {
        let said = client.say(&format!("RCPT TO:{denied}")).await;
        assert!(said.starts_with("550 5.7.1 "), "{denied}: {said}");
    }
    for malformed in
        ["<a@example.org@example.com>", "<a@example.com>@example.org", "a@example.com", "<a@example.org\u{0}>"]
    {
        let said = client.say(&format!("RCPT TO:{malformed}")).await;
        assert!(said.starts_with("50"), "{malformed}: {said}");
    }
    let (queue, _replica, system) =
        usual(|config| config.inbound.relay_networks = vec!["127.0.0.0/8".parse().unwrap()]).await;
    queued_as(&system.client().await.mail(&["a@example.com"], CONTENT).await);
    assert_eq!(queue.read(|stored| stored.messages.len()), 1);
}

#[tokio::test]
async fn starttls_is_offered_with_a_certificate_and_shown_in_the_received_field() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (directory.path().join("chain.pem"), directory.path().join("key.pem"));
    write_certificate(&certificate, &key);
    let (queue, _replica, system) = usual(|config| {
        config.inbound.tls_certificate = Some(certificate);
        config.inbound.tls_key = Some(key);
    })
    .await;
    let mut client = tls_client(&system).await;
    let id = queued_as(&client.mail(&["a@example.org"], CONTENT).await);
    let (received, _) = split_received(&queue.content(id));
    assert!(received.contains("with ESMTPS"), "{received}");
    assert!(received.contains("TLSv1.3"), "{received}");
}

pub(crate) fn write_certificate(certificate: &Path, key: &Path) {
    let made = rcgen::generate_simple_self_signed(vec!["mx.example.org".to_owned()]).unwrap();
    std::fs::write(certificate, made.cert.pem()).unwrap();
    std::fs::write(key, made.signing_key.serialize_pem()).unwrap();
}

pub(crate) async fn tls_client(system: &System) -> Client {
    let mut client = system.client().await;
    assert_eq!(client.say("STARTTLS").await, "220 2.0.0 Ready to start TLS");
    let mut client = in_tls(client).await;
    client.say("EHLO client.example.com").await;
    client
}

/// The same connection after a handshake.
pub(crate) async fn in_tls(client: Client) -> Client {
    let name = rustls_pki_types::ServerName::try_from("mx.example.org").unwrap();
    let connector = ClientTls::new().unwrap().connector(mailtier_tls::KeyExchange::PostQuantum);
    Client::over(connector.connect(name, client.into_inner()).await.unwrap())
}
