//! Submissions.

use mailtier_api::submit::Submission;

use crate::submitter::{CONTENT, Submitter, submission};
use crate::system::{Replica, config, usual};
use crate::worker::{Worker, all};

#[tokio::test]
async fn a_submission_is_accepted_once_on_whichever_replica() {
    let (database, replica) = usual(|_| {}).await;
    let other = Replica::start(config(&database)).await;
    let (mut here, mut there) = (Submitter::connect(&replica).await, Submitter::connect(&other).await);
    let first = submission("s@a.example", &["x@b.example"]);
    assert_eq!(here.submit(first.clone()).await.result, Ok(()));
    let again = Submission { resubmission: true, ..first.clone() };
    assert_eq!(here.submit(again.clone()).await.result, Ok(()));
    assert_eq!(there.submit(again.clone()).await.result, Ok(()));
    let counts = "SELECT (SELECT count(*) FROM delivery), (SELECT count(*) FROM event), (SELECT count(*) FROM body)";
    assert_eq!(database.sql(counts).await.unwrap(), "1|1|1");

    // Even after it was delivered.
    let mut worker = Worker::connect(&replica).await;
    let mut elsewhere = Worker::connect(&other).await;
    let dispatch = tokio::select! {
        dispatch = worker.dispatch() => dispatch,
        dispatch = elsewhere.dispatch() => dispatch,
    };
    worker.report(all(&dispatch, 250)).await;
    assert_eq!(there.submit(again).await.result, Ok(()));
    assert_eq!(database.sql("SELECT count(*) FROM delivery").await.unwrap(), "0");
}

#[tokio::test]
async fn other_mail_under_a_known_id_is_refused() {
    let (_database, replica) = usual(|_| {}).await;
    let mut submitter = Submitter::connect(&replica).await;
    let first = submission("s@a.example", &["x@b.example"]);
    let id = first.id;
    assert_eq!(submitter.submit(first).await.result, Ok(()));
    let other = Submission { id, ..submission("t@a.example", &["y@c.example"]) };
    let refused = submitter.submit(other).await.result.unwrap_err();
    assert_eq!(refused.code / 100, 4, "{refused}");
}

#[tokio::test]
async fn a_large_body_comes_in_parts_and_is_fetched() {
    let (_database, replica) = usual(|config| config.queue.inline_body = bytesize::ByteSize(10)).await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    let whole = submission("s@a.example", &["x@b.example"]);
    submitter.part(whole.id, 0, b"Subject: parts\r\n\r\n").await;
    submitter.stored(whole.id, 0).await;
    submitter.part(whole.id, 1, b"one\r\n").await;
    let id = whole.id;
    assert_eq!(submitter.submit(Submission { parts: 2, ..whole }).await.result, Ok(()));
    let dispatch = worker.dispatch().await;
    assert_eq!((dispatch.message, &dispatch.body), (id, &None));
    let client = mailtier_api::work::WorkClient::connect(&replica.url(), None).await.unwrap();
    let mut chunks = client.fetch_body(id).await.unwrap();
    let mut body = Vec::new();
    while let Some(chunk) = chunks.next().await {
        body.extend_from_slice(&chunk.unwrap());
    }
    assert_eq!(body, [b"Subject: parts\r\n\r\none\r\n", CONTENT].concat());
}

#[tokio::test]
async fn a_body_without_its_first_part_is_refused() {
    let (database, replica) = usual(|_| {}).await;
    let mut submitter = Submitter::connect(&replica).await;
    let whole = submission("s@a.example", &["x@b.example"]);
    submitter.part(whole.id, 1, b"one\r\n").await;
    let refused = submitter.submit(Submission { parts: 2, ..whole }).await.result.unwrap_err();
    assert_eq!(refused.code / 100, 4, "{refused}");
    assert_eq!(database.sql("SELECT count(*) FROM delivery").await.unwrap(), "0");
}
