//! What sessions came to: added up over workers, reported by one replica, posted by one worker; and policies that are kept.

use std::time::Duration;

use mailtier_store::{AsidePlan, ClaimedTlsReport, PostFailed, StoredStsPolicy};
use mailtier_types::{
    Day, DomainCounts, PolicyCounts, ReplicaId, Timestamp, TlsFailure, TlsFault, TlsPolicyFound, TlsPolicyKind,
    WorkerId,
};

use crate::mail::open;

const DAY: Day = Day::new(20_782);

fn sts(successes: u64, failed: u64) -> DomainCounts {
    let failure = TlsFailure {
        host: "mx.d.example".to_owned(),
        host_address: Some("192.0.2.1".parse().unwrap()),
        ..TlsFailure::untold(TlsFault::CertificateExpired)
    };
    let policy = TlsPolicyFound {
        kind: TlsPolicyKind::Sts,
        lines: vec!["version: STSv1".to_owned(), "mode: enforce".to_owned()],
        hosts: vec!["mx.d.example".to_owned()],
    };
    let failures = if failed == 0 { Vec::new() } else { vec![(failure, failed)] };
    DomainCounts {
        day: DAY,
        domain: "d.example".to_owned(),
        destinations: vec!["mailto:r@d.example".to_owned()],
        policies: vec![PolicyCounts { policy, successes, failures }],
    }
}

fn due(day: Day, _: &str) -> Timestamp {
    day.ends_at().after(Duration::from_secs(60))
}

fn at(seconds: u64) -> Timestamp {
    DAY.ends_at().after(Duration::from_secs(seconds))
}

#[tokio::test]
async fn what_all_workers_count_is_added_up_once() {
    let (_database, _store, mut session) = open().await;
    let (one, other) = (WorkerId::random(), WorkerId::random());
    for (worker, batch, counts, is_new) in [
        (one, 1, sts(5, 2), true),
        (one, 1, sts(5, 2), false),
        (other, 1, sts(1, 0), true),
        (one, 2, sts(0, 3), true),
        (one, 1, sts(9, 9), false),
    ] {
        assert_eq!(session.count_tls_sessions(worker, batch, &[counts], due, at(0)).await.unwrap(), is_new);
    }
    let untold = PolicyCounts {
        policy: TlsPolicyFound::untold(TlsPolicyKind::NoPolicyFound),
        successes: 4,
        failures: Vec::new(),
    };
    let twice = DomainCounts { policies: vec![untold.clone(), untold.clone()], ..sts(0, 0) };
    assert!(session.count_tls_sessions(one, 3, &[twice], due, at(0)).await.unwrap());
    let expected = [sts(6, 5).policies[0].clone(), PolicyCounts { successes: 8, ..untold }];
    assert_eq!(session.tls_counts(DAY, "d.example").await.unwrap(), expected);
    assert_eq!(session.tls_counts(Day::new(1), "d.example").await.unwrap(), []);
}

#[tokio::test]
async fn a_report_is_made_by_one_replica_and_by_another_when_that_dies() {
    let (_database, store, mut one) = open().await;
    let mut other = store.session().await.unwrap();
    one.count_tls_sessions(WorkerId::random(), 1, &[sts(1, 1)], due, at(0)).await.unwrap();
    let (dying, living) = (ReplicaId::random(), ReplicaId::random());
    let claimed = ClaimedTlsReport {
        day: DAY,
        domain: "d.example".to_owned(),
        destinations: vec!["mailto:r@d.example".to_owned()],
    };
    assert_eq!(one.claim_tls_reports(dying, at(300), 10, at(59)).await.unwrap(), [], "not due");
    assert_eq!(one.claim_tls_reports(dying, at(360), 10, at(60)).await.unwrap(), std::slice::from_ref(&claimed));
    assert_eq!(other.claim_tls_reports(living, at(361), 10, at(61)).await.unwrap(), [], "it is held");
    assert_eq!(
        other.claim_tls_reports(living, at(700), 10, at(360)).await.unwrap(),
        std::slice::from_ref(&claimed),
        "its holder is gone"
    );
    // The one that was taken for dead comes back: what it made is not written.
    let mut late = one.begin_aside().await.unwrap();
    assert!(!late.finish_tls_report(&claimed, dying, at(361)).await.unwrap());
    late.rollback().await.unwrap();
    let mut transaction = other.begin_aside().await.unwrap();
    assert!(transaction.finish_tls_report(&claimed, living, at(362)).await.unwrap());
    transaction.write(&AsidePlan::default()).await.unwrap();
    let uris = ["https://a.example/r", "https://b.example/r"];
    transaction.put_tls_posts("d.example", &uris, b"packed", at(362), at(86_400)).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(one.claim_tls_reports(dying, at(9_999), 10, at(9_000)).await.unwrap(), [], "it is made");
    let worker = WorkerId::random();
    let posts = one.take_tls_posts(worker, at(500), 1, at(400)).await.unwrap();
    assert_eq!((posts.len(), &posts[0].uri[..], &posts[0].body[..]), (1, uris[0], &b"packed"[..]));
    one.sweep_tls(DAY.ends_at(), at(86_400)).await.unwrap();
    assert_eq!(one.tls_counts(DAY, "d.example").await.unwrap(), []);
    assert_eq!(one.take_tls_posts(worker, at(90_000), 9, at(86_399)).await.unwrap(), [], "swept");
}

