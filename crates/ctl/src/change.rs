//! `mailtier queue hold|release|retry|bounce|delete|route`: changes of what is queued, call by call, with progress. Not
//! responsible for what a change means: the queue is.

use std::process::ExitCode;
use std::time::SystemTime;

use mailtier_api::ApiError;
use mailtier_api::admin::AdminClient;
use mailtier_api::change::{ChangeAnswer, ChangeOrder, DeliveryChange};
use mailtier_api::filter::{Filter, MAX_MESSAGES};
use mailtier_api::json;
use mailtier_types::{MessageId, Timestamp};

use crate::cli::{AdminOptions, Failure, operator};
use crate::connect::{connect, failure};
use crate::delivery;
use crate::filter::FilterOptions;
use crate::output::say;
use crate::progress::Progress;
use crate::show;
use crate::suspensions::Beside;

/// Deliveries shown of those that would be changed.
const SHOWN: u32 = 10;

/// Which deliveries to change, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct ChangeOptions {
    #[command(flatten)]
    admin: AdminOptions,
    /// Messages
    #[arg(value_name = "ID")]
    ids: Vec<MessageId>,
    #[command(flatten)]
    which: FilterOptions,
    /// Everything that is queued
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    /// Why, for whoever looks later, and for the senders of what is bounced
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    /// Changes nothing, and says what would be changed
    #[arg(long)]
    dry_run: bool,
}

/// Where to send what, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct RouteOptions {
    /// To these hosts, in this order: host, host:port, an IPv4 address or an IPv6 address in brackets
    #[arg(long, value_name = "HOST", value_delimiter = ',', required_unless_present = "own_way")]
    to: Vec<String>,
    /// Where configuration and DNS say, as before
    #[arg(long, conflicts_with = "to")]
    own_way: bool,
    #[command(flatten)]
    change: ChangeOptions,
}

/// Changes where next attempts go.
pub(crate) async fn route(options: RouteOptions) -> anyhow::Result<ExitCode> {
    let change = match options.own_way {
        true => DeliveryChange::Reroute(Vec::new()),
        false => DeliveryChange::reroute(&options.to).map_err(usage)?,
    };
    run(options.change, change).await
}

fn usage(error: ApiError) -> anyhow::Error {
    Failure::error(Failure::USAGE, error.to_string())
}

/// Changes deliveries.
pub(crate) async fn run(options: ChangeOptions, change: DeliveryChange) -> anyhow::Result<ExitCode> {
    let filters = filters(&options)?;
    let client = connect(&options.admin).await?;
    let manner = Manner { change, all: options.all, reason: options.reason, dry_run: options.dry_run };
    let total = carry_out(&client, &options.admin, filters, &manner).await?;
    // Messages that were named and are not there are no success.
    let is_missing = total.matched == 0 && !options.ids.is_empty();
    Ok(if is_missing { ExitCode::from(Failure::BAD_DATA) } else { ExitCode::SUCCESS })
}

/// What is done to deliveries that are meant, and how.
#[derive(Debug)]
pub(crate) struct Manner {
    pub(crate) change: DeliveryChange,
    /// All are meant, where a filter says nothing.
    pub(crate) all: bool,
    pub(crate) reason: String,
    /// Nothing is changed.
    pub(crate) dry_run: bool,
}

/// Changes what fits one filter after the other, and says what was changed.
pub(crate) async fn carry_out(
    client: &AdminClient,
    admin: &AdminOptions,
    filters: Vec<Filter>,
    manner: &Manner,
) -> anyhow::Result<ChangeAnswer> {
    let mut changing = Changing { total: ChangeAnswer::default(), progress: Progress::default() };
    for filter in filters {
        let order = ChangeOrder {
            filter,
            all: manner.all,
            change: manner.change.clone(),
            operator: operator(),
            reason: manner.reason.clone(),
            after: 0,
            dry_run: manner.dry_run,
            show: if manner.dry_run { SHOWN } else { 0 },
        };
        if let Err(error) = changing.carry_out(client, order).await {
            changing.progress.clear();
            let done = changing.total.changed;
            if done > 0 && !manner.dry_run {
                eprintln!("mailtier: {}; what is left can be changed by saying it again", told(&manner.change, done));
            }
            return Err(failure(&admin.server(), error));
        }
    }
    changing.progress.clear();
    tell(client, admin, manner, &changing.total).await;
    Ok(changing.total)
}

/// What is meant: one filter, but for more messages than one can name.
fn filters(options: &ChangeOptions) -> anyhow::Result<Vec<Filter>> {
    let mut filter = options.which.filter(Timestamp::from_system(SystemTime::now()));
    filter.messages.extend(&options.ids);
    if filter.is_empty() != options.all {
        let text = "say which deliveries are meant: ids of messages, options that they fit, or --all alone";
        return Err(Failure::error(Failure::USAGE, text));
    }
    if filter.messages.len() <= MAX_MESSAGES {
        return Ok(vec![filter]);
    }
    let part = |messages: &[MessageId]| Filter { messages: messages.to_vec(), ..filter.clone() };
    Ok(filter.messages.chunks(MAX_MESSAGES).map(part).collect())
}

/// How far it has come.
struct Changing {
    total: ChangeAnswer,
    progress: Progress,
}

