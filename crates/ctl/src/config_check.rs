//! `mailtier config check`: reads a configuration as the programs would and says what is wrong with it.

use std::path::Path;
use std::process::ExitCode;

use mailtier_config::ConfigError;

use crate::cli::Failure;

/// Prints the verdict.
pub(crate) fn run(path: Option<&Path>) -> ExitCode {
    let name = path.map_or_else(|| "the defaults and the environment".to_owned(), |path| path.display().to_string());
    match mailtier_config::Config::load(path) {
        Ok(_) => {
            println!("{name}: valid");
            ExitCode::SUCCESS
        }
        Err(error) => {
            match &error {
                // It names the file itself.
                ConfigError::Unreadable(text) => eprintln!("{text}"),
                error => eprintln!("{name}: {error}"),
            }
            ExitCode::from(Failure::MISCONFIGURED)
        }
    }
}
