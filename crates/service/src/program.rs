//! Runs a program from its command line to its exit code. Not responsible for what it does in between.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use mailtier_config::{Config, ConfigError, Reading, system_name};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::arguments::{Task, parse};
use crate::context::{Context, Running};
use crate::health::Health;
use crate::http;
use crate::manager::Manager;
use crate::reload::{Parts, Reloader};

/// Exit codes of sysexits.h.
pub mod exit {
    /// The command was used incorrectly.
    pub const USAGE: u8 = 64;
    /// A service is unavailable.
    pub const UNAVAILABLE: u8 = 69;
    /// An internal error.
    pub const SOFTWARE: u8 = 70;
    /// Something is misconfigured.
    pub const CONFIG: u8 = 78;
    /// Ended by a second signal before the drain was over.
    pub const INTERRUPTED: u8 = 130;
}

/// What a program's function returns.
pub type Starting = Pin<Box<dyn Future<Output = anyhow::Result<Running>> + Send>>;
/// What a subcommand's function returns.
pub type Doing = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// A program.
#[derive(Clone)]
pub struct Program {
    /// As the executable is called.
    pub name: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// Where it serves health and metrics.
    pub http_listen: fn(&Config) -> SocketAddr,
    /// How many worker threads; 0 for one per core.
    pub threads: fn(&Config) -> usize,
    /// The sections, and keys of others, that it reads.
    pub reads: &'static [&'static str],
    /// Finds what a start would find wrong with the configuration, beyond what is so for every program.
    pub check: fn(&Config) -> anyhow::Result<()>,
    /// Starts it.
    pub start: fn(Context) -> Starting,
    /// What it can do instead of serving.
    pub subcommands: &'static [Subcommand],
}

impl Program {
    /// What a start would find wrong with the configuration.
    pub(crate) fn check(&self, config: &Config) -> anyhow::Result<()> {
        mailtier_telemetry::check(&config.telemetry)?;
        (self.check)(config)
    }
}

/// Something a program can do instead of serving.
pub struct Subcommand {
    /// The word.
    pub name: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// Does it.
    pub run: fn(Arc<Config>) -> Doing,
}

/// Runs a program with the process's arguments, until it ends or a signal has drained it.
#[must_use]
pub fn run(program: &Program) -> ExitCode {
    let arguments = match parse(program, std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(exit::USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let path = arguments.config;
    let reading = match Reading::load(path.as_deref()) {
        Ok(reading) => reading,
        Err(error) => return misconfigured(program, path.as_deref(), &error.into()),
    };
    match arguments.task {
        Task::CheckConfig => match program.check(reading.config()) {
            Ok(()) => {
                say(&format!("{}: the configuration is valid", program.name));
                ExitCode::SUCCESS
            }
            Err(error) => misconfigured(program, path.as_deref(), &error),
        },
        Task::PrintConfig => match reading.config().to_toml() {
            Ok(text) => {
                say(text.trim_end());
                ExitCode::SUCCESS
            }
            Err(error) => misconfigured(program, None, &error.into()),
        },
        Task::Subcommand(name) => in_runtime(program, (path, reading), Some(name)),
        Task::Serve => in_runtime(program, (path, reading), None),
    }
}

#[expect(clippy::print_stdout, reason = "the answer to a question on the command line")]
fn say(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "nothing else works yet")]
fn complain(program: &Program, text: &str) {
    eprintln!("{}: {text}", program.name);
}

/// What is wrong with the configuration, without how that came to light.
pub(crate) fn problem(path: Option<&Path>, error: &anyhow::Error) -> String {
    let cause = error.chain().find_map(|cause| cause.downcast_ref::<ConfigError>());
    let text = cause.map_or_else(|| format!("{error:#}"), ToString::to_string);
    let path = path.filter(|_| !cause.is_some_and(ConfigError::names_its_source));
    let place = path.map(|path| format!(" {}", path.display())).unwrap_or_default();
    format!("the configuration{place} cannot be used: {text}")
}

fn misconfigured(program: &Program, path: Option<&Path>, error: &anyhow::Error) -> ExitCode {
    complain(program, &problem(path, error));
    ExitCode::from(exit::CONFIG)
}

/// A configuration, and where it was read from.
type Read = (Option<PathBuf>, Reading);

fn in_runtime(program: &Program, (path, reading): Read, subcommand: Option<&str>) -> ExitCode {
    let config = Arc::clone(reading.config());
    let runtime = match runtime((program.threads)(&config)) {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(program, &format!("cannot start: {error}"));
            return ExitCode::from(exit::SOFTWARE);
        }
    };
    let code = match subcommand.and_then(|name| program.subcommands.iter().find(|known| known.name == name)) {
        Some(subcommand) => runtime.block_on(do_subcommand(program, subcommand, config)),
        None => runtime.block_on(serve(program, (path, reading))),
    };
    runtime.shutdown_background();
    code
}

/// With so many worker threads; 0: one for each core that this process may use, as its cgroup limits it. One thread wakes
/// no other: what hands work to and fro between threads costs more than it gains where there is no core for them.
fn runtime(threads: usize) -> std::io::Result<tokio::runtime::Runtime> {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    match if threads == 0 { cores() } else { threads } {
        1 => tokio::runtime::Builder::new_current_thread().enable_all().build(),
        threads => tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build(),
    }
}

async fn do_subcommand(program: &Program, subcommand: &Subcommand, config: Arc<Config>) -> ExitCode {
    match (subcommand.run)(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(program, &format!("{}: {error:#}", subcommand.name));
            ExitCode::from(exit_code(&error))
        }
    }
}

