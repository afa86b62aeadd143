//! Reports of TLS: what workers have counted is reported by one replica, once, by mail and over HTTPS.

use std::time::SystemTime;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mailtier_api::decode_options;
use mailtier_api::tls::{CountedSessions, FinishedPost, TlsClient};
use mailtier_api::work::{Dispatch, WorkClient};
use mailtier_config::{Config, Secret};
use mailtier_message::feedback::{Feedback, read};
use mailtier_message::tls_report::TlsReport;
use mailtier_store::Store;
use mailtier_testkit::postgres::TestDatabase;
use mailtier_types::{
    Day, DomainCounts, Notify, PolicyCounts, Timestamp, TlsFailure, TlsFault, TlsPolicyFound, TlsPolicyKind, WorkerId,
};

use crate::system::{Replica, another, usual};
use crate::worker::{Worker, all};

fn with_reports(config: &mut Config) {
    let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(key.as_ref()));
    let reports = &mut config.tls_reports;
    reports.sender = Some("tls@mx.example.org".to_owned());
    reports.organization = Some("Example Organisation".to_owned());
    reports.contact = Some("postmaster@example.org".to_owned());
    reports.dkim_domain = Some("example.org".to_owned());
    reports.dkim_selector = Some("s1".to_owned());
    reports.dkim_key = Some(Secret::new(pem));
}

fn yesterday() -> Day {
    Day::new(Day::of(Timestamp::from_system(SystemTime::now())).number() - 1)
}

fn counts(day: Day, destinations: &[&str]) -> DomainCounts {
    let failure = TlsFailure {
        fault: TlsFault::CertificateExpired,
        sending_address: Some("2001:db8::1".parse().unwrap()),
        host: "mx.d.example".to_owned(),
        host_address: Some("192.0.2.7".parse().unwrap()),
        reason: "the certificate is not valid at this time".to_owned(),
    };
    let sts = TlsPolicyFound {
        kind: TlsPolicyKind::Sts,
        lines: vec!["version: STSv1".to_owned(), "mode: testing".to_owned()],
        hosts: vec!["*.d.example".to_owned()],
    };
    let none = TlsPolicyFound::untold(TlsPolicyKind::NoPolicyFound);
    DomainCounts {
        day,
        domain: "d.example".to_owned(),
        destinations: destinations.iter().map(|one| (*one).to_owned()).collect(),
        policies: vec![
            PolicyCounts { policy: sts, successes: 5, failures: vec![(failure, 2)] },
            PolicyCounts { policy: none, successes: 1, failures: Vec::new() },
        ],
    }
}

async fn tls(replica: &Replica) -> TlsClient {
    WorkClient::connect(&replica.url(), None).await.unwrap().tls().clone()
}

/// Yesterday's sessions, of which the report is due; in a database without a replica.
async fn counted(destinations: &[&str]) -> (TestDatabase, DomainCounts) {
    let database = TestDatabase::migrated().await.unwrap();
    let mut session = Store::connect(&database.config()).await.unwrap().session().await.unwrap();
    let counts = counts(yesterday(), destinations);
    let (two, now) = ([counts.clone(), counts.clone()], Timestamp::from_system(SystemTime::now()));
    for part in two {
        let due = |day: Day, _: &str| day.begins_at();
        assert!(session.count_tls_sessions(WorkerId::random(), 1, &[part], due, now).await.unwrap());
    }
    (database, counts)
}

/// What was counted twice.
fn doubled(counts: &DomainCounts) -> Vec<(String, PolicyCounts)> {
    let double = |one: &PolicyCounts| PolicyCounts {
        policy: one.policy.clone(),
        successes: 2 * one.successes,
        failures: one.failures.iter().map(|(failure, sessions)| (failure.clone(), 2 * sessions)).collect(),
    };
    counts.policies.iter().map(|one| (counts.domain.clone(), double(one))).collect()
}

/// The report that a dispatch carries.
fn carried(dispatch: &Dispatch) -> (String, TlsReport) {
    let content = dispatch.body.clone().unwrap().concat();
    let Feedback::TlsReport(report) = read(&content) else { panic!("{}", String::from_utf8_lossy(&content)) };
    (String::from_utf8(content).unwrap(), report)
}

