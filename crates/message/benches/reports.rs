//! What notifications of delivery cost, and content that a remote takes in 7 bits only.

#![allow(clippy::unwrap_used, reason = "a benchmark may fail loudly")]

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use divan::counter::{BytesCount, ItemsCount};
use divan::{AllocProfiler, Bencher, black_box};
use mailtier_message::dsn::{self, Action, DsnFacts, DsnGroup};
use mailtier_message::to_seven_bit;
use mailtier_types::{Cause, Mailbox, MessageId, Outcome, RemoteHost, Reply, Stage, Timestamp};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

const ARRIVAL: Timestamp = Timestamp::from_secs(1_800_000_000);
const HEADER: &str = "Received: from client.example (client.example [192.0.2.99])\r\n\tby mx.example.net (Mailtier) with \
    ESMTPS id 0003g9230vqvs;\r\n\tFri, 15 Jan 2027 08:00:00 +0000\r\nFrom: Alice Sender <alice.sender@example.com>\r\n\
    To: bob@example.org\r\nSubject: Quarterly figures\r\nMessage-ID: <figures@example.com>\r\n\
    Date: Fri, 15 Jan 2027 07:59:58 +0000\r\n\r\n";

fn refused(recipients: usize) -> DsnGroup {
    let said = "<bob@example.org>: Recipient address rejected: User unknown in virtual mailbox table";
    let cause = Cause::Reply(Reply::received(550, "5.1.1".parse().ok(), said.to_owned()));
    let address = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)));
    let remote = Some(RemoteHost { name: "mx1.example.org".to_owned(), address });
    let outcome = Outcome::new(Stage::Rcpt, cause, ARRIVAL.after(Duration::from_secs(2)));
    DsnGroup {
        recipients: (0..recipients).map(|number| format!("bob{number}@example.org").parse().unwrap()).collect(),
        outcome: Some(Outcome { remote, ..outcome }),
        expired: false,
        deadline: false,
    }
}

/// A notification of failure.
fn written(bencher: Bencher<'_, '_>, recipients: usize, content: &[u8], is_whole: bool) {
    let to: Mailbox = "alice.sender@example.com".parse().unwrap();
    let failures = [refused(recipients)];
    let facts = DsnFacts {
        action: Action::Failed,
        reporting_mta: "mx.example.net",
        from_domain: "example.net",
        message: MessageId::from_i64(123_456_799_999_999).unwrap(),
        now: ARRIVAL.after(Duration::from_secs(3)),
        to: &to,
        about: MessageId::from_i64(123_456_789_012_345).unwrap(),
        arrival: ARRIVAL,
        original_headers: content,
        is_whole,
        envelope_id: None,
        requests: &[],
        failures: &failures,
    };
    let octets = dsn::write(&facts).content.len();
    bencher
        .counter(ItemsCount::new(1_usize))
        .counter(BytesCount::new(octets))
        .bench_local(|| dsn::write(black_box(&facts)));
}

/// With the header section of the message.
#[divan::bench(args = [1, 100])]
fn failure_of_recipients(bencher: Bencher<'_, '_>, recipients: usize) {
    written(bencher, recipients, HEADER.as_bytes(), false);
}

/// With all of a message.
#[divan::bench]
fn failure_with_64_kib(bencher: Bencher<'_, '_>) {
    let content = [HEADER, &"Figures, figures and figures again, line by line by line.\r\n".repeat(1_100)].concat();
    written(bencher, 1, content.as_bytes(), true);
}

/// A message in UTF-8 of 64 KiB for a remote without 8BITMIME.
#[divan::bench]
fn convert_64_kib_to_seven_bit(bencher: Bencher<'_, '_>) {
    let fields = "From: a@example.com\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
        Content-Transfer-Encoding: 8bit\r\n\r\n";
    let content = [fields, &"Größen, Maße und schöne Grüße, Zeile für Zeile.\r\n".repeat(1_200)].concat();
    let content = content.as_bytes();
    assert!(to_seven_bit(content).unwrap().is_ascii());
    bencher.counter(BytesCount::of_slice(content)).bench_local(|| to_seven_bit(black_box(content)).unwrap());
}
