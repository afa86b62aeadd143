//! Puts the queue together: opens the database, starts every loop, serves gRPC, and takes everything apart again in the
//! order that leaves nothing undone.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use mailtier_api::access::Access;
use mailtier_api::peer::Hint;
use mailtier_api::rest::Rest;
use mailtier_api::server::Server;
use mailtier_api::{ApiError, Credentials, Tier};
use mailtier_config::{Config, ConfigError, QueueConfig, Secret, resolve_host_name, system_name};
use mailtier_schedule::Limits;
use mailtier_service::{Context, Reload, Running, keep_certificate, serve_json};
use mailtier_store::{Extras, Store, StoreError};
use mailtier_tls::ServerTls;
use mailtier_types::ReplicaId;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::accept::{Examiner, Examiners, Examining, Flusher, Gatherer, Job, SubmitService, Uploader};
use crate::accounts::{AccountsService, Desk, LoginLimits, Managed};
use crate::admin::{AdminService, Hastening, Known, Searching, Suspending};
use crate::allowance::{Order, Purser};
use crate::clock;
use crate::conductor::{Command, Conductor, ConductorTask, Fence, Outlets, Settings};
use crate::dispatch::WorkService;
use crate::feedback::Feedback;
use crate::ids::Ids;
use crate::leasing::{Addressed, Courier, Leasing};
use crate::load::{Fetcher, Loader};
use crate::maintenance::Sweeper;
use crate::meanings::Meanings;
use crate::ownership::{KeeperParts, Peers, ShardKeeper};
use crate::peers::{HintSender, PeerService, ShardMap, empty_map, reached_at};
use crate::renewal::{Renewal, Terms};
use crate::settle::{Changer, Settler, SettlerParts, Settling};
use crate::suppression::{self, ListKeeper, Listed, Lists};
use crate::suspensions::{self, RulesChanged};
use crate::tls_reports::{Reporter, Reporting, TlsService};
use crate::tokens::Tokens;

/// Loops that commit submissions: while one waits for the disk, the other gathers.
const FLUSHERS: usize = 2;
/// Jobs, uploads and hints under way between two loops.
const JOBS: usize = 4096;
const UPLOADS: usize = 64;
const HINTS: usize = 256;
/// Operators who wait for a changed rule to be applied.
const RULE_CHANGES: usize = 64;

/// Why the queue cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A setting.
    #[error("the configuration cannot be used")]
    Config(#[from] ConfigError),
    /// The port.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// Brings the database's schema to the newest this program knows.
///
/// # Errors
/// See [`StoreError`].
pub async fn migrate(config: &Config) -> Result<(), StartError> {
    let migrated = Store::migrate(&config.database, clock::now()).await?;
    tracing::info!(from = migrated.from, to = migrated.to, "schema migrated");
    Ok(())
}

/// What the configuration must say for this program, beyond what it must for all.
///
/// # Errors
/// [`ConfigError`] names the key.
pub fn check(config: &Config) -> Result<(), ConfigError> {
    resolve_host_name("queue.hostname", config.queue.hostname.as_deref())?;
    meanings(&config.queue)?;
    Feedback::new(config)?;
    suppression::Rules::new(config)?;
    Reporting::new(config)?;
    Credentials::configured(&config.cluster, Tier::Queue)?;
    ServerTls::of_api(&config.queue)?;
    config.database.resolved_url().map(|_| ())
}

/// What replies mean: an operator's rules, and the built-in ones.
fn meanings(config: &QueueConfig) -> Result<Meanings, ConfigError> {
    let read = Meanings::read(config.classification.as_deref()).map_err(|error| {
        let names = if error.path.is_some() { "names " } else { "" };
        ConfigError::bad("queue.classification", format!("{names}{error}"))
    })?;
    if let Some(path) = &config.classification {
        let rules = read.now().rules().count();
        tracing::info!(path = %path.display(), rules, "rules of what replies mean, the built-in ones among them");
    }
    Ok(read)
}

/// Starts the queue.
///
/// # Errors
/// See [`StartError`].
pub async fn start(context: Context) -> Result<Running, StartError> {
    let config = &context.config.queue;
    let hostname = resolve_host_name("queue.hostname", config.hostname.as_deref())?;
    let meanings = Arc::new(meanings(config)?);
    let feedback = Arc::new(Feedback::new(&context.config)?);
    let reporting = Arc::new(ArcSwapOption::from(Reporting::new(&context.config)?.map(Arc::new)));
    let credentials = Credentials::configured(&context.config.cluster, Tier::Queue)?;
    let admin_token = context.config.cluster.admin_token()?;
    let api_tls = ServerTls::of_api(config)?;
    context.config.database.resolved_url()?;
    for pool in config.unused_pools() {
        tracing::warn!(pool, "no mail can go through an egress pool: no rule of [[queue.pool_rules]] names it");
    }
    let store = Store::connect(&context.config.database).await?;
    if config.start_paused {
        suspensions::pause(&store, clock::now()).await?;
    }
    let address = config.listen;
    let listener = TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })?;
    let bound = listener.local_addr().map_err(|source| StartError::Listen { address, source })?;
    let me = ReplicaId::random();
    let (conductor, commands) = Conductor::new();
    let terms = Terms { meanings: Arc::clone(&meanings), hostname, listed: Listed::default() };
    let policy = terms.policy(&context.config)?;
    terms.listed.set_used(policy.suppression.are_used());
    let renewal = Renewal {
        begun: Arc::clone(&context.config),
        conductor,
        settling: Settling::new(policy),
        known: Known::new(config),
        feedback,
        reporting,
        terms,
    };
    let renewed = renewal.clone();
    let parts = Parts { context: context.clone(), store, renewal, meanings, bound, me };
    let api = api_listener(config, &parts.store, admin_token.is_some()).await?;
    let api_bound = api.as_ref().and_then(|listener| listener.local_addr().ok());
    let addresses = std::iter::once(bound).chain(api_bound).collect();
    if let Some(tls) = credentials.tls() {
        tokio::spawn(keep_certificate(Arc::clone(tls), Arc::clone(&context.meters), context.shutdown.clone()));
    }
    let finished = tokio::spawn(async move {
        let api = api.map(|listener| (listener, api_tls));
        parts.run((Listeners { grpc: listener, api }, commands), (credentials, admin_token)).await;
        Ok(())
    });
    let reload: Reload = Box::new(move |config| Ok(renewed.renew(config)?));
    Ok(Running { addresses, finished, reload })
}

