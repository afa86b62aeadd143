//! What the sending engine costs: whole transactions on a session that is open, against replies as servers give them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark may fail loudly")]

use std::sync::Arc;
use std::time::Instant;

use divan::counter::{BytesCount, ItemsCount};
use divan::{AllocProfiler, Bencher, black_box};
use mailtier_smtp::{ClientAction, ClientConfig, ClientSession, Transaction, TransactionReport, Wishes};
use mailtier_types::{Mailbox, ReversePath};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

const KIB: usize = 1024;
/// Of content, in octets.
const SIZES: [usize; 4] = [KIB, 4 * KIB, 64 * KIB, KIB * KIB];
/// The content is given in pieces of so many octets.
const PIECE_OCTETS: usize = 64 * KIB;

const GREETING: &[u8] = b"220 mx.example.net ESMTP\r\n";
const HELLO: &[u8] = b"250-mx.example.net\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n250-8BITMIME\r\n\
    250-ENHANCEDSTATUSCODES\r\n250 DSN\r\n";
const CHUNKING_HELLO: &[u8] = b"250-mx.example.net\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n250-8BITMIME\r\n\
    250-CHUNKING\r\n250-ENHANCEDSTATUSCODES\r\n250 DSN\r\n";
const ENVELOPE_TAKEN: &[u8] = b"250 2.1.0 <alice.sender@example.com>... Sender ok\r\n\
    250 2.1.5 <bob.recipient@example.net>... Recipient ok\r\n";
const GO_AHEAD: &[u8] = b"354 Enter mail, end with \".\" on a line by itself\r\n";
const TAKEN: &[u8] = b"250 2.0.0 Ok: queued as 4ZxQ2W1RfNz3hJ\r\n";

/// A server as the client sees it.
struct Server {
    session: ClientSession,
    now: Instant,
    /// What is said when the envelope was sent, and when the content was.
    replies: [Vec<u8>; 2],
}

impl Server {
    /// After the greeting and EHLO.
    fn new(hello: &[u8], replies: [Vec<u8>; 2]) -> Self {
        #[expect(clippy::disallowed_methods, reason = "an Instant has no other beginning")]
        let now = Instant::now();
        let config = Arc::new(ClientConfig::new("mailer.example.com"));
        let mut server = Self { session: ClientSession::new(config, now), now, replies };
        for reply in [GREETING, hello] {
            server.session.handle_input(reply, now);
            server.take_output();
        }
        assert_eq!(server.session.poll(), ClientAction::Ready);
        server
    }

    fn take_output(&mut self) {
        let octets = black_box(self.session.output()).len();
        self.session.sent(octets, self.now);
    }

    /// One transaction, from its commands to its report. Output is taken as soon as there is any, as a socket does.
    fn carry(&mut self, transaction: Transaction, content: &[u8]) -> TransactionReport {
        let mut pieces = content.chunks(PIECE_OCTETS);
        let mut replied = 0;
        self.session.begin(transaction, self.now);
        loop {
            match self.session.poll() {
                ClientAction::Send => self.take_output(),
                ClientAction::NeedBody => match pieces.next() {
                    Some(piece) => self.session.body(piece),
                    None => self.session.end_of_body(self.now),
                },
                ClientAction::NeedInput => {
                    let reply = self.replies.get(replied).unwrap();
                    self.session.handle_input(black_box(reply), self.now);
                    replied += 1;
                }
                ClientAction::Finished(report) => return report,
                other => panic!("{other:?} in the middle of a transaction"),
            }
        }
    }
}

/// Whole lines of text, at most so many octets of them, one in sixteen with a dot at its beginning.
fn text(size: usize) -> Vec<u8> {
    let dotted = ".The quick brown fox jumps over the lazy dog and has a dot before it.\r\n";
    let line = "The quick brown fox jumps over the lazy dog and goes on to the next one.\r\n";
    let mut text = [dotted, &line.repeat(15)].concat().repeat(size / line.len()).into_bytes();
    text.truncate(size);
    let end = text.iter().rposition(|octet| *octet == b'\n').unwrap() + 1;
    text.truncate(end);
    text
}

fn transaction(content: &[u8]) -> Transaction {
    Transaction {
        sender: ReversePath::parse("alice.sender@example.com").unwrap(),
        recipients: vec![Mailbox::parse("bob.recipient@example.net").unwrap()],
        eight_bit: false,
        smtputf8: false,
        proper_lines: true,
        size_bytes: content.len() as u64,
        wishes: Wishes::default(),
    }
}

fn carry(bencher: Bencher<'_, '_>, size: usize, mut server: Server) {
    let content = text(size);
    let report = server.carry(transaction(&content), &content);
    assert!(report.reusable && report.recipients.iter().all(|recipient| recipient.is_delivered()));
    bencher
        .counter(ItemsCount::new(1_usize))
        .counter(BytesCount::new(content.len()))
        .with_inputs(|| transaction(&content))
        .bench_local_values(|transaction| server.carry(transaction, black_box(&content)));
}

/// MAIL, RCPT and DATA in one group, then the content with its dots.
#[divan::bench(args = SIZES)]
fn data(bencher: Bencher<'_, '_>, size: usize) {
    let replies = [[ENVELOPE_TAKEN, GO_AHEAD].concat(), TAKEN.to_vec()];
    carry(bencher, size, Server::new(HELLO, replies));
}

/// Where small content goes in one group with its envelope.
#[divan::bench(args = [KIB, 4 * KIB, 32 * KIB])]
fn bdat(bencher: Bencher<'_, '_>, size: usize) {
    let replies = [[ENVELOPE_TAKEN, TAKEN].concat(), Vec::new()];
    carry(bencher, size, Server::new(CHUNKING_HELLO, replies));
}
