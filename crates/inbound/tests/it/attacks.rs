//! What attackers send, on real sockets. Not responsible for floods, which are measured on the real program
//! (`testkit/tests/it/floods.rs`), nor for relaying (`delivery`) and STARTTLS (`listeners`).

use std::net::SocketAddr;
use std::time::Duration;

use mailtier_config::{Config, ContentLines, ListenerConfig, ListenerProtocol, LoginPolicy};
use mailtier_types::ReversePath;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::client::{Client, queued_as};
use crate::dialogue::hostile::{self, Before};
use crate::queue::{Queue, Replica};
use crate::system::{System, usual};

/// From one octet of a slow attacker to the next, and how long the server waits for a command.
const TRICKLE: Duration = Duration::from_millis(20);
const COMMAND_TIMEOUT: Duration = Duration::from_millis(400);
/// What a trickle may hold a session, on a busy machine.
const HELD_AT_MOST: Duration = Duration::from_secs(10);

/// A listener in place of the ordinary one.
async fn listening(change: impl FnOnce(&mut Config, &mut ListenerConfig)) -> (Queue, Replica, System) {
    usual(|config| {
        let mut listener = ListenerConfig {
            name: "tested".into(),
            listen: std::mem::take(&mut config.inbound.listen),
            ..ListenerConfig::default()
        };
        change(config, &mut listener);
        config.inbound.listeners = vec![listener];
    })
    .await
}

/// Every command can be obeyed here.
async fn open_to_all() -> (Queue, Replica, System) {
    listening(|config, listener| {
        let inbound = &mut config.inbound;
        let loopback = vec!["127.0.0.0/8".parse().unwrap()];
        (inbound.etrn_networks, inbound.xclient_networks) = (loopback.clone(), loopback.clone());
        inbound.xforward_networks = loopback;
        (inbound.vrfy, inbound.expn, inbound.sasl_in_clear) = (true, true, true);
        inbound.max_errors = u32::MAX;
        inbound.max_hold = Duration::from_secs(u64::from(u32::MAX));
        listener.protocol = ListenerProtocol::Submission;
        listener.login = Some(LoginPolicy::Offered);
    })
    .await
}

/// A client that may say the command next.
async fn ready(system: &System, before: Before) -> Client {
    let mut client = system.client().await;
    let said = match before {
        Before::Hello => &[][..],
        Before::Mail => &["MAIL FROM:<a@example.com>"],
        Before::Rcpt => &["MAIL FROM:<a@example.com>", "RCPT TO:<b@example.org>"],
        Before::Login => &["AUTH PLAIN"],
    };
    for line in said {
        assert!(client.say(line).await.starts_with(['2', '3']), "{line}");
    }
    client
}

#[tokio::test]
async fn no_octet_that_is_no_text_passes_in_any_command() {
    let (queue, _replica, system) = open_to_all().await;
    for (before, command) in hostile::COMMANDS {
        let mut client = ready(&system, *before).await;
        for octets in hostile::octets() {
            let line = hostile::with(command, &octets);
            client.send(&line).await;
            let said = client.reply().await;
            let expected = if octets[0].is_ascii_control() { "500 5.5.2 " } else { "501 5.5." };
            assert!(said.starts_with(expected), "{}: {said}", line.escape_ascii());
            if hostile::begins_chunk(command) {
                assert_eq!(client.line().await, None, "{}", line.escape_ascii());
                client = ready(&system, *before).await;
            } else if *before == Before::Login {
                assert_eq!(client.say("AUTH PLAIN").await, "334 ");
            }
        }
        client.send(&hostile::with(command, b"\n")).await;
        let said = client.reply().await;
        assert!(said.starts_with("500 5.5.2 "), "{command} with a line feed: {said}");
        assert_eq!(client.line().await, None, "{command} with a line feed");
    }
    assert_eq!(queue.read(|stored| stored.messages.len()), 0);
}

