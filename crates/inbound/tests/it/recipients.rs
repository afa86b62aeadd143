//! Which recipients there are, from every source, and what VRFY, EXPN and ETRN tell of them.

use mailtier_config::CallAheadConfig;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::TcpListener;

use crate::client::queued_as;
use crate::system::usual;

const CONTENT: &[u8] = b"Subject: x\r\n\r\ntext\r\n";

#[tokio::test]
async fn files_and_the_database_know_recipients_and_aliases() {
    let folder = tempfile::tempdir().unwrap();
    let (recipients, aliases) = (folder.path().join("recipients"), folder.path().join("aliases"));
    std::fs::write(&recipients, "known@example.org\n").unwrap();
    std::fs::write(&aliases, "info@example.org: known@example.org, boss@example.com\nloop@example.org: loop2@example.org\nloop2@example.org: loop@example.org\ndead@example.org: gone@example.org\nhalf@example.org: gone@example.org, known@example.org\n").unwrap();
    let (queue, _replica, system) = usual(|config| {
        config.inbound.recipients_file = Some(recipients);
        config.inbound.aliases_file = Some(aliases);
        config.inbound.recipients_in_database = true;
        config.inbound.postmaster = Some("boss@example.com".into());
    })
    .await;
    let mut client = system.client().await;
    client.say("MAIL FROM:<sender@example.com>").await;
    for (recipient, verdict) in [
        ("known@example.org", "250 2.1.5 "),
        ("Known+detail@example.org", "250 2.1.5 "),
        ("stored@example.org", "250 2.1.5 "),
        ("nobody@example.org", "550 5.1.1 "),
        // RFC 5321 section 4.5.1.
        ("PostMaster@example.org", "250 2.1.5 "),
        ("postmaster@example.com", "550 5.7.1 "),
        ("away@example.org", "450 4.4.0 "),
        ("loop@example.org", "450 4.4.0 "),
        ("half@example.org", "250 2.1.5 "),
        ("dead@example.org", "550 5.1.1 "),
        ("known@example.com", "550 5.7.1 "),
    ] {
        let said = client.say(&format!("RCPT TO:<{recipient}>")).await;
        assert!(said.starts_with(verdict), "{recipient}: {said}");
    }
    client.say("RSET").await;
    let id = queued_as(&client.mail(&["info@example.org", "list@example.org"], CONTENT).await);
    queue.read(|stored| {
        let envelope = &stored.messages[&id].envelope;
        let mut to: Vec<String> = envelope.recipients.iter().map(ToString::to_string).collect();
        to.sort();
        assert_eq!(to, ["a@example.net", "boss@example.com", "known@example.org", "stored@example.org"]);
        // RFC 3461 section 5.2.7: the sender knows them by the address he wrote.
        let boss = envelope.options.requests.iter().find(|request| request.recipient.as_str() == "boss@example.com");
        assert_eq!(boss.unwrap().original.as_ref().unwrap().to_string(), "rfc822;info@example.org");
    });
}

#[tokio::test]
async fn a_server_that_knows_is_asked_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, mut asking) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufStream::new(stream);
            let mut reply = "220 store.example ESMTP\r\n".to_owned();
            let mut line = String::new();
            loop {
                stream.write_all(reply.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
                line.clear();
                if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                    break;
                }
                asked.send(line.trim_end().to_owned()).unwrap();
                reply = match &line[..4] {
                    "RCPT" if line.contains("nobody") => "550 5.1.1 no such user\r\n".into(),
                    "RCPT" if line.contains("later") => "450 4.2.0 busy\r\n".into(),
                    "QUIT" => "221 bye\r\n".into(),
                    _ => "250 ok\r\n".into(),
                };
            }
        }
    });
    let (_queue, _replica, system) = usual(|config| {
        let domains = vec!["example.org".into()];
        let server = address.to_string();
        config.inbound.call_ahead = vec![CallAheadConfig { domains, server, ..CallAheadConfig::default() }];
    })
    .await;
    let mut client = system.client().await;
    client.say("MAIL FROM:<sender@example.com>").await;
    for (recipient, verdict) in [
        ("there@example.org", "250 "),
        ("there@example.org", "250 "),
        ("nobody@example.org", "550 5.1.1 "),
        ("later@example.org", "450 4.4.0 "),
        ("unasked@sub.example.org", "250 "),
        // Who is refused anyway is asked about nowhere.
        ("unasked%example.com@example.org", "550 5.7.1 "),
        ("unasked@example.com", "550 5.7.1 "),
    ] {
        let said = client.say(&format!("RCPT TO:<{recipient}>")).await;
        assert!(said.starts_with(verdict), "{recipient}: {said}");
    }
    let mut said = Vec::new();
    while let Ok(line) = asking.try_recv() {
        said.push(line);
    }
    let rcpts: Vec<_> = said.iter().filter(|line| line.starts_with("RCPT")).collect();
    assert_eq!(rcpts, ["RCPT TO:<there@example.org>", "RCPT TO:<nobody@example.org>", "RCPT TO:<later@example.org>"]);
    assert!(said.contains(&"MAIL FROM:<>".to_owned()) && !said.iter().any(|line| line.starts_with("DATA")), "{said:?}");
}

#[tokio::test]
async fn inquiries_are_answered_to_those_who_may_ask() {
    let (_queue, _replica, system) = usual(|config| {
        (config.inbound.vrfy, config.inbound.expn) = (true, true);
        config.inbound.recipients_in_database = true;
        config.inbound.relay_networks = vec!["127.0.0.0/8".parse().unwrap()];
        config.inbound.etrn_networks = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let mut client = system.client().await;
    assert_eq!(client.say("VRFY <stored@example.org>").await, "250 2.1.5 <stored@example.org>");
    assert_eq!(client.say("VRFY nobody@example.org").await, "550 5.1.1 No such recipient");
    assert!(client.say("VRFY a@elsewhere.example").await.starts_with("252 "));
    let members = client.say("EXPN list@example.org").await;
    assert!(["250 2.1.5 <stored@example.org>", "250 2.1.5 <a@example.net>"].contains(&members.as_str()), "{members}");
    assert_eq!(client.say("ETRN example.org").await, "250 2.0.0 Queuing started");
    assert_eq!(client.say("ETRN @sub.example.org").await, "251 2.0.0 No messages waiting");
    assert_eq!(client.say("ETRN elsewhere.example").await, "459 4.7.1 Node not allowed");
    let (_queue, _replica, system) = usual(|config| (config.inbound.vrfy, config.inbound.expn) = (true, true)).await;
    let mut stranger = system.client().await;
    assert!(stranger.say("VRFY a@example.org").await.starts_with("252 "));
    assert_eq!(stranger.say("EXPN a@example.org").await, "550 5.7.0 Insufficient authorization");
    assert_eq!(stranger.say("ETRN example.org").await, "502 5.5.1 Command not implemented");
}
