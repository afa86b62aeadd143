//! `mailtier suppression`: recipients that a tenant's mail is not sent to any more. Not responsible for who is put there by
//! rule: the queue is.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use mailtier_api::admin::{AdminClient, MAX_ROWS};
use mailtier_api::json;
use mailtier_api::suppressions::{
    MAX_SUPPRESSIONS, NewSuppression, SuppressOrder, Suppression, SuppressionFilter, suppressed_address,
};
use mailtier_types::{TenantId, Timestamp};

use crate::cli::{AdminOptions, Failure, duration, operator};
use crate::connect::{connect, failure};
use crate::output::say;
use crate::show;

/// What can be done.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Lists who is on the lists, why, and until when
    List(ListOptions),
    /// Puts recipients on a tenant's list
    Add(AddOptions),
    /// Takes recipients off a tenant's list
    Remove(Whom),
    /// Prints lists for `import`, one JSON object a line
    Export(ExportOptions),
    /// Puts those on lists whom a file names: an address a line, or what `export` prints
    Import(ImportOptions),
}

fn tenant(text: &str) -> Result<TenantId, String> {
    let number: i32 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    mailtier_api::suspensions::Scope::tenant(number).map_err(|error| error.to_string())?;
    Ok(TenantId(number))
}

/// Which recipients to list.
#[derive(Debug, clap::Args)]
pub(crate) struct ListOptions {
    #[command(flatten)]
    admin: AdminOptions,
    /// Of this tenant alone
    #[arg(long, value_name = "NUMBER", value_parser = tenant)]
    tenant: Option<TenantId>,
    /// This recipient alone
    #[arg(long, value_parser = |text: &str| suppressed_address(text))]
    address: Option<String>,
}

/// Whom to put on a list.
#[derive(Debug, clap::Args)]
pub(crate) struct AddOptions {
    #[command(flatten)]
    whom: Whom,
    /// Why, for whoever looks later
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    /// For how long, such as 90d; until they are taken off when not given
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    lasting: Option<Duration>,
}

/// Some recipients of one list.
#[derive(Debug, clap::Args)]
pub(crate) struct Whom {
    #[command(flatten)]
    admin: AdminOptions,
    /// Whose list
    #[arg(long, value_name = "NUMBER", value_parser = tenant)]
    tenant: TenantId,
    /// Recipients
    #[arg(required = true)]
    addresses: Vec<String>,
}

/// Which lists to print.
#[derive(Debug, clap::Args)]
pub(crate) struct ExportOptions {
    #[command(flatten)]
    admin: AdminOptions,
    /// Of this tenant alone
    #[arg(long, value_name = "NUMBER", value_parser = tenant)]
    tenant: Option<TenantId>,
}

/// Whom to put on lists.
#[derive(Debug, clap::Args)]
pub(crate) struct ImportOptions {
    #[command(flatten)]
    admin: AdminOptions,
    /// Whose list; where it is not given, that of each line's `tenant`
    #[arg(long, value_name = "NUMBER", value_parser = tenant)]
    tenant: Option<TenantId>,
    /// The file; `-` for standard input
    file: PathBuf,
}