impl Changing {
    async fn carry_out(&mut self, client: &AdminClient, mut order: ChangeOrder) -> Result<(), ApiError> {
        loop {
            let answer = client.change(order.clone()).await?;
            self.total.looked_at += answer.looked_at;
            self.total.matched += answer.matched;
            self.total.changed += answer.changed;
            let room = usize::try_from(SHOWN).unwrap_or(usize::MAX).saturating_sub(self.total.first.len());
            self.total.first.extend(answer.first.into_iter().take(room));
            order.after = answer.next;
            if order.after == 0 {
                return Ok(());
            }
            let (looked_at, matched) = (self.total.looked_at, self.total.matched);
            let so_far = told(&order.change, self.total.changed);
            self.progress.show(&format!("{looked_at} deliveries looked at, {matched} meant, {so_far} …"));
        }
    }
}

async fn tell(client: &AdminClient, admin: &AdminOptions, manner: &Manner, total: &ChangeAnswer) {
    let (change, changed, matched) = (&manner.change, total.changed, total.matched);
    if admin.json {
        let suspended = Beside::ask(client).await;
        say!("{}", json::line(&json::ChangedDeliveries::new(total, suspended.all())));
        return;
    }
    if manner.dry_run {
        let suspended = Beside::ask(client).await;
        let now = Timestamp::from_system(SystemTime::now());
        let lines = total.first.iter().flat_map(|view| delivery::lines(view, &suspended, now));
        lines.for_each(|line| say!("{line}"));
        let more = changed.saturating_sub(total.first.len() as u64);
        if more > 0 {
            say!("… and {more} more");
        }
        say!("{} if it were no trial{}", told(change, changed), others(change, matched - changed));
        return;
    }
    say!("{}{}{}", told(change, changed), others(change, matched - changed), caution(client, change, changed).await);
}

/// What has happened to so many.
fn told(change: &DeliveryChange, changed: u64) -> String {
    match change {
        DeliveryChange::Hold => format!("{changed} held"),
        DeliveryChange::Release => format!("{changed} released"),
        DeliveryChange::RetryNow => format!("{changed} due now"),
        DeliveryChange::Bounce => format!("{changed} given up; senders are notified, but for the null sender"),
        DeliveryChange::Delete => format!("{changed} removed"),
        DeliveryChange::Reroute(hosts) if hosts.is_empty() => format!("{changed} on their own way again"),
        DeliveryChange::Reroute(hosts) => format!("{changed} rerouted to {}", show::way(hosts)),
    }
}

/// Why the others that were meant were not changed.
fn others(change: &DeliveryChange, others: u64) -> String {
    let why = match change {
        _ if others == 0 => return String::new(),
        DeliveryChange::Hold => "held already",
        DeliveryChange::Release => "not held",
        DeliveryChange::RetryNow => "due already, or held",
        DeliveryChange::Bounce | DeliveryChange::Delete => "over meanwhile",
        DeliveryChange::Reroute(_) => "on that way already",
    };
    format!("; {others} {why}")
}

/// What the operator should know of those that are under way, or wait for something else.
async fn caution(client: &AdminClient, change: &DeliveryChange, changed: u64) -> &'static str {
    match change {
        _ if changed == 0 => "",
        DeliveryChange::Hold | DeliveryChange::Bounce | DeliveryChange::Delete => {
            "; what a worker is sending at this moment may still arrive"
        }
        DeliveryChange::Reroute(_) => "; what a worker is sending at this moment goes the way it was on",
        DeliveryChange::Release | DeliveryChange::RetryNow if !Beside::ask(client).await.is_empty() => {
            "; what is suspended waits until it is resumed"
        }
        DeliveryChange::Release | DeliveryChange::RetryNow => "",
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Command {
        #[command(flatten)]
        options: ChangeOptions,
    }

    fn meant(words: &[&str]) -> Result<Vec<Filter>, String> {
        let parsed = Command::try_parse_from(std::iter::once("hold").chain(words.iter().copied()));
        filters(&parsed.map_err(|error| error.to_string())?.options).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_is_changed_unless_it_is_said_what_is_meant() {
        assert!(meant(&[]).unwrap_err().contains("say which deliveries are meant"));
        assert!(meant(&["--all", "--destination", "b.example"]).unwrap_err().contains("--all alone"));
        assert!(meant(&["--all", "0003g9230vqvs"]).unwrap_err().contains("cannot be used with"));
        assert!(meant(&["--all"]).unwrap()[0].is_empty());
        let both = meant(&["0003g9230vqvs", "--message", "0003g9230vqvt", "--destination", "b.example"]).unwrap();
        assert_eq!((both.len(), both[0].messages.len(), both[0].criteria()), (1, 2, 2));
        let many: Vec<String> = (1..=2500).map(|number| MessageId::from_i64(number).unwrap().to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let parts: Vec<usize> = meant(&many).unwrap().iter().map(|filter| filter.messages.len()).collect();
        assert_eq!(parts, [1000, 1000, 500]);
    }

    #[test]
    fn what_was_done_is_said_in_words() {
        let way = DeliveryChange::reroute(&["relay.example:2525", "192.0.2.1"]).unwrap();
        assert_eq!(told(&way, 3), "3 rerouted to relay.example:2525,192.0.2.1");
        assert_eq!(told(&DeliveryChange::Reroute(Vec::new()), 1), "1 on their own way again");
        assert_eq!(others(&DeliveryChange::Hold, 2), "; 2 held already");
        assert_eq!(others(&DeliveryChange::Delete, 0), "");
    }
}
