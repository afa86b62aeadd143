//! Puts the program together from its configuration, and takes it down again. Not responsible for any of its parts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mailtier_api::replicas::{Replicas, SystemLookup};
use mailtier_api::{Credentials, Tier};
use mailtier_config::{Config, ConfigError, resolve_host_name};
use mailtier_service::{Context, Running, keep_certificate};
use mailtier_tls::ServerTls;
use mailtier_transport::server::listen;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::gateway;
use crate::listener::Acceptor;
use crate::listeners::Listener;
use crate::oauth::TokenJudge;
use crate::reports::Reports;
use crate::sharing::Sharing;
use crate::submit::{EndpointKeeper, Endpoints, LeaseKeeper};
use crate::watch::ReadinessKeeper;

/// How long the replicas may take to be left in order, once no session is left.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// Descriptors for listeners, replicas, files and whatever else is not a session.
const RESERVED_DESCRIPTORS: u64 = 200;

/// Why the program cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A value of the configuration.
    #[error("the configuration cannot be used")]
    Config(#[from] ConfigError),
    /// An address of `inbound.listen`.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What the configuration must say for this program, beyond what it must for all: the files it names are read.
///
/// # Errors
/// [`ConfigError`] names the key.
pub fn check(config: &Config) -> Result<(), ConfigError> {
    resolve_host_name("inbound.hostname", config.inbound.hostname.as_deref())?;
    gateway::check(&config.inbound, &Listener::all(&config.inbound)?, &gateway::gateways())?;
    config.inbound.check_address_files()?;
    Reports::new(config)?;
    ServerTls::configured(&config.inbound)?;
    credentials(config)?;
    config.inbound.oauth.clone().map(TokenJudge::new).transpose().map(|_| ())
}

/// Binds the listeners, starts serving and returns. Ends when [`Context::shutdown`] is cancelled and the drain is over.
///
/// # Errors
/// [`StartError`] names the setting that cannot be used.
pub async fn start(context: Context) -> Result<Running, StartError> {
    let config = Arc::clone(&context.config);
    let endpoints = Endpoints::new(Instant::now());
    if config.inbound.lacks_postmaster() {
        tracing::warn!("`inbound.postmaster` is not set: mail to <postmaster> is refused (RFC 5321 §4.5.1)");
    }
    gateway::check(&config.inbound, &Listener::all(&config.inbound)?, &gateway::gateways())?;
    let credentials = credentials(&config)?;
    let background = Background { tasks: TaskTracker::new(), end: CancellationToken::new() };
    let sharing = Sharing::new(
        &context,
        Arc::clone(&endpoints),
        credentials.clone(),
        (background.tasks.clone(), background.end.clone()),
    )?;
    let (bound, addresses) = bind(&sharing.now().listeners)?;
    let room = Arc::new(Semaphore::new(max_sessions(config.inbound.max_sessions)));
    background.spawn(&context, &sharing, &credentials, &room)?;
    let (sessions, abort) = (TaskTracker::new(), CancellationToken::new());
    for (place, socket) in bound {
        let acceptor = Acceptor {
            sharing: Arc::clone(&sharing),
            place,
            room: Arc::clone(&room),
            sessions: sessions.clone(),
            drain: context.shutdown.clone(),
            abort: abort.clone(),
        };
        sessions.spawn(acceptor.run(socket));
    }
    let ending = Ending { sharing: Arc::clone(&sharing), sessions, drain: context.shutdown.clone(), abort, background };
    let finished = tokio::spawn(async move {
        ending.run().await;
        Ok(())
    });
    Ok(Running { addresses, finished, reload: Box::new(move |config| Ok(sharing.renew(config)?)) })
}

/// What is taken down, in this order.
struct Ending {
    sharing: Arc<Sharing>,
    sessions: TaskTracker,
    drain: CancellationToken,
    abort: CancellationToken,
    background: Background,
}

impl Ending {
    /// Waits for the signal, then for the sessions, then for the replicas to be left.
    async fn run(self) {
        self.drain.cancelled().await;
        let drain_timeout = self.sharing.now().drain_timeout;
        self.sessions.close();
        if tokio::time::timeout(drain_timeout, self.sessions.wait()).await.is_err() {
            tracing::warn!(sessions = self.sessions.len(), "the drain takes too long, sessions are broken off");
            self.abort.cancel();
            self.sessions.wait().await;
        }
        self.background.end.cancel();
        self.background.tasks.close();
        let _ = tokio::time::timeout(LEAVE_TIMEOUT, self.background.tasks.wait()).await;
    }
}

/// The most sessions there may be: each has a descriptor, and some are needed for other things. The system is asked for
/// as many as it gives.
fn max_sessions(configured: usize) -> usize {
    let wanted = u64::try_from(configured).unwrap_or(u64::MAX).saturating_add(RESERVED_DESCRIPTORS);
    let given = rlimit::increase_nofile_limit(wanted).unwrap_or(wanted);
    let possible = usize::try_from(given.saturating_sub(RESERVED_DESCRIPTORS)).unwrap_or(usize::MAX);
    if possible < configured {
        tracing::warn!(possible, configured, "the system's limit of open files allows fewer sessions (`ulimit -n`)");
    }
    configured.min(possible.max(1)).min(Semaphore::MAX_PERMITS)
}

/// Sockets, each with the place of its listener among all.
type Bound = (Vec<(usize, TcpListener)>, Vec<SocketAddr>);

fn bind(listeners: &[Arc<Listener>]) -> Result<Bound, StartError> {
    let (mut sockets, mut addresses) = (Vec::new(), Vec::new());
    for (place, listener) in listeners.iter().enumerate() {
        for address in &listener.addresses {
            let failed = |source| StartError::Listen { address: *address, source };
            let socket = listen(*address).map_err(failed)?;
            let bound = socket.local_addr().map_err(failed)?;
            tracing::info!(listener = %listener.name, address = %bound, "listening");
            addresses.push(bound);
            sockets.push((place, socket));
        }
    }
    Ok((sockets, addresses))
}

/// What is shown to the queue, and the way there, which fit together.
fn credentials(config: &Config) -> Result<Credentials, ConfigError> {
    config.check_inbound_queue()?;
    Credentials::configured(&config.cluster, Tier::Inbound)
}

/// What runs beside the sessions, and outlives them.
#[derive(Debug)]
struct Background {
    tasks: TaskTracker,
    end: CancellationToken,
}

impl Background {
    fn spawn(
        &self,
        context: &Context,
        sharing: &Arc<Sharing>,
        credentials: &Credentials,
        room: &Arc<Semaphore>,
    ) -> Result<(), StartError> {
        let config: &Config = &context.config;
        let endpoints = &sharing.now().submitter.endpoints;
        let replicas = Replicas::new(&config.inbound.queue, SystemLookup);
        let keeper = EndpointKeeper {
            endpoints: Arc::clone(endpoints),
            replicas: replicas.map_err(|error| ConfigError::bad("inbound.queue", error.to_string()))?,
            credentials: credentials.clone(),
            tasks: self.tasks.clone(),
            end: self.end.clone(),
        };
        let lease = LeaseKeeper {
            endpoints: Arc::clone(endpoints),
            ids: Arc::clone(&sharing.now().ids),
            credentials: credentials.clone(),
            end: self.end.clone(),
        };
        let readiness = ReadinessKeeper {
            sharing: Arc::clone(sharing),
            health: context.health.clone(),
            room: Arc::clone(room),
            max_sessions: room.available_permits(),
            // A program that drains is not ready, whatever its queue.
            end: context.shutdown.clone(),
        };
        self.tasks.spawn(keeper.run());
        self.tasks.spawn(lease.run());
        self.tasks.spawn(readiness.run());
        if let Some(tls) = credentials.tls() {
            self.tasks.spawn(keep_certificate(Arc::clone(tls), Arc::clone(&context.meters), self.end.clone()));
        }
        Ok(())
    }
}