/// Does it.
pub(crate) async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::List(options) => {
            let filter = SuppressionFilter { tenant: options.tenant, address: options.address };
            let now = now();
            let is_json = options.admin.json;
            let count =
                each(&options.admin, &filter, |one| if is_json { json_line(one) } else { line(one, now) }).await?;
            if count == 0 && !is_json {
                say!("nobody is on a suppression list");
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Export(options) => {
            let filter = SuppressionFilter { tenant: options.tenant, address: None };
            each(&options.admin, &filter, json_line).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Add(options) => add(options).await,
        Command::Remove(whom) => remove(whom).await,
        Command::Import(options) => import(options).await,
    }
}

fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

/// Prints a line for each; how many.
async fn each(
    admin: &AdminOptions,
    filter: &SuppressionFilter,
    line: impl Fn(&Suppression) -> String,
) -> anyhow::Result<usize> {
    let (client, server) = (connect(admin).await?, admin.server());
    let (mut after, mut count) = (None, 0);
    loop {
        let page = client.list_suppressions(filter, after).await.map_err(|error| failure(&server, error))?;
        for one in &page {
            say!("{}", line(one));
        }
        count += page.len();
        after = page.last().map(|last| (last.tenant, last.address.clone()));
        if page.len() < MAX_ROWS as usize {
            return Ok(count);
        }
    }
}

fn json_line(one: &Suppression) -> String {
    json::line(&json::Suppression::from(one))
}

fn line(one: &Suppression, now: Timestamp) -> String {
    let Suppression { tenant, address, source, reason, operator, since, until, message } = one;
    let until = match until {
        Some(until) => format!("for another {}", show::span(until.since(now))),
        None => "until it is taken off".to_owned(),
    };
    let message = message.map_or_else(String::new, |id| format!(" message={id}"));
    let reason = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
    let since = show::time(*since);
    format!("tenant {}  {address}  {source} by {operator} at {since} {until}{message}{reason}", tenant.0)
}

async fn add(options: AddOptions) -> anyhow::Result<ExitCode> {
    let until = options.lasting.map(|lasting| now().after(lasting));
    let one = |address: &String| NewSuppression::new(address, options.reason.clone(), until);
    let Whom { admin, tenant, addresses } = &options.whom;
    let suppressions = addresses.iter().map(one).collect::<Result<Vec<_>, _>>();
    let suppressions = suppressions.map_err(|error| Failure::error(Failure::BAD_DATA, error.to_string()))?;
    let (client, server) = (connect(admin).await?, admin.server());
    let count = put(&client, &server, *tenant, suppressions).await?;
    say!("{count} on the suppression list of tenant {}", tenant.0);
    Ok(ExitCode::SUCCESS)
}

/// As many at a time as one call takes.
async fn put(
    client: &AdminClient,
    server: &str,
    tenant: TenantId,
    suppressions: Vec<NewSuppression>,
) -> anyhow::Result<u64> {
    let mut count = 0;
    for part in suppressions.chunks(MAX_SUPPRESSIONS) {
        let order = SuppressOrder { tenant, suppressions: part.to_vec(), operator: operator() };
        count += client.suppress(order).await.map_err(|error| failure(server, error))?;
    }
    Ok(count)
}

async fn remove(whom: Whom) -> anyhow::Result<ExitCode> {
    let (client, server) = (connect(&whom.admin).await?, whom.admin.server());
    let mut missing = Vec::new();
    for address in &whom.addresses {
        let removed = client.unsuppress(whom.tenant, address.clone(), operator()).await;
        if removed.map_err(|error| failure(&server, error))? {
            say!("{address} taken off the suppression list of tenant {}", whom.tenant.0);
        } else {
            missing.push(address.as_str());
        }
    }
    if missing.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let tenant = whom.tenant.0;
    Err(Failure::error(Failure::BAD_DATA, format!("not on the list of tenant {tenant}: {}", missing.join(", "))))
}

/// Nobody is put on a list before every line is understood.
async fn import(options: ImportOptions) -> anyhow::Result<ExitCode> {
    let text = text_of(&options.file)?;
    let lists = lists(&text, options.tenant, now())
        .map_err(|error| Failure::error(Failure::BAD_DATA, format!("{}: {error}", options.file.display())))?;
    let (client, server) = (connect(&options.admin).await?, options.admin.server());
    for (tenant, suppressions) in lists {
        let count = put(&client, &server, tenant, suppressions).await?;
        say!("{count} on the suppression list of tenant {}", tenant.0);
    }
    Ok(ExitCode::SUCCESS)
}

fn text_of(path: &Path) -> anyhow::Result<String> {
    let read = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    read.map_err(|error| Failure::error(Failure::NO_INPUT, format!("{}: {error}", path.display())))
}

/// Whom a file names, by tenant. Whose time is over is passed over.
fn lists(
    text: &str,
    tenant: Option<TenantId>,
    now: Timestamp,
) -> Result<BTreeMap<TenantId, Vec<NewSuppression>>, String> {
    let mut lists: BTreeMap<TenantId, Vec<NewSuppression>> = BTreeMap::new();
    let lines = text.lines().map(str::trim).zip(1_usize..);
    for (line, number) in lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#')) {
        let (of, one) = entry(line, tenant).map_err(|error| format!("line {number}: {error}"))?;
        if one.until.is_none_or(|until| until > now) {
            lists.entry(of).or_default().push(one);
        }
    }
    Ok(lists)
}

