//! The command line: its grammar, and which module does what. Not responsible for doing it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::{
    address, audit, certificates, classify, config_check, healthcheck, queue, route, send, sink, suppression,
    tls_report, token, trace, up, user,
};

/// sysexits.h: the command was used incorrectly.
const EX_USAGE: u8 = 64;
/// sysexits.h: an internal error.
const EX_SOFTWARE: u8 = 70;

#[derive(Debug, Parser)]
#[command(name = "mailtier", version, about = "Operates Mailtier, a mail transfer agent")]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the whole system on this machine, with a private PostgreSQL; Ctrl-C stops all
    Up(up::Options),
    /// Receives mail over SMTP, stores it and prints a line for each message
    Sink(sink::Options),
    /// Sends a message over SMTP
    Send(send::Options),
    /// Shows and changes what is queued
    #[command(subcommand)]
    Queue(Box<queue::Command>),
    /// Manages who may log in
    #[command(subcommand)]
    User(user::Command),
    /// Manages which recipients there are, and who gets mail for whom
    #[command(subcommand)]
    Address(address::Command),
    /// Manages recipients that a tenant's mail is not sent to any more
    #[command(subcommand)]
    Suppression(suppression::Command),
    /// Manages operators' tokens: who may look, change, and manage
    #[command(subcommand)]
    Token(token::Command),
    /// Shows what happened to a message, by its id or its Message-ID field, or to the mail of an address
    Trace(trace::Options),
    /// Proves that each accepted recipient is in exactly one state: queued, held, or at its end
    Audit(audit::Options),
    /// Says what a reply means: its bounce class, whether it passes, what follows, and which rule says so
    Classify(classify::Options),
    /// Shows a report of TLS (RFC 8460) that somebody sent, from a file
    TlsReport(tls_report::Options),
    /// Explains where mail goes
    #[command(subcommand)]
    Route(route::Command),
    /// Checks a configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Asks a program whether it is ready, as a container's health check: exits 0 if it is, 1 if not
    Healthcheck(healthcheck::Options),
    /// Makes certificates for TLS between the programs, with an authority of the installation's own
    #[command(subcommand)]
    Certificates(certificates::Command),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Reads a configuration as the programs would, and says what is wrong with it
    Check {
        /// The file
        #[arg(long, short, env = "MAILTIER_CONFIG")]
        config: Option<PathBuf>,
    },
}

/// Where the admin API is, and what shows that one may use it.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct AdminOptions {
    /// A queue replica, over TLS with https://; by default that of the data directory, else http://127.0.0.1:7070
    #[arg(long, env = "MAILTIER_ADMIN_SERVER")]
    server: Option<String>,
    /// The file with your token; by default the admin token of the data directory
    #[arg(long, env = "MAILTIER_ADMIN_SECRET_FILE")]
    secret_file: Option<PathBuf>,
    /// The authority that issued the queue's certificate, for https://; by default `cluster.tls_ca` of MAILTIER_CONFIG
    #[arg(long, env = "MAILTIER_ADMIN_CA")]
    ca: Option<PathBuf>,
    /// The data directory of `mailtier up`: where its queue answers, and its admin token
    #[arg(long)]
    data: Option<PathBuf>,
    /// How long to wait for the connection, and for the answer to each question; exits 75 after that
    #[arg(long, env = "MAILTIER_ADMIN_TIMEOUT", default_value = "60s", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// Prints JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,
}

impl AdminOptions {
    fn data(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(up::default_data_directory)
    }

    /// Which replica to ask.
    pub(crate) fn server(&self) -> String {
        let noted = || up::queue_address(&self.data());
        self.server.clone().or_else(noted).unwrap_or_else(|| "http://127.0.0.1:7070".to_owned())
    }

    /// Who is believed to issue the queue's certificate.
    pub(crate) fn authority(&self) -> Option<PathBuf> {
        let configured = || {
            let path = PathBuf::from(std::env::var_os("MAILTIER_CONFIG")?);
            mailtier_config::Config::load(Some(&path)).ok()?.cluster.tls_ca
        };
        self.ca.clone().or_else(configured)
    }

    /// The file with the token to show it.
    pub(crate) fn secret_file(&self) -> PathBuf {
        self.secret_file.clone().unwrap_or_else(|| up::admin_secret(&self.data()))
    }
}

