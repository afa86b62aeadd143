//! Listeners with settings of their own, and what stands before them.

use std::time::Duration;

use bytesize::ByteSize;
use mailtier_config::{HeloOwnName, ListenerConfig, ListenerProtocol, ListenerTls, NetworkConfig, TenantConfig};
use mailtier_tls::ClientTls;
use tokio::net::TcpStream;

use crate::client::{Client, queued_as};
use crate::delivery::write_certificate;
use crate::system::usual;

const CONTENT: &[u8] = b"Subject: x\r\n\r\ntext\r\n";

fn listener(change: impl FnOnce(&mut ListenerConfig)) -> ListenerConfig {
    let mut listener = ListenerConfig {
        name: "tested".into(),
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        ..ListenerConfig::default()
    };
    change(&mut listener);
    listener
}

#[tokio::test]
async fn tls_from_the_first_octet() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (directory.path().join("chain.pem"), directory.path().join("key.pem"));
    write_certificate(&certificate, &key);
    let (queue, _replica, system) = usual(|config| {
        (config.inbound.tls_certificate, config.inbound.tls_key) = (Some(certificate), Some(key));
        config.inbound.listen.clear();
        config.inbound.listeners = vec![listener(|one| one.tls = ListenerTls::Implicit)];
    })
    .await;
    let name = rustls_pki_types::ServerName::try_from("mx.example.org").unwrap();
    let connector = ClientTls::new().unwrap().connector(mailtier_tls::KeyExchange::Classical);
    let stream = TcpStream::connect(system.address).await.unwrap();
    let mut client = Client::over(connector.connect(name, stream).await.unwrap());
    assert_eq!(client.reply().await, "220 mx.example.org ESMTP");
    client.send(b"EHLO client.example.com\r\n").await;
    let mut offered = Vec::new();
    loop {
        let line = client.line().await.unwrap();
        offered.push(line[4..].to_owned());
        if line.starts_with("250 ") {
            break;
        }
    }
    assert!(offered.contains(&"REQUIRETLS".to_owned()) && !offered.contains(&"STARTTLS".to_owned()), "{offered:?}");
    let id = queued_as(&client.mail(&["a@example.org"], CONTENT).await);
    assert!(String::from_utf8(queue.content(id)).unwrap().contains("with ESMTPS "));
    let mut clear = Client::connect(system.address).await;
    clear.send(b"EHLO client.example.com\r\n").await;
    while let Some(line) = clear.line().await {
        assert!(!line.starts_with("250"), "{line}");
    }
}

#[tokio::test]
async fn behind_a_proxy_only_its_word_counts() {
    let (queue, _replica, system) = usual(|config| {
        config.inbound.helo_own_name = HeloOwnName::Refuse;
        config.inbound.listen.clear();
        config.inbound.listeners = vec![listener(|one| {
            one.proxy_networks = vec!["127.0.0.0/8".parse().unwrap()];
            // The proxy's own network: whoever is behind it is not of it.
            one.relay_networks = Some(vec!["127.0.0.0/8".parse().unwrap()]);
        })];
    })
    .await;
    let mut client = Client::connect(system.address).await;
    client.send(b"PROXY TCP4 192.0.2.7 198.51.100.1 5000 25\r\n").await;
    assert_eq!(client.reply().await, "220 mx.example.org ESMTP");
    assert_eq!(client.say("EHLO [198.51.100.1]").await, "550 5.7.1 You are not me", "where it connected to");
    client.say("EHLO client.example.com").await;
    let id = queued_as(&client.mail(&["a@example.org"], CONTENT).await);
    assert!(String::from_utf8(queue.content(id)).unwrap().contains("([192.0.2.7])"));
    client.say("MAIL FROM:<a@example.org>").await;
    assert_eq!(client.say("RCPT TO:<a@example.com>").await, "550 5.7.1 Relaying denied");
    for bad in [
        &b"EHLO client.example.com\r\n"[..],
        b"PROXY TCP4 nonsense\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 99999 25\r\n",
    ] {
        let mut client = Client::connect(system.address).await;
        client.send(bad).await;
        assert_eq!(client.line().await, None, "{bad:?}");
    }
}

