//! What the words of SMTP cost: addresses as commands have them, and replies as they are written and read.

#![allow(clippy::unwrap_used, reason = "a benchmark may fail loudly")]

use divan::{AllocProfiler, Bencher, black_box};
use mailtier_types::{Domain, EnhancedCode, Mailbox, MessageId, Reply, reply};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// Of each shape.
const ADDRESSES: [&str; 5] = [
    "jonathan.q.public@mail.example.com",
    "Jonathan.Q.Public@MAIL.Example.COM",
    "\"John Q. Public\"@mail.example.com",
    "j.public@[IPv6:2001:db8::1]",
    "jürgen@bücher.example",
];

#[divan::bench(args = ADDRESSES)]
fn parse_mailbox(text: &str) -> Mailbox {
    Mailbox::parse(black_box(text)).unwrap()
}

#[divan::bench(args = ["mail.example.com", "bücher.example"])]
fn parse_domain(text: &str) -> Domain {
    Domain::parse(black_box(text)).unwrap()
}

#[divan::bench]
fn parse_enhanced_code() -> EnhancedCode {
    black_box("5.1.10").parse().unwrap()
}

#[divan::bench]
fn print_message_id() -> String {
    black_box(MessageId::from_i64(123_456_789_012_345).unwrap()).to_string()
}

/// Into a buffer that is there already, as a session has it.
#[divan::bench]
fn write_reply(bencher: Bencher<'_, '_>) {
    let mut wire = Vec::with_capacity(512);
    bencher.bench_local(|| {
        wire.clear();
        black_box(&reply::RECIPIENT_OK).write_to(&mut wire);
        black_box(wire.len())
    });
}

/// A reply of several lines, as to EHLO.
#[divan::bench]
fn write_long_reply(bencher: Bencher<'_, '_>) {
    let lines = "mx.example.net\nPIPELINING\nSIZE 52428800\n8BITMIME\nCHUNKING\nSMTPUTF8\nENHANCEDSTATUSCODES\nDSN";
    let (reply, mut wire) = (Reply::received(250, None, lines.to_owned()), Vec::with_capacity(512));
    bencher.bench_local(|| {
        wire.clear();
        black_box(&reply).write_to(&mut wire);
        black_box(wire.len())
    });
}
