//! `mailtier trace`: everything that happened to a message, by its id or its Message-ID field, or to the mail of an
//! address. Not responsible for searching: the queue searches for a while in each call, from now backwards, and is asked
//! on here.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use mailtier_api::admin::{AdminClient, MAX_ROWS, TraceBy, TraceRequest};
use mailtier_api::json;
use mailtier_types::{Event, Mailbox, Timestamp};
use tokio::time::{Instant, sleep};

use crate::cli::{AdminOptions, Failure, duration};
use crate::connect::{connect, failure};
use crate::output::say;
use crate::progress::Progress;
use crate::{queue, show};

/// Between two looks while waiting.
const WAIT_POLL: Duration = Duration::from_millis(100);
/// Longest wait.
const WAIT_LIMIT: Duration = Duration::from_secs(60);

/// What can be said on the command line.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    admin: AdminOptions,
    /// A message's id; its Message-ID field with the angle brackets; or an address, of a sender or a recipient
    what: String,
    /// How far back to look, such as 12h or 7d. Without: ever for an id; for an address two days, and for a Message-ID
    /// two days or until something is found
    #[arg(long, value_parser = duration)]
    since: Option<Duration>,
    /// Events at the most, the newest
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Shows what was said in the attempts, as far as it was kept
    #[arg(long)]
    transcript: bool,
    /// Waits until an event of this kind is there, a minute at the most
    #[arg(long, value_parser = ["delivered", "deferred", "failed", "expired", "removed", "bounced", "complained", "answered", "tls_reported"])]
    wait: Option<String>,
}

/// What was found.
#[derive(Debug, Default)]
struct Found {
    /// Oldest first.
    events: Vec<Event>,
    /// Everything since then was looked at.
    looked_back_to: Timestamp,
    /// There may be more before.
    is_cut: bool,
}

/// Prints the events, oldest first.
pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let client = connect(&options.admin).await?;
    let now = Timestamp::from_system(SystemTime::now());
    let (by, since) = (sought(&options.what)?, options.since.map(|reach| now.before(reach)));
    let started = Instant::now();
    let found = loop {
        let found = search(&client, &options, &by, since).await?;
        let Some(kind) = &options.wait else { break found };
        if found.events.iter().any(|event| event.kind.name() == kind) || started.elapsed() > WAIT_LIMIT {
            break found;
        }
        sleep(WAIT_POLL).await;
    };
    print(&options, &by, &found);
    let is_there = |kind| found.events.iter().any(|event| event.kind.name() == kind);
    let is_missing = options.wait.as_ref().is_some_and(|kind| !is_there(kind));
    Ok(if found.events.is_empty() || is_missing { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What somebody means who says this.
fn sought(what: &str) -> anyhow::Result<TraceBy> {
    if what.starts_with('<') && what.ends_with('>') {
        return Ok(TraceBy::HeaderMessageId(what.to_owned()));
    }
    if what.contains('@') {
        let address = Mailbox::parse(what);
        let address = address.map_err(|error| Failure::error(Failure::BAD_DATA, format!("{what}: {error}")))?;
        return Ok(TraceBy::Address(address.as_str().to_owned()));
    }
    Ok(TraceBy::Message(queue::message_id(what)?))
}

/// Asks until there is enough or everything has been looked at.
async fn search(
    client: &AdminClient,
    options: &Options,
    by: &TraceBy,
    since: Option<Timestamp>,
) -> anyhow::Result<Found> {
    let limit = usize::try_from(options.limit).unwrap_or(usize::MAX);
    let (mut found, mut until, mut progress) = (Found::default(), None, Progress::default());
    loop {
        let left = u32::try_from(limit.saturating_sub(found.events.len())).unwrap_or(MAX_ROWS).clamp(1, MAX_ROWS);
        let request = TraceRequest { by: by.clone(), limit: left, since, until };
        let reply = client.trace(request).await.map_err(|error| failure(&options.admin.server(), error))?;
        found.events.extend(reply.events);
        (found.looked_back_to, found.is_cut) = (reply.looked_back_to, reply.next_until.is_some());
        until = reply.next_until;
        if until.is_none() || is_enough(by, &found.events, limit, since.is_some()) {
            break;
        }
        progress.show(&format!("looked back to {} …", show::time(found.looked_back_to)));
    }
    progress.clear();
    found.events.sort_by_key(|event| (event.at, event.kind.number(), event.delivery));
    found.events.dedup();
    Ok(found)
}

/// A Message-ID is looked for until it is found, unless it was said how far back to look: it may be there again.
fn is_enough(by: &TraceBy, events: &[Event], limit: usize, is_bounded: bool) -> bool {
    let is_found = matches!(by, TraceBy::HeaderMessageId(_)) && !events.is_empty() && !is_bounded;
    is_found || events.len() >= limit
}

fn print(options: &Options, by: &TraceBy, found: &Found) {
    for event in &found.events {
        if options.admin.json {
            say!("{}", json::line(&json::Event::from(event)));
        } else {
            say!("{}", show::event_line(event));
            if options.transcript {
                show::transcript(event).for_each(|line| say!("{line}"));
            }
        }
    }
    let back_to = show::time(found.looked_back_to);
    match (by, found.events.is_empty()) {
        (TraceBy::Message(_), true) => eprintln!("nothing is known of {}", options.what),
        (TraceBy::Message(_), false) => {}
        (_, true) => eprintln!("nothing is known of {} since {back_to}: --since looks further back", options.what),
        (_, false) if found.is_cut => {
            eprintln!("looked back to {back_to}; there may be more before: --since and --limit show it");
        }
        (_, false) => eprintln!("looked back to {back_to}"),
    }
}

#[cfg(test)]
mod tests {
    use mailtier_types::MessageId;

    use super::*;

    #[test]
    fn an_id_a_field_and_an_address_are_told_apart() {
        let id: MessageId = "0003g9230vqvs".parse().unwrap();
        assert_eq!(sought("0003g9230vqvs").unwrap(), TraceBy::Message(id));
        assert_eq!(sought("<1@a.example>").unwrap(), TraceBy::HeaderMessageId("<1@a.example>".into()));
        assert_eq!(sought("A@B.example").unwrap(), TraceBy::Address("A@b.example".into()));
        for nothing in ["0003", "a@", "<1@a.example"] {
            assert!(sought(nothing).is_err(), "{nothing}");
        }
    }
}
