//! `mailtier queue restored`: after a database was restored from a backup and the queue started paused, what would be sent
//! again, and the removal of what would not have to be. The database knows nothing of what happened after the backup was
//! made; the logs of that time do, where they are kept. Not responsible for pausing (`queue.start_paused`) nor for resuming.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mailtier_api::admin::{AdminClient, DeliveryView, ListRequest};
use mailtier_api::change::DeliveryChange;
use mailtier_api::filter::{Filter, MAX_MESSAGES};
use mailtier_api::suspensions::{STARTED_PAUSED, Scope};
use mailtier_types::{Domain, Mailbox, MessageId, Timestamp};
use serde_json::{Value, json};

use crate::change::{Manner, carry_out};
use crate::cli::{AdminOptions, Failure};
use crate::connect::{connect, failure};
use crate::output::say;
use crate::progress::Progress;
use crate::show;

/// Rows asked for at a time.
const PAGE_ROWS: u32 = 1000;
/// What a log line says of recipients that are over.
const OVER: [&str; 4] = ["delivered", "failed", "expired", "removed"];
/// What the history says of what is removed, unless the operator says something else.
const REASON: &str = "over before the database was restored, says the log";

/// What can be said on the command line.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    admin: AdminOptions,
    /// A log of mailtier-queue from after the backup was made, JSON or text; may be said several times
    #[arg(long = "log", value_name = "FILE")]
    logs: Vec<PathBuf>,
    /// Removes what is over for all its recipients, says the log, without telling anyone; the history names you
    #[arg(long, requires = "logs")]
    delete: bool,
    /// Why, for whoever looks later
    #[arg(long, requires = "delete")]
    reason: Option<String>,
    /// Removes nothing, and says what would be removed
    #[arg(long, requires = "delete")]
    dry_run: bool,
}

/// Prints what was queued before the restore: what a log says is over, and what would be sent again.
pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let (client, server) = (connect(&options.admin).await?, options.admin.server());
    let paused_at = paused_at(&client, &server).await?;
    let queued = queued_before(&client, &server, paused_at).await?;
    let mut evidence = Evidence::about(&queued);
    for path in &options.logs {
        evidence.read(path)?;
    }
    if options.delete {
        return delete(&client, options, &queued, &evidence).await;
    }
    let mut again = 0;
    for view in &queued {
        let over = evidence.over(view);
        again += usize::from(over < view.recipients.len());
        if options.admin.json {
            say!("{}", as_json(view, &evidence));
        } else {
            say!("{}", line(view, over));
        }
    }
    if !options.admin.json {
        say!("{}", summary(queued.len(), again, !options.logs.is_empty(), paused_at));
    }
    Ok(ExitCode::SUCCESS)
}

/// Removes what is over, and says what that leaves.
async fn delete(
    client: &AdminClient,
    options: Options,
    queued: &[DeliveryView],
    evidence: &Evidence,
) -> anyhow::Result<ExitCode> {
    let reason = options.reason.unwrap_or_else(|| REASON.to_owned());
    let manner = Manner { change: DeliveryChange::Delete, all: false, reason, dry_run: options.dry_run };
    carry_out(client, &options.admin, over_for_all(queued, evidence)?, &manner).await?;
    if !options.admin.json {
        say!("{}", left(queued, evidence));
    }
    Ok(ExitCode::SUCCESS)
}

/// Those deliveries of which every recipient is over. Another delivery of the same message may not be.
fn over_for_all(queued: &[DeliveryView], evidence: &Evidence) -> anyhow::Result<Vec<Filter>> {
    let mut messages: BTreeMap<&str, Vec<MessageId>> = BTreeMap::new();
    for view in queued.iter().filter(|view| evidence.over(view) == view.recipients.len()) {
        messages.entry(&view.destination).or_default().push(view.message);
    }
    let mut filters = Vec::new();
    for (destination, messages) in messages {
        let unknown = |error| Failure::error(Failure::BAD_DATA, format!("destination {destination}: {error}"));
        let filter = Filter { destination: Some(Domain::parse(destination).map_err(unknown)?), ..Filter::default() };
        let parts = messages.chunks(MAX_MESSAGES);
        filters.extend(parts.map(|part| Filter { messages: part.to_vec(), ..filter.clone() }));
    }
    Ok(filters)
}

