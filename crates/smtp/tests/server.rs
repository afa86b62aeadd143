//! The server engine as its users meet it: dialogues, every border between two reads, floods and noise.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "what helps a test may fail loudly")]

mod dialogue;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dialogue::hostile::{self, Before};
use dialogue::{Dialogue, Step};
use mailtier_smtp::{
    ChannelBindings, ClientAttribute, ClientCertificate, Connection, Extension, LinePolicy, Protocol, Question,
    SaslOffer, ServerAction, ServerConfig, ServerSession, TlsInfo, Verdict,
};
use mailtier_types::{Reply, SaslMechanism, Timestamp, reply};

/// Drives an engine as a server would: answers its questions, collects what it says and accepts.
struct Driver {
    session: ServerSession,
    now: Instant,
    said: Vec<u8>,
    content: Vec<u8>,
    accepted: Vec<Vec<u8>>,
    events: Vec<String>,
    open: bool,
    /// Content arrives as it was sent.
    exact: bool,
    /// What logins that fail are told.
    refused_login: Reply,
    /// What content is told that is announced.
    refused_data: Option<Reply>,
    /// What XCLIENT makes of the client.
    becomes: Option<Verdict>,
}

impl Driver {
    fn new(config: ServerConfig) -> Self {
        Self::connected(config, Connection::default())
    }

    fn connected(config: ServerConfig, connection: Connection) -> Self {
        #[expect(clippy::disallowed_methods, reason = "an Instant has no other beginning")]
        let now = Instant::now();
        let exact = config.lines == LinePolicy::Strict;
        let session = ServerSession::new(Arc::new(config), connection, now);
        let mut driver = Self {
            session,
            now,
            said: Vec::new(),
            content: Vec::new(),
            accepted: Vec::new(),
            events: Vec::new(),
            open: true,
            exact,
            refused_login: reply::LOGIN_FAILED,
            refused_data: None,
            becomes: None,
        };
        driver.run();
        driver
    }

    fn run(&mut self) {
        loop {
            match self.session.poll() {
                ServerAction::Send => {
                    let octets = self.session.output().to_vec();
                    assert!(!octets.is_empty(), "nothing to send");
                    self.said.extend_from_slice(&octets);
                    self.session.sent(octets.len());
                }
                ServerAction::Ask(question) => {
                    let verdict = self.decide(question);
                    self.session.answer(verdict, self.now);
                }
                ServerAction::Body(chunk) => {
                    assert!(!chunk.is_empty());
                    self.content.extend_from_slice(&chunk);
                }
                ServerAction::Reset => {
                    self.content.clear();
                    self.events.push("reset".into());
                }
                ServerAction::UpgradeTls => {
                    self.events.push("upgrade".into());
                    return;
                }
                ServerAction::NeedInput => {
                    assert!(self.session.next_timeout().is_some(), "nobody would wake a session that only waits");
                    return;
                }
                ServerAction::Close => {
                    self.open = false;
                    return;
                }
            }
        }
    }

    /// How many lines each write has, until the session needs input.
    fn sends(&mut self) -> Vec<usize> {
        let mut sends = Vec::new();
        loop {
            match self.session.poll() {
                ServerAction::Ask(_) => self.session.answer(Verdict::Accept, self.now),
                ServerAction::Send => {
                    sends.push(self.session.output().iter().filter(|octet| **octet == b'\n').count());
                    self.session.sent(self.session.output().len());
                }
                ServerAction::Body(_) => {}
                _ => return sends,
            }
        }
    }

    fn decide(&mut self, question: Question) -> Verdict {
        match question {
            Question::Rcpt(rcpt) if !rcpt.mailbox.domain_str().ends_with(dialogue::RELAY_DOMAIN) => {
                Verdict::Reject(reply::RELAY_DENIED)
            }
            Question::Data => self.refused_data.clone().map_or(Verdict::Accept, Verdict::Reject),
            Question::SaslStart(mechanism, initial) => self.login(mechanism, initial.map(|data| data.0)),
            Question::SaslResponse(response) => self.log_in(&response.0),
            Question::Verify(address) if address == "user" => {
                Verdict::AcceptWith(reply::VERIFIED.with_text("<user@example.org>"))
            }
            Question::Verify(address) | Question::Expand(address) if address == "jürgen" => {
                Verdict::AcceptWith(reply::VERIFIED.with_text("<jürgen@example.org>"))
            }
            Question::Verify(_) | Question::Expand(_) => Verdict::Reject(reply::NO_SUCH_RECIPIENT),
            Question::StartQueue(node) if node.ends_with(dialogue::RELAY_DOMAIN) => {
                Verdict::AcceptWith(reply::QUEUE_STARTED)
            }
            Question::StartQueue(_) => Verdict::Reject(reply::NODE_NOT_ALLOWED),
            Question::Impersonate(attributes) if attributes.contains(&ClientAttribute::Hello(Some("evil".into()))) => {
                Verdict::Reject(reply::POLICY)
            }
            Question::Impersonate(_) => self.becomes.clone().unwrap_or(Verdict::Accept),
            Question::EndOfData { size_bytes } => {
                if self.exact {
                    assert_eq!(size_bytes, self.content.len() as u64, "the size is that of the content");
                }
                self.accepted.push(std::mem::take(&mut self.content));
                Verdict::AcceptWith(reply::QUEUED.with_text(format!("Queued as {}", self.accepted.len())))
            }
            _ => Verdict::Accept,
        }
    }