/// Where the HTTP API is served. Others can reach it only where somebody has been given a token.
async fn api_listener(config: &QueueConfig, store: &Store, has_admin: bool) -> Result<Option<TcpListener>, StartError> {
    let Some(address) = config.api_listen else { return Ok(None) };
    if !address.ip().is_loopback() {
        if !has_admin && store.session().await?.tokens().await?.is_empty() {
            let problem = format!(
                "is {address}, which others can reach, and there is no token yet: set `cluster.admin_secret_file`, or listen \
                 on loopback"
            );
            return Err(ConfigError::bad("queue.api_listen", problem).into());
        }
        if config.api_certificate().is_none() {
            tracing::warn!(
                %address,
                "the HTTP API is served without TLS: set queue.api_tls_certificate, or let a proxy that has it stand before it"
            );
        }
    }
    let listener = TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })?;
    Ok(Some(listener))
}

/// Serves operators over HTTP, as gRPC does.
fn serve_api(
    (listener, tls): (TcpListener, Option<Arc<ServerTls>>),
    admin: AdminService,
    access: Access<Tokens>,
    end: CancellationToken,
) -> JoinHandle<()> {
    let rest = Rest::new(admin, access);
    let answer = move |request| {
        let rest = rest.clone();
        async move { rest.answer(request).await }
    };
    tokio::spawn(serve_json(listener, tls, answer, end))
}

/// Until all that was asked is answered; says where that went wrong.
async fn until_served(grpc: JoinHandle<Result<(), ApiError>>, api: Option<JoinHandle<()>>) {
    match grpc.await {
        Ok(Err(error)) => tracing::error!(%error, "gRPC is no longer served"),
        Err(error) => tracing::error!(%error, "gRPC is no longer served"),
        Ok(Ok(())) => {}
    }
    if let Some(api) = api
        && let Err(error) = api.await
    {
        tracing::error!(%error, "the HTTP API is no longer served");
    }
}

/// Where requests come in.
struct Listeners {
    grpc: TcpListener,
    /// With its certificate, where it has one.
    api: Option<(TcpListener, Option<Arc<ServerTls>>)>,
}

/// What everything is put together from.
struct Parts {
    context: Context,
    store: Store,
    renewal: Renewal,
    meanings: Arc<Meanings>,
    bound: std::net::SocketAddr,
    me: ReplicaId,
}

