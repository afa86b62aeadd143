//! `mailtier config check`: reads a configuration as the programs would and says what is wrong with it.

use std::path::Path;
use std::process::ExitCode;

/// sysexits.h: something is misconfigured.
const EX_CONFIG: u8 = 78;

/// Prints the verdict.
pub(crate) fn run(path: Option<&Path>) -> ExitCode {
    let name = path.map_or_else(|| "the defaults and the environment".to_owned(), |path| path.display().to_string());
    match mailtier_config::Config::load(path) {
        Ok(_) => {
            println!("{name}: valid");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::from(EX_CONFIG)
        }
    }
}
