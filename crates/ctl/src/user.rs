//! `mailtier user`: who may log in. Not responsible for what is kept of passwords.

use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;
use std::process::ExitCode;

use mailtier_api::json;
use mailtier_api::users::{UserChange, UserView};
use mailtier_config::Secret;
use mailtier_types::TenantId;

use crate::cli::{AdminOptions, Failure, operator};
use crate::connect::{connect, failure};
use crate::output::say;

/// Rows asked for at a time.
const PAGE_ROWS: u32 = 500;

/// What can be done.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Makes a user
    Add(AddOptions),
    /// Gives a user another password
    Passwd(PasswordOptions),
    /// Changes what a user may do
    Change(ChangeOptions),
    /// Lists the users
    List(ListOptions),
    /// Removes users
    Delete(DeleteOptions),
}

/// Where a password comes from: never the command line, which others can see.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PasswordSource {
    /// The file with the password; `-` or nothing: the standard input
    #[arg(long)]
    password_file: Option<PathBuf>,
}

/// A new user.
#[derive(Debug, clap::Args)]
pub(crate) struct AddOptions {
    #[command(flatten)]
    admin: AdminOptions,
    /// What the user logs in with, such as user@example.com
    name: String,
    #[command(flatten)]
    password: PasswordSource,
    /// An address the user may send from: user@example.com, @example.com, or * for all; by default the name, where that is
    /// an address
    #[arg(long = "sender")]
    senders: Vec<String>,
    /// Whose user it is
    #[arg(long, default_value_t = 0)]
    tenant: i32,
}

/// A new password.
#[derive(Debug, clap::Args)]
pub(crate) struct PasswordOptions {
    #[command(flatten)]
    admin: AdminOptions,
    /// The user
    name: String,
    #[command(flatten)]
    password: PasswordSource,
}

/// What is to change.
#[derive(Debug, clap::Args)]
pub(crate) struct ChangeOptions {
    #[command(flatten)]
    admin: AdminOptions,
    /// The user
    name: String,
    /// An address the user may send from; replaces those before
    #[arg(long = "sender")]
    senders: Vec<String>,
    /// Whose user it is
    #[arg(long)]
    tenant: Option<i32>,
    /// Lets the user log in again
    #[arg(long, conflicts_with = "disable")]
    enable: bool,
    /// Lets the user log in no more
    #[arg(long)]
    disable: bool,
}

/// Which users to list.
#[derive(Debug, clap::Args)]
pub(crate) struct ListOptions {
    #[command(flatten)]
    admin: AdminOptions,
}

/// Which users to remove.
#[derive(Debug, clap::Args)]
pub(crate) struct DeleteOptions {
    #[command(flatten)]
    admin: AdminOptions,
    /// The users
    #[arg(required = true)]
    names: Vec<String>,
}

/// Does it.
pub(crate) async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Add(options) => {
            let own = if options.name.contains('@') { vec![options.name.clone()] } else { Vec::new() };
            let change = UserChange {
                name: options.name,
                exists: false,
                password: Some(options.password.read()?),
                tenant: Some(TenantId(options.tenant)),
                enabled: Some(true),
                senders: Some(if options.senders.is_empty() { own } else { options.senders }),
                operator: operator(),
            };
            put(&options.admin, change).await
        }
        Command::Passwd(options) => {
            let password = Some(options.password.read()?);
            let change = UserChange { name: options.name, exists: true, password, ..UserChange::default() };
            put(&options.admin, UserChange { operator: operator(), ..change }).await
        }
        Command::Change(options) => {
            let enabled = (options.enable || options.disable).then_some(options.enable);
            let change = UserChange {
                name: options.name,
                exists: true,
                password: None,
                tenant: options.tenant.map(TenantId),
                enabled,
                senders: (!options.senders.is_empty()).then_some(options.senders),
                operator: operator(),
            };
            put(&options.admin, change).await
        }
        Command::List(options) => list(&options.admin).await,
        Command::Delete(options) => delete(options).await,
    }
}

async fn put(admin: &AdminOptions, change: UserChange) -> anyhow::Result<ExitCode> {
    let (server, name) = (admin.server(), change.name.clone());
    let done = if change.exists { "changed" } else { "added" };
    connect(admin).await?.put_user(change).await.map_err(|error| failure(&server, error))?;
    say!("{name} {done}");
    Ok(ExitCode::SUCCESS)
}

async fn list(admin: &AdminOptions) -> anyhow::Result<ExitCode> {
    let (client, server) = (connect(admin).await?, admin.server());
    let mut after = String::new();
    loop {
        let page = client.list_users(&after, PAGE_ROWS).await.map_err(|error| failure(&server, error))?;
        for user in &page {
            print(user, admin.json);
        }
        match page.last() {
            Some(last) if page.len() >= PAGE_ROWS as usize => after.clone_from(&last.name),
            _ => return Ok(ExitCode::SUCCESS),
        }
    }
}

fn print(user: &UserView, as_json: bool) {
    if as_json {
        say!("{}", json::line(&json::User::from(user)));
    } else {
        let state = if user.enabled { "" } else { " disabled" };
        say!("{} tenant={} senders={}{state}", user.name, user.tenant.0, user.senders.join(","));
    }
}

async fn delete(options: DeleteOptions) -> anyhow::Result<ExitCode> {
    let (client, server) = (connect(&options.admin).await?, options.admin.server());
    let mut missing = Vec::new();
    for name in &options.names {
        if client.delete_user(name, &operator()).await.map_err(|error| failure(&server, error))? {
            say!("{name} removed");
        } else {
            missing.push(name.as_str());
        }
    }
    if missing.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::error(Failure::BAD_DATA, format!("no such user: {}", missing.join(", "))))
}

impl PasswordSource {
    fn read(&self) -> anyhow::Result<Secret> {
        let path = self.password_file.as_ref().filter(|path| path.as_os_str() != "-");
        let text = match path {
            Some(path) => std::fs::read_to_string(path).map_err(|error| {
                Failure::error(Failure::NO_INPUT, format!("cannot read {}: {error}", path.display()))
            })?,
            None => {
                if std::io::stdin().is_terminal() {
                    eprintln!("Password (it is shown as you type; end with Ctrl-D):");
                }
                let mut text = String::new();
                std::io::stdin()
                    .read_to_string(&mut text)
                    .map_err(|error| Failure::error(Failure::NO_INPUT, format!("cannot read the password: {error}")))?;
                text
            }
        };
        let password = text.trim_end_matches(['\r', '\n']);
        if password.is_empty() {
            return Err(Failure::error(Failure::BAD_DATA, "the password is empty"));
        }
        Ok(Secret::new(password.to_owned()))
    }
}