impl Parts {
    async fn run(
        self,
        (listeners, commands): (Listeners, mpsc::UnboundedReceiver<Command>),
        (credentials, admin_token): (Credentials, Option<Secret>),
    ) {
        let (conductor, shutdown) = (self.renewal.conductor.clone(), self.context.shutdown.clone());
        let (jobs, job_queue) = mpsc::channel(JOBS);
        let (uploads, upload_queue) = mpsc::channel(UPLOADS);
        let (reports, report_queue) = mpsc::unbounded_channel();
        let (wanted, wanted_queue) = mpsc::unbounded_channel();
        let (walks, walk_queue) = mpsc::unbounded_channel();
        let (hints, hint_queue) = mpsc::channel(HINTS);
        let (orders, order_queue) = mpsc::unbounded_channel();
        let (courier, slice_reports) = mpsc::unbounded_channel();
        let (rule_changes, rules_changed) = mpsc::channel(RULE_CHANGES);
        let (map, map_reader) = watch::channel(empty_map());
        let shards_free = Arc::new(Notify::new());
        let (fence, ids, meters) = (Fence::new(), Arc::new(Ids::default()), Arc::clone(&self.context.meters));
        let mut loops = JoinSet::new();

        let outlets =
            Outlets { settler: reports, fetcher: wanted, purser: orders, courier, loader: walks, hints: hints.clone() };
        let task = ConductorTask::new(self.settings(), fence.clone(), outlets, Arc::clone(&meters));
        loops.spawn(task.run(commands));
        loops.spawn(Arc::clone(&self.meanings).watch());
        let examiners = self.examiners(&jobs, &conductor, &ids, &mut loops);
        let gatherer = Gatherer::new(job_queue, examiners);
        for _ in 0..FLUSHERS {
            let (gatherer, store, conductor) = (gatherer.clone(), self.store.clone(), conductor.clone());
            loops.spawn(Flusher { gatherer, store, conductor, meters: Arc::clone(&meters) }.run());
        }
        loops.spawn(self.list_keeper().run());
        let (store, job_sender) = (self.store.clone(), jobs.clone());
        loops.spawn(Uploader { uploads: upload_queue, jobs: job_sender, store, meters: Arc::clone(&meters) }.run());
        loops.spawn(self.settler(report_queue, &conductor, &ids).run());
        loops.spawn(self.loader(walk_queue, &conductor).run());
        loops.spawn(self.fetcher(wanted_queue, &conductor).run());
        let peers = Peers { credentials: credentials.clone(), shards_free: Arc::clone(&shards_free) };
        loops.spawn(self.hint_sender(hint_queue, map_reader, &credentials).run());
        loops.spawn(self.purser(order_queue, &conductor).run());
        let leasing = Arc::new(Leasing::new(self.me, self.context.config.queue.lease));
        loops.spawn(self.courier(slice_reports, &leasing, &conductor, credentials.clone()).run());
        loops.spawn(self.sweeper().run());
        let tls = self.tls(&conductor, &ids, &mut loops);

        let end = CancellationToken::new();
        let examining =
            Examining { feedback: Arc::clone(&self.renewal.feedback), listed: self.renewal.terms.listed.clone() };
        let submit =
            SubmitService::new(self.store.clone(), jobs, uploads, self.renewal.settling.clone(), examining, shutdown);
        let name = self.context.config.queue.name.clone().unwrap_or_else(system_name);
        let work = WorkService::new(conductor.clone(), self.store.clone(), self.me, name, end.clone());
        let desk = Desk::new(self.store.clone(), Arc::clone(&meters), "accounts");
        let admin = self.admin(&desk, self.changer(&conductor, &ids, hints), rule_changes, admin_token.as_ref());
        let access = self.access(admin.tokens.clone());
        let api = listeners.api.map(|api| serve_api(api, admin.clone(), access.clone(), end.clone()));
        let server = Server::new(listeners.grpc, &credentials)
            .submit(submit)
            .accounts(AccountsService::new(desk, self.login_limits(), admin.clone()))
            .work(work)
            .tls(tls)
            .peer(PeerService { conductor: conductor.clone(), shards_free, leasing: Arc::clone(&leasing) })
            .admin(admin, access);
        let serving = tokio::spawn(server.serve(self.context.health.subscribe(), end.clone()));

        // Keeps shards until the shutdown, then drains; the streams are needed until then.
        ShardKeeper::new(self.keeper(conductor, fence, ids, (map, peers, leasing), rules_changed)).run().await;
        end.cancel();
        until_served(serving, api).await;
        loops.shutdown().await;
    }