#[tokio::test]
async fn a_post_is_tried_again_until_its_time_is_over() {
    let (_database, store, mut session) = open().await;
    let mut other = store.session().await.unwrap();
    let mut transaction = session.begin_aside().await.unwrap();
    transaction.put_tls_posts("d.example", &["https://a.example/r"], b"x", at(0), at(3_600)).await.unwrap();
    transaction.commit().await.unwrap();
    let (one, two) = (WorkerId::random(), WorkerId::random());
    let id = session.take_tls_posts(one, at(300), 9, at(0)).await.unwrap()[0].id;
    assert_eq!(other.take_tls_posts(two, at(400), 9, at(299)).await.unwrap(), []);
    assert_eq!(other.take_tls_posts(two, at(600), 9, at(300)).await.unwrap()[0].id, id, "its holder is gone");
    assert_eq!(session.retry_tls_post(id, one, at(301)).await.unwrap(), PostFailed::NotHeld);
    assert_eq!(other.retry_tls_post(id, two, at(310)).await.unwrap(), PostFailed::TriedAgain);
    assert_eq!(other.take_tls_posts(two, at(999), 9, at(909)).await.unwrap(), [], "two attempts: ten minutes");
    other.take_tls_posts(two, at(1_200), 9, at(910)).await.unwrap();
    assert_eq!(other.retry_tls_post(id, two, at(910)).await.unwrap(), PostFailed::TriedAgain);
    other.take_tls_posts(two, at(2_400), 9, at(2_110)).await.unwrap();
    assert_eq!(other.retry_tls_post(id, two, at(2_110)).await.unwrap(), PostFailed::GivenUp, "forty more minutes");
    assert_eq!(session.take_tls_posts(one, at(9_999), 9, at(4_600)).await.unwrap(), []);
    let mut transaction = session.begin_aside().await.unwrap();
    transaction.put_tls_posts("d.example", &["https://a.example/r"], b"x", at(0), at(3_600)).await.unwrap();
    transaction.commit().await.unwrap();
    let id = session.take_tls_posts(one, at(300), 9, at(0)).await.unwrap()[0].id;
    assert!(!session.drop_tls_post(id, two).await.unwrap());
    assert!(session.drop_tls_post(id, one).await.unwrap());
}

#[tokio::test]
async fn the_newest_policy_of_a_domain_is_kept_until_its_time_is_over() {
    let (database, _store, mut session) = open().await;
    let policy = |id: &str, fetched: u64, expires: u64| StoredStsPolicy {
        id: id.to_owned(),
        text: format!("version: STSv1\nmode: enforce\nmx: {id}\nmax_age: 86400\n"),
        fetched_at: at(fetched),
        expires_at: at(expires),
    };
    for one in [policy("a", 10, 1_000), policy("c", 30, 2_000), policy("b", 20, 9_000)] {
        session.keep_sts_policy("d.example", &one).await.unwrap();
    }
    assert_eq!(session.find_sts_policy("d.example", at(1_999)).await.unwrap(), Some(policy("c", 30, 2_000)));
    assert_eq!(session.find_sts_policy("d.example", at(2_000)).await.unwrap(), None);
    assert_eq!(session.find_sts_policy("e.example", at(0)).await.unwrap(), None);
    session.keep_sts_policy("e.example", &policy("e", 10, 9_000)).await.unwrap();
    session.sweep_sts_policies(at(2_000)).await.unwrap();
    assert_eq!(database.sql("SELECT domain FROM sts_policy").await.unwrap(), "e.example");
}
