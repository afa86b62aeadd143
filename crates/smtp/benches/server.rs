//! What the receiving engine costs: whole transactions on a session that is open, each with all of its replies.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark may fail loudly")]

use std::sync::Arc;
use std::time::Instant;

use divan::counter::{BytesCount, ItemsCount};
use divan::{AllocProfiler, Bencher, black_box};
use mailtier_smtp::{Connection, ServerAction, ServerConfig, ServerLimits, ServerSession, Verdict};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

const KIB: usize = 1024;
/// Of content, in octets.
const SIZES: [usize; 4] = [KIB, 4 * KIB, 64 * KIB, KIB * KIB];

/// A client that pipelines what it may.
struct Client {
    session: ServerSession,
    now: Instant,
}

impl Client {
    /// After the greeting and EHLO.
    fn new() -> Self {
        #[expect(clippy::disallowed_methods, reason = "an Instant has no other beginning")]
        let now = Instant::now();
        // Envelopes that are given up lead to nothing, and here there are many.
        let limits = ServerLimits { junk_commands: u32::MAX, ..ServerLimits::default() };
        let config = Arc::new(ServerConfig { limits, ..ServerConfig::new("mx.example.net") });
        let mut client = Self { session: ServerSession::new(config, Connection::default(), now), now };
        client.obey();
        client.say(b"EHLO client.example.com\r\n", KIB);
        client
    }

    /// Gives octets to the engine in pieces of this size, as a driver would, and says how much content came out.
    fn say(&mut self, octets: &[u8], piece: usize) -> usize {
        let mut content = 0;
        for piece in octets.chunks(piece) {
            self.session.handle_input(piece, self.now);
            content += self.obey();
        }
        content
    }

    /// Does what the engine wants until it waits.
    fn obey(&mut self) -> usize {
        let mut content = 0;
        loop {
            match self.session.poll() {
                ServerAction::Send => {
                    let octets = black_box(self.session.output()).len();
                    self.session.sent(octets);
                }
                ServerAction::Ask(question) => {
                    black_box(question);
                    self.session.answer(Verdict::Accept, self.now);
                }
                ServerAction::Body(chunk) => content += black_box(chunk).len(),
                ServerAction::Reset => {}
                ServerAction::NeedInput => return content,
                other => panic!("{other:?} in the middle of a session"),
            }
        }
    }
}

fn envelope(size: usize) -> Vec<u8> {
    format!("MAIL FROM:<alice.sender@example.com> SIZE={size} BODY=8BITMIME\r\nRCPT TO:<bob.recipient@example.net>\r\n")
        .into_bytes()
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

/// As it goes over the wire, with its end.
fn stuffed(text: &[u8]) -> Vec<u8> {
    let lines = text.split_inclusive(|octet| *octet == b'\n');
    let mut wire = Vec::with_capacity(text.len() + text.len() / KIB + 8);
    for line in lines {
        if line.starts_with(b".") {
            wire.push(b'.');
        }
        wire.extend_from_slice(line);
    }
    wire.extend_from_slice(b".\r\n");
    wire
}

/// MAIL, RCPT and DATA in one group, then the content.
fn data(bencher: Bencher<'_, '_>, size: usize, piece: usize) {
    let (mut client, text) = (Client::new(), text(size));
    let (commands, wire) = ([envelope(size), b"DATA\r\n".to_vec()].concat(), stuffed(&text));
    assert_eq!(client.say(&commands, piece) + client.say(&wire, piece), text.len());
    bencher.counter(ItemsCount::new(1_usize)).counter(BytesCount::new(text.len())).bench_local(|| {
        client.say(black_box(&commands), piece);
        client.say(black_box(&wire), piece)
    });
}

#[divan::bench(args = SIZES)]
fn data_by_8_kib(bencher: Bencher<'_, '_>, size: usize) {
    data(bencher, size, 8 * KIB);
}

#[divan::bench(args = SIZES)]
fn data_by_64_kib(bencher: Bencher<'_, '_>, size: usize) {
    data(bencher, size, 64 * KIB);
}

/// All of it in one group (RFC 3030 §4.2).
#[divan::bench(args = SIZES)]
fn bdat_by_64_kib(bencher: Bencher<'_, '_>, size: usize) {
    let (mut client, text) = (Client::new(), text(size));
    let chunk = format!("BDAT {} LAST\r\n", text.len()).into_bytes();
    let wire = [envelope(size), chunk, text.clone()].concat();
    assert_eq!(client.say(&wire, 64 * KIB), text.len());
    bencher
        .counter(ItemsCount::new(1_usize))
        .counter(BytesCount::new(text.len()))
        .bench_local(|| client.say(black_box(&wire), 64 * KIB));
}

/// Commands alone: MAIL, ten RCPT and RSET in one group.
#[divan::bench]
fn envelope_of_ten_recipients(bencher: Bencher<'_, '_>) {
    const COMMANDS: usize = 12;
    let mut client = Client::new();
    let mut wire = b"MAIL FROM:<alice.sender@example.com> RET=HDRS ENVID=QQ314159\r\n".to_vec();
    for number in 0..10 {
        let rcpt = format!("RCPT TO:<bob.recipient.{number}@example.net> NOTIFY=SUCCESS,FAILURE\r\n");
        wire.extend_from_slice(rcpt.as_bytes());
    }
    wire.extend_from_slice(b"RSET\r\n");
    bencher.counter(ItemsCount::new(COMMANDS)).bench_local(|| client.say(black_box(&wire), 4 * KIB));
}