    /// What operators ask for.
    fn admin(
        &self,
        desk: &Desk,
        changer: Changer,
        rule_changes: mpsc::Sender<RulesChanged>,
        token: Option<&Secret>,
    ) -> AdminService {
        let known = || self.renewal.known.clone();
        AdminService {
            me: self.me,
            store: self.store.clone(),
            changer,
            managed: Managed::new(desk.clone()),
            suspending: Suspending::new(known(), rule_changes),
            searching: Searching::new(known()),
            hastening: Hastening::new(),
            tokens: Tokens::new(desk.clone(), token),
            lists: Lists::new(desk.clone(), self.renewal.terms.listed.clone()),
        }
    }

    /// The way in for operators.
    fn access(&self, tokens: Tokens) -> Access<Tokens> {
        let cluster = &self.context.config.cluster;
        if cluster.admin_secret.is_none() && cluster.admin_secret_file.is_none() {
            tracing::info!("without cluster.admin_secret_file operators need tokens that were made before");
        }
        Access::new(tokens, usize::try_from(self.context.config.queue.api_calls).unwrap_or(1))
    }

    fn settings(&self) -> Settings {
        let config = &self.context.config.queue;
        Settings {
            me: self.me,
            lease: config.lease,
            limits: Limits {
                max_entries: config.max_entries,
                max_entries_per_destination: config.max_entries_per_destination,
            },
            rules: mailtier_shaping::rules(config),
            meanings: Arc::clone(&self.meanings),
            priority_step: config.priority_step,
            delay_warning: config.delay_warning,
            worker_grace: config.worker_grace,
            cache_bytes: usize::try_from(config.body_cache.as_u64()).unwrap_or(usize::MAX),
            inline_bytes: config.inline_body.as_u64(),
            catch_up_every: config.catch_up_every,
            reconcile_every: config.reconcile_every,
            quarantine_after: config.quarantine_after,
            feedback: Arc::clone(&self.renewal.feedback),
        }
    }

    fn login_limits(&self) -> LoginLimits {
        let config = &self.context.config.queue;
        LoginLimits {
            per_account: config.login_failures_per_account,
            per_client: config.login_failures_per_client,
            window: config.login_failure_window,
        }
    }

    fn settler(
        &self,
        reports: mpsc::UnboundedReceiver<crate::settle::Report>,
        conductor: &Conductor,
        ids: &Arc<Ids>,
    ) -> Settler {
        Settler::new(SettlerParts {
            reports,
            store: self.store.clone(),
            conductor: conductor.clone(),
            ids: Arc::clone(ids),
            policy: self.renewal.settling.clone(),
            meters: Arc::clone(&self.context.meters),
        })
    }

    /// Starts those who look into messages.
    fn examiners(
        &self,
        jobs: &mpsc::Sender<Job>,
        conductor: &Conductor,
        ids: &Arc<Ids>,
        loops: &mut JoinSet<()>,
    ) -> Examiners {
        let (reports, came_back) = mpsc::unbounded_channel();
        let (recipients, screened) = mpsc::unbounded_channel();
        for examined in [came_back, screened] {
            loops.spawn(self.examiner(examined, jobs.clone(), conductor, ids).run());
        }
        Examiners { reports, recipients }
    }

    fn examiner(
        &self,
        jobs: mpsc::UnboundedReceiver<Job>,
        ordinary: mpsc::Sender<Job>,
        conductor: &Conductor,
        ids: &Arc<Ids>,
    ) -> Examiner {
        Examiner {
            jobs,
            ordinary,
            store: self.store.clone(),
            conductor: conductor.clone(),
            ids: Arc::clone(ids),
            policy: self.renewal.settling.clone(),
            feedback: Arc::clone(&self.renewal.feedback),
            meters: Arc::clone(&self.context.meters),
        }
    }

    fn list_keeper(&self) -> ListKeeper {
        ListKeeper {
            listed: self.renewal.terms.listed.clone(),
            store: self.store.clone(),
            meters: Arc::clone(&self.context.meters),
            shutdown: self.context.shutdown.clone(),
        }
    }

    fn changer(&self, conductor: &Conductor, ids: &Arc<Ids>, hints: mpsc::Sender<Vec<Hint>>) -> Changer {
        let meters = Arc::clone(&self.context.meters);
        Changer {
            policy: self.renewal.settling.clone(),
            ids: Arc::clone(ids),
            conductor: conductor.clone(),
            hints,
            meters,
        }
    }

