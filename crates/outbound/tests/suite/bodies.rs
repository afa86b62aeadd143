//! Contents that are compressed, large, missing or damaged.

use bytes::Bytes;
use mailtier_types::{BodyEncoding, Cause, Stage, TroubleKind};

use crate::peer::{Peer, Script};
use crate::queue::Queue;
use crate::world::{TEXT, Worker, only, smarthost, with_body};

fn frame(text: &str) -> Bytes {
    zstd::bulk::compress(text.as_bytes(), 1).unwrap().into()
}

#[tokio::test]
async fn a_large_body_is_fetched_and_decompressed() {
    let peer = Peer::start(Script::new()).await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| smarthost(config, &peer)).await;
    let text = format!("Subject: large\r\n\r\n{}", "0123456789abcdef\r\n".repeat(200_000));
    let mut dispatch = with_body(&["a@d.example"], &text, |options| options.encoding = BodyEncoding::Zstd);
    dispatch.body = None;
    let (one, two) = text.split_at(1 << 20);
    queue.keep_body(dispatch.message, vec![frame(one), frame(two)]);
    assert!(only(&queue.deliver(dispatch).await).is_delivered());
    assert!(peer.seen().taken[0].content == text, "every octet arrives");
}

#[tokio::test]
async fn a_body_that_is_gone_or_damaged_is_our_trouble_and_hurts_nobody_else() {
    let peer = Peer::start(Script::new()).await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| smarthost(config, &peer)).await;
    let mut gone = with_body(&["a@d.example"], TEXT, |_| {});
    gone.body = None;
    let mut damaged = with_body(&["a@d.example"], TEXT, |options| options.encoding = BodyEncoding::Zstd);
    damaged.body = Some(vec![Bytes::from_static(b"no frame")]);
    let mut bomb = with_body(&["a@d.example"], TEXT, |options| options.encoding = BodyEncoding::Zstd);
    bomb.body = Some(vec![frame(&"x".repeat(50 << 20))]);
    let mut senseless = with_body(&["a@d.example"], TEXT, |_| {});
    senseless.options = Bytes::from_static(b"\xff\xff\xff");
    for dispatch in [gone, damaged, bomb, senseless] {
        let result = queue.deliver(dispatch).await;
        let outcome = only(&result);
        let Cause::Trouble(trouble) = &outcome.cause else { panic!("{outcome}") };
        assert_eq!((outcome.stage, trouble.kind), (Stage::Resolve, TroubleKind::Local), "{outcome}");
    }
    assert!(only(&queue.deliver(with_body(&["a@d.example"], TEXT, |_| {})).await).is_delivered());
    assert_eq!(peer.seen().taken.len(), 1);
}

#[tokio::test]
async fn more_than_memory_holds_goes_out_in_turn() {
    let peer = Peer::start(Script::new()).await;
    let queue = Queue::start().await;
    let _worker = Worker::start(&queue, |config| {
        smarthost(config, &peer);
        config.outbound.memory_budget = "64KiB".parse().unwrap();
    })
    .await;
    let text = format!("Subject: middling\r\n\r\n{}", "0123456789abcdef\r\n".repeat(3000));
    queue.dispatch((0..8).map(|_| with_body(&["a@d.example"], &text, |_| {}))).await;
    let results = queue.results(8).await;
    assert!(results.iter().all(|result| only(result).is_delivered()));
}
