//! Source addresses that remotes block, and those that they are to know again.

use std::net::IpAddr;
use std::time::Duration;

use mailtier_api::admin::Shown;
use mailtier_api::work::{Dispatch, WorkResult};
use mailtier_config::Config;
use mailtier_types::{Cause, Egress, Outcome, RemoteHost, Reply, Stage, Timestamp};

use crate::submitter::Submitter;
use crate::system::{another, usual, with_provider};
use crate::worker::{Worker, all, result};

const EXCHANGER: &str = "mx.big.example";
const BLOCKED: &str = "Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org";

fn address(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

/// What this exchanger says to an attempt from one of several addresses, or from the only one.
fn said(dispatch: &Dispatch, exchanger: &str, from: u8, has_others: bool, code: u16, text: &str) -> WorkResult {
    let cause = Cause::Reply(Reply::received(code, None, text.to_owned()));
    let egress = Some(Egress { pool: "default".to_owned(), source: Some(address(from)), has_others });
    let remote = Some(RemoteHost { name: exchanger.to_owned(), address: None });
    let at = Timestamp::from_system(std::time::SystemTime::now());
    let outcome = Outcome { egress, remote, ..Outcome::new(Stage::Rcpt, cause, at) };
    result(dispatch, vec![(dispatch.recipients.clone(), outcome)])
}

fn avoided(dispatch: &Dispatch) -> Vec<IpAddr> {
    dispatch.avoided_sources.iter().map(|avoided| avoided.address).collect()
}

/// Retries come at once; two of everything at a time.
fn hasty(config: &mut Config) {
    config.queue.retry_first = Duration::from_secs(1);
}

#[tokio::test]
async fn a_block_is_not_the_last_word_and_holds_for_all_mail_of_the_destination() {
    let (database, replica) = usual(hasty).await;
    let mut submitter = Submitter::connect(&replica).await;
    let mut worker = Worker::connect(&replica).await;
    let id = submitter.accepted("s@a.example", &["x@d.example"]).await;
    let first = worker.dispatch().await;
    assert_eq!((first.same_source, avoided(&first)), (None, vec![]));
    worker.report(said(&first, EXCHANGER, 1, true, 554, BLOCKED)).await;

    let again = worker.dispatch().await;
    assert_eq!((again.delivery, again.attempt), (first.delivery, 2), "a 5xx, and it is tried again");
    assert_eq!(avoided(&again), [address(1)], "{again:?}");
    let own = again.avoided_sources[0];
    assert!(own.refused_this && (3500..=3601).contains(&own.time.as_secs()), "{own:?}");
    submitter.accepted("s@a.example", &["y@d.example"]).await;
    submitter.accepted("s@a.example", &["y@e.example"]).await;
    let others = [worker.dispatch().await, worker.dispatch().await];
    for other in &others {
        let expected = if other.destination == "d.example" { vec![address(1)] } else { vec![] };
        assert_eq!(avoided(other), expected, "{other:?}");
        assert!(other.avoided_sources.iter().all(|avoided| !avoided.refused_this));
        worker.report(all(other, 250)).await;
    }

    let admin = replica.admin().await;
    let overview = admin.status().await.unwrap().overview;
    let blocks: Vec<_> =
        overview.blocked.iter().map(|block| (block.address, block.by.as_str(), block.is_provider)).collect();
    assert_eq!((overview.blocks, blocks), (1, vec![(address(1), "d.example", false)]));
    let shown = admin.show(id, Shown::Nothing).await.unwrap();
    let deferred = shown.events.last().unwrap();
    let until = deferred.detail.source_avoided_until.unwrap();
    assert_eq!(until, deferred.detail.outcome.as_ref().unwrap().at.after(Duration::from_secs(3600)));
    // Where there is no other address the rule's verdict stands.
    worker.report(said(&again, EXCHANGER, 2, false, 554, BLOCKED)).await;
    assert_eq!(database.sql("SELECT count(*) FROM event WHERE kind = 4").await.unwrap(), "1");
}

#[tokio::test]
async fn what_a_delivery_met_outlives_every_restart() {
    let (database, replica) = usual(hasty).await;
    Submitter::connect(&replica).await.accepted("s@a.example", &["x@d.example"]).await;
    let mut worker = Worker::connect(&replica).await;
    let first = worker.dispatch().await;
    worker.report(said(&first, EXCHANGER, 1, true, 554, BLOCKED)).await;
    worker.vanish();
    replica.kill();
    let replica = another(&database, hasty).await;
    let mut worker = Worker::connect(&replica).await;
    let again = worker.dispatch().await;
    assert_eq!((again.attempt, avoided(&again)), (2, vec![address(1)]));
    // RFC 6647 §2: the remote does not know the second address yet, and is to see it again.
    worker.report(said(&again, EXCHANGER, 2, true, 450, "greylisted, try again later")).await;
    worker.vanish();
    replica.kill();
    let hastened = "UPDATE retry SET next_attempt_at = now() RETURNING 1";
    assert_eq!(database.sql(hastened).await.unwrap(), "1");
    let replica = another(&database, hasty).await;
    let mut worker = Worker::connect(&replica).await;
    let third = worker.dispatch().await;
    assert_eq!((third.attempt, third.same_source), (3, Some(address(2))));
    worker.report(all(&third, 250)).await;
}

#[tokio::test]
async fn what_a_provider_blocks_is_not_tried_with_its_other_destinations() {
    let rule = "[[rules]]\nname = \"ours\"\ntexts = [\"not from there\"]\nclass = \"blocklisted\"\n\
                action = \"switch_address\"\non = \"provider\"\nfor = \"10m\"\n";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), rule).unwrap();
    let (_database, replica) = usual(|config| {
        with_provider(config, None);
        config.queue.classification = Some(file.path().to_owned());
    })
    .await;
    let mut submitter = Submitter::connect(&replica).await;
    let mut worker = Worker::connect(&replica).await;
    submitter.accepted("s@a.example", &["x@d.example"]).await;
    for to in ["x@d.example", "x@e.example", "x@f.example"] {
        if to != "x@d.example" {
            submitter.accepted("s@a.example", &[to]).await;
        }
        let mut dispatch = worker.dispatch().await;
        // Whose it is was not known: that is a question first.
        if dispatch.resolve_first {
            let exchanger = Some(if to == "x@f.example" { "mx.other.example" } else { EXCHANGER }.to_owned());
            worker.send(WorkResult { exchanger, ..result(&dispatch, Vec::new()) }).await;
            dispatch = worker.dispatch().await;
        }
        let expected = if to == "x@e.example" { vec![address(1)] } else { vec![] };
        assert_eq!(avoided(&dispatch), expected, "{to}");
        match to {
            "x@d.example" => worker.report(said(&dispatch, EXCHANGER, 1, true, 421, "not from there")).await,
            _ => worker.report(all(&dispatch, 250)).await,
        }
    }
    let blocked = replica.admin().await.status().await.unwrap().overview.blocked;
    assert_eq!(blocked.iter().map(|block| (block.by.as_str(), block.is_provider)).collect::<Vec<_>>(), [("big", true)]);
}