async fn serve(program: &Program, (path, reading): Read) -> ExitCode {
    let config = Arc::clone(reading.config());
    let telemetry = match mailtier_telemetry::init(&config.telemetry, program.name, &system_name()) {
        Ok(telemetry) => Arc::new(telemetry),
        Err(error) => return misconfigured(program, None, &error.into()),
    };
    let context = Context {
        config: Arc::clone(&config),
        health: Health::default(),
        shutdown: CancellationToken::new(),
        meters: Arc::new(telemetry.meters()),
    };
    let end = CancellationToken::new();
    let manager = Manager::of_environment();
    manager.live(&end);
    let parts = Parts {
        program: program.clone(),
        manager,
        path,
        telemetry: Arc::clone(&telemetry),
        meters: Arc::clone(&context.meters),
        reading: Arc::new(reading),
    };
    let result = serve_until_drained(program, &context, parts, &end).await;
    end.cancel();
    telemetry.shutdown().await;
    match result {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error:#}");
            complain(program, &format!("{error:#}"));
            ExitCode::from(exit_code(&error))
        }
    }
}

/// A configuration that only shows itself wrong when the program starts is still a configuration.
fn exit_code(error: &anyhow::Error) -> u8 {
    if error.chain().any(|cause| cause.is::<ConfigError>()) { exit::CONFIG } else { exit::UNAVAILABLE }
}

async fn serve_until_drained(
    program: &Program,
    context: &Context,
    parts: Parts,
    end: &CancellationToken,
) -> anyhow::Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // From the beginning, so that one that comes before the program has started does not end it.
    let hangup = signal(SignalKind::hangup())?;
    let address = (program.http_listen)(&context.config);
    let bound = http::serve(address, context.health.clone(), Arc::clone(&parts.telemetry), end.clone())
        .await
        .map_err(|error| anyhow::anyhow!("cannot serve health and metrics on {address}: {error}"))?;
    let mut running = tokio::select! {
        started = (program.start)(context.clone()) => started?,
        () = either(&mut interrupt, &mut terminate) => return Ok(ExitCode::SUCCESS),
    };
    let manager = parts.manager.clone();
    manager.follow(context.health.subscribe(), end);
    tracing::info!(program = program.name, addresses = ?running.addresses, http = %bound, "started");
    tokio::select! {
        ended = &mut running.finished => return ended.map_err(anyhow::Error::from)?.map(|()| ExitCode::SUCCESS),
        () = either(&mut interrupt, &mut terminate) => {}
        () = Reloader::new(parts, running.reload).run(hangup) => {}
    }
    tracing::info!(program = program.name, "draining");
    manager.drains();
    context.health.set_not_ready("draining");
    context.shutdown.cancel();
    tokio::select! {
        ended = &mut running.finished => ended.map_err(anyhow::Error::from)??,
        () = either(&mut interrupt, &mut terminate) => return Ok(ExitCode::from(exit::INTERRUPTED)),
    }
    tracing::info!(program = program.name, "stopped");
    Ok(ExitCode::SUCCESS)
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const PROGRAM: Program = Program {
        name: "test",
        about: "a program",
        http_listen: |config| config.queue.http_listen,
        threads: |_| 0,
        reads: &["queue"],
        check: |_| Ok(()),
        start: |_| Box::pin(async { anyhow::bail!("never") }),
        subcommands: &[Subcommand { name: "migrate", about: "does it", run: |_| Box::pin(async { Ok(()) }) }],
    };

    fn task(words: &[&str]) -> Result<Task, clap::Error> {
        parse(&PROGRAM, words.iter().map(std::ffi::OsString::from)).map(|arguments| arguments.task)
    }

    #[test]
    fn the_command_line_says_what_to_do() {
        assert_eq!(task(&["test"]).unwrap(), Task::Serve);
        assert_eq!(task(&["test", "--check-config"]).unwrap(), Task::CheckConfig);
        assert_eq!(task(&["test", "-c", "x.toml", "--print-config"]).unwrap(), Task::PrintConfig);
        assert_eq!(task(&["test", "migrate", "--config", "x.toml"]).unwrap(), Task::Subcommand("migrate"));
        assert!(task(&["test", "--chekc-config"]).is_err());
    }

    #[test]
    fn one_thread_has_a_runtime_that_wakes_no_other() {
        use tokio::runtime::RuntimeFlavor;
        let flavor = |threads| runtime(threads).unwrap().handle().runtime_flavor();
        assert_eq!(flavor(1), RuntimeFlavor::CurrentThread);
        assert_eq!(flavor(2), RuntimeFlavor::MultiThread);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        assert_eq!(runtime(0).unwrap().metrics().num_workers(), cores);
    }

    #[test]
    fn an_empty_path_is_no_file() {
        let config =
            |path: &str| parse(&PROGRAM, ["test", "--config", path].map(std::ffi::OsString::from)).unwrap().config;
        assert_eq!(config(""), None);
        assert_eq!(config("x.toml").as_deref(), Some(Path::new("x.toml")));
    }

    #[test]
    fn a_late_configuration_error_keeps_its_code() {
        let error =
            anyhow::Error::new(Config::load(Some(Path::new("/nonexistent.toml"))).unwrap_err()).context("starting");
        assert_eq!(exit_code(&error), exit::CONFIG);
        assert_eq!(exit_code(&anyhow::anyhow!("other")), exit::UNAVAILABLE);
    }
}
