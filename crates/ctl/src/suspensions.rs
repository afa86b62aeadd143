//! `mailtier queue suspend`, `resume` and `suspensions`: of what nothing new is attempted. Not responsible for what that
//! means: the queue is.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use mailtier_api::admin::{AdminClient, DeliveryView};
use mailtier_api::json;
use mailtier_api::suspensions::{ResumeOrder, Scope, SuspendOrder, Suspension};
use mailtier_types::Timestamp;

use crate::cli::{AdminOptions, Failure, duration, operator};
use crate::connect::{connect, failure};
use crate::output::say;
use crate::show;

/// What is meant: one of them.
#[derive(Debug, Clone, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ScopeOptions {
    /// All mail to this domain
    #[arg(long, value_name = "DOMAIN", value_parser = |text: &str| Scope::destination(text))]
    destination: Option<Scope>,
    /// All mail to the domains of this provider of the configuration
    #[arg(long, value_name = "NAME", value_parser = |text: &str| Scope::provider(text))]
    provider: Option<Scope>,
    /// All mail of this tenant
    #[arg(long, value_name = "NUMBER", value_parser = |text: &str| Scope::parse("tenant", text))]
    tenant: Option<Scope>,
    /// All mail that goes through this egress pool of the configuration
    #[arg(long, value_name = "NAME", value_parser = |text: &str| Scope::pool(text))]
    pool: Option<Scope>,
    /// All mail; nothing is given up for its age meanwhile either
    #[arg(long)]
    all: bool,
}

impl ScopeOptions {
    fn scope(self) -> anyhow::Result<Scope> {
        let named = self.destination.or(self.provider).or(self.tenant).or(self.pool);
        let named = named.or(self.all.then_some(Scope::Everything));
        let usage = "name a destination, a provider, a tenant or a pool, or say --all";
        named.ok_or_else(|| Failure::error(Failure::USAGE, usage))
    }
}

/// What to suspend.
#[derive(Debug, clap::Args)]
pub(crate) struct SuspendOptions {
    #[command(flatten)]
    admin: AdminOptions,
    #[command(flatten)]
    scope: ScopeOptions,
    /// Why, for whoever looks later
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    /// For how long, such as 30m, 2h or 7d; until it is resumed when not given
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    lasting: Option<Duration>,
}

/// What to resume.
#[derive(Debug, clap::Args)]
pub(crate) struct ResumeOptions {
    #[command(flatten)]
    admin: AdminOptions,
    #[command(flatten)]
    scope: ScopeOptions,
}

/// How to list.
#[derive(Debug, clap::Args)]
pub(crate) struct ListOptions {
    #[command(flatten)]
    admin: AdminOptions,
}

/// Suspends.
pub(crate) async fn suspend(options: SuspendOptions) -> anyhow::Result<ExitCode> {
    let (client, server) = (connect(&options.admin).await?, options.admin.server());
    let (scope, lasting) = (options.scope.scope()?, options.lasting);
    let order = SuspendOrder { scope: scope.clone(), reason: options.reason, lasting, operator: operator() };
    client.suspend(order).await.map_err(|error| failure(&server, error))?;
    let until =
        lasting.map_or_else(|| "until it is resumed".to_owned(), |lasting| format!("for {}", show::span(lasting)));
    say!("{scope} suspended {until}; what is under way is finished");
    Ok(ExitCode::SUCCESS)
}

/// Resumes. What was not suspended is no success.
pub(crate) async fn resume(options: ResumeOptions) -> anyhow::Result<ExitCode> {
    let (client, server) = (connect(&options.admin).await?, options.admin.server());
    let scope = options.scope.scope()?;
    let order = ResumeOrder { scope: scope.clone(), operator: operator() };
    if client.resume(order).await.map_err(|error| failure(&server, error))? {
        say!("{scope} resumed");
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::error(Failure::BAD_DATA, format!("{scope} is not suspended")))
}

/// Lists.
pub(crate) async fn list(options: ListOptions) -> anyhow::Result<ExitCode> {
    let (client, server) = (connect(&options.admin).await?, options.admin.server());
    let suspensions = client.list_suspensions().await.map_err(|error| failure(&server, error))?;
    let now = Timestamp::from_system(SystemTime::now());
    for suspension in &suspensions {
        if options.admin.json {
            say!("{}", json::line(&json::Suspension::from(suspension)));
        } else {
            say!("{}", line(suspension, now));
        }
    }
    if suspensions.is_empty() && !options.admin.json {
        say!("nothing is suspended");
    }
    Ok(ExitCode::SUCCESS)
}

/// What is suspended, as a line.
pub(crate) fn line(suspension: &Suspension, now: Timestamp) -> String {
    let Suspension { scope, reason, operator, since, until } = suspension;
    let until = match until {
        Some(until) => format!("for another {}", show::span(until.since(now))),
        None => "until it is resumed".to_owned(),
    };
    let reason = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
    format!("{scope}  suspended by {operator} at {} {until}{reason}", show::time(*since))
}

