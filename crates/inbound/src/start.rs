//! Puts the program together from its configuration, and takes it down again. Not responsible for any of its parts.

use std::error::Error as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mailtier_config::{Config, ConfigError, InboundConfig, resolve_host_name};
use mailtier_service::{Context, Running};
use mailtier_smtp::ServerConfig;
use mailtier_tls::ServerTls;
use mailtier_transport::server::listen;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::budget::Budget;
use crate::ids::Ids;
use crate::listener::Acceptor;
use crate::policy::RelayPolicy;
use crate::shared::Shared;
use crate::submit::{EndpointKeeper, Endpoints, LeaseKeeper, Submitter};
use crate::watch::{CertificateKeeper, ReadinessKeeper};

/// How long the replicas may take to be left in order, once no session is left.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

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

/// Binds the listeners, starts serving and returns. Ends when [`Context::shutdown`] is cancelled and the drain is over.
///
/// # Errors
/// [`StartError`] names the setting that cannot be used.
pub async fn start(context: Context) -> Result<Running, StartError> {
    let config = Arc::clone(&context.config);
    let endpoints = Endpoints::new(Instant::now());
    let shared = Arc::new(share(&context, Arc::clone(&endpoints))?);
    let (listeners, addresses) = bind(&config.inbound.listen)?;
    let background = Background { tasks: TaskTracker::new(), end: CancellationToken::new() };
    let room = Arc::new(Semaphore::new(config.inbound.max_sessions.min(Semaphore::MAX_PERMITS)));
    background.spawn(&context, &shared, &endpoints, &room)?;
    let acceptor = Acceptor {
        shared,
        room,
        sessions: TaskTracker::new(),
        drain: context.shutdown.clone(),
        abort: CancellationToken::new(),
    };
    for listener in listeners {
        acceptor.sessions.spawn(acceptor.clone().run(listener));
    }
    let drain_timeout = config.inbound.drain_timeout;
    let finished = tokio::spawn(async move {
        finish(acceptor, background, drain_timeout).await;
        Ok(())
    });
    Ok(Running { addresses, finished })
}

/// Waits for the signal, then for the sessions, then for the replicas to be left.
async fn finish(acceptor: Acceptor, background: Background, drain_timeout: Duration) {
    acceptor.drain.cancelled().await;
    acceptor.sessions.close();
    if tokio::time::timeout(drain_timeout, acceptor.sessions.wait()).await.is_err() {
        tracing::warn!(sessions = acceptor.sessions.len(), "the drain takes too long, sessions are broken off");
        acceptor.abort.cancel();
        acceptor.sessions.wait().await;
    }
    background.end.cancel();
    background.tasks.close();
    let _ = tokio::time::timeout(LEAVE_TIMEOUT, background.tasks.wait()).await;
}

fn bind(addresses: &[SocketAddr]) -> Result<(Vec<TcpListener>, Vec<SocketAddr>), StartError> {
    let (mut listeners, mut bound) = (Vec::new(), Vec::new());
    for address in addresses {
        let failed = |source| StartError::Listen { address: *address, source };
        let listener = listen(*address).map_err(failed)?;
        bound.push(listener.local_addr().map_err(failed)?);
        listeners.push(listener);
    }
    Ok((listeners, bound))
}

fn share(context: &Context, endpoints: Arc<Endpoints>) -> Result<Shared, StartError> {
    let config = &context.config.inbound;
    let tls = match (&config.tls_certificate, &config.tls_key) {
        (Some(certificate), Some(key)) => Some(load(certificate, key)?),
        _ => None,
    };
    let policy = RelayPolicy::new(&config.relay_networks, &config.relay_domains).map_err(|(name, error)| {
        ConfigError::BadValue { key: "inbound.relay_domains", problem: format!("holds `{name}`: {error}") }
    })?;
    let smtp = smtp(config, tls.is_some())?;
    let policy = policy.with_postmaster(&smtp.hostname, config.postmaster.as_deref());
    Ok(Shared {
        smtp: Arc::new(smtp),
        tls,
        policy,
        budget: Budget::new(config.memory_budget.as_u64()),
        ids: Arc::new(Ids::default()),
        submitter: Submitter { endpoints, timeout: config.submit_timeout, meters: Arc::clone(&context.meters) },
        meters: Arc::clone(&context.meters),
        max_hops: usize::try_from(config.max_received_hops).unwrap_or(usize::MAX),
        patience: config.submit_timeout,
    })
}

fn load(certificate: &Path, key: &Path) -> Result<Arc<ServerTls>, ConfigError> {
    ServerTls::load(certificate, key).map_err(|error| {
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        let problem = format!("or `inbound.tls_key` cannot be used: {error}{cause}");
        ConfigError::BadValue { key: "inbound.tls_certificate", problem }
    })
}

fn smtp(config: &InboundConfig, starttls: bool) -> Result<ServerConfig, ConfigError> {
    let mut smtp = ServerConfig::new(resolve_host_name("inbound.hostname", config.hostname.as_deref())?);
    smtp.max_message_bytes = config.max_message_size.as_u64();
    smtp.max_recipients = config.max_recipients;
    smtp.starttls = starttls;
    smtp.limits.errors = config.max_errors;
    Ok(smtp)
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
        shared: &Arc<Shared>,
        endpoints: &Arc<Endpoints>,
        room: &Arc<Semaphore>,
    ) -> Result<(), StartError> {
        let config: &Config = &context.config;
        let token = config.cluster.service_token()?;
        let keeper = EndpointKeeper {
            endpoints: Arc::clone(endpoints),
            configured: config.inbound.queue.clone(),
            token: token.clone(),
            tasks: self.tasks.clone(),
            end: self.end.clone(),
        };
        let lease = LeaseKeeper {
            endpoints: Arc::clone(endpoints),
            ids: Arc::clone(&shared.ids),
            token,
            end: self.end.clone(),
        };
        let readiness = ReadinessKeeper {
            shared: Arc::clone(shared),
            health: context.health.clone(),
            room: Arc::clone(room),
            max_sessions: room.available_permits(),
            // A program that drains is not ready, whatever its queue.
            end: context.shutdown.clone(),
        };
        self.tasks.spawn(keeper.run());
        self.tasks.spawn(lease.run());
        self.tasks.spawn(readiness.run());
        if let Some(tls) = &shared.tls {
            self.tasks.spawn(CertificateKeeper { tls: Arc::clone(tls), end: self.end.clone() }.run());
        }
        Ok(())
    }
}
