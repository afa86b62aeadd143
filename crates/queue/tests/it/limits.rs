//! The operator's limits, and what failures teach, at a real replica.

use std::time::Duration;

use mailtier_api::admin::Shown;
use mailtier_api::change::DeliveryChange;
use mailtier_api::filter::Filter;
use mailtier_api::work::{Dispatch, WorkResult};
use mailtier_config::{Config, DestinationConfig, RetryClass, RetryConfig, TenantLimitConfig};
use mailtier_testkit::postgres::TestDatabase;
use mailtier_types::{BounceClass, Cause, Domain, EventKind, Outcome, Reply, Stage, TenantId, Trouble, TroubleKind};

use crate::changes::change;
use crate::pair::Pair;
use crate::submitter::{Submitter, submission};
use crate::system::{Replica, another, usual, with_provider};
use crate::worker::{Worker, all, outcome, result, said_by};

/// Nobody answered.
fn unreachable(dispatch: &Dispatch) -> WorkResult {
    let trouble = Trouble { kind: TroubleKind::Connect, text: "refused".into() };
    let outcome = Outcome { stage: Stage::Connect, cause: Cause::Trouble(trouble), ..outcome(250) };
    result(dispatch, vec![(dispatch.recipients.clone(), outcome)])
}

#[tokio::test]
async fn a_destination_gets_so_many_at_a_time_and_more_as_it_takes_them() {
    let (_database, replica) = usual(|config| {
        config.queue.destination_concurrency = 3;
        config.queue.initial_concurrency = 1;
        let few = DestinationConfig { domain: "few.example".into(), concurrency: Some(1), ..Default::default() };
        config.queue.destinations = vec![few];
    })
    .await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    for _ in 0..5 {
        submitter.accepted("s@a.example", &["x@b.example"]).await;
    }
    let first = worker.dispatch().await;
    worker.is_left_alone().await;
    worker.report(all(&first, 250)).await;
    let (second, third) = (worker.dispatch().await, worker.dispatch().await);
    worker.is_left_alone().await;
    for dispatch in [&second, &third] {
        worker.report(all(dispatch, 250)).await;
    }
    for _ in 0..2 {
        submitter.accepted("s@a.example", &["x@few.example"]).await;
    }
    let destinations = [worker.dispatch().await, worker.dispatch().await, worker.dispatch().await];
    worker.is_left_alone().await;
    let few = destinations.iter().filter(|dispatch| dispatch.destination == "few.example").count();
    assert_eq!(few, 1, "whatever others may have");
}

#[tokio::test]
async fn a_slow_rate_is_used_by_what_is_attempted_alone_and_outlives_a_restart() {
    let slow = |config: &mut Config| {
        let rate = Some("1/h".parse().unwrap());
        let slow = DestinationConfig { domain: "slow.example".into(), rate, ..Default::default() };
        config.queue.destinations = vec![slow];
    };
    let (database, replica) = usual(slow).await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    for _ in 0..2 {
        submitter.accepted("s@a.example", &["x@slow.example"]).await;
    }
    let refused = worker.dispatch().await;
    worker.send(result(&refused, Vec::new())).await;
    let attempted = worker.dispatch().await;
    worker.report(all(&attempted, 250)).await;
    worker.is_left_alone().await;
    drop((submitter, worker));
    replica.stop().await;

    let replica = another(&database, slow).await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    submitter.accepted("s@a.example", &["x@other.example"]).await;
    assert_eq!(worker.dispatch().await.destination, "other.example");
    worker.is_left_alone().await;
}

#[tokio::test]
async fn a_provider_is_known_by_its_exchangers_and_has_one_limit_for_all_its_domains() {
    let (_database, replica) = usual(|config| with_provider(config, Some(1))).await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    for domain in ["one.example", "two.example"] {
        submitter.accepted("s@a.example", &[&format!("x@{domain}")]).await;
        let dispatch = worker.dispatch().await;
        worker.report(said_by(&dispatch, "in.mx.big.example", 250)).await;
    }
    for domain in ["one.example", "two.example", "three.example"] {
        submitter.accepted("s@a.example", &[&format!("x@{domain}")]).await;
    }
    let (first, second) = (worker.dispatch().await, worker.dispatch().await);
    worker.is_left_alone().await;
    let (of_big, other) = match first.destination.as_str() {
        "three.example" => (second, first),
        _ => (first, second),
    };
    assert_eq!(other.destination, "three.example", "nobody knows whose it is");
    worker.report(said_by(&of_big, "in.mx.big.example", 250)).await;
    let next = worker.dispatch().await.destination;
    assert!(next != of_big.destination && next.ends_with(".example"), "{next}");
}