/// What is there beside that.
fn left(queued: &[DeliveryView], evidence: &Evidence) -> String {
    let others =
        queued.iter().map(|view| (evidence.over(view), view.recipients.len())).filter(|(over, all)| over < all);
    let (again, partly) = others.fold((0, 0), |(again, partly), (over, _)| (again + 1, partly + usize::from(over > 0)));
    let to_all = match partly {
        0 => String::new(),
        partly => {
            format!("; {partly} of them also to recipients that are over, for a delivery is removed for all or none")
        }
    };
    format!("{again} would be sent again{to_all}; let them go with `mailtier queue resume --all`")
}

/// When the queue started paused: what was accepted before was in the backup.
async fn paused_at(client: &AdminClient, server: &str) -> anyhow::Result<Timestamp> {
    let suspensions = client.list_suspensions().await.map_err(|error| failure(server, error))?;
    let pause = suspensions.into_iter().find(|one| one.scope == Scope::Everything && one.operator == STARTED_PAUSED);
    pause.map(|pause| pause.since).ok_or_else(|| {
        let advice = "start mailtier-queue on the restored database with queue.start_paused = true";
        Failure::error(Failure::BAD_DATA, format!("{server}: the queue did not start paused: {advice}"))
    })
}

async fn queued_before(client: &AdminClient, server: &str, at: Timestamp) -> anyhow::Result<Vec<DeliveryView>> {
    let filter = Filter { accepted_before: Some(at), ..Filter::default() };
    let (mut found, mut after, mut progress) = (Vec::new(), 0, Progress::default());
    loop {
        let request = ListRequest { after, limit: PAGE_ROWS, filter: filter.clone() };
        let page = client.list(request).await.map_err(|error| failure(server, error))?;
        progress.clear();
        found.extend(page.deliveries);
        if page.next == 0 {
            return Ok(found);
        }
        progress.tell(page.looked_at);
        after = page.next;
    }
}

/// What logs say of the messages that are queued.
#[derive(Debug, Default)]
struct Evidence {
    /// Recipients that are over, of those messages.
    over: HashMap<MessageId, HashSet<String>>,
}

impl Evidence {
    fn about(queued: &[DeliveryView]) -> Self {
        Self { over: queued.iter().map(|view| (view.message, HashSet::new())).collect() }
    }

    fn read(&mut self, path: &Path) -> anyhow::Result<()> {
        let unreadable = |error| Failure::error(Failure::NO_INPUT, format!("cannot read {}: {error}", path.display()));
        let mut reader = BufReader::new(File::open(path).map_err(unreadable)?);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).map_err(unreadable)? > 0 {
            self.note(&String::from_utf8_lossy(&line));
            line.clear();
        }
        Ok(())
    }

    /// Takes note of a line that says what became of recipients. Every other line says nothing.
    fn note(&mut self, line: &str) {
        let said = if line.starts_with('{') { of_json(line) } else { of_text(line) };
        let Some(Said { message, to, status }) = said else { return };
        if !OVER.contains(&status.as_str()) {
            return;
        }
        if let Some(over) = self.over.get_mut(&message) {
            // An address with a comma of its own comes apart here and is nobody's: then it is not known to be over.
            over.extend(to.split(',').map(str::to_owned));
        }
    }

    /// How many of a delivery's recipients are over.
    fn over(&self, view: &DeliveryView) -> usize {
        view.recipients.iter().filter(|recipient| self.is_over(view, recipient)).count()
    }

    fn is_over(&self, view: &DeliveryView, recipient: &Mailbox) -> bool {
        self.over.get(&view.message).is_some_and(|over| over.contains(recipient.as_str()))
    }
}