#[tokio::test]
async fn a_header_of_a_stranger_is_no_header() {
    let (_queue, _replica, system) = usual(|config| {
        config.inbound.listen.clear();
        let proxies = vec!["192.0.2.0/24".parse().unwrap()];
        config.inbound.listeners = vec![listener(|one| one.proxy_networks = proxies)];
    })
    .await;
    let mut client = Client::connect(system.address).await;
    client.send(b"PROXY TCP4 10.0.0.1 198.51.100.1 5000 25\r\n").await;
    assert_eq!(client.line().await, None, "not from a listed proxy");
    // And where no proxy is expected, it is a command that nobody knows.
    let (_queue, _replica, system) = usual(|_| {}).await;
    let mut client = Client::connect(system.address).await;
    assert_eq!(client.reply().await, "220 mx.example.org ESMTP");
    assert_eq!(client.say("PROXY TCP4 10.0.0.1 198.51.100.1 5000 25").await, "500 5.5.2 Command not recognised");
}

#[tokio::test]
async fn lmtp_answers_for_each_recipient() {
    let (queue, _replica, system) = usual(|config| {
        config.inbound.listen.clear();
        config.inbound.listeners = vec![listener(|one| one.protocol = ListenerProtocol::Lmtp)];
    })
    .await;
    let mut client = Client::connect(system.address).await;
    assert_eq!(client.reply().await, "220 mx.example.org LMTP");
    client.say("LHLO client.example.com").await;
    let first = client.mail(&["a@example.org", "b@example.org"], CONTENT).await;
    assert_eq!(client.reply().await, first);
    assert!(String::from_utf8(queue.content(queued_as(&first))).unwrap().contains("with LMTP "));
}

#[tokio::test]
async fn who_does_not_wait_for_the_greeting_is_turned_away() {
    let (_queue, _replica, system) = usual(|config| config.inbound.greeting_delay = Duration::from_millis(300)).await;
    let mut hasty = Client::connect(system.address).await;
    hasty.send(b"EHLO client.example.com\r\n").await;
    assert_eq!(hasty.reply().await, "554 5.5.1 Client spoke before its turn");
    assert_eq!(hasty.line().await, None);
    assert_eq!(Client::connect(system.address).await.reply().await, "220 mx.example.org ESMTP");
}

