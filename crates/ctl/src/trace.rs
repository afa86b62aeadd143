//! `mailtier trace`: everything that happened to a message, or to the mail of an address.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use mailtier_api::admin::{MAX_ROWS, TraceBy, TraceRequest};
use mailtier_api::json;
use mailtier_types::{Event, Mailbox, Timestamp};
use tokio::time::{Instant, sleep};

use crate::cli::{AdminOptions, Failure, duration};
use crate::connect::{connect, failure};
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
    /// A message's id, or an address (sender or recipient)
    what: String,
    /// How far back to look for an address, such as 12h or 7d; two days without
    #[arg(long, value_parser = duration)]
    since: Option<Duration>,
    /// Waits until an event of this kind is there, a minute at the most
    #[arg(long, value_parser = ["delivered", "deferred", "failed", "expired", "removed"])]
    wait: Option<String>,
}

/// Prints the events, oldest first.
pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let client = connect(&options.admin).await?;
    let now = Timestamp::from_system(SystemTime::now());
    let by = if options.what.contains('@') {
        let address = Mailbox::parse(&options.what)
            .map_err(|error| Failure::error(Failure::BAD_DATA, format!("{}: {error}", options.what)))?;
        TraceBy::Address(address.as_str().to_owned())
    } else {
        TraceBy::Message(queue::message_id(&options.what)?)
    };
    let request = TraceRequest { by, limit: MAX_ROWS, since: options.since.map(|reach| now.before(reach)) };
    let started = Instant::now();
    let events = loop {
        let events = client.trace(request.clone()).await.map_err(|error| failure(&options.admin.server(), error))?;
        let Some(kind) = &options.wait else { break events };
        if events.iter().any(|event| event.kind.name() == kind) || started.elapsed() > WAIT_LIMIT {
            break events;
        }
        sleep(WAIT_POLL).await;
    };
    print(&options, &events);
    let is_missing = options.wait.as_ref().is_some_and(|kind| !events.iter().any(|event| event.kind.name() == kind));
    Ok(if events.is_empty() || is_missing { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print(options: &Options, events: &[Event]) {
    if events.is_empty() {
        eprintln!("nothing is known of {}", options.what);
    }
    for event in events {
        if options.admin.json {
            println!("{}", json::line(&json::Event::from(event)));
        } else {
            println!("{}", show::event_line(event));
        }
    }
}
