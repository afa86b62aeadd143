//! Another configuration while deliveries wait and are under way.

use std::time::Duration;

use mailtier_api::submit::Submission;
use mailtier_api::suspensions::{Scope, SuspendOrder};
use mailtier_config::{DestinationConfig, ProviderConfig, Secret, SuppressionMode};
use mailtier_types::{Cause, Outcome, Reply, TenantId, reply};

use crate::submitter::{Submitter, submission};
use crate::system::{until_told, usual};
use crate::worker::{Worker, all, outcome, result};

#[tokio::test]
async fn limits_waits_and_names_are_those_of_the_moment() {
    let (_database, replica) = usual(|config| config.queue.destination_concurrency = 1).await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    for _ in 0..4 {
        submitter.accepted("s@a.example", &["x@b.example"]).await;
    }
    let first = worker.dispatch().await;
    worker.is_left_alone().await;
    replica.reload(|config| {
        let three = Some(3);
        config.queue.destinations = vec![DestinationConfig {
            domain: "b.example".into(),
            concurrency: three,
            initial_concurrency: three,
            ..Default::default()
        }];
        config.queue.retry_first = Duration::from_millis(10);
        config.queue.retry_max = Duration::from_millis(20);
    });
    let (second, third) = (worker.dispatch().await, worker.dispatch().await);
    worker.is_left_alone().await;
    worker.report(all(&first, 451)).await;
    worker.report(all(&second, 250)).await;
    worker.report(all(&third, 250)).await;
    let after = [worker.dispatch().await, worker.dispatch().await];
    let again = after.iter().find(|dispatch| dispatch.delivery == first.delivery).map(|again| again.attempt);
    assert_eq!(again, Some(2), "after the wait of the moment, not after five minutes");
}

#[tokio::test]
async fn providers_of_the_moment_can_be_suspended() {
    let (_database, replica) = usual(|_| {}).await;
    let order = || {
        let (scope, reason) = (Scope::provider("big").unwrap(), String::new());
        SuspendOrder { scope, reason, lasting: None, operator: "alice".into() }
    };
    let admin = replica.admin().await;
    assert!(admin.suspend(order()).await.is_err());
    replica.reload(|config| {
        config.queue.providers = vec![ProviderConfig {
            name: "big".into(),
            exchangers: vec!["mx.big.example".into()],
            ..ProviderConfig::default()
        }];
    });
    admin.suspend(order()).await.unwrap();
}

#[tokio::test]
async fn return_paths_are_signed_from_the_moment_on() {
    let (_database, replica) = usual(|_| {}).await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    let mut sent = async || {
        let mut submission = submission("s@a.example", &["x@b.example"]);
        submission.envelope.tenant = TenantId(7);
        submitter.submit(submission).await.result.unwrap();
        let dispatch = worker.dispatch().await;
        worker.report(all(&dispatch, 250)).await;
        dispatch.return_path.map(|path| path.as_str().to_owned())
    };
    assert_eq!(sent().await, None);
    replica.reload(|config| {
        config.feedback.return_path_domain = Some("bounces.example".into());
        config.feedback.return_path_keys = Some(Secret::new("k".repeat(32)));
        config.feedback.return_path_tenants = vec![7];
    });
    assert!(sent().await.unwrap().ends_with("@bounces.example"));
    replica.reload(|_| {});
    assert_eq!(sent().await, None);
}

/// Delivered, it would come to inbound again.
#[tokio::test]
async fn a_report_that_is_not_read_here_waits_with_whoever_has_sent_it() {
    let (database, replica) = usual(|_| {}).await;
    let mut submitter = Submitter::connect(&replica).await;
    let report = || Submission { report: true, ..submission("", &["fbl@bounces.example"]) };
    assert_eq!(submitter.submit(report()).await.result, Err(reply::REPORTS_UNREAD));
    replica.reload(|config| config.feedback.report_addresses = vec!["fbl@bounces.example".into()]);
    submitter.submit(report()).await.result.unwrap();
    // The second is accepted, has arrived, and belongs to no message; of the first there is nothing.
    until_told(&database, "SELECT count(*) FROM event", "3").await;
}

#[tokio::test]
async fn recipients_are_put_on_lists_from_the_moment_on() {
    let (database, replica) = usual(|_| {}).await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    let unknown = Reply::received(550, "5.1.1".parse().ok(), "no such user".into());
    let mut failing = async |recipient: &str| {
        let mut submission = submission("s@a.example", &[recipient]);
        submission.envelope.tenant = TenantId(7);
        submitter.submit(submission).await.result.unwrap();
        let dispatch = worker.dispatch().await;
        let outcome = Outcome { cause: Cause::Reply(unknown.clone()), ..outcome(550) };
        worker.report(result(&dispatch, vec![(dispatch.recipients.clone(), outcome)])).await;
        // The notification.
        let notification = worker.dispatch().await;
        worker.report(all(&notification, 250)).await;
    };
    failing("before@b.example").await;
    replica.reload(|config| config.suppression.mode = SuppressionMode::Reject);
    failing("after@b.example").await;
    until_told(&database, "SELECT string_agg(address, ' ') FROM suppression", "after@b.example").await;
}