#[tokio::test]
async fn two_replicas_send_one_report_that_says_what_all_workers_have_counted() {
    let uris = ["mailto:r%2Btls@d.example", "https://d.example/r", "mailto:broken"];
    let (database, counts) = counted(&uris).await;
    let (one, other) = tokio::join!(another(&database, with_reports), another(&database, with_reports));
    let (mut here, mut there) = (Worker::connect(&one).await, Worker::connect(&other).await);
    let (mut dispatches, others) = tokio::join!(here.until_quiet(), there.until_quiet());
    dispatches.extend(others);
    // Its shard may have moved meanwhile, and the delivery with it.
    assert_eq!(database.sql("SELECT count(*) FROM event WHERE kind = 1").await.unwrap(), "1", "one report");
    let dispatch = dispatches.first().unwrap();
    assert_eq!((dispatch.sender.as_str(), dispatch.recipients[0].as_str()), ("tls@mx.example.org", "r+tls@d.example"));
    let options = decode_options(&dispatch.options).unwrap();
    assert!(options.tls_optional, "RFC 8460 section 5.3");
    let never = Notify { success: false, failure: false, delay: false };
    assert_eq!(options.notify(&dispatch.recipients[0]), never);

    let (text, report) = carried(dispatch);
    assert!(text.starts_with("DKIM-Signature: ") && text.contains("d=example.org") && text.contains("s=s1"), "{text}");
    assert_eq!(
        (report.organization.as_str(), report.contact.as_str()),
        ("Example Organisation", "postmaster@example.org")
    );
    assert_eq!(
        (report.begins_at, report.ends_at.as_secs()),
        (yesterday().begins_at(), yesterday().ends_at().as_secs() - 1)
    );
    assert_eq!(report.policies, doubled(&counts));

    let (tls_one, tls_other) = (tls(&one).await, tls(&other).await);
    let (worker, late) = (WorkerId::random(), WorkerId::random());
    let posts = tls_one.take_posts(worker, 9).await.unwrap();
    let [post] = posts.as_slice() else { panic!("one post: {posts:?}") };
    assert_eq!((post.uri.as_str(), TlsReport::read(&post.body).unwrap()), ("https://d.example/r", report));
    assert_eq!(tls_other.take_posts(late, 9).await.unwrap(), []);
    tls_other.finish_post(FinishedPost { worker: late, id: post.id, problem: None }).await.unwrap();
    assert_eq!(database.sql("SELECT count(*) FROM tls_post").await.unwrap(), "1", "that is not who has it");
    tls_other.finish_post(FinishedPost { worker, id: post.id, problem: Some("500".into()) }).await.unwrap();
    assert_eq!(database.sql("SELECT holder IS NULL, next_at > now() + '4 min' FROM tls_post").await.unwrap(), "t|t");
}

#[tokio::test]
async fn nobody_is_told_what_becomes_of_a_report() {
    let (database, _) = counted(&["mailto:r@d.example"]).await;
    let replica = another(&database, with_reports).await;
    let mut worker = Worker::connect(&replica).await;
    let dispatch = worker.dispatch().await;
    worker.report(all(&dispatch, 550)).await;
    assert_eq!(database.sql("SELECT count(*) FROM delivery").await.unwrap(), "0");
    assert_eq!(database.sql("SELECT count(*) FROM event WHERE kind = 1").await.unwrap(), "1");
}

#[tokio::test]
async fn counters_come_in_once_and_only_where_reports_are_sent() {
    let (database, replica) = usual(with_reports).await;
    let counted = CountedSessions {
        worker: WorkerId::random(),
        batch: 1,
        domains: vec![counts(yesterday(), &["mailto:r@d.example"])],
    };
    let tls_on = tls(&replica).await;
    for _ in 0..2 {
        tls_on.count_sessions(&counted).await.unwrap();
    }
    let told = "SELECT (SELECT sum(successes) FROM tls_session), (SELECT sum(sessions) FROM tls_failure), \
                (SELECT due_at - day::timestamptz BETWEEN '1 d 10 min' AND '1 d 4 h' FROM tls_report)";
    assert_eq!(database.sql(&format!("SET timezone = 'UTC'; {told}")).await.unwrap(), "6|2|t");

    let (database, replica) = usual(|_| {}).await;
    tls(&replica).await.count_sessions(&counted).await.unwrap();
    assert_eq!(database.sql("SELECT count(*) FROM tls_session").await.unwrap(), "0");
}

#[tokio::test]
async fn reports_are_made_from_the_moment_on_when_they_are_configured() {
    let (database, counts) = counted(&["mailto:r@d.example"]).await;
    let replica = another(&database, |_| {}).await;
    let (mut worker, tls) = (Worker::connect(&replica).await, tls(&replica).await);
    let more = async |batch| {
        let domains = vec![DomainCounts { domain: "e.example".into(), ..counts.clone() }];
        tls.count_sessions(&CountedSessions { worker: WorkerId::random(), batch, domains }).await.unwrap();
        database.sql("SELECT count(*) FROM tls_session WHERE domain = 'e.example'").await.unwrap() != "0"
    };
    worker.is_left_alone().await;
    assert!(!more(1).await, "nobody would make a report of it");
    replica.reload(with_reports);
    let (_, report) = carried(&worker.dispatch().await);
    assert_eq!(report.policies, doubled(&counts));
    assert!(more(2).await);
}
