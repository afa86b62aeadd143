//! `mailtier queue`: list, show, retry, delete. Not responsible for how answers look in detail: `show.rs` is; nor for
//! what is suspended: `suspensions.rs` is.

use std::process::ExitCode;
use std::time::SystemTime;

use mailtier_api::admin::{AdminClient, DeliveryView, ListRequest, Selection, ShowReply};
use mailtier_api::json;
use mailtier_types::{MessageId, Timestamp};

use crate::cli::{AdminOptions, Failure, operator};
use crate::connect::{connect, failure};
use crate::filter::FilterOptions;
use crate::progress::Progress;
use crate::suspensions::{Beside, ResumeOptions, SuspendOptions};
use crate::{show, suspensions};

/// Rows asked for at a time.
const PAGE_ROWS: u32 = 500;

/// What can be done.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Lists what is queued, oldest first
    List(ListOptions),
    /// Shows a message: what is left of it, its history, its content
    Show(ShowOptions),
    /// Attempts deferred deliveries now
    Retry(SelectOptions),
    /// Removes deliveries, without telling anyone; the history names you
    Delete(SelectOptions),
    /// Attempts nothing more to a domain or a provider, or of a tenant, on any replica, until it is resumed
    Suspend(SuspendOptions),
    /// Attempts again what was suspended
    Resume(ResumeOptions),
    /// Lists what is suspended: by whom, why, until when
    Suspensions(suspensions::ListOptions),
}

/// Which deliveries to list.
#[derive(Debug, clap::Args)]
pub(crate) struct ListOptions {
    #[command(flatten)]
    admin: AdminOptions,
    #[command(flatten)]
    which: FilterOptions,
    /// At the most
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
}

/// Which message to show.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowOptions {
    #[command(flatten)]
    admin: AdminOptions,
    /// The message
    id: MessageId,
    /// With its content
    #[arg(long)]
    content: bool,
}

/// Which deliveries to change.
#[derive(Debug, clap::Args)]
pub(crate) struct SelectOptions {
    #[command(flatten)]
    admin: AdminOptions,
    /// Messages
    #[arg(required_unless_present_any = ["destination", "all"])]
    ids: Vec<MessageId>,
    /// Everything to this domain
    #[arg(long, conflicts_with_all = ["ids", "all"])]
    destination: Option<String>,
    /// Everything
    #[arg(long, conflicts_with = "ids")]
    all: bool,
}

/// Does it.
pub(crate) async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::List(options) => list(options).await,
        Command::Show(options) => show_message(options).await,
        Command::Retry(options) => {
            let is_named = !options.ids.is_empty();
            let (client, selection, server) = select(options).await?;
            let changed = client.retry_now(selection).await.map_err(|error| failure(&server, error))?;
            let waits = changed > 0 && !Beside::ask(&client).await.is_empty();
            let but = if waits { "; what is suspended waits until it is resumed" } else { "" };
            println!("{changed} due now{but}");
            Ok(verdict(changed, is_named))
        }
        Command::Delete(options) => {
            let is_named = !options.ids.is_empty();
            let (client, selection, server) = select(options).await?;
            let changed = client.delete(selection).await.map_err(|error| failure(&server, error))?;
            let caution = if changed > 0 { "; what a worker is sending at this moment may still arrive" } else { "" };
            println!("{changed} removed{caution}");
            Ok(verdict(changed, is_named))
        }
        Command::Suspend(options) => suspensions::suspend(options).await,
        Command::Resume(options) => suspensions::resume(options).await,
        Command::Suspensions(options) => suspensions::list(options).await,
    }
}

/// Messages that were named and are not there are no success.
fn verdict(changed: u64, is_named: bool) -> ExitCode {
    if changed == 0 && is_named { ExitCode::from(Failure::BAD_DATA) } else { ExitCode::SUCCESS }
}

