//! `mailtier token`: who may use the admin API, and for what. Not responsible for what a role may do: the queue is.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use mailtier_api::json;
use mailtier_api::tokens::{TokenOrder, TokenView, token_name};
use mailtier_api::{ApiError, Role};
use mailtier_types::Timestamp;

use crate::cli::{AdminOptions, Failure, duration, operator};
use crate::connect::{connect, failure};
use crate::output::say;
use crate::show;

/// Rows asked for at a time.
const PAGE_ROWS: u32 = 500;

/// What can be done.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Makes a token and prints it: it is not told again
    Create(CreateOptions),
    /// Lists the tokens: what they are for, who made them, when they were used
    List(ListOptions),
    /// Revokes tokens: every replica refuses them within seconds
    Revoke(RevokeOptions),
}

/// A new token.
#[derive(Debug, clap::Args)]
pub(crate) struct CreateOptions {
    #[command(flatten)]
    admin: AdminOptions,
    /// What its changes are recorded under, such as ci-bot: letters, digits, `.`, `_`, `-`
    #[arg(value_parser = name)]
    name: String,
    /// viewer looks, operator also changes what is queued, admin does everything
    #[arg(long, value_parser = Role::parse)]
    role: Role,
    /// Lets it read the contents of messages, which otherwise only an admin may
    #[arg(long)]
    content: bool,
    /// For how long it is good, such as 90d; until it is revoked when not given
    #[arg(long = "expires", value_name = "TIME", value_parser = duration)]
    lasting: Option<Duration>,
}

/// How to list.
#[derive(Debug, clap::Args)]
pub(crate) struct ListOptions {
    #[command(flatten)]
    admin: AdminOptions,
}

/// Which tokens to revoke.
#[derive(Debug, clap::Args)]
pub(crate) struct RevokeOptions {
    #[command(flatten)]
    admin: AdminOptions,
    /// As they were named
    #[arg(required = true)]
    names: Vec<String>,
}

fn name(text: &str) -> Result<String, ApiError> {
    token_name(text).map(|()| text.to_owned())
}

/// Does it.
pub(crate) async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Create(options) => create(options).await,
        Command::List(options) => list(&options.admin).await,
        Command::Revoke(options) => revoke(options).await,
    }
}

/// The token alone goes to the standard output, so that `> file` keeps it and nothing else.
async fn create(options: CreateOptions) -> anyhow::Result<ExitCode> {
    let (client, server) = (connect(&options.admin).await?, options.admin.server());
    let CreateOptions { admin, name, role, content, lasting } = options;
    let order = TokenOrder { name, role, content, lasting, operator: operator() };
    let new = client.create_token(order).await.map_err(|error| failure(&server, error))?;
    if admin.json {
        say!("{}", json::line(&json::MadeToken::from(&new)));
    } else {
        say!("{}", new.secret.expose());
        eprintln!("{}; keep it: it is not told again", made(&new.view, now()));
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(admin: &AdminOptions) -> anyhow::Result<ExitCode> {
    let (client, server) = (connect(admin).await?, admin.server());
    let (mut after, mut is_empty) = (String::new(), true);
    loop {
        let page = client.list_tokens(&after, PAGE_ROWS).await.map_err(|error| failure(&server, error))?;
        for view in &page {
            say!("{}", if admin.json { json::line(&json::Token::from(view)) } else { line(view, now()) });
            is_empty = false;
        }
        match page.last() {
            Some(last) if page.len() >= PAGE_ROWS as usize => after.clone_from(&last.name),
            _ => break,
        }
    }
    if is_empty && !admin.json {
        say!("there are no tokens but that of the configuration");
    }
    Ok(ExitCode::SUCCESS)
}

async fn revoke(options: RevokeOptions) -> anyhow::Result<ExitCode> {
    let (client, server) = (connect(&options.admin).await?, options.admin.server());
    let mut missing = Vec::new();
    for name in &options.names {
        if client.revoke_token(name, &operator()).await.map_err(|error| failure(&server, error))? {
            say!("{name} revoked");
        } else {
            missing.push(name.as_str());
        }
    }
    if missing.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::error(Failure::BAD_DATA, format!("no such token: {}", missing.join(", "))))
}

fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

/// What it is for.
fn purpose(view: &TokenView) -> String {
    let content = if view.content { " with contents" } else { "" };
    format!("{}{content}", view.role.word())
}

/// For how long it is.
fn until(view: &TokenView, now: Timestamp) -> String {
    match view.expires_at {
        Some(at) if at <= now => "expired".to_owned(),
        Some(at) => format!("good for another {}", show::span(at.since(now))),
        None => "good until it is revoked".to_owned(),
    }
}

/// What is said of a token just made.
fn made(view: &TokenView, now: Timestamp) -> String {
    format!("{} made: {}, {}", view.name, purpose(view), until(view, now))
}

fn line(view: &TokenView, now: Timestamp) -> String {
    let used = view.last_used_at.map_or_else(|| "never used".to_owned(), |at| format!("used {}", show::time(at)));
    let (name, maker, created) = (&view.name, &view.operator, show::time(view.created_at));
    format!("{name}  {}  made by {maker} at {created}  {}  {used}", purpose(view), until(view, now))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Token {
        #[command(subcommand)]
        command: Command,
    }

    fn parse(text: &str) -> Result<Command, String> {
        let words = std::iter::once("token").chain(text.split_whitespace());
        Token::try_parse_from(words).map(|token| token.command).map_err(|error| error.to_string())
    }

    #[test]
    fn what_cannot_be_meant_is_refused_before_anybody_is_asked() {
        match parse("create ci-bot --role operator --expires 90d") {
            Ok(Command::Create(options)) => {
                assert_eq!((options.role, options.content), (Role::Operator, false));
                assert_eq!(options.lasting, Some(Duration::from_secs(90 * 86_400)));
            }
            other => panic!("{other:?}"),
        }
        for (text, told) in [
            ("create ci-bot", "--role"),
            ("create ci-bot --role oparator", "did you mean `operator`?"),
            ("create root --role admin", "the token of the configuration"),
            ("create two/words --role admin", "letters, digits"),
            ("create ci-bot --role viewer --expires 90", "such as 12h"),
            ("revoke", "required"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn a_token_is_listed_with_what_it_is_for() {
        let made = Timestamp::from_millis(1_800_000_000_000);
        let view = TokenView {
            name: "ci-bot".into(),
            role: Role::Viewer,
            content: true,
            operator: "root (alice)".into(),
            created_at: made,
            last_used_at: None,
            expires_at: Some(made.after(Duration::from_secs(7200))),
        };
        let told = line(&view, made.after(Duration::from_secs(60)));
        let expected = "ci-bot  viewer with contents  made by root (alice) at 2027-01-15T08:00:00.000Z  \
                        good for another 1h59m  never used";
        assert_eq!(told, expected);
        let told = super::made(&view, made.after(Duration::from_secs(60)));
        assert_eq!(told, "ci-bot made: viewer with contents, good for another 1h59m");
        assert!(line(&view, made.after(Duration::from_secs(7200))).contains("  expired  "));
    }
}