/// Says something, then one octet of `drop` at a time. What the server says at last, and after how long.
async fn trickle(address: SocketAddr, said: &str, drop: &'static [u8]) -> (String, Duration) {
    let (reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
    let mut lines = BufReader::new(reader).lines();
    assert!(lines.next_line().await.unwrap().unwrap().starts_with("220 "));
    writer.write_all(said.as_bytes()).await.unwrap();
    let begun = Instant::now();
    let dripping = tokio::spawn(async move {
        let mut ticks = interval(TRICKLE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for octet in drop.iter().cycle() {
            ticks.tick().await;
            if begun.elapsed() > HELD_AT_MOST || writer.write_all(&[*octet]).await.is_err() {
                return;
            }
        }
    });
    let mut last = String::new();
    // A connection that was reset has ended, too.
    while let Ok(Some(line)) = lines.next_line().await {
        last = line;
    }
    dripping.abort();
    (last, begun.elapsed())
}

#[tokio::test]
async fn nobody_holds_a_session_octet_by_octet() {
    let (_queue, _replica, system) = listening(|config, listener| {
        config.inbound.command_timeout = COMMAND_TIMEOUT;
        config.inbound.sasl_in_clear = true;
        config.inbound.max_errors = u32::MAX;
        listener.login = Some(LoginPolicy::Offered);
    })
    .await;
    let hello = "EHLO c.example\r\n";
    let mail = format!("{hello}MAIL FROM:<a@example.com>\r\n");
    let rcpt = format!("{mail}RCPT TO:<b@example.org>\r\n");
    let data = format!("{rcpt}DATA\r\n");
    let cases = [
        ("nothing", String::new(), &b"x"[..]),
        ("EHLO", "EHLO ".into(), b"x"),
        ("MAIL", format!("{hello}MAIL FROM:<"), b"x"),
        ("RCPT", format!("{mail}RCPT TO:<"), b"x"),
        ("DATA", format!("{rcpt}DATA"), b" "),
        ("AUTH", format!("{hello}AUTH PLAIN "), b"A"),
        ("a login", format!("{hello}AUTH PLAIN\r\n"), b"A"),
        ("VRFY", format!("{hello}VRFY "), b"x"),
        ("BDAT", format!("{rcpt}BDAT 1"), b" "),
        ("a chunk", format!("{rcpt}BDAT 1000000\r\n"), b"x"),
        ("content", data.clone(), b"x"),
        ("lines of content", data.clone(), b"x\r\n"),
        ("dots", data, b"..\r\n"),
    ];
    let running: Vec<_> = cases
        .map(|(name, said, drop)| {
            let address = system.address;
            (name, tokio::spawn(async move { trickle(address, &said, drop).await }))
        })
        .into();
    for (name, session) in running {
        let (last, held) = session.await.unwrap();
        assert_eq!(last, "421 4.4.2 Timeout waiting for client input", "{name} after {held:?}");
        assert!(held < HELD_AT_MOST, "{name}: {held:?}");
    }
}

#[tokio::test]
async fn only_one_end_of_data_is_one_on_the_listener_too() {
    let ends = ["\r\n", "\n", "\r", "\r\r\n", "\n\r", "\0\r\n", "\r\0\n", ""];
    for lines in [ContentLines::Strict, ContentLines::Normalize] {
        let (queue, _replica, system) = usual(|config| config.inbound.lines = lines).await;
        for (before, after) in ends.iter().flat_map(|before| ends.iter().map(move |after| (*before, *after))) {
            let is_end = before.ends_with("\r\n") && after == "\r\n";
            let mut client = system.client().await;
            let envelope = "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n";
            client.send(envelope.as_bytes()).await;
            for code in ["250 ", "250 ", "354 "] {
                assert!(client.reply().await.starts_with(code));
            }
            let smuggled = "MAIL FROM:<evil@example.com>\r\nRCPT TO:<c@example.org>\r\nDATA\r\nsmuggled";
            client.send(format!("x{before}.{after}{smuggled}\r\n.\r\nQUIT\r\n").as_bytes()).await;
            let mut replies = Vec::new();
            while let Some(line) = client.line().await {
                replies.push(line);
            }
            assert_eq!(replies.len(), if is_end { 6 } else { 2 }, "{before:?}.{after:?} {lines:?}: {replies:?}");
        }
        queue.read(|stored| {
            let evil = ReversePath::parse("evil@example.com").unwrap();
            let smuggled = stored.messages.values().filter(|message| message.envelope.sender == evil).count();
            // The real ends of data, where the second message is none that was smuggled.
            let real = ends.iter().filter(|before| before.ends_with("\r\n")).count();
            assert_eq!(smuggled, real, "{lines:?}");
        });
        let ids: Vec<_> = queue.read(|stored| stored.messages.keys().copied().collect());
        for id in ids {
            let content = queue.content(id);
            let is_bare = |pair: &[u8]| (pair[0] == b'\r') != (pair[1] == b'\n');
            assert!(!content.windows(2).any(is_bare) && !content.contains(&0), "{:?}", content.escape_ascii());
        }
    }
}

/// Version 2 of the header: version and command, family and protocol, what follows.
fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n".as_slice(), &[command, family], &length, rest].concat()
}

/// 192.0.2.7:5000 to 198.51.100.1:25.
const ADDRESSES: &[u8] = b"\xc0\x00\x02\x07\xc6\x33\x64\x01\x13\x88\x00\x19";
const VERSION_1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 5000 25\r\n";

/// Every client of loopback is a proxy, and the proxies' network is trusted.
async fn behind_proxy() -> (Queue, Replica, System) {
    listening(|config, listener| {
        let loopback = vec!["127.0.0.0/8".parse().unwrap()];
        listener.proxy_networks.clone_from(&loopback);
        listener.relay_networks = Some(loopback.clone());
        config.inbound.xclient_networks = loopback;
    })
    .await
}

#[tokio::test]
async fn a_proxy_header_that_is_none_or_cut_off_is_answered_with_nothing() {
    let (_queue, _replica, system) = behind_proxy().await;
    let whole_2 = version_2(0x21, 0x11, &[ADDRESSES, b"\x04\x00\x03abc"].concat());
    let cut = [VERSION_1, &whole_2].into_iter().flat_map(|whole| (0..whole.len()).map(|end| whole[..end].to_vec()));
    let malformed = [
        b"EHLO client.example.com\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a ClientHello".to_vec(),
        b"proxy TCP4 192.0.2.7 198.51.100.1 5000 25\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.7 198.51.100.1 5000 25\n\r\n".to_vec(),
        b"PROXY  TCP4 192.0.2.7 198.51.100.1 5000 25\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.7 198.51.100.1 5000\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.7 198.51.100.1 5000 25 25\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.256 198.51.100.1 5000 25\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.7\0 198.51.100.1 5000 25\r\n".to_vec(),
        b"PROXY TCP6 192.0.2.7 198.51.100.1 5000 25\r\n".to_vec(),
        b"PROXY UDP4 192.0.2.7 198.51.100.1 5000 25\r\n".to_vec(),
        [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 100], b"\r\n"].concat(),
        version_2(0x11, 0x11, ADDRESSES),
        version_2(0x22, 0x11, ADDRESSES),
        version_2(0x21, 0x12, ADDRESSES),
        version_2(0x21, 0x00, b""),
        version_2(0x21, 0x00, ADDRESSES),
        version_2(0x21, 0x41, ADDRESSES),
        version_2(0x21, 0x21, ADDRESSES),
        version_2(0x21, 0x11, &ADDRESSES[..11]),
        version_2(0x21, 0x11, &[0; 5000]),
    ];
    for sent in cut.chain(malformed) {
        let mut stream = TcpStream::connect(system.address).await.unwrap();
        stream.write_all(&sent).await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(Client::over(stream).line().await, None, "{}", sent.escape_ascii());
    }
    // A length that is too much is not waited for.
    let mut greedy = Client::connect(system.address).await;
    let begun = Instant::now();
    greedy.send(&[b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff".as_slice(), ADDRESSES].concat()).await;
    assert_eq!(greedy.line().await, None);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_proxy_header_in_any_pieces_names_the_client_and_the_client_cannot_rename_itself() {
    let (queue, _replica, system) = behind_proxy().await;
    for whole in [VERSION_1.to_vec(), version_2(0x21, 0x11, ADDRESSES)] {
        let mut stream = TcpStream::connect(system.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for octet in &whole {
            stream.write_all(&[*octet]).await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut client = Client::over(stream);
        assert_eq!(client.reply().await, "220 mx.example.org ESMTP");
        assert_eq!(client.say("PROXY TCP4 127.0.0.1 198.51.100.1 1 25").await, "500 5.5.2 Command not recognised");
        client.say("EHLO client.example.com").await;
        assert!(client.say("XCLIENT ADDR=127.0.0.1").await.starts_with("550 5.7."), "only a proxy may say that");
        client.say("MAIL FROM:<a@example.com>").await;
        assert_eq!(client.say("RCPT TO:<a@example.com>").await, "550 5.7.1 Relaying denied");
        client.say("RSET").await;
        let id = queued_as(&client.mail(&["a@example.org"], b"Subject: x\r\n\r\n").await);
        assert!(String::from_utf8(queue.content(id)).unwrap().contains("([192.0.2.7])"));
    }
    // A second header right behind the first is something said before the greeting.
    let mut hasty = Client::connect(system.address).await;
    hasty.send(&[VERSION_1, b"PROXY TCP4 127.0.0.1 198.51.100.1 1 25\r\n"].concat()).await;
    let said = hasty.reply().await;
    assert!(said.starts_with("554 5.5.1 ") || said.starts_with("220 "), "{said}");
    if said.starts_with("220 ") {
        assert_eq!(hasty.reply().await, "500 5.5.2 Command not recognised");
    }
}

#[tokio::test]
async fn a_client_that_the_proxy_does_not_name_is_a_stranger() {
    let (_queue, _replica, system) = behind_proxy().await;
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN 127.0.0.1 127.0.0.1 1 25\r\n".to_vec(),
        version_2(0x21, 0x31, &[0; 216]),
        version_2(0x20, 0x00, b""),
        version_2(0x20, 0x11, b"\x7f\x00\x00\x01\x7f\x00\x00\x01\x00\x01\x00\x19"),
    ] {
        let mut client = Client::connect(system.address).await;
        client.send(&header).await;
        let greeting = client.line().await;
        assert_eq!(greeting.as_deref(), Some("220 mx.example.org ESMTP"), "{}", header.escape_ascii());
        client.say("EHLO client.example.com").await;
        client.say("MAIL FROM:<a@example.com>").await;
        let said = client.say("RCPT TO:<a@example.com>").await;
        assert_eq!(said, "550 5.7.1 Relaying denied", "{}", header.escape_ascii());
        client.say("RSET").await;
        let said = client.say("XCLIENT ADDR=127.0.0.1").await;
        assert!(said.starts_with("550 5.7."), "{}: {said}", header.escape_ascii());
    }
}

#[tokio::test]
async fn names_with_controls_beyond_ascii_never_reach_a_field() {
    let (queue, _replica, system) = open_to_all().await;
    // Unicode's own controls are UTF-8: NEL ends a line for some, and marks turn text around.
    for control in ['\u{80}', '\u{85}', '\u{9b}', '\u{2028}', '\u{202e}'] {
        let mut client = system.client().await;
        let said = client.say(&format!("EHLO client{control}.example")).await;
        if said.starts_with("250 ") {
            let id = queued_as(&client.mail(&["a@example.org"], b"Subject: x\r\n\r\n").await);
            let content = String::from_utf8(queue.content(id)).unwrap();
            assert!(!content.contains(control), "{control:?}: {content:?}");
        }
        for line in [format!("MAIL FROM:<a@ex{control}ample.com> SMTPUTF8"), format!("ETRN ex{control}ample.org")] {
            let said = client.say(&line).await;
            assert!(said.starts_with(['4', '5']), "{line:?}: {said}");
        }
    }
}
