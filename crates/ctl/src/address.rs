//! `mailtier address`: which recipients there are, and who gets mail for whom. Not responsible for recipients in files.

use std::process::ExitCode;

use mailtier_api::accounts::Address;
use mailtier_api::json;

use crate::cli::{AdminOptions, Failure, operator};
use crate::connect::{connect, failure};
use crate::output::say;

/// Rows asked for at a time.
const PAGE_ROWS: u32 = 500;

/// What can be done.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Makes a recipient known, or changes who gets its mail
    Add(AddOptions),
    /// Lists the recipients
    List(ListOptions),
    /// Forgets recipients
    Delete(DeleteOptions),
}

/// A recipient.
#[derive(Debug, clap::Args)]
pub(crate) struct AddOptions {
    #[command(flatten)]
    admin: AdminOptions,
    /// user@example.com, or @example.com for all of a domain that are not named
    pattern: String,
    /// Who gets its mail; nobody else when not given
    targets: Vec<String>,
}

/// Which recipients to list.
#[derive(Debug, clap::Args)]
pub(crate) struct ListOptions {
    #[command(flatten)]
    admin: AdminOptions,
}

/// Which recipients to forget.
#[derive(Debug, clap::Args)]
pub(crate) struct DeleteOptions {
    #[command(flatten)]
    admin: AdminOptions,
    /// As they were added
    #[arg(required = true)]
    patterns: Vec<String>,
}

/// Does it.
pub(crate) async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Add(options) => {
            let (client, server) = (connect(&options.admin).await?, options.admin.server());
            let address = Address { pattern: options.pattern.clone(), targets: options.targets };
            client.put_address(address, &operator()).await.map_err(|error| failure(&server, error))?;
            say!("{} added", options.pattern);
            Ok(ExitCode::SUCCESS)
        }
        Command::List(options) => list(&options.admin).await,
        Command::Delete(options) => delete(options).await,
    }
}

async fn list(admin: &AdminOptions) -> anyhow::Result<ExitCode> {
    let (client, server) = (connect(admin).await?, admin.server());
    let mut after = String::new();
    loop {
        let page = client.list_addresses(&after, PAGE_ROWS).await.map_err(|error| failure(&server, error))?;
        for address in &page {
            let Address { pattern, targets } = address;
            if admin.json {
                say!("{}", json::line(&json::Address::from(address)));
            } else if targets.is_empty() {
                say!("{pattern}");
            } else {
                say!("{pattern}: {}", targets.join(", "));
            }
        }
        match page.last() {
            Some(last) if page.len() >= PAGE_ROWS as usize => after.clone_from(&last.pattern),
            _ => return Ok(ExitCode::SUCCESS),
        }
    }
}

async fn delete(options: DeleteOptions) -> anyhow::Result<ExitCode> {
    let (client, server) = (connect(&options.admin).await?, options.admin.server());
    let mut missing = Vec::new();
    for pattern in &options.patterns {
        if client.delete_address(pattern, &operator()).await.map_err(|error| failure(&server, error))? {
            say!("{pattern} removed");
        } else {
            missing.push(pattern.as_str());
        }
    }
    if missing.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::error(Failure::BAD_DATA, format!("not known: {}", missing.join(", "))))
}