#[tokio::test]
async fn a_tenant_has_a_limit_wherever_its_mail_goes() {
    let (_database, replica) = usual(|config| {
        config.queue.tenants = vec![TenantLimitConfig { id: 7, concurrency: Some(1), ..Default::default() }];
    })
    .await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    for domain in ["one.example", "two.example"] {
        let mut of_tenant = submission("s@a.example", &[&format!("x@{domain}")]);
        of_tenant.envelope.tenant = TenantId(7);
        assert_eq!(submitter.submit(of_tenant).await.result, Ok(()));
    }
    let first = worker.dispatch().await;
    worker.is_left_alone().await;
    submitter.accepted("s@a.example", &["x@three.example"]).await;
    assert_eq!(worker.dispatch().await.destination, "three.example", "others' mail goes on");
    worker.report(all(&first, 250)).await;
    assert_eq!(worker.dispatch().await.tenant, TenantId(7));
}

#[tokio::test]
async fn a_destination_that_cannot_be_reached_is_probed_by_one_and_then_gets_the_rest() {
    let (_database, replica) = usual(|config| {
        config.queue.dead_after = 2;
        config.queue.initial_concurrency = 2;
        config.queue.retry_first = Duration::from_secs(2);
        config.queue.retry_jitter = 0.0;
    })
    .await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    for _ in 0..6 {
        submitter.accepted("s@a.example", &["x@dead.example"]).await;
    }
    for _ in 0..2 {
        let dispatch = worker.dispatch().await;
        worker.report(unreachable(&dispatch)).await;
    }
    submitter.accepted("s@a.example", &["x@alive.example"]).await;
    assert_eq!(worker.dispatch().await.destination, "alive.example", "the other four wait");
    let probe = worker.dispatch().await;
    assert_eq!((probe.destination.as_str(), probe.attempt), ("dead.example", 1), "what has been due for longest");
    worker.is_left_alone().await;
    worker.report(all(&probe, 250)).await;
    for _ in 0..5 {
        let dispatch = worker.dispatch().await;
        assert_eq!(dispatch.destination, "dead.example");
        worker.report(all(&dispatch, 250)).await;
    }
}

/// Two attempts have failed, and nothing more is tried for an hour: what is left is three of five.
async fn dead() -> (TestDatabase, Replica, Worker) {
    let (database, replica) = usual(|config| {
        config.queue.dead_after = 2;
        config.queue.initial_concurrency = 2;
        config.queue.retry_first = Duration::from_secs(3600);
        with_provider(config, None);
    })
    .await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    for _ in 0..5 {
        submitter.accepted("s@a.example", &["x@dead.example"]).await;
    }
    for _ in 0..2 {
        let dispatch = worker.dispatch().await;
        worker.report(unreachable(&dispatch)).await;
    }
    worker.is_left_alone().await;
    let overview = replica.admin().await.status().await.unwrap().overview;
    let told: Vec<_> = overview.dead.iter().map(|dead| (dead.destination.as_str(), dead.deliveries)).collect();
    assert_eq!((overview.dead_destinations, told), (1, vec![("dead.example", 5)]));
    (database, replica, worker)
}

/// All that waits is due; so nothing about it changes but that it is tried.
#[tokio::test]
async fn a_destination_that_is_said_to_answer_again_is_tried_at_once() {
    let (_database, replica, mut worker) = dead().await;
    let filter = Filter { destination: Some(Domain::parse("dead.example").unwrap()), ..Filter::default() };
    assert_eq!(change(&replica, filter, DeliveryChange::RetryNow).await.changed, 2, "those that have failed");
    let probe = worker.dispatch().await;
    worker.is_left_alone().await;
    worker.report(said_by(&probe, "mx.dead.example", 250)).await;
    for _ in 0..4 {
        let dispatch = worker.dispatch().await;
        worker.report(said_by(&dispatch, "mx.dead.example", 250)).await;
    }
}

/// What an operator sends elsewhere waits for neither the host that is dead nor for the question whose that is.
#[tokio::test]
async fn mail_of_a_dead_destination_goes_the_way_that_an_operator_gives_it() {
    let (_database, replica, mut worker) = dead().await;
    let filter = || Filter { destination: Some(Domain::parse("dead.example").unwrap()), ..Filter::default() };
    let way = DeliveryChange::reroute(&["relay.example"]).unwrap();
    assert_eq!(change(&replica, filter(), way.clone()).await.changed, 5);
    let both = worker.until_quiet().await;
    assert_eq!(both.len(), 2, "what is due, as many at a time as at first");
    assert!(both.iter().all(|dispatch| !dispatch.resolve_first && dispatch.hosts.len() == 1));
    for dispatch in &both {
        assert_eq!((dispatch.destination.as_str(), dispatch.pool.as_str()), ("dead.example", "default"));
        worker.report(all(dispatch, 250)).await;
    }
    let third = worker.dispatch().await;
    // Back on their own, the others wait for their own host.
    worker.report(all(&third, 250)).await;
    worker.is_left_alone().await;
    assert_eq!(change(&replica, filter(), DeliveryChange::Reroute(Vec::new())).await.changed, 2);
    assert_eq!(change(&replica, filter(), DeliveryChange::RetryNow).await.changed, 2);
    let probe = worker.dispatch().await;
    assert!(probe.hosts.is_empty(), "its own way again");
    worker.report(unreachable(&probe)).await;
    worker.is_left_alone().await;
    assert_eq!(change(&replica, filter(), way).await.changed, 2);
    assert_eq!(worker.dispatch().await.attempt, 2);
}

