//! `mailtier queue`: list and show. Not responsible for how answers look in detail: `delivery.rs` and `show.rs` are;
//! nor for changes (`change.rs`) and what is suspended (`suspensions.rs`).

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::time::SystemTime;

use mailtier_api::admin::{DeliveryView, ListRequest, ShowReply, Shown};
use mailtier_api::change::DeliveryChange;
use mailtier_api::json;
use mailtier_types::{MessageId, Timestamp};

use crate::change::{self, ChangeOptions, RouteOptions};
use crate::cli::{AdminOptions, Failure};
use crate::connect::{connect, failure};
use crate::counts::{CountOptions, ShapeOptions, TopOptions};
use crate::filter::FilterOptions;
use crate::output::{self, say};
use crate::overview::{ShardsOptions, StatusOptions};
use crate::progress::Progress;
use crate::suspensions::{Beside, ResumeOptions, SuspendOptions};
use crate::{counts, delivery, overview, restored, show, suspensions};

/// Rows asked for at a time.
const PAGE_ROWS: u32 = 500;

/// What can be done.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Lists what is queued, oldest first
    List(ListOptions),
    /// Counts what is queued
    Count(CountOptions),
    /// Counts what is queued by destination, tenant, sender, reply …, the largest first
    Top(TopOptions),
    /// Counts what is queued by destination and age, as Postfix's qshape does
    Shape(ShapeOptions),
    /// Shows which replicas there are, and which owns what
    Shards(ShardsOptions),
    /// Shows the replicas, the workers that are connected to the one that is asked, and what it has in memory
    Status(StatusOptions),
    /// Shows a message: what is left of it, its history, its header section or content
    Show(ShowOptions),
    /// Keeps deliveries: neither attempted nor given up for their age, until they are released
    Hold(ChangeOptions),
    /// Lets held deliveries go on
    Release(ChangeOptions),
    /// Attempts deferred deliveries now
    Retry(ChangeOptions),
    /// Gives deliveries up, with a notification to their senders; the history names you
    Bounce(ChangeOptions),
    /// Removes deliveries, without telling anyone; the history names you
    Delete(ChangeOptions),
    /// Sends the next attempts of deliveries to other hosts, or their own way again
    Route(RouteOptions),
    /// Attempts nothing more to a domain or a provider, or of a tenant, on any replica, until it is resumed
    Suspend(SuspendOptions),
    /// Attempts again what was suspended
    Resume(ResumeOptions),
    /// Shows what would be sent again, after a queue started paused on a database restored from a backup
    Restored(restored::Options),
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
    /// With its whole content instead of the header section
    #[arg(long)]
    content: bool,
    /// Without the header section
    #[arg(long, conflicts_with = "content")]
    no_headers: bool,
}

/// Does it.
pub(crate) async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::List(options) => list(options).await,
        Command::Count(options) => counts::count(options).await,
        Command::Top(options) => counts::top(options).await,
        Command::Shape(options) => counts::shape(options).await,
        Command::Shards(options) => overview::shards(options).await,
        Command::Status(options) => overview::status(options).await,
        Command::Show(options) => show_message(options).await,
        Command::Hold(options) => change::run(options, DeliveryChange::Hold).await,
        Command::Release(options) => change::run(options, DeliveryChange::Release).await,
        Command::Retry(options) => change::run(options, DeliveryChange::RetryNow).await,
        Command::Bounce(options) => change::run(options, DeliveryChange::Bounce).await,
        Command::Delete(options) => change::run(options, DeliveryChange::Delete).await,
        Command::Route(options) => change::route(options).await,
        Command::Suspend(options) => suspensions::suspend(options).await,
        Command::Resume(options) => suspensions::resume(options).await,
        Command::Restored(options) => restored::run(options).await,
        Command::Suspensions(options) => suspensions::list(options).await,
    }
}

async fn list(options: ListOptions) -> anyhow::Result<ExitCode> {
    let client = connect(&options.admin).await?;
    let filter = options.which.filter(Timestamp::from_system(SystemTime::now()));
    let suspended = Beside::ask(&client).await;
    let limit = usize::try_from(options.limit).unwrap_or(usize::MAX);
    let (mut after, mut shown, mut octets, mut progress) = (0, 0, 0_u64, Progress::default());
    while shown < limit {
        let rows = u32::try_from(limit - shown).unwrap_or(PAGE_ROWS).min(PAGE_ROWS);
        let request = ListRequest { after, limit: rows, filter: filter.clone() };
        let page = client.list(request).await.map_err(|error| failure(&options.admin.server(), error))?;
        progress.clear();
        if options.admin.json {
            for view in &page.deliveries {
                say!("{}", json::line(&json::Delivery::new(view, suspended.all())));
            }
        } else {
            print_page(&page.deliveries, shown == 0, &suspended);
        }
        shown += page.deliveries.len();
        octets = page.deliveries.iter().fold(octets, |sum, view| sum.saturating_add(view.size_bytes));
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
        say!("{}", if filter.is_empty() { "the queue is empty" } else { "nothing like that is queued" });
    } else {
        let more = if after == 0 { "" } else { "; more may follow: --limit shows it" };
        say!("{}{more}", delivery::sum(shown, octets));
    }
    if shown > 0 {
        suspended.providers_and_pools().for_each(|line| say!("{line}"));
    }
    Ok(ExitCode::SUCCESS)
}

fn print_page(deliveries: &[DeliveryView], is_first: bool, suspended: &Beside) {
    let now = Timestamp::from_system(SystemTime::now());
    if is_first && !deliveries.is_empty() {
        say!("{}", delivery::head());
    }
    deliveries.iter().flat_map(|view| delivery::lines(view, suspended, now)).for_each(|line| say!("{line}"));
}

async fn show_message(options: ShowOptions) -> anyhow::Result<ExitCode> {
    let client = connect(&options.admin).await?;
    let shown = match (options.content, options.no_headers) {
        (true, _) => Shown::Content,
        (false, false) => Shown::Headers,
        (false, true) => Shown::Nothing,
    };
    let reply = client.show(options.id, shown).await;
    let reply = reply.map_err(|error| failure(&options.admin.server(), error))?;
    if options.content && reply.content.is_empty() {
        eprintln!("the content is gone: it is kept until the last delivery is over");
    }
    let suspended = Beside::ask(&client).await;
    if options.admin.json {
        say!("{}", json::line(&json::Message::new(&reply, suspended.all())));
    } else {
        print_message(&reply, &suspended);
    }
    Ok(ExitCode::SUCCESS)
}

fn print_message(reply: &ShowReply, suspended: &Beside) {
    let now = Timestamp::from_system(SystemTime::now());
    for view in &reply.deliveries {
        let facts = delivery::facts(view, now);
        delivery::lines(view, suspended, now).into_iter().chain([facts]).for_each(|line| say!("{line}"));
    }
    for event in &reply.events {
        say!("{}", show::event_line(event));
    }
    for octets in [&reply.headers, &reply.content].into_iter().filter(|octets| !octets.is_empty()) {
        say!("");
        if io::stdout().is_terminal() {
            say!("{}", String::from_utf8_lossy(octets));
        } else {
            output::octets(octets);
        }
    }
}

/// The message that a command was given, when it is one.
pub(crate) fn message_id(text: &str) -> anyhow::Result<MessageId> {
    text.parse().map_err(|error| Failure::error(Failure::BAD_DATA, format!("{text}: {error}")))
}
