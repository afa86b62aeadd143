//! What header sections cost: looking at one as it arrives, and the fields that go before it.

#![allow(clippy::unwrap_used, reason = "a benchmark may fail loudly")]

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use divan::counter::BytesCount;
use divan::{AllocProfiler, Bencher, black_box};
use mailtier_message::{
    Completion, HeaderScan, ReceivedFacts, ReturnPaths, Returned, Transmission, complete, date, original_headers,
    received_field, with_keyword,
};
use mailtier_types::{Domain, Mailbox, MessageId, TenantId, Timestamp};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

const KIB: usize = 1024;
const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
/// A server reads so many octets at a time.
const PIECE_OCTETS: usize = 8 * KIB;

/// Of a message that has come over two hosts, with a signature: about 3 KiB.
fn typical() -> Vec<u8> {
    let hop = "Received: from mail-wr1-f47.example.com (mail-wr1-f47.example.com [192.0.2.47])\r\n\tby mx.example.net \
        (Postfix) with ESMTPS id 4ZxQ2W1RfNz3hJ\r\n\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384)\r\n\tfor \
        <bob.recipient@example.net>; Fri, 15 Jan 2027 07:59:58 +0000 (UTC)\r\n";
    let signature = "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=selector1;\r\n\t\
        h=from:to:subject:date:message-id:mime-version:content-type;\r\n\tbh=3yvIqNHDLAZJg4dxhMYDQ3G1XJ7m2Y4T6h3t0sOeNHk=;\r\n";
    let mut header = hop.repeat(2);
    header.push_str(signature);
    header.push_str("\tb=");
    for _ in 0..6 {
        header.push_str("Zk1YcG9aQm5vS2x4V0dqd3pRMmM5b0ZqV1hUa0h5bE5sZ2RJc3JtQ0w4VnhQZk\r\n\t ");
    }
    header.push_str("Zk1Y\r\n");
    header.push_str(
        "From: Alice Sender <alice.sender@example.com>\r\nTo: Bob Recipient <bob.recipient@example.net>\r\n\
         Subject: Re: figures of the third quarter, and what we make of them\r\n\
         Date: Fri, 15 Jan 2027 07:59:57 +0000\r\nMessage-ID: <CAF4x8s9yQh1Zr2t@mail.example.com>\r\n\
         In-Reply-To: <20270114170000.8F1B22003A@mx.example.net>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/alternative; boundary=\"000000000000b1e4d805f2c7a6b3\"\r\n",
    );
    while header.len() < 3 * KIB - 2 {
        header.push_str("X-Provider-Data: AOJu0YwGhVd3eR8bW7ZJ5n0u2s9Ck1qLxT6mP4yN8aF3dH7jK2gS5vB9\r\n");
    }
    header.push_str("\r\n");
    header.into_bytes()
}

/// Of a message that has wandered through many hosts and lists: 64 KiB.
fn long() -> Vec<u8> {
    let typical = typical();
    let fields = typical.strip_suffix(b"\r\n").unwrap();
    let mut header = fields.repeat(64 * KIB / fields.len());
    header.extend_from_slice(b"\r\n");
    header
}

fn scan(header: &[u8]) -> HeaderScan {
    let mut scan = HeaderScan::new(256 * KIB);
    header.chunks(PIECE_OCTETS).for_each(|piece| scan.feed(piece).unwrap());
    scan
}

fn scanned(bencher: Bencher<'_, '_>, header: &[u8]) {
    assert!(scan(header).is_complete() && scan(header).message_id().len() > 2);
    bencher.counter(BytesCount::of_slice(header)).bench_local(|| scan(black_box(header)));
}

#[divan::bench]
fn scan_3_kib(bencher: Bencher<'_, '_>) {
    scanned(bencher, &typical());
}

#[divan::bench]
fn scan_64_kib(bencher: Bencher<'_, '_>) {
    scanned(bencher, &long());
}

/// Where it ends, as what is put before it needs to know.
#[divan::bench]
fn find_end_of_3_kib(bencher: Bencher<'_, '_>) {
    let header = typical();
    bencher
        .counter(BytesCount::of_slice(&header))
        .bench_local(|| original_headers(black_box(&header), 256 * KIB).len());
}

#[divan::bench]
fn received(bencher: Bencher<'_, '_>) {
    let recipient = Mailbox::parse("bob.recipient@example.net").unwrap();
    let facts = ReceivedFacts {
        helo: "mail-wr1-f47.example.com",
        client_name: Some("mail-wr1-f47.example.com"),
        client_address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 47)),
        by: "mx.example.net",
        with: with_keyword(Transmission { extended: true, tls: true, ..Transmission::default() }),
        tls: Some("TLSv1.3 TLS_AES_256_GCM_SHA384"),
        id: MessageId::from_i64(123_456_789_012_345).unwrap(),
        recipient: Some(&recipient),
        at: NOW,
    };
    bencher.bench_local(|| received_field(black_box(&facts)));
}

#[divan::bench]
fn write_date() -> String {
    date::rfc5322(black_box(NOW))
}

/// What submission adds to a header section without Date and Message-ID.
#[divan::bench]
fn complete_submission() -> Completion {
    let section = b"From: Alice Sender <alice.sender@example.com>\r\nSubject: figures\r\n";
    let id = MessageId::from_i64(123_456_789_012_345).unwrap();
    complete(black_box(section), id, "mx.example.net", NOW)
}

#[divan::bench]
fn sign_return_path(bencher: Bencher<'_, '_>) {
    let domain = Domain::parse("bounces.example.net").unwrap();
    let secret = "f2a7c31d95be40688a1cd7f03b62e9541f8e2a6d7c4b9053";
    let paths = ReturnPaths::new(domain, secret, Duration::from_secs(604_800)).unwrap();
    let message = MessageId::from_i64(123_456_789_012_345).unwrap();
    let returned = Returned { message, delivery: message.delivery(0), tenant: TenantId(7), recipient: None };
    assert!(paths.sign(returned).is_some());
    bencher.bench_local(|| paths.sign(black_box(returned)));
}