/// What is suspended, to be shown beside deliveries.
#[derive(Debug, Default)]
pub(crate) struct Beside(pub(crate) Vec<Suspension>);

impl Beside {
    /// A queue that cannot tell, because it is older, has nothing suspended.
    pub(crate) async fn ask(client: &AdminClient) -> Self {
        Self(client.list_suspensions().await.unwrap_or_default())
    }

    pub(crate) fn all(&self) -> &[Suspension] {
        &self.0
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Why a delivery waits, where that is because of its destination or its tenant. Whose provider it is and through which
    /// pool it goes is not known here.
    pub(crate) fn of(&self, view: &DeliveryView) -> Option<&Scope> {
        self.0.iter().map(|suspension| &suspension.scope).find(|scope| scope.holds(view))
    }

    /// Providers and pools that are suspended: any delivery may wait for that.
    pub(crate) fn providers_and_pools(&self) -> impl Iterator<Item = String> + '_ {
        let now = Timestamp::from_system(SystemTime::now());
        let any = |scope: &Scope| matches!(scope, Scope::Provider(_) | Scope::Pool(_));
        let of_them = self.0.iter().filter(move |suspension| any(&suspension.scope));
        of_them.map(move |suspension| line(suspension, now))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use mailtier_types::TenantId;

    use super::*;
    use crate::queue::Command;

    #[derive(Debug, clap::Parser)]
    struct Queue {
        #[command(subcommand)]
        command: Command,
    }

    fn parse(text: &str) -> Result<Command, String> {
        let words = std::iter::once("queue").chain(text.split_whitespace());
        Queue::try_parse_from(words).map(|queue| queue.command).map_err(|error| error.to_string())
    }

    fn suspended(text: &str) -> (Scope, Option<Duration>, String) {
        match parse(text) {
            Ok(Command::Suspend(options)) => (options.scope.scope().unwrap(), options.lasting, options.reason),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn one_thing_is_suspended_for_a_time_or_until_it_is_resumed() {
        let domain = Scope::destination("xn--bcher-kva.example").unwrap();
        assert_eq!(suspended("suspend --destination Bücher.example"), (domain, None, String::new()));
        let (hours, reason) = (Some(Duration::from_secs(7200)), "blocked".to_owned());
        let provider = Scope::provider("google").unwrap();
        assert_eq!(suspended("suspend --provider google --for 2h --reason blocked"), (provider, hours, reason));
        assert_eq!(suspended("suspend --tenant 7").0, Scope::Tenant(TenantId(7)));
        assert_eq!(suspended("suspend --all").0, Scope::Everything);
        assert_eq!(suspended("suspend --pool warm-1").0, Scope::pool("warm-1").unwrap());
        assert!(matches!(parse("resume --tenant 7"), Ok(Command::Resume(_))));
        assert!(matches!(parse("suspensions --json"), Ok(Command::Suspensions(_))));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_before_anybody_is_asked() {
        for (text, told) in [
            ("suspend", "required"),
            ("resume", "required"),
            ("suspend --destination b.example --tenant 7", "cannot be used with"),
            ("suspend --all --tenant 7", "cannot be used with"),
            ("suspend --destination a@b.example", "expected a domain"),
            ("suspend --tenant=-1", "negative"),
            ("suspend --tenant seven", "no number"),
            ("suspend --tenant 7 --for 2", "such as 12h"),
            ("suspensions --tenant 7", "unexpected argument"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn a_suspension_says_who_when_why_and_until_when() {
        let since = Timestamp::from_millis(1_800_000_000_000);
        let until = Some(since.after(Duration::from_secs(7200)));
        let scope = Scope::destination("b.example").unwrap();
        let suspension = Suspension { scope, reason: "blocked".into(), operator: "alice".into(), since, until };
        let told = line(&suspension, since.after(Duration::from_secs(60)));
        let expected =
            "destination b.example  suspended by alice at 2027-01-15T08:00:00.000Z for another 1h59m (blocked)";
        assert_eq!(told, expected);
        let as_json = |suspension: &Suspension| serde_json::to_value(json::Suspension::from(suspension)).unwrap();
        let object = as_json(&suspension);
        assert_eq!((object["kind"].as_str(), object["name"].as_str()), (Some("destination"), Some("b.example")));
        assert_eq!(object["until"].as_str(), Some("2027-01-15T10:00:00.000Z"));
        let lasting = Suspension { reason: String::new(), until: None, ..suspension };
        assert!(line(&lasting, since).ends_with("Z until it is resumed"));
        assert!(as_json(&lasting)["until"].is_null());
    }
}