    fn loader(&self, walks: mpsc::UnboundedReceiver<crate::load::Walk>, conductor: &Conductor) -> Loader {
        let meters = Arc::clone(&self.context.meters);
        // Whose a destination is, is known by its attempts.
        let config = &self.context.config.queue;
        let extras = Extras {
            outcomes: !config.providers.is_empty(),
            senders: config.pool_rules.iter().any(|rule| rule.sender_domain.is_some()),
        };
        Loader { walks, store: self.store.clone(), conductor: conductor.clone(), extras, meters }
    }

    fn fetcher(
        &self,
        wanted: mpsc::UnboundedReceiver<Vec<crate::conductor::Wanted>>,
        conductor: &Conductor,
    ) -> Fetcher {
        Fetcher {
            wanted,
            store: self.store.clone(),
            conductor: conductor.clone(),
            inline_bytes: self.context.config.queue.inline_body.as_u64(),
            meters: Arc::clone(&self.context.meters),
        }
    }

    fn purser(&self, orders: mpsc::UnboundedReceiver<Order>, conductor: &Conductor) -> Purser {
        let meters = Arc::clone(&self.context.meters);
        Purser { orders, store: self.store.clone(), conductor: conductor.clone(), meters }
    }

    fn hint_sender(
        &self,
        hints: mpsc::Receiver<Vec<Hint>>,
        map: watch::Receiver<ShardMap>,
        credentials: &Credentials,
    ) -> HintSender {
        HintSender { hints, map, credentials: credentials.clone(), meters: Arc::clone(&self.context.meters) }
    }

    fn courier(
        &self,
        reports: mpsc::UnboundedReceiver<Addressed>,
        leasing: &Arc<Leasing>,
        conductor: &Conductor,
        credentials: Credentials,
    ) -> Courier {
        Courier { reports, me: self.me, leasing: Arc::clone(leasing), conductor: conductor.clone(), credentials }
    }

    /// What answers workers about TLS; reports are made while they are configured.
    fn tls(&self, conductor: &Conductor, ids: &Arc<Ids>, loops: &mut JoinSet<()>) -> TlsService {
        let meters = || Arc::clone(&self.context.meters);
        let desk = Desk::new(self.store.clone(), meters(), "tls");
        let reporter = Reporter {
            reporting: Arc::clone(&self.renewal.reporting),
            me: self.me,
            store: self.store.clone(),
            conductor: conductor.clone(),
            ids: Arc::clone(ids),
            meters: meters(),
            shutdown: self.context.shutdown.clone(),
        };
        loops.spawn(reporter.run());
        TlsService::new(desk, Arc::clone(&self.renewal.reporting), meters())
    }

    fn sweeper(&self) -> Sweeper {
        Sweeper {
            me: self.me,
            store: self.store.clone(),
            retention: self.context.config.queue.event_retention,
            login_window: self.context.config.queue.login_failure_window,
            meters: Arc::clone(&self.context.meters),
            shutdown: self.context.shutdown.clone(),
        }
    }

    fn keeper(
        &self,
        conductor: Conductor,
        fence: Fence,
        ids: Arc<Ids>,
        (map, peers, leasing): (watch::Sender<ShardMap>, Peers, Arc<Leasing>),
        rules_changed: mpsc::Receiver<RulesChanged>,
    ) -> KeeperParts {
        let config = &self.context.config.queue;
        KeeperParts {
            me: self.me,
            address: config.advertise.clone().unwrap_or_else(|| reached_at(self.bound, &system_name())),
            lease: config.lease,
            renew_every: config.renew_every,
            drain_timeout: config.drain_timeout,
            worker_grace: config.worker_grace,
            store: self.store.clone(),
            conductor,
            fence,
            ids,
            map,
            peers,
            leasing,
            rules_changed,
            health: self.context.health.clone(),
            shutdown: self.context.shutdown.clone(),
            meters: Arc::clone(&self.context.meters),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The process's exit code depends on it: 78 instead of 69.
    #[test]
    fn a_mistake_in_the_configuration_is_found_among_the_causes() {
        let mistake = || ConfigError::bad("queue.hostname", "is not set");
        for error in [StartError::from(mistake()), StartError::from(StoreError::Configuration(mistake()))] {
            let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |cause| cause.source());
            assert!(causes.into_iter().any(|cause| cause.is::<ConfigError>()), "{error:?}");
        }
    }
}