/// What one line says.
struct Said {
    message: MessageId,
    to: String,
    status: String,
}

fn of_json(line: &str) -> Option<Said> {
    let object: Value = serde_json::from_str(line).ok()?;
    let text = |name: &str| object.get(name)?.as_str().map(str::to_owned);
    Some(Said { message: text("message")?.parse().ok()?, to: text("to")?, status: text("status")? })
}

/// `… 0003g9230vqvs from="…" to="…" … status="…"`. Senders choose what stands between quotes, so fields are taken from the
/// left, one whole value after the other.
fn of_text(line: &str) -> Option<Said> {
    let (before, _) = line.split_once(" from=")?;
    let message = before.rsplit(' ').next()?.parse().ok()?;
    let mut rest = line.get(before.len()..)?.trim();
    let (mut to, mut status) = (None, None);
    while let Some((name, value)) = rest.trim_start().split_once('=') {
        let (value, after) = value_of(value)?;
        match name {
            "to" => to = Some(value),
            "status" => status = Some(value),
            _ => {}
        }
        rest = after;
    }
    Some(Said { message, to: to?, status: status? })
}

/// A value at the beginning of a text, as `telemetry` writes them, and what follows it.
fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(' ').unwrap_or(text.len());
        return Some((text.get(..end)?.to_owned(), text.get(end..)?));
    };
    let (mut value, mut escaped) = (String::new(), false);
    for (at, one) in quoted.char_indices() {
        match one {
            '"' if !escaped => return Some((value, quoted.get(at + 1..)?)),
            '\\' if !escaped => {
                escaped = true;
                continue;
            }
            _ => value.push(one),
        }
        escaped = false;
    }
    None
}

fn line(view: &DeliveryView, over: usize) -> String {
    let recipients: Vec<&str> = view.recipients.iter().map(Mailbox::as_str).collect();
    let fate = match (over, view.recipients.len()) {
        (0, _) => "would be sent again".to_owned(),
        (over, all) if over >= all => "is over, says the log".to_owned(),
        (over, all) => format!("would be sent again; {over} of {all} recipients are over, says the log"),
    };
    format!("{}  from={} to={}  {fate}", view.message, view.sender, recipients.join(","))
}

fn as_json(view: &DeliveryView, evidence: &Evidence) -> Value {
    let (over, again): (Vec<&Mailbox>, Vec<&Mailbox>) =
        view.recipients.iter().partition(|recipient| evidence.is_over(view, recipient));
    let texts = |mailboxes: Vec<&Mailbox>| mailboxes.into_iter().map(|mailbox| mailbox.as_str().to_owned()).collect();
    let (over, again): (Vec<String>, Vec<String>) = (texts(over), texts(again));
    json!({
        "message": view.message.to_string(),
        "destination": view.destination,
        "sender": view.sender.as_str(),
        "over": over,
        "sent_again": again,
    })
}

