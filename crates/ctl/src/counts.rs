//! `mailtier queue count`, `top` and `shape`: how much is queued, of what, and for how long. Not responsible for
//! counting: the queue counts a part in each call, and the parts are added up here.

use std::process::ExitCode;
use std::time::SystemTime;

use mailtier_api::counts::{AGE_LIMITS_MIN, AGES, CountRequest, Group, GroupBy, Groups};
use mailtier_api::json;
use mailtier_types::Timestamp;

use crate::cli::AdminOptions;
use crate::connect::{connect, failure};
use crate::filter::FilterOptions;
use crate::output::say;
use crate::progress::Progress;
use crate::show;

/// What to count.
#[derive(Debug, clap::Args)]
pub(crate) struct CountOptions {
    #[command(flatten)]
    admin: AdminOptions,
    #[command(flatten)]
    which: FilterOptions,
}

/// What to count by group.
#[derive(Debug, clap::Args)]
pub(crate) struct TopOptions {
    #[command(flatten)]
    admin: AdminOptions,
    /// destination, recipient-domain, tenant, sender, sender-domain, provider, state, reply, age or shard
    #[arg(long, default_value = "destination", value_parser = |text: &str| text.parse::<GroupBy>())]
    by: GroupBy,
    #[command(flatten)]
    which: FilterOptions,
    /// Groups at the most
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

/// What to count by age.
#[derive(Debug, clap::Args)]
pub(crate) struct ShapeOptions {
    #[command(flatten)]
    admin: AdminOptions,
    /// destination or sender-domain, or another of the groups of `top`
    #[arg(long, default_value = "destination", value_parser = |text: &str| text.parse::<GroupBy>())]
    by: GroupBy,
    #[command(flatten)]
    which: FilterOptions,
    /// Lines at the most
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

/// All groups, what was counted together as others, and all together.
struct Counted {
    groups: Vec<Group>,
    others: Option<Group>,
    total: Group,
    now: Timestamp,
}

async fn counted(admin: &AdminOptions, which: &FilterOptions, by: GroupBy) -> anyhow::Result<Counted> {
    let client = connect(admin).await?;
    let now = Timestamp::from_system(SystemTime::now());
    let filter = which.filter(now);
    let (mut groups, mut after, mut progress) = (Groups::default(), 0, Progress::default());
    loop {
        let request = CountRequest { filter: filter.clone(), by, after, at: Some(now) };
        let reply = client.count(request).await.map_err(|error| failure(&admin.server(), error))?;
        groups.add(reply.groups);
        after = reply.next;
        if after == 0 {
            break;
        }
        progress.tell(reply.looked_at);
    }
    progress.clear();
    let (groups, others) = groups.finish();
    let mut total = Group::new("TOTAL".to_owned());
    groups.iter().chain(&others).for_each(|group| total.add(group));
    Ok(Counted { groups, others, total, now })
}

/// `count`.
pub(crate) async fn count(options: CountOptions) -> anyhow::Result<ExitCode> {
    let counted = counted(&options.admin, &options.which, GroupBy::Nothing).await?;
    let Counted { total, now, .. } = &counted;
    if options.admin.json {
        say!("{}", json::line(&json::Group { key: None, ..json::Group::from(total) }));
    } else if total.deliveries == 0 {
        say!("0 deliveries");
    } else {
        say!(
            "{} deliveries, {} recipients, {}; the oldest is {} old",
            total.deliveries,
            total.recipients,
            size(total.octets),
            show::span(now.since(total.oldest))
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// `top`.
pub(crate) async fn top(options: TopOptions) -> anyhow::Result<ExitCode> {
    let counted = counted(&options.admin, &options.which, options.by).await?;
    if options.admin.json {
        print_json(&counted, options.limit);
    } else {
        table(&counted, options.by, options.limit).iter().for_each(|line| say!("{line}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// `shape`.
pub(crate) async fn shape(options: ShapeOptions) -> anyhow::Result<ExitCode> {
    let counted = counted(&options.admin, &options.which, options.by).await?;
    if options.admin.json {
        print_json(&counted, options.limit);
    } else {
        shape_table(&counted, options.limit).iter().for_each(|line| say!("{line}"));
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(counted: &Counted, limit: u32) -> impl Iterator<Item = &Group> {
    counted.groups.iter().take(usize::try_from(limit).unwrap_or(usize::MAX))
}

/// The groups, those for which there was no room together, and all together: an object each.
fn print_json(counted: &Counted, limit: u32) {
    let others = counted.others.iter().map(|others| Group { key: "(others)".to_owned(), ..others.clone() });
    for group in shown(counted, limit).cloned().chain(others).chain([counted.total.clone()]) {
        say!("{}", json::line(&json::Group::from(&group)));
    }
}

/// What is not known has a dash for its name.
fn name(key: &str) -> &str {
    if key.is_empty() { "-" } else { key }
}

/// Octets for people.
pub(crate) fn size(octets: u64) -> String {
    bytesize::ByteSize::b(octets).display().iec().to_string()
}

fn table(counted: &Counted, by: GroupBy, limit: u32) -> Vec<String> {
    let line = |group: &Group, name: &str| {
        let age = if group.deliveries == 0 { "-".to_owned() } else { show::span(counted.now.since(group.oldest)) };
        format!("{:>10}  {:>10}  {:>10}  {:>8}  {name}", group.deliveries, group.recipients, size(group.octets), age)
    };
    let head = format!("{:>10}  {:>10}  {:>10}  {:>8}  {}", "deliveries", "recipients", "size", "oldest", by.name());
    let mut lines = vec![head];
    lines.extend(shown(counted, limit).map(|group| line(group, name(&group.key))));
    let left = counted.groups.get(usize::try_from(limit).unwrap_or(usize::MAX)..).unwrap_or_default();
    if !left.is_empty() {
        let mut rest = Group::new(String::new());
        left.iter().for_each(|group| rest.add(group));
        lines.push(line(&rest, &format!("… {} more: --limit shows them", left.len())));
    }
    if let Some(others) = &counted.others {
        lines.push(line(others, "… others, small while there was no room for more groups"));
    }
    lines.push(line(&counted.total, "TOTAL"));
    lines
}

/// The heads of the columns: `T`, the ages, and what is beyond the last.
fn heads() -> Vec<String> {
    let last = AGE_LIMITS_MIN.last().map(|last| format!("{last}+"));
    let ages = AGE_LIMITS_MIN.iter().map(ToString::to_string);
    std::iter::once("T".to_owned()).chain(ages).chain(last).collect()
}

/// As qshape has it: names and counts to the right, the columns as wide as the total needs.
fn shape_table(counted: &Counted, limit: u32) -> Vec<String> {
    let counts = |group: &Group| -> Vec<String> {
        std::iter::once(group.recipients).chain(group.by_age).map(|count| count.to_string()).collect()
    };
    let heads = heads();
    let widths: Vec<usize> = counts(&counted.total)
        .iter()
        .zip(&heads)
        .map(|(count, head)| match count.len().max(head.len()) {
            0..=2 => 3,
            longest => longest + 1,
        })
        .collect();
    let rows: Vec<(&str, &Group)> = std::iter::once(("TOTAL", &counted.total))
        .chain(shown(counted, limit).map(|group| (name(&group.key), group)))
        .chain(counted.others.iter().map(|others| ("(others)", others)))
        .collect();
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    let line = |name: &str, cells: &[String]| {
        let cells: String = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
        format!("{name:>width$}{cells}")
    };
    let mut lines = vec![line("", &heads)];
    lines.extend(rows.iter().map(|(name, group)| line(name, &counts(group))));
    debug_assert_eq!(heads.len(), AGES + 1);
    lines
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn group(key: &str, by_age: [u64; AGES]) -> Group {
        let recipients = by_age.iter().sum();
        let oldest = NOW.before(Duration::from_secs(7200));
        Group { key: key.to_owned(), deliveries: recipients / 2, recipients, octets: 2048, oldest, by_age }
    }

    fn some() -> Counted {
        let groups = vec![group("b.example", [12, 0, 0, 0, 0, 0, 0, 0, 0, 1000]), group("", [2; AGES])];
        let mut total = Group::new("TOTAL".into());
        groups.iter().for_each(|group| total.add(group));
        Counted { groups, others: None, total, now: NOW }
    }

    #[test]
    fn groups_are_a_table() {
        let expected = [
            "deliveries  recipients        size    oldest  destination",
            "       506        1012     2.0 KiB      2h0m  b.example",
            "        10          20     2.0 KiB      2h0m  -",
            "       516        1032     4.0 KiB      2h0m  TOTAL",
        ];
        assert_eq!(table(&some(), GroupBy::Destination, 20), expected);
        let short = table(&some(), GroupBy::Destination, 1);
        assert!(short[2].ends_with("2h0m  … 1 more: --limit shows them"), "{short:?}");
        let counted = Counted { others: Some(group("", [1; AGES])), ..some() };
        assert!(table(&counted, GroupBy::Reply, 20)[3].contains("… others"));
        let object = json::Group::from(&some().total);
        assert_eq!((object.key.as_deref(), object.recipients, object.size_bytes), (Some("TOTAL"), 1032, 4096));
    }

    #[test]
    fn ages_are_a_table_as_that_of_qshape() {
        let expected = [
            "             T  5 10 20 40 80 160 320 640 1280 1280+",
            "    TOTAL 1032 14  2  2  2  2   2   2   2    2  1002",
            "b.example 1012 12  0  0  0  0   0   0   0    0  1000",
            "        -   20  2  2  2  2  2   2   2   2    2     2",
        ];
        assert_eq!(shape_table(&some(), 20), expected);
        let object = json::Group::from(&some().groups[1]);
        assert_eq!((object.key, object.recipients_by_age), (None, vec![2; AGES]));
    }
}