#[tokio::test]
async fn a_rate_holds_and_what_is_beyond_it_waits_by_itself() {
    let (_database, replica) = usual(|config| {
        let slow = DestinationConfig { domain: "slow.example".into(), rate: "2/s".parse().ok(), ..Default::default() };
        config.queue.destinations = vec![slow];
        config.queue.initial_concurrency = 20;
    })
    .await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    let begun = std::time::Instant::now();
    for _ in 0..5 {
        submitter.accepted("s@a.example", &["x@slow.example"]).await;
    }
    for _ in 0..5 {
        worker.dispatch().await;
    }
    assert!(begun.elapsed() >= Duration::from_millis(1400), "two at once and three more: {:?}", begun.elapsed());
}

#[tokio::test]
async fn fresh_domains_of_a_provider_are_found_to_be_its_before_anything_is_attempted() {
    let (_database, replica) = usual(|config| with_provider(config, Some(1))).await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    for number in 1..=4 {
        for _ in 0..2 {
            submitter.accepted("s@a.example", &[&format!("x@{number}.example")]).await;
        }
    }
    let mut asked = Vec::new();
    for _ in 0..4 {
        let question = worker.dispatch().await;
        assert!(question.resolve_first && question.body.is_none() && question.attempt == 1);
        asked.push(question);
    }
    worker.is_left_alone().await;
    for question in &asked {
        worker.send(WorkResult { exchanger: Some("in.mx.big.example".into()), ..result(question, Vec::new()) }).await;
    }
    for left in (0..8).rev() {
        let dispatch = worker.dispatch().await;
        assert!(!dispatch.resolve_first && dispatch.body.is_some() && dispatch.attempt == 1);
        if left % 4 == 3 {
            worker.is_left_alone().await;
        }
        worker.report(said_by(&dispatch, "in.mx.big.example", 250)).await;
    }
    worker.is_left_alone().await;
}

#[tokio::test]
async fn transactional_mail_goes_before_bulk_mail_that_waits() {
    let (_database, replica) = usual(|config| {
        config.queue.destination_concurrency = 1;
        config.queue.priority_step = Duration::from_secs(3600);
    })
    .await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    let mut submit = async |priority| {
        let mut one = submission("s@a.example", &["x@b.example"]);
        one.envelope.priority = priority;
        assert_eq!(submitter.submit(one).await.result, Ok(()));
    };
    for priority in [-4, -4, -4, 4, 0] {
        submit(priority).await;
    }
    let mut order = Vec::new();
    for _ in 0..5 {
        let dispatch = worker.dispatch().await;
        order.push(dispatch.priority);
        worker.report(all(&dispatch, 250)).await;
    }
    assert_eq!(order, [-4, 4, 0, -4, -4], "the first was under way");
}

#[tokio::test]
async fn each_class_of_failure_has_its_own_schedule() {
    let (_database, replica) = usual(|config| {
        config.queue.retry_first = Duration::from_secs(600);
        let soon = RetryConfig {
            class: RetryClass::Greylisted,
            first: Some(Duration::from_millis(200)),
            max: Some(Duration::from_secs(1)),
        };
        config.queue.retries = vec![soon];
        config.queue.destinations = vec![DestinationConfig {
            domain: "own.example".into(),
            retry_first: Some(Duration::from_millis(200)),
            ..DestinationConfig::default()
        }];
    })
    .await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    let said = |text: &str| Outcome { cause: Cause::Reply(Reply::received(450, None, text.into())), ..outcome(450) };
    for (domain, text, comes_back) in [
        ("grey.example", "Greylisted, try again", true),
        ("own.example", "Not now", true),
        ("other.example", "Not now", false),
    ] {
        submitter.accepted("s@a.example", &[&format!("x@{domain}")]).await;
        let dispatch = worker.dispatch().await;
        worker.report(result(&dispatch, vec![(dispatch.recipients.clone(), said(text))])).await;
        if comes_back {
            let again = worker.dispatch().await;
            assert_eq!((again.destination.as_str(), again.attempt), (domain, 2));
            worker.report(all(&again, 250)).await;
        }
    }
    worker.is_left_alone().await;
}

