//! What it costs to judge a reply by the built-in rules, over the documented ones, and to read those rules.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark may fail loudly")]

use std::time::Duration;

use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher, black_box};
use mailtier_schedule::{Classification, Next, RetryPolicy, Verdict, classify};
use mailtier_types::{Cause, Outcome, RemoteHost, Reply, Stage, Timestamp};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// As a program does once.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn read_rules() -> Classification {
    Classification::new(None).unwrap()
}

/// All of the documented replies, one after the other.
#[divan::bench]
fn judge(bencher: Bencher<'_, '_>) {
    let (rules, outcomes) = (Classification::new(None).unwrap(), corpus());
    bencher.counter(ItemsCount::new(outcomes.len())).bench_local(|| {
        for outcome in &outcomes {
            black_box(rules.judge(black_box(outcome)));
        }
    });
}

/// When the next attempt is, of one that failed for a time.
#[divan::bench]
fn decide_on_retry(bencher: Bencher<'_, '_>) {
    let (now, policy) = (Timestamp::from_secs(1_800_000_000), RetryPolicy::default());
    let expires_at = now.after(Duration::from_secs(432_000));
    let decide = |attempts| classify(Some(Verdict::Temporary), attempts, &policy, expires_at, now, 0.5);
    assert!(matches!(decide(3), Next::Retry(at) if at > now));
    bencher.bench_local(|| decide(black_box(3)));
}

/// The replies of the tests.
fn corpus() -> Vec<Outcome> {
    let table: toml::Table = include_str!("../tests/classification/replies.toml").parse().unwrap();
    let sources = table["sources"].as_array().unwrap();
    sources.iter().flat_map(outcomes_of).collect()
}

fn outcomes_of(source: &toml::Value) -> Vec<Outcome> {
    let host = source.get("exchanger").and_then(toml::Value::as_str).unwrap_or("mx.example.net");
    let one = |reply: &toml::Value| {
        let (stage, said) = (reply[0].as_str().unwrap(), reply[1].as_str().unwrap());
        let stage = Stage::ALL.into_iter().find(|known| known.name() == stage).unwrap();
        let (code, text) = said.split_once(' ').unwrap();
        let enhanced = text.split(' ').next().and_then(|first| first.parse().ok());
        let cause = Cause::Reply(Reply::received(code.parse().unwrap(), enhanced, text.to_owned()));
        let remote = Some(RemoteHost { name: host.to_owned(), address: None });
        Outcome { remote, ..Outcome::new(stage, cause, Timestamp::EPOCH) }
    };
    source["replies"].as_array().unwrap().iter().map(one).collect()
}
