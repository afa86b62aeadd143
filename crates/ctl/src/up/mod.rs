//! `mailtier up`: the whole system on one machine. A private PostgreSQL below a data directory and the three programs,
//! each kept running; one Ctrl-C stops all in the order that leaves nothing undone. Not responsible for what a
//! cluster needs: that is what docker-compose and Kubernetes are for.

mod layout;
mod leftovers;
mod postgres;
mod supervisor;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, bail};
use mailtier_config::{Config, ConfigError, InboundConfig};
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use layout::{Layout, Secrets, program};
pub(crate) use layout::{admin_secret, default_data_directory, queue_address};
use leftovers::Held;
use postgres::Postgres;
use supervisor::{Notice, Stop, Supervised};

use crate::cli::Failure;

/// How long each part may take to become ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How often readiness is asked for.
const READY_POLL: Duration = Duration::from_millis(50);
/// Octets of a health reply that are read.
const HEALTH_REPLY_OCTETS: u64 = 1024;

/// What can be said on the command line.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where PostgreSQL's cluster and the secrets are kept; by default /var/lib/mailtier for root, else
    /// ~/.local/share/mailtier
    #[arg(long)]
    data: Option<PathBuf>,
    /// The programs' configuration; the database and the secrets are added to it
    #[arg(long, short, env = "MAILTIER_CONFIG")]
    config: Option<PathBuf>,
    /// Written when everything is ready, removed at the end
    #[arg(long)]
    ready_file: Option<PathBuf>,
}

fn misconfigured(path: Option<&Path>, error: &ConfigError) -> anyhow::Error {
    let place = path.filter(|_| !error.names_its_source());
    let place = place.map(|path| format!("{}: ", path.display())).unwrap_or_default();
    Failure::error(Failure::MISCONFIGURED, format!("{place}{error}"))
}

/// Runs until a signal asks to stop.
pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let config =
        Config::load(options.config.as_deref()).map_err(|error| misconfigured(options.config.as_deref(), &error))?;
    config.check_one_machine().map_err(|error| misconfigured(options.config.as_deref(), &error))?;
    let layout = Layout::prepare(&options.data.clone().unwrap_or_else(default_data_directory))?;
    let held = Held::take(&layout.root)?;
    let secrets = layout.secrets()?;
    layout.note_queue(config.queue.listen)?;
    let environment = Environment::new(&options, &config, (&layout, &secrets))?;
    let postgres = Postgres::prepare(&layout, &secrets)?;

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let (sender, notices) = mpsc::unbounded_channel();
    let hurry = CancellationToken::new();
    let mut running = Vec::new();
    let parts = Parts { config: &config, held: &held, notices: &sender, hurry: &hurry };
    let started = tokio::select! {
        started = start_all(postgres, environment, parts, &mut running) => started,
        _ = interrupt.recv() => Err(anyhow::anyhow!("interrupted before everything was ready")),
        _ = terminate.recv() => Err(anyhow::anyhow!("terminated before everything was ready")),
    };
    drop(sender);
    if started.is_ok() {
        announce(&options, &layout, &config)?;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = report(notices) => {}
            () = hand_on(&mut hangup, programs(&running)) => {}
        }
        println!("stopping");
    }
    if let Some(path) = &options.ready_file {
        let _ = std::fs::remove_file(path);
    }
    let mut stopping = pin!(stop_all(running));
    tokio::select! {
        () = &mut stopping => {}
        () = asked_again(&mut interrupt, &mut terminate) => {
            println!("stopping at once");
            hurry.cancel();
            stopping.await;
        }
    }
    started.map(|()| ExitCode::SUCCESS)
}

/// All but the database.
fn programs(running: &[Supervised]) -> &[Supervised] {
    running.get(1..).unwrap_or_default()
}

/// Every SIGHUP is the programs', for as long as they run.
async fn hand_on(hangup: &mut tokio::signal::unix::Signal, programs: &[Supervised]) {
    while hangup.recv().await.is_some() {
        programs.iter().for_each(Supervised::reload);
    }
}