#[tokio::test]
async fn a_client_has_so_many_sessions_and_a_network_its_own_settings() {
    let (_queue, _replica, system) = usual(|config| {
        config.inbound.client_sessions = 1;
        config.inbound.client_messages_per_minute = 1;
        config.inbound.networks = vec![NetworkConfig {
            networks: vec!["192.0.2.0/24".parse().unwrap()],
            refuse: Some("You are not welcome".into()),
            ..NetworkConfig::default()
        }];
        config.inbound.xclient_networks = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let mut one = system.client().await;
    let mut two = Client::connect(system.address).await;
    assert_eq!(two.reply().await, "421 4.7.0 Too many connections from your address");
    assert!(one.say("MAIL FROM:<a@example.com>").await.starts_with("250 "));
    assert!(one.say("RSET").await.starts_with("250 "));
    assert!(one.say("MAIL FROM:<a@example.com>").await.starts_with("450 4.7.1 "));
    // Another client, says a proxy that is trusted with it: with limits of its own, or none at all.
    assert_eq!(one.say("XCLIENT ADDR=198.51.100.1 NAME=client.example.com").await, "220 mx.example.org ESMTP");
    one.say("EHLO client.example.com").await;
    assert!(one.say("MAIL FROM:<a@example.com>").await.starts_with("250 "));
    assert!(one.say("RSET").await.starts_with("250 "));
    assert_eq!(one.say("XCLIENT ADDR=192.0.2.9").await, "554 5.7.1 You are not welcome");
    assert!(system.client().await.say("NOOP").await.starts_with("250 "), "the session's place was given back");
}

#[tokio::test]
async fn a_client_that_a_proxy_names_has_the_settings_of_its_network() {
    let (_queue, _replica, system) = usual(|config| {
        config.inbound.max_message_size = ByteSize::b(2000);
        config.inbound.max_recipients = 2;
        config.inbound.networks = vec![NetworkConfig {
            networks: vec!["192.0.2.0/24".parse().unwrap()],
            max_message_size: Some(ByteSize::b(1000)),
            max_recipients: Some(1),
            ..NetworkConfig::default()
        }];
        config.inbound.xclient_networks = vec!["127.0.0.0/8".parse().unwrap()];
        config.inbound.etrn_networks = vec!["192.0.2.0/24".parse().unwrap()];
    })
    .await;
    let mut client = system.client().await;
    for (who, size, recipients, may_start) in
        [("192.0.2.9", 1000, 1, true), ("198.51.100.1", 2000, 2, false), ("192.0.2.9", 1000, 1, true)]
    {
        assert_eq!(client.say(&format!("XCLIENT ADDR={who}")).await, "220 mx.example.org ESMTP");
        let offered = client.offered().await;
        assert!(offered.contains(&format!("SIZE {size}")), "{who}: {offered:?}");
        assert!(offered.contains(&format!("LIMITS RCPTMAX={recipients}")), "{who}: {offered:?}");
        assert_eq!(offered.contains(&"ETRN".to_owned()), may_start, "{who}");
        let mail = |size: u64| format!("MAIL FROM:<a@example.com> SIZE={size}");
        assert!(client.say(&mail(size + 1)).await.starts_with("552 5.3.4 "), "{who}");
        assert!(client.say(&mail(size)).await.starts_with("250 "), "{who}");
        for _ in 0..recipients {
            assert!(client.say("RCPT TO:<a@example.org>").await.starts_with("250 "), "{who}");
        }
        assert!(client.say("RCPT TO:<a@example.org>").await.starts_with("452 "), "{who}");
        assert!(client.say("RSET").await.starts_with("250 "));
    }
}

#[tokio::test]
async fn who_is_not_to_be_found_out_stays_a_stranger() {
    let (_queue, _replica, system) = usual(|config| {
        let local = vec!["127.0.0.0/8".parse().unwrap()];
        config.inbound.xclient_networks.clone_from(&local);
        config.inbound.etrn_networks.clone_from(&local);
        config.inbound.relay_networks = local;
    })
    .await;
    let mut client = system.client().await;
    for xclient in ["XCLIENT ADDR=[UNAVAILABLE]", "XCLIENT NAME=client.example.com", "XCLIENT HELO=client.example.com"]
    {
        assert!(client.say(xclient).await.starts_with("220 "), "{xclient}");
        assert!(!client.offered().await.contains(&"ETRN".to_owned()), "{xclient}");
        assert!(client.say("ETRN example.org").await.starts_with("459 "), "{xclient}");
        assert!(client.say("MAIL FROM:<a@example.com>").await.starts_with("250 "), "{xclient}");
        assert_eq!(client.say("RCPT TO:<a@example.com>").await, "550 5.7.1 Relaying denied", "{xclient}");
        assert!(client.say("RSET").await.starts_with("250 "));
    }
    assert!(client.say("XCLIENT ADDR=127.0.0.9").await.starts_with("220 "));
    assert!(client.offered().await.contains(&"ETRN".to_owned()));
}

#[tokio::test]
async fn what_a_sender_asks_for_reaches_the_queue() {
    let (queue, _replica, system) = usual(|_| {}).await;
    let mut client = system.client().await;
    let mail = "MAIL FROM:<a@example.com> RET=HDRS ENVID=Q+2B1 BY=100;N MT-PRIORITY=3";
    assert_eq!(client.say(mail).await, "250 2.3.6 Sender OK, priority changed", "strangers come before nobody");
    assert!(client.say("RCPT TO:<a@example.org> NOTIFY=SUCCESS ORCPT=rfc822;b@example.com").await.starts_with("250 "));
    assert!(client.say("RCPT TO:<c@example.org>").await.starts_with("250 "));
    client.send(b"BDAT 7\r\nSubject").await;
    assert_eq!(client.reply().await, "250 2.0.0 Chunk received");
    client.send(b"BDAT 16 LAST\r\n: x\r\n\r\n.\r\n.\r\n.\r\n").await;
    let id = queued_as(&client.reply().await);
    assert!(queue.content(id).ends_with(b"\r\nSubject: x\r\n\r\n.\r\n.\r\n.\r\n"));
    queue.read(|stored| {
        let envelope = &stored.messages[&id].envelope;
        let options = &envelope.options;
        assert_eq!(envelope.priority, 0);
        assert_eq!(options.envelope_id.as_ref().unwrap().as_str(), "Q+1");
        assert_eq!(options.requests.len(), 1);
        assert_eq!(options.requests[0].notify.unwrap().to_string(), "SUCCESS");
        assert_eq!(options.requests[0].original.as_ref().unwrap().to_string(), "rfc822;b@example.com");
        let left = options.deliver_by.unwrap().at.since(options.received_at);
        assert!((90..=100).contains(&left.as_secs()), "{left:?}");
    });
}

#[tokio::test]
async fn what_is_said_in_clear_behind_starttls_is_never_obeyed() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (directory.path().join("chain.pem"), directory.path().join("key.pem"));
    write_certificate(&certificate, &key);
    let (queue, _replica, system) = usual(|config| {
        (config.inbound.tls_certificate, config.inbound.tls_key) = (Some(certificate), Some(key));
    })
    .await;
    let injected = "EHLO evil.example\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\nx\r\n.\r\n";
    // CVE-2011-0411: in the same segment, and in the next.
    let mut same = system.client().await;
    same.send(format!("STARTTLS\r\n{injected}").as_bytes()).await;
    assert_eq!(same.reply().await, "554 5.5.1 Plaintext after STARTTLS");
    assert_eq!(same.line().await, None);
    let mut next = system.client().await;
    assert_eq!(next.say("STARTTLS").await, "220 2.0.0 Ready to start TLS");
    next.send(injected.as_bytes()).await;
    while let Some(line) = next.line().await {
        assert!(!line.starts_with("250"), "{line}");
    }
    assert_eq!(queue.read(|stored| stored.messages.len()), 0);
}

#[tokio::test]
async fn a_header_section_has_an_end() {
    let (_queue, _replica, system) = usual(|_| {}).await;
    let mut client = system.client().await;
    let fields = b"a: b\r\n".repeat(1_000_000);
    assert_eq!(client.mail(&["a@example.org"], &fields).await, "552 5.3.4 Header section too large");
    queued_as(&client.mail(&["a@example.org"], CONTENT).await);
}

#[tokio::test]
async fn a_tenant_has_so_many_sessions_even_from_networks_of_ours() {
    let (_queue, _replica, system) = usual(|config| {
        let local = vec!["127.0.0.0/8".parse().unwrap()];
        config.inbound.relay_networks.clone_from(&local);
        config.inbound.networks = vec![NetworkConfig { networks: local, tenant: Some(7), ..NetworkConfig::default() }];
        config.inbound.tenants = vec![TenantConfig { id: 7, sessions: 1, ..TenantConfig::default() }];
    })
    .await;
    let mut one = system.client().await;
    let mut two = Client::connect(system.address).await;
    assert_eq!(two.reply().await, "421 4.7.0 Too many sessions of this tenant");
    assert_eq!(two.line().await, None);
    assert_eq!(one.say("QUIT").await, "221 2.0.0 Bye");
    while !Client::connect(system.address).await.reply().await.starts_with("220 ") {}
}

#[tokio::test]
async fn strangers_cannot_go_by_our_name() {
    let (queue, _replica, system) = usual(|config| {
        config.inbound.helo_own_name = HeloOwnName::Refuse;
        config.inbound.xclient_networks = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let mut client = Client::connect(system.address).await;
    client.reply().await;
    for hello in ["EHLO mx.example.org", "HELO MX.EXAMPLE.ORG.", "EHLO [127.0.0.1]", "HELO 127.0.0.1"] {
        assert_eq!(client.say(hello).await, "550 5.7.1 You are not me", "{hello}");
    }
    assert!(client.say("MAIL FROM:<a@example.com>").await.starts_with("503 "), "it has no name");
    assert!(client.say("EHLO client.example.com").await.starts_with("250 "));
    assert!(client.say("EHLO mx.example.org").await.starts_with("550 "));
    let id = queued_as(&client.mail(&["a@example.org"], CONTENT).await);
    assert!(
        String::from_utf8(queue.content(id)).unwrap().contains("from client.example.com "),
        "it keeps the one it had"
    );
    // The address it connected to is that of the proxy.
    assert!(client.say("XCLIENT ADDR=198.51.100.1 DESTADDR=192.0.2.25").await.starts_with("220 "));
    assert!(client.say("EHLO [127.0.0.1]").await.starts_with("250 "));
    assert!(client.say("EHLO [192.0.2.25]").await.starts_with("550 "));
}

#[tokio::test]
async fn our_own_may_go_by_our_name_and_anyone_where_it_is_not_forbidden() {
    let (_queue, _replica, system) = usual(|config| {
        config.inbound.helo_own_name = HeloOwnName::Refuse;
        config.inbound.relay_networks = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    assert!(system.client().await.say("EHLO mx.example.org").await.starts_with("250 "));
    let (_queue, _replica, system) = usual(|_| {}).await;
    assert!(system.client().await.say("EHLO mx.example.org").await.starts_with("250 "));
}
