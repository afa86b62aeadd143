//! Another configuration while deliveries wait and are under way.

use std::time::Duration;

use mailtier_api::suspensions::{Scope, SuspendOrder};
use mailtier_config::{DestinationConfig, ProviderConfig};

use crate::submitter::Submitter;
use crate::system::usual;
use crate::worker::{Worker, all};

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