    /// Whatever the mechanism: `user`, a null octet and `secret` in one response.
    fn login(&mut self, mechanism: SaslMechanism, initial: Option<Vec<u8>>) -> Verdict {
        match initial {
            Some(response) => self.log_in(&response),
            None if mechanism == SaslMechanism::Plain => Verdict::Challenge(Vec::new()),
            None => Verdict::Challenge(mechanism.name().into()),
        }
    }

    fn log_in(&mut self, response: &[u8]) -> Verdict {
        if response == b"user\0secret" { Verdict::Accept } else { Verdict::Reject(self.refused_login.clone()) }
    }

    /// Feeds in pieces, each as long as `length` says.
    fn feed(&mut self, octets: &[u8], mut length: impl FnMut() -> usize) {
        let mut rest = octets;
        while !rest.is_empty() && self.open {
            let (piece, after) = rest.split_at(length().clamp(1, rest.len()));
            self.session.handle_input(piece, self.now);
            self.run();
            rest = after;
        }
    }
}

fn config(dialogue: &Dialogue) -> ServerConfig {
    let setting = &dialogue.setting;
    let mut config = ServerConfig::new(&setting.hostname);
    config.max_message_bytes = setting.max_message_bytes;
    config.max_recipients = setting.max_recipients;
    config.limits.errors = setting.max_errors;
    config.starttls = setting.starttls;
    config.tls_required = setting.tls_required;
    config.protocol = if setting.lmtp { Protocol::Lmtp } else { Protocol::Smtp };
    config.lines = if setting.normalize { LinePolicy::Normalize } else { LinePolicy::Strict };
    config.strict_hello = !setting.lenient_hello;
    config.max_transactions = setting.max_transactions;
    config.max_hold_seconds = setting.max_hold_seconds;
    config.least_deliver_by_seconds = setting.least_deliver_by_seconds;
    let extension = |keyword: &String| Extension::from_keyword(keyword).unwrap();
    config.extensions = setting.offers.iter().map(extension).fold(config.extensions, |all, one| all.with(one));
    config.extensions = setting.withholds.iter().map(extension).fold(config.extensions, |all, one| all.without(one));
    config.sasl = (!setting.sasl.is_empty()).then(|| SaslOffer {
        mechanisms: setting.sasl.iter().map(|name| name.parse().unwrap()).collect(),
        in_clear: setting.sasl_in_clear,
        required: setting.sasl_required,
    });
    config
}

fn connection(dialogue: &Dialogue) -> Connection {
    let permitted = match (dialogue.setting.trusted_proxy, dialogue.setting.stranger) {
        (true, _) => vec![Extension::XClient, Extension::XForward],
        (false, false) => vec![Extension::Etrn, Extension::Vrfy, Extension::Expn],
        (false, true) => Vec::new(),
    };
    Connection { opened_at: Timestamp::from_secs(1_800_000_000), permitted: permitted.into_iter().collect() }
}

/// What a handshake leads to.
fn tls_info(dialogue: &Dialogue) -> TlsInfo {
    let with_certificate = dialogue.setting.tls_with_certificate;
    TlsInfo {
        version: "TLSv1.3".into(),
        cipher: "TLS_AES_256_GCM_SHA384".into(),
        bindings: ChannelBindings { exporter: with_certificate.then(|| vec![7; 32]), end_point: None },
        client: with_certificate.then(ClientCertificate::default),
    }
}

/// Takes an engine through a dialogue. Says everything it said, so that runs can be compared.
fn take_through(dialogue: &Dialogue, mut length: impl FnMut() -> usize, manner: &str) -> Vec<u8> {
    let mut driver = Driver::connected(config(dialogue), connection(dialogue));
    let (mut transcript, mut pending) = (Vec::new(), Vec::new());
    for (number, step) in dialogue.steps.iter().enumerate() {
        let place = format!("{} {manner}, step {number} {step:?}", dialogue.name);
        transcript.extend_from_slice(&driver.said);
        pending.append(&mut driver.said);
        if !matches!(step, Step::Expect(_)) {
            assert_eq!(String::from_utf8_lossy(&pending), "", "{place}: the server said more");
        }
        match step {
            Step::Send { octets, whole } => {
                assert!(driver.open, "{place}: the server has closed");
                driver.feed(octets, || if *whole { usize::MAX } else { length() });
            }
            Step::Expect(expected) => {
                let said = String::from_utf8(pending.clone()).unwrap();
                let (line, rest) =
                    said.split_once("\r\n").unwrap_or_else(|| panic!("{place}: the server said nothing"));
                assert!(dialogue::matches(expected, line), "{place}: the server said {line:?}");
                pending = rest.as_bytes().to_vec();
            }
            Step::Tls => {
                assert_eq!(driver.events.last().map(String::as_str), Some("upgrade"), "{place}");
                driver.session.handle_tls(&tls_info(dialogue), driver.now);
                driver.run();
            }
            Step::Eof => {
                driver.session.handle_eof();
                driver.run();
            }
            Step::Closed => assert!(!driver.open, "{place}: the server has not closed"),
            Step::Timeout => {
                driver.now = driver.session.next_timeout().unwrap();
                driver.session.handle_timeout(driver.now);
                driver.run();
            }
            Step::ShutDown => {
                driver.session.shut_down(driver.now);
                driver.run();
            }
            Step::Message(content) => {
                let accepted = driver.accepted.last().unwrap_or_else(|| panic!("{place}: nothing was accepted"));
                assert_eq!(String::from_utf8_lossy(accepted), String::from_utf8_lossy(content), "{place}");
            }
        }
    }
    transcript.extend_from_slice(&driver.said);
    pending.append(&mut driver.said);
    assert_eq!(String::from_utf8_lossy(&pending), "", "{} {manner}: the server said more", dialogue.name);
    transcript
}

