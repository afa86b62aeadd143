//! Replies as providers and servers document them (`replies.toml`), each with what it is to mean. A built-in rule that
//! decides none of them is one that nobody can check.

use std::collections::HashSet;

use mailtier_schedule::Classification;
use mailtier_types::{Cause, Outcome, RemoteHost, Reply, Stage, Timestamp};
use serde::Deserialize;

/// The least number of replies that say something of the whole.
const LEAST_REPLIES: usize = 300;

#[derive(Deserialize)]
struct Corpus {
    sources: Vec<Source>,
}

/// What is documented in one place.
#[derive(Deserialize)]
struct Source {
    documented: String,
    /// A host that says so; without, one that no rule knows.
    #[serde(default = "anybody")]
    exchanger: String,
    /// Stage, reply, bounce class, verdict.
    replies: Vec<(String, String, String, String)>,
}

fn anybody() -> String {
    "mx.example.net".to_owned()
}

fn outcome(stage: &str, said: &str, exchanger: &str) -> Outcome {
    let stage = Stage::ALL.into_iter().find(|known| known.name() == stage).unwrap();
    let (code, rest) = said.split_once(' ').unwrap();
    let (first, others) = rest.split_once(' ').unwrap_or((rest, ""));
    let (enhanced, text) = match first.parse() {
        Ok(enhanced) => (Some(enhanced), others),
        Err(_) => (None, rest),
    };
    let reply = Reply::received(code.parse().unwrap(), enhanced, text.to_owned());
    let remote = Some(RemoteHost { name: exchanger.to_owned(), address: None });
    Outcome { remote, ..Outcome::new(stage, Cause::Reply(reply), Timestamp::EPOCH) }
}

#[test]
fn documented_replies_mean_what_they_mean() {
    let corpus: Corpus = toml::from_str(include_str!("replies.toml")).unwrap();
    let rules = Classification::new(None).unwrap();
    let (mut count, mut decided, mut seen, mut wrong) = (0, HashSet::new(), HashSet::new(), Vec::new());
    for Source { documented, exchanger, replies } in &corpus.sources {
        for (stage, said, class, verdict) in replies {
            let outcome = outcome(stage, said, exchanger);
            let judgement = rules.judge(&outcome).unwrap();
            count += 1;
            decided.extend(judgement.rule);
            if !seen.insert((stage, said, exchanger)) {
                wrong.push(format!("{said}: is there twice"));
            }
            let found = (judgement.class.name(), judgement.verdict.name());
            if found != (class.as_str(), verdict.as_str()) {
                let rule = judgement.rule.unwrap_or("its codes");
                wrong.push(format!(
                    "{exchanger}, {stage}: {said}\n  {class}, {verdict} ({documented})\n  {found:?} by {rule}"
                ));
            }
        }
    }
    let idle: Vec<&str> = rules.rules().filter(|rule| !decided.contains(rule)).collect();
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(idle.is_empty(), "rules that decide none of the replies: {idle:?}");
    assert!(count >= LEAST_REPLIES, "{count} replies");
}