fn entry(line: &str, tenant: Option<TenantId>) -> Result<(TenantId, NewSuppression), String> {
    let nobodys = || "whose list is not said: give --tenant".to_owned();
    if !line.starts_with('{') {
        let one = NewSuppression::new(line, String::new(), None).map_err(|error| error.to_string())?;
        return Ok((tenant.ok_or_else(nobodys)?, one));
    }
    let object: serde_json::Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let text = |name: &str| object.get(name).and_then(serde_json::Value::as_str);
    let number = object.get("tenant").and_then(serde_json::Value::as_i64).map(|number| number.to_string());
    let of_line = number.map(|number| self::tenant(&number)).transpose()?;
    let until = match text("until") {
        Some(until) => Some(json::moment(until).ok_or_else(|| format!("until: `{until}` is no time"))?),
        None => None,
    };
    let address = text("address").ok_or("`address` is missing")?;
    let one = NewSuppression::new(address, text("reason").unwrap_or_default().to_owned(), until);
    Ok((tenant.or(of_line).ok_or_else(nobodys)?, one.map_err(|error| error.to_string())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn suppression() -> Suppression {
        Suppression {
            tenant: TenantId(7),
            address: "user@b.example".into(),
            source: "bounce".into(),
            reason: "invalid_mailbox: 550 5.1.1 gone".into(),
            operator: "mailtier".into(),
            since: NOW,
            until: Some(NOW.after(Duration::from_secs(7200))),
            message: None,
        }
    }

    #[test]
    fn what_is_exported_is_imported() {
        let exported = json_line(&suppression());
        let of_line = lists(&exported, None, NOW).unwrap();
        let expected = NewSuppression {
            address: "user@b.example".into(),
            reason: "invalid_mailbox: 550 5.1.1 gone".into(),
            until: Some(NOW.after(Duration::from_secs(7200))),
        };
        assert_eq!(of_line[&TenantId(7)], std::slice::from_ref(&expected));
        assert_eq!(lists(&exported, Some(TenantId(8)), NOW).unwrap()[&TenantId(8)], [expected]);
        assert!(lists(&exported, None, NOW.after(Duration::from_secs(9000))).unwrap().is_empty(), "its time is over");
    }

    #[test]
    fn addresses_alone_will_do_and_mistakes_name_their_line() {
        let read = |text: &str, tenant| lists(text, tenant, NOW);
        let found = read("# who left\n\nA@b.example\n c@b.example \n", Some(TenantId(0))).unwrap();
        let addresses: Vec<&str> = found[&TenantId(0)].iter().map(|one| one.address.as_str()).collect();
        assert_eq!(addresses, ["a@b.example", "c@b.example"]);
        for (text, tenant, told) in [
            ("a@b.example\nnobody\n", Some(TenantId(0)), "line 2: "),
            ("a@b.example\n", None, "line 1: whose list is not said: give --tenant"),
            ("{\"tenant\": -1, \"address\": \"a@b.example\"}", None, "-1 is negative"),
            ("{\"address\": \"a@b.example\", \"until\": \"soon\"}", Some(TenantId(0)), "until: `soon` is no time"),
            ("{\"reason\": \"x\"}", Some(TenantId(0)), "line 1: `address` is missing"),
            ("{", Some(TenantId(0)), "line 1: "),
        ] {
            let error = read(text, tenant).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn a_line_says_who_why_and_until_when() {
        let told = line(&suppression(), NOW);
        let expected = "tenant 7  user@b.example  bounce by mailtier at 2027-01-15T08:00:00.000Z for another 2h0m \
                        (invalid_mailbox: 550 5.1.1 gone)";
        assert_eq!(told, expected);
        let lasting = Suppression { until: None, reason: String::new(), ..suppression() };
        assert!(line(&lasting, NOW).ends_with("Z until it is taken off"));
    }
}
