//! The start of a worker and its end: configuration becomes values, tasks are spawned, and on shutdown what is in hand
//! is brought to its end. Not responsible for the process around it.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use mailtier_api::replicas::{Replicas, SystemLookup};
use mailtier_api::{Credentials, Tier};
use mailtier_config::{Config, ConfigError, resolve_host_name};
use mailtier_directory::{Directory, DirectoryError, trust_anchors};
use mailtier_dns::DnsError;
use mailtier_service::{Context, Running, keep_certificate};
use mailtier_tls::TlsError;
use mailtier_types::WorkerId;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::attempt::body::BodyBudget;
use crate::certificates;
use crate::connections::Connections;
use crate::desk::Desk;
use crate::hook::HookError;
use crate::links::LinkKeeper;
use crate::policies::QueueKeeper;
use crate::routes::RoutesError;
use crate::rules::Rules;
use crate::tls_reports::{PostRunner, SessionCounter, SessionFlusher};
use crate::worker::Worker;

/// How often gauges are recorded.
const MEASURE_EVERY: Duration = Duration::from_secs(1);
/// For what was counted since the last minute, at the end.
const LAST_FLUSH: Duration = Duration::from_secs(5);
/// For saying QUIT at the end, beyond the time for what is in hand.
const GOODBYE: Duration = Duration::from_secs(2);

