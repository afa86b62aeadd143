//! `mailtier audit`: proves of the running system that each accepted recipient is in exactly one state. Not responsible for
//! the proof: the queue has it from one snapshot of its database a page.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use mailtier_api::audit::{AuditRequest, Finding};
use mailtier_api::json;
use mailtier_types::Timestamp;

use crate::cli::{AdminOptions, Failure, duration};
use crate::connect::{connect, failure};
use crate::output::say;

/// What can be said on the command line.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    admin: AdminOptions,
    /// Only messages accepted within this time, such as 12h or 7d; by default as far back as history is kept
    #[arg(long, value_parser = duration)]
    since: Option<Duration>,
}

/// Prints what is wrong, and how much was looked at. What is wrong is an error.
pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let (client, server) = (connect(&options.admin).await?, options.admin.server());
    let until = Timestamp::from_system(SystemTime::now());
    let from = options.since.map_or(Timestamp::EPOCH, |reach| until.before(reach));
    let mut request = AuditRequest { from, until, after: None };
    let (mut messages, mut recipients, mut findings, mut held_and_over) = (0, 0, 0, 0);
    loop {
        let reply = client.audit(request).await.map_err(|error| failure(&server, error))?;
        for finding in &reply.findings {
            if options.admin.json {
                say!("{}", json::line(&json::Finding::from(finding)));
            } else {
                say!("{}", line(finding));
            }
        }
        for delivery in &reply.held_and_over {
            if options.admin.json {
                say!("{}", json::line(&BTreeMap::from([("held_and_over", delivery.to_string())])));
            } else {
                say!("{delivery}  is over, and still held");
            }
        }
        held_and_over += reply.held_and_over.len();
        messages += reply.messages;
        recipients += reply.recipients;
        findings += reply.findings.len();
        let Some(next) = reply.next else { break };
        request.after = Some(next);
    }
    if findings > 0 || held_and_over > 0 {
        let text = format!(
            "{findings} of {recipients} recipients are not in exactly one state; {held_and_over} deliveries are held and over"
        );
        return Err(Failure::error(Failure::BAD_DATA, text));
    }
    if !options.admin.json {
        say!("{messages} messages, {recipients} recipients: each is in exactly one state");
    }
    Ok(ExitCode::SUCCESS)
}

fn line(finding: &Finding) -> String {
    let Finding { message, recipient, is_queued } = finding;
    let state = if *is_queued { "over, and still queued" } else { "neither queued nor over" };
    format!("{message}  <{recipient}> is {state}")
}

#[cfg(test)]
mod tests {
    use mailtier_types::MessageId;

    use super::*;

    #[test]
    fn a_finding_says_what_is_wrong() {
        let message = MessageId::from_i64(1 << 30).unwrap();
        let finding = |is_queued| Finding { message, recipient: "x@b.example".to_owned(), is_queued };
        assert!(line(&finding(false)).ends_with("<x@b.example> is neither queued nor over"));
        assert!(line(&finding(true)).ends_with("<x@b.example> is over, and still queued"));
    }
}