#[tokio::test]
async fn an_operators_rules_say_what_a_reply_means_and_whether_its_destination_rests() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.toml");
    std::fs::write(
        &rules,
        r#"
        [[rules]]
        name = "for ever"
        codes = ["4xx"]
        texts = ["never again"]
        class = "inactive_mailbox"
        verdict = "permanent"
        [[rules]]
        name = "passes"
        codes = ["5xx"]
        texts = ["in the evening"]
        class = "rate_limited"
        verdict = "temporary"
        action = "suspend"
        for = "1h"
        "#,
    )
    .unwrap();
    let (_database, replica) = usual(|config| config.queue.classification = Some(rules)).await;
    let (mut submitter, mut worker) = (Submitter::connect(&replica).await, Worker::connect(&replica).await);
    let said = |code, text: &str| Outcome {
        stage: Stage::Rcpt,
        cause: Cause::Reply(Reply::received(code, None, text.into())),
        ..outcome(code)
    };
    for (domain, code, text, kind, class) in [
        ("never.example", 450, "Never again", EventKind::RecipientFailed, BounceClass::InactiveMailbox),
        ("rests.example", 550, "Come in the evening", EventKind::AttemptDeferred, BounceClass::RateLimited),
        ("else.example", 550, "5.1.1: no such user", EventKind::RecipientFailed, BounceClass::InvalidMailbox),
    ] {
        let id = submitter.accepted("", &[&format!("x@{domain}")]).await;
        let dispatch = worker.dispatch().await;
        worker.report(result(&dispatch, vec![(dispatch.recipients.clone(), said(code, text))])).await;
        let event = replica.admin().await.show(id, Shown::Nothing).await.unwrap().events.pop().unwrap();
        assert_eq!((event.kind, event.detail.class), (kind, Some(class)), "{domain}");
    }
    submitter.accepted("", &["y@rests.example"]).await;
    worker.is_left_alone().await;
}

/// The limits of a tenant hold over all replicas, whichever has the mail; and none is left unused.
#[tokio::test]
async fn replicas_keep_to_a_limit_together() {
    const MAIL: usize = 30;
    let mut pair = Pair::start(|config| {
        config.queue.tenants = vec![TenantLimitConfig { id: 7, concurrency: Some(3), ..Default::default() }];
    })
    .await;
    let mut submitter = pair.submitter().await;
    for number in 0..MAIL {
        let mut of_tenant = submission("s@a.example", &[&format!("x@{number}.example")]);
        of_tenant.envelope.tenant = TenantId(7);
        assert_eq!(submitter.submit(of_tenant).await.result, Ok(()));
    }
    let (mut open, mut by_replica) = (Vec::new(), [0; 2]);
    for _ in 0..3 {
        open.push(pair.dispatch().await);
    }
    pair.are_left_alone().await;
    for _ in 3..MAIL {
        let (place, dispatch) = open.remove(0);
        pair.workers[place].report(all(&dispatch, 250)).await;
        open.push(pair.dispatch().await);
        by_replica[place] += 1;
    }
    assert!(by_replica.iter().all(|count| *count > 3), "both have mail: {by_replica:?}");
    pair.are_left_alone().await;
}

/// It takes no more, but workers may have its mail for longer than its membership would last by itself.
#[tokio::test]
async fn what_a_replica_has_under_way_while_it_leaves_counts() {
    let pair = Pair::start(|config| {
        config.queue.lease = Duration::from_secs(2);
        config.queue.drain_timeout = Duration::from_secs(60);
        config.queue.tenants = vec![TenantLimitConfig { id: 7, concurrency: Some(2), ..Default::default() }];
    })
    .await;
    let mut submitter = pair.submitter().await;
    for number in 0..20 {
        let mut of_tenant = submission("s@a.example", &[&format!("x@{number}.example")]);
        of_tenant.envelope.tenant = TenantId(7);
        assert_eq!(submitter.submit(of_tenant).await.result, Ok(()));
    }
    let Pair { database: _database, replicas, mut workers, .. } = pair;
    let under_way = [workers[0].until_quiet().await, workers[1].until_quiet().await];
    assert_eq!(under_way.iter().map(Vec::len).sum::<usize>(), 2);
    let ([first, second], [of_first, of_second]) = (replicas, under_way);
    let ([one, other], is_first) = (workers, !of_first.is_empty());
    let (leaver, heir, mut leaving, mut staying, under_way) =
        if is_first { (first, second, one, other, of_first) } else { (second, first, other, one, of_second) };
    let left = tokio::spawn(leaver.stop());
    for _ in 0..3 {
        staying.is_left_alone().await;
    }
    assert!(!left.is_finished());
    for dispatch in &under_way {
        leaving.report(all(dispatch, 250)).await;
    }
    left.await.unwrap();
    assert_eq!(staying.until_quiet().await.len(), under_way.len());
    heir.kill();
}