async fn select(options: SelectOptions) -> anyhow::Result<(AdminClient, Selection, String)> {
    let client = connect(&options.admin).await?;
    let SelectOptions { admin, ids: messages, destination, all } = options;
    let selection = Selection { messages, all, destination, operator: operator() };
    Ok((client, selection, admin.server()))
}

async fn list(options: ListOptions) -> anyhow::Result<ExitCode> {
    let client = connect(&options.admin).await?;
    let filter = options.which.filter(Timestamp::from_system(SystemTime::now()));
    let suspended = Beside::ask(&client).await;
    let limit = usize::try_from(options.limit).unwrap_or(usize::MAX);
    let (mut after, mut shown, mut progress) = (0, 0, Progress::default());
    while shown < limit {
        let rows = u32::try_from(limit - shown).unwrap_or(PAGE_ROWS).min(PAGE_ROWS);
        let request = ListRequest { after, limit: rows, filter: filter.clone() };
        let page = client.list(request).await.map_err(|error| failure(&options.admin.server(), error))?;
        progress.clear();
        for view in &page.deliveries {
            if options.admin.json {
                println!("{}", json::line(&json::Delivery::new(view, suspended.all())));
            } else {
                print_delivery(view, &suspended);
            }
        }
        shown += page.deliveries.len();
        after = page.next;
        if after == 0 {
            break;
        }
        progress.tell(page.looked_at);
    }
    progress.clear();
    if options.admin.json {
        return Ok(ExitCode::SUCCESS);
    }
    if shown == 0 {
        println!("{}", if filter.is_empty() { "the queue is empty" } else { "nothing like that is queued" });
    } else if after != 0 {
        println!("… and more may follow: --limit shows it");
    }
    if shown > 0 {
        suspended.providers_and_pools().for_each(|line| println!("{line}"));
    }
    Ok(ExitCode::SUCCESS)
}

fn recipients(view: &DeliveryView) -> String {
    view.recipients.iter().map(|recipient| format!("<{recipient}>")).collect::<Vec<_>>().join(",")
}

fn print_delivery(view: &DeliveryView, suspended: &Beside) {
    let now = Timestamp::from_system(SystemTime::now());
    println!(
        "{}  {:>7}  {:>8}  from={} to={}",
        view.message,
        show::span(now.since(view.accepted_at)),
        view.size_bytes,
        view.sender,
        recipients(view)
    );
    if let Some(outcome) = &view.last_outcome {
        let next = view.next_attempt_at.map_or_else(
            || "now".to_owned(),
            |at| match at.since(now) {
                wait if wait.is_zero() => "now".to_owned(),
                wait => format!("in {}", show::span(wait)),
            },
        );
        println!("               attempt {} {}; next {next}", view.attempts, show::outcome_text(outcome));
    }
    if let Some(scope) = suspended.of(view) {
        println!("               waits: {scope} is suspended");
    }
}

async fn show_message(options: ShowOptions) -> anyhow::Result<ExitCode> {
    let client = connect(&options.admin).await?;
    let reply = client.show(options.id, options.content).await;
    let reply = reply.map_err(|error| failure(&options.admin.server(), error))?;
    if options.content && reply.content.is_empty() {
        eprintln!("the content is gone: it is kept until the last delivery is over");
    }
    let suspended = Beside::ask(&client).await;
    if options.admin.json {
        println!("{}", json::line(&json::Message::new(&reply, suspended.all())));
    } else {
        print_message(&reply, &suspended);
    }
    Ok(ExitCode::SUCCESS)
}

fn print_message(reply: &ShowReply, suspended: &Beside) {
    for view in &reply.deliveries {
        print_delivery(view, suspended);
    }
    for event in &reply.events {
        println!("{}", show::event_line(event));
    }
    if !reply.content.is_empty() {
        println!("\n{}", String::from_utf8_lossy(&reply.content));
    }
}

/// The message that a command was given, when it is one.
pub(crate) fn message_id(text: &str) -> anyhow::Result<MessageId> {
    text.parse().map_err(|error| Failure::error(Failure::BAD_DATA, format!("{text}: {error}")))
}