/// Parses the command line, runs what it says, and turns the result into an exit code of sysexits.h.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EX_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("mailtier: cannot start: {error}");
            return ExitCode::from(EX_SOFTWARE);
        }
    };
    runtime.block_on(async {
        match run(cli.command).await {
            Ok(code) => code,
            Err(error) => {
                eprintln!("mailtier: {error:#}");
                ExitCode::from(exit_code(&error))
            }
        }
    })
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Up(options) => up::run(options).await,
        Command::Sink(options) => sink::run(options).await,
        Command::Send(options) => send::run(options).await,
        Command::Queue(command) => queue::run(*command).await,
        Command::User(command) => user::run(command).await,
        Command::Address(command) => address::run(command).await,
        Command::Suppression(command) => suppression::run(command).await,
        Command::TlsReport(options) => tls_report::run(&options),
        Command::Token(command) => token::run(command).await,
        Command::Trace(options) => trace::run(options).await,
        Command::Audit(options) => audit::run(options).await,
        Command::Classify(options) => classify::run(&options),
        Command::Route(command) => route::run(command).await,
        Command::Healthcheck(options) => healthcheck::run(options).await,
        Command::Certificates(command) => certificates::run(&command),
        Command::Config(ConfigCommand::Check { config }) => Ok(config_check::run(config.as_deref())),
    }
}

/// A length of time: `90s`, `12h`, `1d 6h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let parsed = humantime::parse_duration(text).ok();
    parsed.ok_or_else(|| format!("{text}: expected a number with s, m, h or d, such as 12h or \"1d 6h\""))
}

/// Who asks, for the history: the person behind sudo.
pub(crate) fn operator() -> String {
    std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")).unwrap_or_else(|_| "root".to_owned())
}

/// A failure of a known kind carries its own code.
fn exit_code(error: &anyhow::Error) -> u8 {
    error.chain().find_map(|cause| cause.downcast_ref::<Failure>()).map_or(EX_SOFTWARE, |failure| failure.code)
}

/// An error with its code of sysexits.h.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) code: u8,
    /// What to say.
    pub(crate) message: String,
}

impl Failure {
    /// sysexits.h: a service is unavailable.
    pub(crate) const UNAVAILABLE: u8 = 69;
    /// What it prints cannot be written.
    pub(crate) const CANNOT_WRITE: u8 = 74;
    /// sysexits.h: try again later.
    pub(crate) const TRY_AGAIN: u8 = 75;
    /// sysexits.h: no permission.
    pub(crate) const NO_PERMISSION: u8 = 77;
    /// sysexits.h: input data was wrong.
    pub(crate) const BAD_DATA: u8 = 65;
    /// sysexits.h: the command was used incorrectly.
    pub(crate) const USAGE: u8 = EX_USAGE;
    /// sysexits.h: a file cannot be made.
    pub(crate) const CANNOT_CREATE: u8 = 73;
    /// sysexits.h: a file cannot be read.
    pub(crate) const NO_INPUT: u8 = 66;
    /// sysexits.h: something is misconfigured.
    pub(crate) const MISCONFIGURED: u8 = 78;

    /// An error with this code.
    pub(crate) fn error(code: u8, message: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Self { code, message: message.into() })
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use clap::CommandFactory as _;
    use mailtier_api::admin::AdminClient;

    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_are_numbers_with_a_unit() {
        assert_eq!(duration("90s").unwrap(), Duration::from_secs(90));
        assert_eq!(duration("2d").unwrap(), Duration::from_secs(172_800));
        assert_eq!(duration("1d 6h").unwrap(), Duration::from_secs(108_000));
        for text in ["", "5", "h", "-1h", "99999999999999999999d", "1x"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn failures_keep_their_exit_code_through_context() {
        let error = Failure::error(Failure::UNAVAILABLE, "away").context("asking");
        assert_eq!(exit_code(&error), 69);
        assert_eq!(exit_code(&anyhow::anyhow!("other")), EX_SOFTWARE);
    }

    #[tokio::test]
    async fn a_server_that_never_answers_is_waited_for_so_long_and_named() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let secret = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(secret.path(), "a token that is long enough for everybody").unwrap();
        let said = |more: &[&str]| {
            let mut words = vec!["mailtier"];
            words.extend(more);
            words.extend(["--server", &url, "--secret-file", secret.path().to_str().unwrap(), "--timeout", "300ms"]);
            Cli::try_parse_from(words).unwrap().command
        };
        for command in [&["queue", "status"][..], &["user", "list"], &["audit"], &["queue", "retry", "--all"]] {
            let late = run(said(command)).await.unwrap_err();
            assert_eq!(exit_code(&late), Failure::TRY_AGAIN, "{late:#}");
            let text = late.to_string();
            assert!(text.starts_with(&format!("{url}: no answer within 300ms (--timeout")), "{command:?}: {text}");
        }
    }

    #[test]
    fn the_wait_is_that_of_the_client_where_nothing_is_said() {
        #[derive(Parser)]
        struct Only {
            #[command(flatten)]
            admin: AdminOptions,
        }
        assert_eq!(Only::parse_from(["mailtier"]).admin.timeout, AdminClient::PATIENCE);
    }
}