async fn asked_again(interrupt: &mut tokio::signal::unix::Signal, terminate: &mut tokio::signal::unix::Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// The last started is stopped first: no new mail, then no new attempts, then the queue, then its database.
async fn stop_all(mut running: Vec<Supervised>) {
    while let Some(program) = running.pop() {
        let name = program.name();
        program.stop().await;
        println!("{name} stopped");
    }
}

/// What starting needs.
#[derive(Clone, Copy)]
struct Parts<'a> {
    config: &'a Config,
    held: &'a Held,
    notices: &'a mpsc::UnboundedSender<Notice>,
    hurry: &'a CancellationToken,
}

impl Parts<'_> {
    fn start(
        &self,
        name: &'static str,
        make: impl Fn() -> Command + Send + 'static,
        signal: Signal,
    ) -> anyhow::Result<Supervised> {
        let how = Stop { signal, hurry: self.hurry.clone() };
        Supervised::start(name, self.held.pid_file(name), make, how, self.notices.clone())
    }
}

async fn start_all(
    postgres: Postgres,
    environment: Environment,
    parts: Parts<'_>,
    running: &mut Vec<Supervised>,
) -> anyhow::Result<()> {
    let postgres = std::sync::Arc::new(postgres);
    let server = std::sync::Arc::clone(&postgres);
    // SIGINT is PostgreSQL's fast shutdown: sessions end, everything committed is kept.
    let database = parts.start("postgres", move || server.server(), Signal::SIGINT)?;
    let hopeless = database.hopeless();
    running.push(database);
    let is_up = || {
        let postgres = std::sync::Arc::clone(&postgres);
        async move { tokio::task::spawn_blocking(move || postgres.is_ready()).await.unwrap_or(false) }
    };
    wait_until("PostgreSQL", is_up, hopeless).await?;
    let migrated = tokio::process::Command::from(environment.command("mailtier-queue", &["migrate"])).status().await;
    if !migrated.context("cannot start mailtier-queue")?.success() {
        bail!("mailtier-queue migrate failed");
    }
    for (name, health) in [
        ("mailtier-queue", parts.config.queue.http_listen),
        ("mailtier-outbound", parts.config.outbound.http_listen),
        ("mailtier-inbound", parts.config.inbound.http_listen),
    ] {
        let environment = environment.clone();
        let program = parts.start(name, move || environment.command(name, &[]), Signal::SIGTERM)?;
        let hopeless = program.hopeless();
        running.push(program);
        wait_until(name, || is_ready(health), hopeless).await?;
    }
    Ok(())
}

/// What the programs are given besides the configuration.
#[derive(Debug, Clone)]
struct Environment {
    variables: Vec<(&'static str, OsString)>,
}

/// Programs that share the machine's cores, beside the database.
const PROGRAMS: usize = 3;

impl Environment {
    fn new(options: &Options, config: &Config, (layout, secrets): (&Layout, &Secrets)) -> anyhow::Result<Self> {
        let mut variables = vec![
            ("MAILTIER__DATABASE__URL_FILE", layout.database_url_file(secrets)?.into()),
            ("MAILTIER__CLUSTER__SECRET_FILE", secrets.cluster.clone().into()),
            ("MAILTIER__CLUSTER__ADMIN_SECRET_FILE", secrets.admin.clone().into()),
        ];
        if let Some(path) = &options.config {
            variables.push(("MAILTIER_CONFIG", path.clone().into()));
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        variables.extend(shares(config, cores).map(|(variable, threads)| (variable, threads.to_string().into())));
        Ok(Self { variables })
    }

    fn command(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program(name));
        command.args(arguments).envs(self.variables.iter().map(|(name, value)| (name, value)));
        // Whoever has started this program is not told that all of it is ready when one of its programs is.
        command.env_remove("NOTIFY_SOCKET");
        command
    }
}

/// Worker threads of the programs whose configuration leaves them open: their share of the cores.
fn shares(config: &Config, cores: usize) -> impl Iterator<Item = (&'static str, usize)> {
    let Config { inbound, queue, outbound, .. } = config;
    let configured = [
        ("MAILTIER__INBOUND__THREADS", inbound.threads),
        ("MAILTIER__QUEUE__THREADS", queue.threads),
        ("MAILTIER__OUTBOUND__THREADS", outbound.threads),
    ];
    let is_open = move |(variable, threads)| (threads == 0).then_some((variable, cores.div_ceil(PROGRAMS)));
    configured.into_iter().filter_map(is_open)
}

/// Waits until a program is ready, or will never be.
async fn wait_until<F: Future<Output = bool>>(
    what: &str,
    mut ready: impl FnMut() -> F,
    hopeless: impl Future<Output = Option<i32>>,
) -> anyhow::Result<()> {
    let until_ready = async {
        let started = Instant::now();
        while started.elapsed() < READY_TIMEOUT {
            if ready().await {
                return Ok(());
            }
            sleep(READY_POLL).await;
        }
        bail!("{what} is not ready after {READY_TIMEOUT:?}; its log says why")
    };
    tokio::select! {
        ready = until_ready => ready,
        code = hopeless => {
            let code = code.and_then(|code| u8::try_from(code).ok()).unwrap_or(Failure::UNAVAILABLE);
            Err(Failure::error(code, format!("{what} cannot start; it says why above")))
        }
    }
}

/// Asks `/healthz/ready`.
async fn is_ready(address: std::net::SocketAddr) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /healthz/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut reply = Vec::new();
        stream.take(HEALTH_REPLY_OCTETS).read_to_end(&mut reply).await?;
        std::io::Result::Ok(reply)
    };
    matches!(timeout(Duration::from_secs(1), ask).await, Ok(Ok(reply)) if reply.starts_with(b"HTTP/1.1 200"))
}

