//! The client half talks to the server half in memory, octets cut at random in both directions: what the client
//! reports is what the server decided, and what the server received is what the client was given.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what helps a test may fail loudly"
)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use mailtier_smtp::{
    BodyType, ClientAction, ClientConfig, ClientSession, Connection, MailParameters, Question, RcptParameters,
    ServerAction, ServerConfig, ServerLimits, ServerSession, TlsInfo, Transaction, TransactionReport, Verdict,
};
use mailtier_types::{Cause, Mailbox, Reply, ReversePath, Stage, reply};
use proptest::prelude::*;

/// A message as the server took it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Received {
    sender: ReversePath,
    eight_bit: bool,
    smtputf8: bool,
    recipients: Vec<Mailbox>,
    content: Vec<u8>,
    in_tls: bool,
}

/// Both ends and the octets between them.
struct Pair {
    client: ClientSession,
    server: ServerSession,
    now: Instant,
    to_server: VecDeque<u8>,
    to_client: VecDeque<u8>,
    cuts: Vec<usize>,
    turn: usize,
    open: Option<Received>,
    received: Vec<Received>,
    in_tls: bool,
    server_is_closed: bool,
}

/// What the client is waiting for its driver to do.
#[derive(Debug, PartialEq, Eq)]
enum Rest {
    Ready,
    NeedBody,
    Finished(TransactionReport),
    Closed,
}

/// The policy of these tests is written into the addresses.
fn verdict_on(local_part: &str) -> Verdict {
    match local_part.split('-').next() {
        Some("permanent") => Verdict::Reject(reply::POLICY),
        Some("transient") => Verdict::Reject(reply::INSUFFICIENT_STORAGE),
        Some("goodbye") => Verdict::RejectAndClose(reply::SHUTTING_DOWN),
        _ => Verdict::Accept,
    }
}

impl Pair {
    #[expect(clippy::disallowed_methods, reason = "a test needs some beginning")]
    fn new(cuts: &[usize]) -> Self {
        let now = Instant::now();
        let limits = ServerLimits { errors: 1000, ..ServerLimits::default() };
        let server = ServerConfig { starttls: true, max_recipients: 6, limits, ..ServerConfig::new("mx.example.org") };
        Self {
            client: ClientSession::new(Arc::new(ClientConfig::new("client.example")), now),
            server: ServerSession::new(Arc::new(server), Connection::default(), now),
            now,
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            cuts: cuts.to_vec(),
            turn: 0,
            open: None,
            received: Vec::new(),
            in_tls: false,
            server_is_closed: false,
        }
    }

    fn cut(&mut self, most: usize) -> usize {
        self.turn += 1;
        self.cuts[self.turn % self.cuts.len()].clamp(1, most)
    }

    /// Until the client's driver is asked for something.
    fn run(&mut self) -> Rest {
        for _ in 0..1_000_000 {
            let server_moved = self.step_server();
            match self.client.poll() {
                ClientAction::Send => {
                    let count = self.cut(self.client.output().len());
                    self.to_server.extend(&self.client.output()[..count]);
                    self.client.sent(count, self.now);
                }
                ClientAction::NeedInput if !self.to_client.is_empty() => {
                    let count = self.cut(self.to_client.len());
                    let piece: Vec<u8> = self.to_client.drain(..count).collect();
                    self.client.handle_input(&piece, self.now);
                }
                ClientAction::NeedInput if self.server_is_closed => self.client.handle_eof(self.now),
                ClientAction::NeedInput => {
                    assert!(server_moved || !self.to_server.is_empty(), "both sides wait for the other");
                }
                ClientAction::UpgradeTls if self.in_tls => {
                    self.client.handle_tls(TlsInfo::default(), self.now);
                }
                ClientAction::UpgradeTls => assert!(server_moved, "the server does not come to the handshake"),
                ClientAction::Ready => return Rest::Ready,
                ClientAction::NeedBody => return Rest::NeedBody,
                ClientAction::Finished(report) => return Rest::Finished(report),
                ClientAction::Challenge(challenge) => panic!("nobody logs in: {challenge:?}"),
                ClientAction::Failed(_) | ClientAction::Closed => return Rest::Closed,
            }
        }
        panic!("no end");
    }

