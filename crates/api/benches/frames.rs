//! What the frames between the tiers cost: from domain types to octets and back, validation included.

#![allow(clippy::unwrap_used, reason = "a benchmark may fail loudly")]

use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bytes::Bytes;
use divan::counter::{BytesCount, ItemsCount};
use divan::{AllocProfiler, Bencher, black_box};
use mailtier_api::submit::{Submission, SubmitFrame, Verdict, VerdictFrame};
use mailtier_api::work::{Dispatch, QueueFrame, Settled, WorkResult, WorkerFrame};
use mailtier_api::{Frame, decode_options, encode_options};
use mailtier_types::{
    BodyEncoding, Cause, DeliveryId, Envelope, Epoch, Mailbox, MessageId, Options, Outcome, RemoteHost, Reply,
    ReversePath, ShardId, Stage, TenantId, Timestamp,
};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// Messages in a frame: one alone, and as many as gather under load.
const BATCHES: [i64; 2] = [1, 32];
/// Of the body as it is stored: what becomes of 4 KiB of text.
const BODY_OCTETS: usize = 2_048;

fn message(number: i64) -> MessageId {
    MessageId::from_i64(123_456_789_012_345 + number).unwrap()
}

fn recipient() -> Mailbox {
    Mailbox::parse("bob.recipient@example.net").unwrap()
}

fn options() -> Options {
    Options {
        received_at: Timestamp::from_secs(1_800_000_000),
        client_address: "192.0.2.47".to_owned(),
        client_helo: "mail-wr1-f47.example.com".to_owned(),
        protocol: "ESMTPS".to_owned(),
        tls: "TLSv1.3 TLS_AES_256_GCM_SHA384".to_owned(),
        header_message_id: "<CAF4x8s9yQh1Zr2t@mail.example.com>".to_owned(),
        size_bytes: 4_500,
        encoding: BodyEncoding::Zstd,
        chunks: 1,
        fanout: 1,
        ..Options::default()
    }
}

fn submissions(count: i64) -> SubmitFrame {
    let submission = |number| Submission {
        id: message(number),
        resubmission: false,
        envelope: Envelope {
            sender: ReversePath::parse("alice.sender@example.com").unwrap(),
            recipients: vec![recipient()],
            tenant: TenantId(0),
            priority: 0,
            options: options(),
        },
        body: vec![b'x'; BODY_OCTETS].into(),
        parts: 0,
        screened: false,
        report: false,
    };
    SubmitFrame { submissions: (0..count).map(submission).collect(), ..SubmitFrame::default() }
}

fn verdicts(count: i64) -> VerdictFrame {
    let verdicts = (0..count).map(|number| Verdict { id: message(number), result: Ok(()) });
    VerdictFrame { verdicts: verdicts.collect(), ..VerdictFrame::default() }
}

fn dispatches(count: i64) -> QueueFrame {
    let dispatch = |number| Dispatch {
        delivery: message(number).delivery(0),
        message: message(number),
        shard: ShardId::of("example.net"),
        epoch: Epoch(7),
        attempt: 1,
        tenant: TenantId(0),
        priority: 0,
        pool: "default".to_owned(),
        destination: "example.net".to_owned(),
        sender: ReversePath::parse("alice.sender@example.com").unwrap(),
        return_path: None,
        return_paths: Vec::new(),
        same_source: None,
        avoided_sources: Vec::new(),
        recipients: vec![recipient()],
        options: encode_options(options()),
        expires_at: Timestamp::from_secs(1_800_432_000),
        body: Some(vec![vec![b'x'; BODY_OCTETS].into()]),
        resolve_first: false,
        hosts: Vec::new(),
        was_held: false,
        traceparent: None,
    };
    QueueFrame { dispatches: (0..count).map(dispatch).collect(), ..QueueFrame::default() }
}

fn results(count: i64) -> WorkerFrame {
    let said = Reply::received(250, "2.0.0".parse().ok(), "Ok: queued as 4ZxQ2W1RfNz3hJ".to_owned());
    let address = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)));
    let outcome = Outcome {
        remote: Some(RemoteHost { name: "mx1.example.net".to_owned(), address }),
        tls: Some("TLSv1.3 TLS_AES_256_GCM_SHA384".to_owned()),
        sending: Duration::from_millis(40),
        ..Outcome::new(Stage::Final, Cause::Reply(said), Timestamp::from_secs(1_800_000_001))
    };
    let result = |number| WorkResult {
        delivery: message(number).delivery(0),
        shard: ShardId::of("example.net"),
        epoch: Epoch(7),
        attempt: 1,
        outcomes: vec![(vec![recipient()], outcome.clone())],
        not_attempted: false,
        exchanger: None,
        own_way: false,
    };
    let credit = u32::try_from(count).unwrap();
    WorkerFrame { credit, results: (0..count).map(result).collect(), ..WorkerFrame::default() }
}

fn settled(count: i64) -> QueueFrame {
    let settled = |number| Settled { delivery: DeliveryId::from_i64(number + 1).unwrap(), attempt: 1 };
    QueueFrame { settled: (0..count).map(settled).collect(), ..QueueFrame::default() }
}

fn encode<F: Frame + Clone>(bencher: Bencher<'_, '_>, count: i64, frame: F) {
    let octets = frame.clone().encode().len();
    bencher
        .counter(ItemsCount::new(usize::try_from(count).unwrap()))
        .counter(BytesCount::new(octets))
        .with_inputs(|| frame.clone())
        .bench_local_values(|frame| black_box(frame).encode());
}

fn decode<F: Frame + Clone + Debug + PartialEq>(bencher: Bencher<'_, '_>, count: i64, frame: F) {
    let encoded = frame.clone().encode();
    assert_eq!(F::decode(encoded.clone()).unwrap(), frame);
    bencher
        .counter(ItemsCount::new(usize::try_from(count).unwrap()))
        .counter(BytesCount::new(encoded.len()))
        .with_inputs(|| encoded.clone())
        .bench_local_values(|encoded| F::decode(black_box(encoded)).unwrap());
}

macro_rules! frames {
    ($($name:ident: $frame:ident;)*) => {$(
        mod $name {
            use divan::Bencher;

            #[divan::bench(args = super::BATCHES)]
            fn encode(bencher: Bencher<'_, '_>, count: i64) {
                super::encode(bencher, count, super::$frame(count));
            }

            #[divan::bench(args = super::BATCHES)]
            fn decode(bencher: Bencher<'_, '_>, count: i64) {
                super::decode(bencher, count, super::$frame(count));
            }
        }
    )*};
}

frames! {
    submission: submissions;
    verdict: verdicts;
    dispatch: dispatches;
    result: results;
    settlement: settled;
}

/// As the queue stores them with each delivery.
#[divan::bench]
fn encode_stored_options(bencher: Bencher<'_, '_>) {
    let options = options();
    bencher.bench_local(|| encode_options(black_box(options.clone())));
}

/// As the queue and outbound read them again.
#[divan::bench]
fn decode_stored_options(bencher: Bencher<'_, '_>) {
    let encoded: Bytes = encode_options(options());
    bencher.bench_local(|| decode_options(black_box(&encoded)).unwrap());
}