/// Why a worker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A value in the configuration.
    #[error("the configuration cannot be used")]
    Configuration(#[from] ConfigError),
    /// The resolver.
    #[error("DNS cannot be set up")]
    Dns(#[from] DnsError),
    /// The client's side of TLS.
    #[error("TLS cannot be set up")]
    Tls(#[from] TlsError),
    /// Posts over HTTP, of routes or of reports.
    #[error("HTTP cannot be set up: {0}")]
    Post(String),
}

impl From<DirectoryError> for StartError {
    fn from(error: DirectoryError) -> Self {
        match error {
            DirectoryError::Configuration(error) => Self::Configuration(error),
            DirectoryError::Dns(error) => Self::Dns(error),
        }
    }
}

impl From<RoutesError> for StartError {
    fn from(error: RoutesError) -> Self {
        match error {
            RoutesError::Configuration(error) => Self::Configuration(error),
            RoutesError::Hook(HookError::Client(error)) => Self::Post(error.to_string()),
            RoutesError::Hook(error) => Self::Post(error.to_string()),
        }
    }
}

/// Starts a worker. It ends when `context.shutdown` is cancelled and what was in hand is finished and settled, or the
/// time for that is over.
///
/// # Errors
/// [`StartError`].
pub async fn start(context: Context) -> Result<Running, StartError> {
    let config = &context.config;
    let replicas =
        Replicas::new(&config.outbound.queue, SystemLookup).map_err(|error| bad("outbound.queue", &error))?;
    let worker = Arc::new(worker(&context)?);
    let reporting = reporting(&worker, config)?;
    worker.rules.load().egress.warn_of_missing_addresses();
    worker.tell_health();
    let reloaded = Arc::clone(&worker);
    let finished = tokio::spawn(async move {
        run(worker, reporting, replicas, context.shutdown).await;
        Ok(())
    });
    Ok(Running { addresses: Vec::new(), finished, reload: Box::new(move |config| Ok(reloaded.renew(config)?)) })
}

/// What the configuration must say for this program, beyond what it must for all.
///
/// # Errors
/// [`ConfigError`] names the key.
pub fn check(config: &Config) -> Result<(), ConfigError> {
    let ehlo_name = resolve_host_name("outbound.ehlo_name", config.outbound.ehlo_name.as_deref())?;
    config.outbound.route_logins()?;
    config.outbound.pool_proxies()?;
    let certificates = config.outbound.route_certificates().into_iter().chain(config.outbound.pool_certificates());
    certificates.flatten().try_for_each(|files| certificates::read(&files).map(|_| ()))?;
    config.outbound.route_hooks()?;
    trust_anchors(&config.outbound)?;
    credentials(config)?;
    config.route_policy(&ehlo_name).map(|_| ())
}

/// What is shown to the queue, and the way there, which fit together.
fn credentials(config: &Config) -> Result<Credentials, ConfigError> {
    config.check_outbound_queue()?;
    Credentials::configured(&config.cluster, Tier::Outbound)
}

async fn run(worker: Arc<Worker>, reporting: Reporting, replicas: Replicas, shutdown: CancellationToken) {
    let end = CancellationToken::new();
    let _end_with_us = end.clone().drop_guard();
    if let Some(tls) = worker.credentials.tls() {
        tokio::spawn(keep_certificate(Arc::clone(tls), Arc::clone(&worker.meters), end.clone()));
    }
    let links = tokio::spawn(LinkKeeper::new(Arc::clone(&worker), replicas, end.clone()).run());
    let background = async {
        let reporting = async {
            tokio::join!(reporting.flusher.run(), reporting.posts.run(|| worker.rules.load().sessions.is_some()));
        };
        tokio::join!(worker.connections.reap(), measure(&worker), reporting);
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = background => {}
    }
    let drain_timeout = worker.rules.load().drain_timeout;
    drain(&worker, drain_timeout).await;
    if tokio::time::timeout(LAST_FLUSH, reporting.flusher.flush()).await != Ok(true) {
        tracing::warn!("what was counted for TLS reports in the last minute is lost: no queue replica takes it");
    }
    end.cancel();
    if let Err(error) = links.await {
        tracing::error!(%error, "the links to the queue ended badly");
    }
    if tokio::time::timeout(GOODBYE, worker.connections.close()).await.is_err() {
        tracing::debug!("some remote hosts did not answer QUIT in time");
    }
}

/// Nothing new is asked for or begun; what is begun is finished, and its results are settled.
async fn drain(worker: &Worker, timeout: Duration) {
    worker.desk.leave();
    worker.tell_health();
    let (running, unsettled) = worker.desk.load();
    tracing::info!(running, unsettled, "finishing what is in hand");
    if tokio::time::timeout(timeout, worker.desk.clear()).await.is_err() {
        let (running, unsettled) = worker.desk.load();
        tracing::warn!(running, unsettled, "leaving deliveries behind: they will be attempted again elsewhere");
    }
}

/// What is counted for TLS reports goes to the queue, and reports that are made there are posted.
struct Reporting {
    flusher: SessionFlusher,
    posts: PostRunner,
}

/// Without reports nothing is counted and nothing posted, until they are configured.
fn reporting(worker: &Worker, config: &Config) -> Result<Reporting, StartError> {
    let (directory, desk) = (worker.directory.clone(), || Arc::clone(&worker.desk));
    let poster = match directory.report_poster(&config.outbound) {
        Ok(poster) => Some(poster),
        Err(problem) if config.tls_reports.is_used() => return Err(StartError::Post(problem)),
        Err(problem) => {
            tracing::warn!(problem, "reports of TLS could not be posted");
            None
        }
    };
    Ok(Reporting {
        flusher: SessionFlusher::new(worker.id, Arc::clone(&worker.sessions), directory, desk()),
        posts: PostRunner::new(worker.id, poster, desk()),
    })
}

async fn measure(worker: &Worker) {
    let mut beat = tokio::time::interval(MEASURE_EVERY);
    loop {
        beat.tick().await;
        worker.measure();
    }
}

fn worker(context: &Context) -> Result<Worker, StartError> {
    let config = &context.config;
    let outbound = &config.outbound;
    // Half of the time for which the queue waits for a worker it has lost: the other half is for what clocks and
    // connections do not notice at once.
    let patience = config.queue.worker_grace / 2;
    let sessions = Arc::new(SessionCounter::new(Arc::clone(&context.meters)));
    let rules = Rules::new(config, &sessions, Arc::clone(&context.meters))?;
    let desk = Arc::new(Desk::new(outbound.max_in_flight, rules.egress.names(), patience));
    let keeper = Arc::new(QueueKeeper::new(Arc::clone(&desk)));
    Ok(Worker {
        id: WorkerId::random(),
        name: outbound.name.clone().unwrap_or_else(mailtier_config::system_name),
        credentials: credentials(config)?,
        desk,
        connections: Connections::new(rules.connections),
        directory: Directory::new(outbound, &context.meters)?.keeping_policies_with(keeper),
        sessions,
        rules: ArcSwap::from_pointee(rules),
        begun: Arc::clone(config),
        bodies: BodyBudget::new(outbound.memory_budget.as_u64()),
        meters: Arc::clone(&context.meters),
        health: context.health.clone(),
        attempts: TaskTracker::new(),
    })
}

/// A value that shows itself wrong only here.
fn bad(key: &'static str, problem: &dyn std::fmt::Display) -> ConfigError {
    ConfigError::bad(key, format!("cannot be used: {problem}"))
}
