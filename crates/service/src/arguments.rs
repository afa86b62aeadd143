//! The arguments every program takes. Not responsible for a program's own subcommands beyond their names.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, Command};

use crate::program::Program;

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) config: Option<PathBuf>,
    pub(crate) task: Task,
}

/// What the process is to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Serve,
    CheckConfig,
    PrintConfig,
    Subcommand(&'static str),
}

/// Parses the command line.
pub(crate) fn parse(
    program: &Program,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Arguments, clap::Error> {
    let flag = |name: &'static str, help: &'static str| Arg::new(name).long(name).help(help).action(ArgAction::SetTrue);
    let command = Command::new(program.name)
        .version(env!("CARGO_PKG_VERSION"))
        .about(program.about)
        .arg(
            Arg::new("config")
                .long("config")
                .short('c')
                .env("MAILTIER_CONFIG")
                // An image may set the variable; who wants no file says so with an empty one.
                .value_parser(clap::value_parser!(OsString))
                .global(true)
                .help("The configuration, a TOML file"),
        )
        .arg(flag("check-config", "Reads the configuration, says what is wrong with it, and ends"))
        .arg(flag("print-config", "Prints the configuration, defaults included and secrets left out, and ends"))
        .subcommands(
            program.subcommands.iter().map(|subcommand| Command::new(subcommand.name).about(subcommand.about)),
        );
    let matches = command.try_get_matches_from(arguments)?;
    let named = matches.subcommand_name().unwrap_or_default();
    let subcommand = program.subcommands.iter().find(|subcommand| subcommand.name == named);
    let task = match subcommand {
        Some(subcommand) => Task::Subcommand(subcommand.name),
        None if matches.get_flag("check-config") => Task::CheckConfig,
        None if matches.get_flag("print-config") => Task::PrintConfig,
        None => Task::Serve,
    };
    let config = matches
        .subcommand()
        .and_then(|(_, below)| below.get_one::<OsString>("config"))
        .or_else(|| matches.get_one::<OsString>("config"))
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    Ok(Arguments { config, task })
}
