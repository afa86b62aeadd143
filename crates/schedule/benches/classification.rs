//! How many replies the built-in rules judge in a second, over the documented ones: `cargo bench -p mailtier-schedule`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark may fail loudly, and prints what it found"
)]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use mailtier_schedule::Classification;
use mailtier_types::{Cause, Outcome, RemoteHost, Reply, Stage, Timestamp};

/// Each measure takes so long.
const TIME: Duration = Duration::from_secs(2);

fn main() {
    let outcomes = corpus();
    let began_at = Instant::now();
    let rules = Classification::new(None).unwrap();
    println!("reading {} rules: {:?}", rules.rules().count(), began_at.elapsed());
    let (mut judged, began_at) = (0_u64, Instant::now());
    while began_at.elapsed() < TIME {
        for outcome in &outcomes {
            black_box(rules.judge(black_box(outcome)));
            judged += 1;
        }
    }
    let each = began_at.elapsed().as_nanos() / u128::from(judged);
    println!(
        "{} documented replies, again and again: {each} ns each, {} a second",
        outcomes.len(),
        1_000_000_000 / each
    );
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