fn announce(options: &Options, layout: &Layout, config: &mailtier_config::Config) -> anyhow::Result<()> {
    println!("ready: {}, data in {}", served(&config.inbound), layout.root.display());
    println!("look around: mailtier queue list --data {0} · mailtier trace <id> --data {0}", layout.root.display());
    if let Some(path) = &options.ready_file {
        std::fs::write(path, "ready\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// What is served where: `SMTP on 0.0.0.0:25, users (submission) on 0.0.0.0:587 and [::]:587`.
fn served(inbound: &InboundConfig) -> String {
    let unnamed = std::iter::once(("SMTP".to_owned(), &inbound.listen));
    let named = inbound
        .listeners
        .iter()
        .map(|listener| (format!("{} ({})", listener.name, listener.protocol.word()), &listener.listen));
    let places = unnamed.chain(named).filter(|(_, addresses)| !addresses.is_empty()).map(|(name, addresses)| {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        format!("{name} on {}", addresses.join(" and "))
    });
    places.collect::<Vec<_>>().join(", ")
}

/// Prints what becomes of programs, for as long as any runs.
async fn report(mut notices: mpsc::UnboundedReceiver<Notice>) {
    while let Some(notice) = notices.recv().await {
        eprintln!("{} {}", notice.name, notice.text);
    }
}

#[cfg(test)]
mod tests {
    use mailtier_config::{ListenerConfig, ListenerProtocol};

    use super::*;

    #[test]
    fn programs_share_the_cores_unless_they_have_threads_of_their_own() {
        let mut config = Config::default();
        let threads = |config: &Config, cores| shares(config, cores).map(|(_, threads)| threads).collect::<Vec<_>>();
        assert_eq!(threads(&config, 2), [1, 1, 1]);
        assert_eq!(threads(&config, 4), [2, 2, 2]);
        assert_eq!(threads(&config, 9), [3, 3, 3]);
        config.queue.threads = 5;
        let open: Vec<_> = shares(&config, 2).map(|(variable, _)| variable).collect();
        assert_eq!(open, ["MAILTIER__INBOUND__THREADS", "MAILTIER__OUTBOUND__THREADS"]);
    }

    #[test]
    fn what_is_served_names_every_listener() {
        let mut inbound = InboundConfig { listen: Vec::new(), ..InboundConfig::default() };
        inbound.listeners = vec![ListenerConfig {
            name: "users".into(),
            protocol: ListenerProtocol::Submission,
            listen: vec!["0.0.0.0:587".parse().unwrap(), "[::1]:587".parse().unwrap()],
            ..ListenerConfig::default()
        }];
        assert_eq!(served(&inbound), "users (submission) on 0.0.0.0:587 and [::1]:587");
        inbound.listen = vec!["127.0.0.1:25".parse().unwrap()];
        assert_eq!(served(&inbound), "SMTP on 127.0.0.1:25, users (submission) on 0.0.0.0:587 and [::1]:587");
    }
}