    /// One action of the server. Whether it did anything.
    fn step_server(&mut self) -> bool {
        match self.server.poll() {
            ServerAction::Ask(question) => {
                let verdict = self.answer(question);
                self.server.answer(verdict, self.now);
            }
            ServerAction::Body(chunk) => self.open.as_mut().expect("a transaction").content.extend_from_slice(&chunk),
            ServerAction::Reset => self.open = None,
            ServerAction::Send => {
                let count = self.cut(self.server.output().len());
                self.to_client.extend(&self.server.output()[..count]);
                self.server.sent(count);
            }
            ServerAction::NeedInput if self.to_server.is_empty() => return false,
            ServerAction::NeedInput => {
                let count = self.cut(self.to_server.len());
                let piece: Vec<u8> = self.to_server.drain(..count).collect();
                self.server.handle_input(&piece, self.now);
            }
            ServerAction::UpgradeTls => {
                assert!(self.to_server.is_empty(), "nothing in clear follows STARTTLS");
                self.in_tls = true;
                self.server.handle_tls(&TlsInfo::default(), self.now);
            }
            ServerAction::Close => {
                let was_open = !self.server_is_closed;
                self.server_is_closed = true;
                return was_open;
            }
        }
        true
    }

    fn answer(&mut self, question: Question) -> Verdict {
        match question {
            Question::Mail(parameters) => {
                let MailParameters { sender, body, smtputf8, .. } = *parameters;
                let eight_bit = body == BodyType::EightBit;
                let verdict = verdict_on(sender.mailbox().map_or("", Mailbox::local_part));
                if verdict == Verdict::Accept {
                    let (recipients, content, in_tls) = (Vec::new(), Vec::new(), self.in_tls);
                    self.open = Some(Received { sender, eight_bit, smtputf8, recipients, content, in_tls });
                }
                verdict
            }
            Question::Rcpt(RcptParameters { mailbox, .. }) => {
                let verdict = verdict_on(mailbox.local_part());
                if verdict == Verdict::Accept {
                    self.open.as_mut().expect("a transaction").recipients.push(mailbox);
                }
                verdict
            }
            Question::EndOfData { size_bytes } => {
                let message = self.open.take().expect("a transaction");
                assert_eq!(message.content.len() as u64, size_bytes);
                let refused = message.content.windows(6).any(|window| window == b"REFUSE");
                if !refused {
                    self.received.push(message);
                }
                if refused { Verdict::Reject(reply::POLICY) } else { Verdict::Accept }
            }
            _ => Verdict::Accept,
        }
    }

    fn deliver(&mut self, transaction: Transaction, content: &[u8]) -> TransactionReport {
        self.client.begin(transaction, self.now);
        loop {
            match self.run() {
                Rest::NeedBody => {
                    let mut rest = content;
                    while !rest.is_empty() {
                        let (piece, after) = rest.split_at(self.cut(rest.len()));
                        self.client.body(piece);
                        rest = after;
                    }
                    self.client.end_of_body(self.now);
                }
                Rest::Finished(report) => return report,
                Rest::Ready | Rest::Closed => panic!("a transaction ends with a report"),
            }
        }
    }
}

#[derive(Clone, Debug)]
struct Message {
    sender: ReversePath,
    recipients: Vec<Mailbox>,
    content: String,
    eight_bit: bool,
}

fn address() -> impl Strategy<Value = Mailbox> {
    let local = prop_oneof![8 => "[a-z]{1,5}", 2 => Just("permanent-x".to_owned()), 2 => Just("transient-x".to_owned()), 1 => "ä[a-z]"];
    local.prop_map(|local| Mailbox::parse(&format!("{local}@example.org")).unwrap())
}

fn message() -> impl Strategy<Value = Message> {
    let line = prop_oneof![4 => "[a.é ]{0,12}", 2 => "\\.{1,3}[a.]{0,3}", 1 => Just("REFUSE".to_owned())];
    let sender = prop_oneof![1 => Just(ReversePath::Null), 6 => address().prop_map(ReversePath::Mailbox)];
    (sender, prop::collection::vec(address(), 1..9), prop::collection::vec(line, 0..9)).prop_map(
        |(sender, recipients, lines)| {
            let content: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            let eight_bit = !content.is_ascii();
            Message { sender, recipients, content, eight_bit }
        },
    )
}

