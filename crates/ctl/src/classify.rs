//! `mailtier classify`: what a reply means, and which rule says so. Not responsible for the rules (`schedule`); it asks no
//! queue replica, so that rules can be tried before they count.

use std::path::PathBuf;
use std::process::ExitCode;

use mailtier_schedule::{Action, Judgement};
use mailtier_shaping::classification;
use mailtier_smtp::parse_reply;
use mailtier_types::{Cause, Outcome, RemoteHost, Stage, Timestamp};

use crate::cli::Failure;
use crate::output::say;

/// What can be said on the command line.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The reply, such as '550 5.1.1 No such user'
    reply: String,
    /// What it was said to
    #[arg(long, default_value = "rcpt", value_parser = ["banner", "ehlo", "starttls", "mail", "rcpt", "data", "final"])]
    stage: String,
    /// The name of the mail exchanger that said so
    #[arg(long)]
    exchanger: Option<String>,
    /// A file of rules, as `queue.classification` names one; without, the built-in ones alone
    #[arg(long)]
    rules: Option<PathBuf>,
}

/// Prints the judgement.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let rules = classification(options.rules.as_deref())
        .map_err(|error| Failure::error(Failure::MISCONFIGURED, error.to_string()))?;
    let reply = parse_reply(options.reply.trim_end()).ok_or_else(|| {
        let problem = format!("{}: expected a reply of three digits and a text", options.reply);
        Failure::error(Failure::BAD_DATA, problem)
    })?;
    let stage = Stage::ALL.into_iter().find(|stage| stage.name() == options.stage).unwrap_or(Stage::Rcpt);
    let remote = options.exchanger.clone().map(|name| RemoteHost { name, address: None });
    let outcome = Outcome { remote, ..Outcome::new(stage, Cause::Reply(reply), Timestamp::EPOCH) };
    match rules.judge(&outcome) {
        Some(judgement) => lines(&judgement).iter().for_each(|line| say!("{line}")),
        None => say!("delivered"),
    }
    Ok(ExitCode::SUCCESS)
}

fn lines(judgement: &Judgement<'_>) -> [String; 4] {
    let action = match judgement.action {
        None => "none".to_owned(),
        Some(Action::SlowDown) => "slow_down".to_owned(),
        Some(Action::SwitchAddress { whom, time }) => {
            let (whom, time) = (whom.name(), humantime::format_duration(time));
            format!("switch_address, where the pool has others, for all mail of the {whom}, for {time}")
        }
        Some(Action::Suspend { whom, time }) => {
            format!("suspend the {} for {}", whom.name(), humantime::format_duration(time))
        }
    };
    [
        format!("class    {}", judgement.class),
        format!("verdict  {}", judgement.verdict.name()),
        format!("action   {action}"),
        format!("rule     {}", judgement.rule.unwrap_or("none: its codes decide")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(options: &Options) -> Vec<String> {
        let rules = classification(options.rules.as_deref()).unwrap();
        let outcome = Outcome::new(Stage::Rcpt, Cause::Reply(parse_reply(&options.reply).unwrap()), Timestamp::EPOCH);
        lines(&rules.judge(&outcome).unwrap()).into()
    }

    #[test]
    fn a_reply_is_judged_by_the_rules_of_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let rule = "[[rules]]\nname = \"ours\"\ntexts = [\"not today\"]\nclass = \"policy\"\nverdict = \"temporary\"\n\
                    action = \"suspend\"\non = \"provider\"\nfor = \"90m\"\n";
        std::fs::write(file.path(), rule).unwrap();
        let mut options = Options {
            reply: "550-5.7.1 Not\n550 5.7.1 today".to_owned(),
            stage: "rcpt".to_owned(),
            exchanger: None,
            rules: Some(file.path().to_owned()),
        };
        let expected =
            ["class    policy", "verdict  temporary", "action   suspend the provider for 1h 30m", "rule     ours"];
        assert_eq!(said(&options), expected);
        options.rules = None;
        let expected = ["class    policy", "verdict  permanent", "action   none", "rule     none: its codes decide"];
        assert_eq!(said(&options), expected);
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for text in ["", "55", "abc no", "999 no", "é50 no"] {
            assert_eq!(parse_reply(text), None, "{text}");
        }
    }
}