/// A small generator of borders: the same in every run.
fn borders(mut state: u64) -> impl FnMut() -> usize {
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % 23 + 1
    }
}

#[test]
fn dialogues_are_the_same_at_every_border() {
    let dialogues = dialogue::all(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dialogues")));
    assert!(dialogues.len() >= 20, "where are the dialogues?");
    for dialogue in &dialogues {
        let whole = take_through(dialogue, || usize::MAX, "whole");
        assert_eq!(take_through(dialogue, || 1, "octet by octet"), whole, "{}", dialogue.name);
        for seed in 0..6 {
            assert_eq!(take_through(dialogue, borders(seed), "at random borders"), whole, "{}", dialogue.name);
        }
    }
}

#[test]
fn a_client_that_sends_everything_at_once_is_told_the_same() {
    let dialogues = dialogue::all(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dialogues")));
    for dialogue in dialogues.iter().filter(|dialogue| {
        dialogue
            .steps
            .iter()
            .all(|step| matches!(step, Step::Send { whole: false, .. } | Step::Expect(_) | Step::Closed))
    }) {
        let apart = take_through(dialogue, || usize::MAX, "whole");
        let everything: Vec<u8> = dialogue
            .steps
            .iter()
            .flat_map(|step| if let Step::Send { octets, .. } = step { octets.clone() } else { Vec::new() })
            .collect();
        let mut driver = Driver::connected(config(dialogue), connection(dialogue));
        driver.feed(&everything, || usize::MAX);
        assert_eq!(String::from_utf8_lossy(&driver.said), String::from_utf8_lossy(&apart), "{}", dialogue.name);
    }
}

/// What a session has to say to `MAIL, RCPT, DATA` and then this content.
fn content_verdict(content: &[u8], mut length: impl FnMut() -> usize) -> (usize, String, Vec<Vec<u8>>) {
    let mut driver = Driver::new(ServerConfig::new("mx.example.org"));
    driver.feed(b"EHLO c.example\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n", || usize::MAX);
    driver.said.clear();
    driver.feed(content, &mut length);
    let replies = String::from_utf8(driver.said.clone()).unwrap();
    (replies.lines().count(), replies, driver.accepted)
}

#[test]
fn nothing_but_the_end_of_data_ends_data() {
    // What other servers have taken for the end of data: each would let a second message be smuggled in behind it.
    let line_ends: [&[u8]; 8] = [b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\0\n", b"\0\r\n", b"\x0b\r\n"];
    let smuggled = b"MAIL FROM:<x@example.com>\r\nRCPT TO:<y@example.org>\r\nDATA\r\nsmuggled\r\n.\r\n";
    let mut ends = 0;
    for before in line_ends {
        for after in line_ends {
            for dots in [&b"."[..], b"..", b". "] {
                let pretended = [b"text", before, dots, after].concat();
                let is_end = before.ends_with(b"\r\n") && dots == b"." && after == b"\r\n";
                let content = [&pretended[..], smuggled].concat();
                let (replies, said, accepted) = content_verdict(&content, || usize::MAX);
                let shown = String::from_utf8_lossy(&pretended).into_owned();
                assert_eq!(content_verdict(&content, || 1).1, said, "{shown:?}");
                if is_end {
                    ends += 1;
                    assert_eq!(replies, 5, "{shown:?}: {said}");
                } else {
                    assert_eq!(replies, 1, "{shown:?} ended the data: {said}");
                    // A vertical tab is an octet like any other: with it the lines are clean.
                    let clean_ends: [&[u8]; 2] = [b"\r\n", b"\x0b\r\n"];
                    let clean = clean_ends.contains(&before) && clean_ends.contains(&after);
                    assert_eq!(accepted.len(), usize::from(clean), "{shown:?}: {said}");
                    assert!(clean || said.starts_with("550 5.6.0 "), "{shown:?}: {said}");
                }
            }
        }
    }
    assert_eq!(ends, 4, "CRLF, CR CRLF, NUL CRLF and VT CRLF before the dot: the last three belong to the line before");
}

#[test]
fn dots_come_off_and_nothing_else_changes() {
    for (sent, meant) in [
        (&b".\r\n"[..], &b""[..]),
        (b"\r\n.\r\n", b"\r\n"),
        (b"..\r\n.\r\n", b".\r\n"),
        (b"...\r\n.\r\n", b"..\r\n"),
        (b".a\r\n.\r\n", b"a\r\n"),
        (b"a.\r\n.b\r\nc\r\n.\r\n", b"a.\r\nb\r\nc\r\n"),
        (b"..\r\n..\r\n..\r\n.\r\n", b".\r\n.\r\n.\r\n"),
        (b"\xff\xfe\x80 \x01\t\r\n.\r\n", b"\xff\xfe\x80 \x01\t\r\n"),
    ] {
        for step in [1, 2, 3, usize::MAX] {
            let (_, said, accepted) = content_verdict(sent, || step);
            assert_eq!(accepted, [meant.to_vec()], "{:?}: {said}", String::from_utf8_lossy(sent));
        }
    }
}

#[test]
fn a_flood_of_commands_is_answered_in_small_pieces() {
    let now = Driver::new(ServerConfig::new("x")).now;
    let mut config = ServerConfig::new("mx.example.org");
    config.limits.junk_commands = u32::MAX;
    let mut session = ServerSession::new(Arc::new(config), Connection::default(), now);
    assert_eq!(session.poll(), ServerAction::Ask(Question::Connect));
    session.answer(Verdict::Accept, now);
    let flood = b"RSET\r\n".repeat(100_000);
    session.handle_input(&flood, now);
    assert!(!session.wants_input(), "a driver must stop reading");
    let (mut replies, mut largest) = (0, 0);
    while session.poll() == ServerAction::Send {
        largest = largest.max(session.output().len());
        replies += session.output().iter().filter(|octet| **octet == b'\n').count();
        session.sent(session.output().len());
    }
    assert_eq!(replies, 100_001);
    assert!(largest < 8 << 10, "{largest} octets of replies gathered");
}

#[test]
fn pipelined_commands_are_answered_together() {
    let mut driver = Driver::new(ServerConfig::new("mx.example.org"));
    driver.feed(b"EHLO c.example\r\n", || usize::MAX);
    let group = b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nRCPT TO:<c@example.org>\r\nDATA\r\n";
    driver.session.handle_input(group, driver.now);
    assert_eq!(driver.sends(), [4], "one write for the group (RFC 2920 section 3.2)");
}

#[test]
fn the_reply_to_the_end_of_data_waits_for_nothing() {
    let mut driver = Driver::new(ServerConfig::new("mx.example.org"));
    driver.feed(b"EHLO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n", || usize::MAX);
    driver.session.handle_input(b".\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\n", driver.now);
    assert_eq!(driver.sends(), [1, 2], "a client that does not hear of it would send again (RFC 1047)");
}

#[test]
fn input_before_the_greeting_is_an_early_talker() {
    let now = Driver::new(ServerConfig::new("x")).now;
    let mut session = ServerSession::new(Arc::new(ServerConfig::new("mx.example.org")), Connection::default(), now);
    assert_eq!(session.poll(), ServerAction::Ask(Question::Connect));
    session.handle_input(b"EHLO spammer.example\r\n", now);
    assert_eq!(session.poll(), ServerAction::Send);
    assert!(session.output().starts_with(b"554 5.5.1 "));
    session.answer(Verdict::Accept, now);
    session.sent(session.output().len());
    assert_eq!(session.poll(), ServerAction::Close);
}

#[test]
fn a_peer_that_does_not_read_is_given_up() {
    let mut driver = Driver::new(ServerConfig::new("mx.example.org"));
    driver.session.handle_input(b"NOOP\r\n", driver.now);
    assert_eq!(driver.session.poll(), ServerAction::Send);
    driver.session.handle_timeout(driver.session.next_timeout().unwrap());
    assert_eq!(driver.session.poll(), ServerAction::Close);
}

#[test]
fn a_handshake_that_does_not_come_is_not_waited_for() {
    let mut driver = Driver::new(ServerConfig { starttls: true, ..ServerConfig::new("mx.example.org") });
    driver.feed(b"EHLO c.example\r\nSTARTTLS\r\n", || usize::MAX);
    assert_eq!(driver.events, ["upgrade"]);
    let end = driver.session.next_timeout().unwrap();
    assert!(end <= driver.now + Duration::from_secs(60), "{:?}", end - driver.now);
    driver.session.handle_timeout(end);
    assert_eq!(driver.session.poll(), ServerAction::Close, "in the middle of a handshake there is nothing to say");
}

#[test]
fn a_slow_verdict_does_not_eat_the_clients_time() {
    let mut driver = Driver::new(ServerConfig::new("mx.example.org"));
    driver.session.handle_input(b"EHLO c.example\r\n", driver.now);
    assert!(matches!(driver.session.poll(), ServerAction::Ask(Question::Hello { .. })));
    assert_eq!(driver.session.next_timeout(), None, "no timeout while we are the slow ones");
    let later = driver.now + Duration::from_secs(1000);
    driver.session.answer(Verdict::Accept, later);
    assert_eq!(driver.session.next_timeout(), Some(later + Duration::from_secs(300)));
}

/// Pieces of sessions, right and wrong, so that noise gets somewhere.
fn noise() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
    use proptest::prelude::*;
    let piece = prop_oneof![
        Just(b"EHLO c.example\r\n".to_vec()),
        Just(b"MAIL FROM:<a@example.com> SIZE=10\r\n".to_vec()),
        Just(b"RCPT TO:<b@example.org>\r\n".to_vec()),
        Just(b"DATA\r\n".to_vec()),
        Just(b"text\r\n.\r\n".to_vec()),
        Just(b"\r\n.\r".to_vec()),
        Just(b"RSET\r\n".to_vec()),
        Just(b"STARTTLS\r\n".to_vec()),
        Just(b"\n.\n".to_vec()),
        Just(vec![b'.'; 300]),
        Just(b"..\r\n".repeat(40)),
        Just(vec![b'y'; 1100]),
        prop::collection::vec(any::<u8>(), 0..40),
        "[A-Z]{4} [A-Z]{2,4}:<\\PC{0,30}>\r\n".prop_map(String::into_bytes),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(300))]

    #[test]
    fn noise_neither_panics_nor_depends_on_borders(octets in noise(), seed: u64) {
        let run = |length: Box<dyn FnMut() -> usize>| {
            let mut config = ServerConfig::new("mx.example.org");
            config.max_message_bytes = 5000;
            config.limits.content_line_octets = 1000;
            let mut driver = Driver::new(config);
            driver.feed(&octets, length);
            driver.session.handle_eof();
            driver.run();
            proptest::prop_assert!(!driver.open);
            Ok((String::from_utf8_lossy(&driver.said).into_owned(), driver.accepted))
        };
        let whole = run(Box::new(|| usize::MAX))?;
        proptest::prop_assert_eq!(&run(Box::new(borders(seed)))?, &whole);
        proptest::prop_assert_eq!(&run(Box::new(|| 1))?, &whole);
        for line in whole.0.split_terminator("\r\n") {
            proptest::prop_assert!(!line.contains(['\r', '\n']) && line.len() <= 512, "{}", line);
        }
    }
}

/// A session after EHLO, MAIL and RCPT.
fn addressed(config: ServerConfig) -> Driver {
    let mut driver = Driver::new(config);
    driver.feed(b"EHLO c\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\n", || usize::MAX);
    driver.said.clear();
    driver
}

#[test]
fn only_one_end_of_data_is_one() {
    // Every way to write a dot on a line of its own that some server takes for the end (RFC 5321 section 4.1.1.4).
    let ends = ["\r\n", "\n", "\r", "\r\r\n", "\n\r", "\0\r\n", "\r\0\n", ""];
    for policy in [LinePolicy::Strict, LinePolicy::Normalize] {
        for (before, after) in ends.iter().flat_map(|before| ends.iter().map(move |after| (*before, *after))) {
            let is_end = before.ends_with("\r\n") && before != "\r\0\n" && after == "\r\n";
            for step in [1, 2, usize::MAX] {
                let mut driver = addressed(ServerConfig { lines: policy, ..ServerConfig::new("mx.example.org") });
                driver.feed(b"DATA\r\n", || usize::MAX);
                let smuggled = format!("x{before}.{after}RSET\r\nMAIL FROM:<evil@example.org>\r\n");
                driver.feed(smuggled.as_bytes(), || step);
                let replies = String::from_utf8_lossy(&driver.said).lines().count();
                let place = format!("{before:?}.{after:?} {policy:?} by {step}");
                assert_eq!(replies > 1, is_end, "{place}: {:?}", String::from_utf8_lossy(&driver.said));
                driver.feed(b"\r\n.\r\n", || step);
                let taken: usize = driver.accepted.len();
                assert!(taken <= 1, "{place}");
                for content in &driver.accepted {
                    let bare = content.windows(2).any(|pair| (pair[0] == b'\r') != (pair[1] == b'\n'));
                    assert!(!bare && content.first() != Some(&b'\n') && !content.contains(&0), "{place}: {content:?}");
                }
            }
        }
    }
}

/// A session in which every command could be obeyed, as far as it must be for one.
fn open_to_all(before: Before) -> Driver {
    let mut config = ServerConfig::new("mx.example.org");
    config.limits.errors = u32::MAX;
    config.max_hold_seconds = u32::MAX;
    config.starttls = true;
    config.sasl = Some(SaslOffer { mechanisms: vec![SaslMechanism::Plain], in_clear: true, required: false });
    for extension in [Extension::Vrfy, Extension::Expn, Extension::Etrn] {
        config.extensions = config.extensions.with(extension);
    }
    let opened_at = Timestamp::from_secs(1_800_000_000);
    let mut driver =
        Driver::connected(config, Connection { opened_at, permitted: Extension::ALL.into_iter().collect() });
    let said: &[u8] = match before {
        Before::Hello => b"",
        Before::Mail => b"MAIL FROM:<a@example.com>\r\n",
        Before::Rcpt => b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\n",
        Before::Login => b"AUTH PLAIN\r\n",
    };
    driver.feed(&[b"EHLO c.example\r\n", said].concat(), || usize::MAX);
    driver.said.clear();
    driver
}

#[test]
fn control_octets_and_what_is_not_utf8_are_refused_wherever_they_stand() {
    for (before, command) in hostile::COMMANDS {
        for octets in hostile::octets() {
            let mut driver = open_to_all(*before);
            let line = hostile::with(command, &octets);
            driver.feed(&line, || usize::MAX);
            let said = String::from_utf8_lossy(&driver.said).into_owned();
            let place = format!("{}: {said}", line.escape_ascii());
            let is_control = octets[0].is_ascii_control();
            assert!(said.starts_with(if is_control { "500 5.5.2 " } else { "501 5.5." }), "{place}");
            assert_eq!(said.lines().count(), 1, "{place}");
            assert_eq!(driver.open, !hostile::begins_chunk(command), "{place}");
            driver.said.clear();
            // Nothing of it stays: neither a login nor a transaction that was not there.
            driver.feed(b"NOOP\r\n", || usize::MAX);
            assert!(!driver.open || driver.said == b"250 2.0.0 OK\r\n", "{place}");
        }
        let mut driver = open_to_all(*before);
        driver.feed(&hostile::with(command, b"\n"), || usize::MAX);
        let said = String::from_utf8_lossy(&driver.said).into_owned();
        assert!(said.starts_with("500 5.5.2 ") && !driver.open, "{command} with a line feed: {said}");
    }
}

#[test]
fn a_trickle_does_not_hold_a_session() {
    let commands =
        ["EHLO ", "MAIL FROM:<", "RCPT TO:<", "DATA", "BDAT 1", "AUTH PLAIN ", "AUTH PLAIN\r\n", "VRFY ", "QUIT"];
    for prefix in ["", "DATA\r\n", "BDAT 1000000\r\n"].into_iter().chain(commands) {
        let sasl = Some(SaslOffer { mechanisms: vec![SaslMechanism::Plain], in_clear: true, required: false });
        let mut driver = addressed(ServerConfig { sasl, ..ServerConfig::new("mx.example.org") });
        driver.feed(prefix.as_bytes(), || usize::MAX);
        driver.said.clear();
        let begun = driver.now;
        while driver.open && driver.now < begun + Duration::from_secs(3600) {
            driver.now += Duration::from_secs(20);
            driver.session.handle_timeout(driver.now);
            driver.run();
            if driver.open {
                driver.feed(b"x", || 1);
            }
        }
        assert!(driver.now - begun <= Duration::from_secs(340), "{prefix:?}: {:?}", driver.now - begun);
        assert!(driver.said.starts_with(b"421 4.4.2 "), "{prefix:?}");
    }
    // A slow line is served, as long as it takes.
    let mut driver = addressed(ServerConfig::new("mx.example.org"));
    driver.feed(b"DATA\r\n", || usize::MAX);
    for _ in 0..2000 {
        driver.now += Duration::from_secs(1);
        driver.session.handle_timeout(driver.now);
        driver.feed(&[&[b'x'; 598][..], b"\r\n"].concat(), || usize::MAX);
    }
    driver.feed(b".\r\n", || usize::MAX);
    assert_eq!(driver.accepted.len(), 1);
}

#[test]
fn every_command_has_the_whole_time() {
    // RFC 5321 section 4.5.3.2.7, whether the driver is asked anything or not.
    let commands: &[&str] = &[
        "NOOP",
        "HELP",
        "RSET",
        "VRFY a",
        "FOO",
        "MAIL FROM:<",
        "RCPT TO:<b@example.org>",
        "DATA",
        "NOOP \u{7}",
        "AUTH PLAIN",
        "MAIL FROM:<a@example.com>",
        "NOOP",
        "DATA",
        "RCPT TO:<b@example.com>",
        "RCPT TO:<b@example.org>",
        "BDAT 0",
        "NOOP",
        "RCPT TO:<b@example.org>",
        "BDAT 0",
        "RSET",
        "BDAT 0",
        "EHLO c.example",
        "QUIT",
    ];
    let patience = Duration::from_secs(12);
    let mut config = ServerConfig::new("mx.example.org");
    (config.timeouts.command, config.timeouts.content) = (patience, Duration::from_secs(40));
    let mut driver = Driver::new(config);
    driver.feed(b"EHLO c.example\r\n", || usize::MAX);
    for command in commands {
        driver.now += patience - Duration::from_millis(1500);
        driver.session.handle_timeout(driver.now);
        driver.run();
        driver.said.clear();
        driver.feed(format!("{command}\r\n").as_bytes(), || usize::MAX);
        assert!(!driver.said.is_empty() && !driver.said.starts_with(b"421 "), "{command}");
        assert!(*command == "QUIT" || driver.session.next_timeout() == Some(driver.now + patience), "{command}");
    }
}

#[test]
fn what_follows_content_has_the_whole_time() {
    let (command, content) = (Duration::from_secs(300), Duration::from_secs(600));
    for (said, is_chunk) in [
        ("DATA\r\na\nb\r\n.\r\n", false),
        ("BDAT 3\r\na\nb", true),
        ("BDAT 5\r\nabcde", true),
        ("BDAT 5 LAST\r\nabcde", true),
    ] {
        let mut config = ServerConfig::new("mx.example.org");
        config.timeouts.content = content;
        let mut driver = addressed(config);
        let (head, rest) = said.split_once("\r\n").unwrap();
        driver.now += command / 2;
        driver.feed(format!("{head}\r\n").as_bytes(), || usize::MAX);
        assert_eq!(driver.session.next_timeout(), Some(driver.now + content), "{said:?}: content is awaited");
        driver.now += content / 2;
        driver.feed(rest.as_bytes(), || usize::MAX);
        assert_eq!(driver.session.next_timeout(), Some(driver.now + command), "{said:?}: a command is awaited");
        if is_chunk {
            // What is swallowed, too.
            driver.feed(b"RSET\r\nBDAT 3\r\n", || usize::MAX);
            assert_eq!(driver.session.next_timeout(), Some(driver.now + content), "{said:?}");
            driver.now += content / 2;
            driver.feed(b"abc", || usize::MAX);
            assert_eq!(driver.session.next_timeout(), Some(driver.now + command), "{said:?}");
        }
    }
}

#[test]
fn what_leads_to_nothing_does_not_hold_a_session() {
    let (in_transaction, message) = ("MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\n", "DATA\r\nx\r\n.\r\n");
    for (before, repeated) in [
        ("", "NOOP\r\n"),
        ("", "RSET\r\n"),
        ("", "HELP\r\n"),
        ("", "VRFY user\r\n"),
        ("", "ETRN x.example.org\r\n"),
        ("", "EHLO c.example\r\n"),
        ("", "HELO c.example\r\n"),
        ("", "MAIL FROM:<a@example.com>\r\nRSET\r\n"),
        (in_transaction, "NOOP\r\n"),
        (in_transaction, "BDAT 0\r\n"),
    ] {
        let mut config = ServerConfig::new("mx.example.org");
        config.extensions = config.extensions.with(Extension::Vrfy).with(Extension::Etrn);
        let mut driver = Driver::new(config);
        driver.feed(format!("EHLO c.example\r\n{before}").as_bytes(), || usize::MAX);
        let mut said = 0;
        while driver.open && said < 1000 {
            driver.said.clear();
            driver.feed(repeated.as_bytes(), || usize::MAX);
            said += 1;
        }
        // One EHLO was said before, and the last reply is the session's.
        assert_eq!(said, 119, "{repeated:?}");
        let lines = repeated.lines().count();
        let said = String::from_utf8_lossy(&driver.said).into_owned();
        assert_eq!(said.lines().count(), lines, "{repeated:?}: one reply for each command");
        assert_eq!(said.lines().last(), Some("421 4.7.0 Too many errors"), "{repeated:?}");
    }
    // Whoever sends mail may look now and then whether we live, and say RSET as often as it likes to be sure.
    let mut driver = Driver::new(ServerConfig::new("mx.example.org"));
    driver.feed(b"EHLO c.example\r\n", || usize::MAX);
    for _ in 0..100 {
        driver.feed(&b"NOOP\r\n".repeat(90), || usize::MAX);
        driver.feed(format!("RSET\r\n{in_transaction}{message}").as_bytes(), || usize::MAX);
    }
    assert!(driver.open);
    assert_eq!(driver.accepted.len(), 100);
}

#[test]
fn logins_are_not_tried_without_end_whatever_they_fail_of() {
    for (refusal, first) in [
        (reply::LOGIN_FAILED, "AUTH PLAIN eA=="),
        (reply::LOGINS_LIMITED, "AUTH PLAIN eA=="),
        (reply::LOGIN_UNAVAILABLE, "AUTH PLAIN eA=="),
        (reply::LOGINS_LIMITED, "AUTH PLAIN\r\neA=="),
        (reply::LOGIN_FAILED, "AUTH PLAIN\r\n*"),
        (reply::LOGIN_FAILED, "AUTH PLAIN\r\n?"),
        (reply::LOGIN_FAILED, "AUTH PLAIN ?"),
        (reply::LOGIN_FAILED, "AUTH NONE"),
    ] {
        let sasl = Some(SaslOffer { mechanisms: vec![SaslMechanism::Plain], in_clear: true, required: false });
        let mut driver = Driver::new(ServerConfig { sasl, ..ServerConfig::new("mx.example.org") });
        driver.refused_login = refusal;
        driver.feed(b"EHLO c.example\r\n", || usize::MAX);
        let mut tried = 0;
        while driver.open && tried < 100 {
            driver.feed(format!("{first}\r\n").as_bytes(), || usize::MAX);
            tried += 1;
        }
        assert_eq!(tried, 20, "{first:?} {}", String::from_utf8_lossy(&driver.said));
        assert!(driver.said.ends_with(b"421 4.7.0 Too many errors\r\n"), "{first:?}");
    }
}

#[test]
fn in_lmtp_the_last_chunk_is_answered_for_each_recipient_and_all_else_once() {
    let refusal = reply::QUEUE_UNAVAILABLE;
    for (protocol, content, replies) in [
        (Protocol::Lmtp, "BDAT 1 LAST\r\nx", 3),
        (Protocol::Lmtp, "BDAT 0 LAST\r\n", 3),
        // RFC 2033 section 4.3: only the last chunk stands for the end of data.
        (Protocol::Lmtp, "BDAT 1\r\nx", 1),
        // RFC 2033 section 4.2: only the end of data is answered for each.
        (Protocol::Lmtp, "DATA\r\n", 1),
        (Protocol::Smtp, "BDAT 1 LAST\r\nx", 1),
    ] {
        let mut driver = Driver::new(ServerConfig { protocol, ..ServerConfig::new("mx.example.org") });
        driver.refused_data = Some(refusal.clone());
        let hello = if protocol == Protocol::Lmtp { "LHLO" } else { "EHLO" };
        let rcpt = "RCPT TO:<a@example.org>\r\n";
        driver.feed(
            format!("{hello} c\r\nMAIL FROM:<>\r\n{rcpt}RCPT TO:<a@example.com>\r\n{rcpt}{rcpt}").as_bytes(),
            || usize::MAX,
        );
        driver.said.clear();
        driver.feed(content.as_bytes(), || 1);
        let expected = format!("{refusal}\r\n").repeat(replies);
        assert_eq!(String::from_utf8_lossy(&driver.said), expected, "{protocol:?} {content:?}");
        driver.said.clear();
        driver.feed(b"NOOP\r\n", || usize::MAX);
        assert_eq!(driver.said, b"250 2.0.0 OK\r\n");
    }
}

#[test]
fn every_chunk_whose_size_is_not_known_ends_the_session() {
    let spaces = " ".repeat(20_000);
    for (before, line) in [
        ("", format!("BDAT 26 LAST{spaces}")),
        ("", format!("bdat{spaces}26 LAST")),
        ("", format!("BDAT 26 LAST{}", " ".repeat(4096 - 13))),
        ("", format!("BDAT {}", "9".repeat(20_000))),
        ("NOOP\r\n", format!("BDAT 26 LAST{spaces}")),
        ("", "BDAT".to_owned()),
        ("", "BDAT,26 LAST".to_owned()),
        ("", "BDAT-26 26 LAST".to_owned()),
        ("", "BDAT\u{a0}26 LAST".to_owned()),
        ("", "BDAT 26 LAST x".to_owned()),
        ("", "BDAT\t26 LAST".to_owned()),
    ] {
        for (sasl, step) in [(false, usize::MAX), (false, 1), (true, usize::MAX), (true, 4096), (true, 1)] {
            let sasl =
                sasl.then(|| SaslOffer { mechanisms: vec![SaslMechanism::Plain], in_clear: true, required: false });
            let mut driver = addressed(ServerConfig { sasl, ..ServerConfig::new("mx.example.org") });
            driver.feed(format!("{before}{line}\r\nRSET\r\nMAIL FROM:<evil@a.b>\r\n").as_bytes(), || step);
            let place = format!(
                "{before:?} {:?} by {step}: {}",
                &line[..line.len().min(20)],
                String::from_utf8_lossy(&driver.said)
            );
            assert!(!driver.open, "{place}");
            assert_eq!(
                driver.said.iter().filter(|octet| **octet == b'\n').count(),
                1 + before.lines().count(),
                "{place}"
            );
        }
    }
    // Other lines that are too long are refused and no more.
    for line in ["BDATA 1", "BDA", "NOOP BDAT"] {
        let mut driver = addressed(ServerConfig::new("mx.example.org"));
        driver.feed(format!("{line}{spaces}\r\n").as_bytes(), || 7);
        assert!(driver.open && driver.said == b"500 5.5.6 Line too long\r\n", "{line}");
    }
}

#[test]
fn another_client_is_another_network() {
    let permitted = [Extension::XClient, Extension::Etrn].into_iter().collect();
    let connection = Connection { permitted, ..Connection::default() };
    let config = |max_message_bytes, max_recipients| {
        let mut config = ServerConfig { max_message_bytes, max_recipients, ..ServerConfig::new("mx.example.org") };
        config.max_transactions = 1;
        config.extensions = config.extensions.with(Extension::Etrn).with(Extension::Vrfy);
        config
    };
    let mut driver = Driver::connected(config(1000, 1), connection);
    driver.becomes = Some(Verdict::Become {
        config: Arc::new(config(2000, 2)),
        permitted: [Extension::XForward, Extension::Vrfy].into_iter().collect(),
    });
    let mut offered = |said: &[u8]| {
        driver.said.clear();
        driver.feed(said, || usize::MAX);
        driver.feed(b"EHLO c.example\r\n", || usize::MAX);
        let text = String::from_utf8(driver.said.clone()).unwrap();
        let words = ["SIZE", "LIMITS", "XCLIENT", "XFORWARD", "ETRN", "VRFY"];
        let keyword = |line: &str| line.get(4..).unwrap_or_default().split(' ').next().unwrap_or_default().to_owned();
        let lines = text.lines().filter(|line| words.contains(&keyword(line).as_str()));
        lines.map(|line| line[4..].split(" NAME").next().unwrap().to_owned()).collect::<Vec<_>>().join(",")
    };
    assert_eq!(offered(b""), "SIZE 1000,LIMITS RCPTMAX=1 MAILMAX=1,ETRN,XCLIENT");
    let before = b"MAIL FROM:<>\r\nRSET\r\nXCLIENT ADDR=192.0.2.1\r\n";
    assert_eq!(offered(before), "SIZE 2000,LIMITS RCPTMAX=2 MAILMAX=1,VRFY,XCLIENT");
    driver.said.clear();
    driver.feed(b"MAIL FROM:<> SIZE=2000\r\nRCPT TO:<a@example.org>\r\nRCPT TO:<b@example.org>\r\n", || usize::MAX);
    let accepted = "250 2.1.0 Sender OK\r\n250 2.1.5 Recipient OK\r\n250 2.1.5 Recipient OK\r\n";
    assert_eq!(String::from_utf8_lossy(&driver.said), accepted, "a transaction of its own, of its own size");
}

#[test]
fn a_million_recipients_cost_nothing_but_their_replies() {
    let mut driver = addressed(ServerConfig { max_recipients: 100, ..ServerConfig::new("mx.example.org") });
    let group = b"RCPT TO:<b@example.org>\r\n".repeat(1000);
    let mut accepted = 1;
    for _ in 0..1000 {
        driver.feed(&group, || usize::MAX);
        accepted += driver.said.windows(4).filter(|window| window == b"250 ").count();
        driver.said.clear();
    }
    assert!(driver.open);
    assert_eq!(accepted, 100);
}