/// What a driver with this policy must report.
fn expected(message: &Message) -> Vec<(Stage, Reply)> {
    let refusal = |local_part: &str| match verdict_on(local_part) {
        Verdict::Reject(reply) => Some(reply),
        _ => None,
    };
    let sender = refusal(message.sender.mailbox().map_or("", Mailbox::local_part));
    let mut accepted = 0;
    let decide = |mailbox: &Mailbox| {
        if let Some(reply) = &sender {
            return (Stage::Mail, reply.clone());
        }
        // The seventh and later are too many for this server.
        if accepted == 6 {
            return (Stage::Rcpt, reply::TOO_MANY_RECIPIENTS);
        }
        if let Some(reply) = refusal(mailbox.local_part()) {
            return (Stage::Rcpt, reply);
        }
        accepted += 1;
        (Stage::Final, if message.content.contains("REFUSE") { reply::POLICY } else { reply::QUEUED })
    };
    message.recipients.iter().map(decide).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_reported_is_what_happened(
        messages in prop::collection::vec(message(), 1..5),
        cuts in prop::collection::vec(prop_oneof![1_usize..4, 1_usize..200], 1..8),
        starttls in any::<bool>(),
    ) {
        let mut pair = Pair::new(&cuts);
        prop_assert_eq!(pair.run(), Rest::Ready);
        if starttls {
            prop_assert!(pair.client.capabilities().starttls);
            pair.client.start_tls(pair.now);
            prop_assert_eq!(pair.run(), Rest::Ready);
            prop_assert!(!pair.client.capabilities().starttls, "not offered twice");
        }
        for message in &messages {
            let taken = pair.received.len();
            let report = pair.deliver(
                Transaction {
                    sender: message.sender.clone(),
                    recipients: message.recipients.clone(),
                    eight_bit: message.eight_bit,
                    smtputf8: false,
                    proper_lines: message.content.ends_with("\r\n")
                        && !message.content.replace("\r\n", "").contains(['\r', '\n']),
                    size_bytes: message.content.len() as u64,
                    wishes: mailtier_smtp::Wishes::default(),
                },
                message.content.as_bytes(),
            );
            prop_assert!(report.reusable);
            let said: Vec<_> = report.recipients.iter().map(|recipient| match &recipient.cause {
                Cause::Reply(reply) => (recipient.stage, reply.code, reply.enhanced),
                Cause::Trouble(trouble) => panic!("{trouble:?}"),
            }).collect();
            let expected: Vec<_> = expected(message).into_iter().map(|(stage, reply)| (stage, reply.code, reply.enhanced)).collect();
            prop_assert_eq!(&said, &expected);

            let delivered_to: Vec<_> = message.recipients.iter().zip(&report.recipients)
                .filter(|(_, recipient)| recipient.is_delivered()).map(|(mailbox, _)| mailbox.clone()).collect();
            prop_assert_eq!(pair.received.len() - taken, usize::from(!delivered_to.is_empty()));
            if let Some(received) = pair.received.get(taken) {
                prop_assert_eq!(&received.recipients, &delivered_to);
                prop_assert_eq!(&received.content, message.content.as_bytes());
                prop_assert_eq!(&received.sender, &message.sender);
                prop_assert_eq!(received.eight_bit, message.eight_bit);
                prop_assert_eq!(received.in_tls, starttls);
            }
        }
        prop_assert_eq!(pair.run(), Rest::Ready);
        pair.client.quit(pair.now);
        prop_assert_eq!(pair.run(), Rest::Closed);
        prop_assert!(pair.server_is_closed);
    }

    #[test]
    fn a_server_that_leaves_in_a_transaction_is_reported(
        place in 0_usize..4,
        cuts in prop::collection::vec(1_usize..60, 1..5),
    ) {
        let mut pair = Pair::new(&cuts);
        prop_assert_eq!(pair.run(), Rest::Ready);
        let recipients: Vec<_> = (0..4)
            .map(|number| Mailbox::parse(&format!("{}-{number}@example.org", if number == place { "goodbye" } else { "ok" })).unwrap())
            .collect();
        let report = pair.deliver(
            Transaction { sender: ReversePath::Null, recipients, eight_bit: false, smtputf8: false, proper_lines: false, size_bytes: 0, wishes: mailtier_smtp::Wishes::default() },
            b"",
        );
        prop_assert!(!report.reusable);
        for recipient in &report.recipients {
            prop_assert_eq!(recipient.stage, Stage::Rcpt);
            prop_assert!(matches!(&recipient.cause, Cause::Reply(reply) if reply.code == 421), "{:?}", recipient);
        }
        prop_assert!(pair.received.is_empty());
    }
}