fn summary(queued: usize, again: usize, has_logs: bool, paused_at: Timestamp) -> String {
    let told = if has_logs { "by the logs" } else { "without a log nothing is known of them: --log names some" };
    let rest = "--delete takes out the others, `mailtier queue resume --all` lets all go";
    format!(
        "{queued} deliveries were queued before {}, {again} would be sent again ({told}); {rest}",
        show::time(paused_at)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::tests::queued;

    fn evidence(view: &DeliveryView, lines: &[&str]) -> Evidence {
        let mut evidence = Evidence::about(std::slice::from_ref(view));
        lines.iter().for_each(|line| evidence.note(line));
        evidence
    }

    #[test]
    fn logs_of_both_kinds_tell_who_is_over() {
        let view = queued(&["x@b.example", "y@b.example", "z@b.example"]);
        let json = r#"{"timestamp":"2026-11-26T01:00:00Z","level":"INFO","message":"0003g9230vqvs","from":"s@a.example","to":"x@b.example,y@b.example","relay":"mx.b.example[192.0.2.1]","status":"delivered","target":"mailtier_queue"}"#;
        let text = "2026-11-26T01:00:00Z  INFO 0003g9230vqvs from=\"s@a.example\" to=\"z@b.example\" relay=\"none\" attempt=3 status=\"expired\"\n";
        for (lines, over) in [(vec![], 0), (vec![json], 2), (vec![text], 1), (vec![json, text], 3)] {
            assert_eq!(evidence(&view, &lines).over(&view), over, "{lines:?}");
        }
        let deferred = json.replace("delivered", "deferred");
        let another = json.replace("0003g9230vqvs", "0003g9230vqvt");
        assert_eq!(evidence(&view, &[&deferred, &another, "{", "", "no line of ours"]).over(&view), 0);
    }

    /// A sender may be called what a line says.
    #[test]
    fn nobody_makes_a_line_say_what_did_not_happen() {
        let view = queued(&["x@b.example"]);
        let forged = "INFO 0003g9230vqvs from=\"\\\"a to=x@b.example status=delivered \\\"@a.example\" to=\"y@b.example\" status=\"deferred\"";
        assert_eq!(evidence(&view, &[forged]).over(&view), 0);
        let other = "INFO 0003g9230vqvt from=\" 0003g9230vqvs from=s@a.example to=x@b.example status=delivered\"";
        assert_eq!(evidence(&view, &[other]).over(&view), 0);
        let said = of_text(forged).unwrap();
        assert_eq!((said.to.as_str(), said.status.as_str()), ("y@b.example", "deferred"));
    }

    #[test]
    fn only_what_is_over_for_all_is_removed_and_only_that_delivery_of_its_message() {
        let over = queued(&["x@b.example", "y@b.example"]);
        let elsewhere = DeliveryView { destination: "c.example".into(), ..queued(&["z@c.example"]) };
        let lines = r#"{"message":"0003g9230vqvs","to":"x@b.example,y@b.example","status":"delivered"}"#;
        let all = [over.clone(), elsewhere.clone()];
        let evidence = evidence(&over, &[lines]);
        let filters = over_for_all(&all, &evidence).unwrap();
        let wanted =
            Filter { destination: Some(Domain::parse("b.example").unwrap()), ..Filter::of(vec![over.message]) };
        assert_eq!(filters, [wanted]);
        assert!(left(&all, &evidence).starts_with("1 would be sent again; let"), "{}", left(&all, &evidence));

        let partly = [DeliveryView { recipients: [over.recipients, elsewhere.recipients].concat(), ..over }];
        assert!(over_for_all(&partly, &evidence).unwrap().is_empty());
        assert!(left(&partly, &evidence).starts_with("1 would be sent again; 1 of them also to recipients"));
    }

    #[test]
    fn more_messages_than_one_filter_names_are_removed_in_parts() {
        let message = |number| MessageId::from_i64(number).unwrap();
        let views: Vec<_> =
            (1..=2500).map(|number| DeliveryView { message: message(number), ..queued(&["x@b.example"]) }).collect();
        let mut evidence = Evidence::about(&views);
        views.iter().for_each(|view| {
            evidence.note(&format!(r#"{{"message":"{}","to":"x@b.example","status":"removed"}}"#, view.message));
        });
        let filters = over_for_all(&views, &evidence).unwrap();
        assert_eq!(filters.iter().map(|filter| filter.messages.len()).collect::<Vec<_>>(), [1000, 1000, 500]);
    }

    #[test]
    fn each_delivery_says_what_would_become_of_it() {
        let view = queued(&["x@b.example", "y@b.example"]);
        assert!(line(&view, 0).ends_with("to=x@b.example,y@b.example  would be sent again"));
        assert!(line(&view, 1).ends_with("would be sent again; 1 of 2 recipients are over, says the log"));
        assert!(line(&view, 2).ends_with("is over, says the log"));
    }
}
