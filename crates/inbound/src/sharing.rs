//! What new sessions have in common, put together from the configuration: at the start, and anew when that changes.
//! Sessions that have begun keep what they began with; what is counted, and what is remembered, is counted and remembered
//! on. Not responsible for reading the configuration.

use std::sync::Arc;

use arc_swap::ArcSwap;
use mailtier_api::Credentials;
use mailtier_config::{Config, ConfigError, InboundConfig, SuppressionConfig, resolve_host_name};
use mailtier_service::Context;
use mailtier_telemetry::Meters;
use mailtier_tls::{CertificateFiles, ServerTls};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accounts::Accounts;
use crate::budget::{Budget, memory_octets};
use crate::ids::Ids;
use crate::limits::Limits;
use crate::listeners::{Listener, tenants};
use crate::oauth::TokenJudge;
use crate::policy::relay::RelayPolicy;
use crate::pressure::Pressure;
use crate::recipients::Recipients;
use crate::reports::Reports;
use crate::shared::{Shared, TrustedProxies};
use crate::submit::{Endpoints, Submitter};
use crate::suppression::Suppression;
use crate::watch::CertificateKeeper;

/// See the module.
#[derive(Debug)]
pub(crate) struct Sharing {
    current: ArcSwap<Shared>,
    tasks: TaskTracker,
    end: CancellationToken,
}

impl Sharing {
    /// As the program begins. What files say is kept fresh by `tasks` until `end`.
    ///
    /// # Errors
    /// [`ConfigError`] names the key that cannot be used.
    pub(crate) fn new(
        context: &Context,
        endpoints: Arc<Endpoints>,
        credentials: Credentials,
        (tasks, end): (TaskTracker, CancellationToken),
    ) -> Result<Arc<Self>, ConfigError> {
        let listeners = Listener::all(&context.config.inbound)?;
        let lasting = Lasting {
            accounts: Arc::new(Accounts::new(Arc::clone(&endpoints), credentials)),
            endpoints,
            pressure: Arc::new(Pressure::new(memory_octets())),
            budget: Budget::new(context.config.inbound.memory_budget.as_u64()),
            ids: Arc::new(Ids::default()),
            meters: Arc::clone(&context.meters),
        };
        let shared = share(&context.config, lasting, listeners, None)?;
        let this = Self { current: ArcSwap::from_pointee(shared), tasks, end };
        this.keep_fresh(None);
        Ok(Arc::new(this))
    }

    /// What new sessions have in common.
    pub(crate) fn now(&self) -> Arc<Shared> {
        self.current.load_full()
    }

    /// Takes up another configuration, for sessions that begin from now on.
    ///
    /// # Errors
    /// [`ConfigError`] names the key that cannot be used, and nothing is changed.
    pub(crate) fn renew(&self, config: &Config) -> Result<(), ConfigError> {
        let before = self.now();
        // Sockets stay as they are, and so do their listeners where the configuration has them no more.
        let wanted = Listener::all(&config.inbound)?;
        let renewed = |bound: &Arc<Listener>| {
            let same = wanted.iter().find(|listener| listener.name == bound.name);
            Arc::clone(same.unwrap_or(bound))
        };
        let listeners = before.listeners.iter().map(renewed).collect();
        let shared = share(config, Lasting::of(&before), listeners, Some(&before))?;
        self.current.store(Arc::new(shared));
        self.keep_fresh(Some(&before));
        Ok(())
    }

    /// What is new is looked after, for as long as any session has it.
    fn keep_fresh(&self, before: Option<&Shared>) {
        let now = self.now();
        let (tasks, end) = (&self.tasks, || self.end.clone());
        now.recipients.keep_fresh(before.map(|before| &*before.recipients), tasks, &self.end);
        let is_new = |old: Option<&Arc<TokenJudge>>, new| !old.is_some_and(|old| Arc::ptr_eq(old, new));
        if let Some(tokens) = now.tokens.as_ref().filter(|new| is_new(before.and_then(|one| one.tokens.as_ref()), new))
        {
            tasks.spawn(TokenJudge::keep_fresh(Arc::downgrade(tokens), end()));
        }
        let is_new = |old: Option<&Arc<ServerTls>>, new| !old.is_some_and(|old| Arc::ptr_eq(old, new));
        if let Some(tls) = now.tls.as_ref().filter(|new| is_new(before.and_then(|one| one.tls.as_ref()), new)) {
            tasks.spawn(CertificateKeeper { tls: Arc::downgrade(tls), end: end() }.run());
        }
    }
}

/// What no configuration changes.
struct Lasting {
    endpoints: Arc<Endpoints>,
    accounts: Arc<Accounts>,
    pressure: Arc<Pressure>,
    budget: Arc<Budget>,
    ids: Arc<Ids>,
    meters: Arc<Meters>,
}

impl Lasting {
    fn of(shared: &Shared) -> Self {
        Self {
            endpoints: Arc::clone(&shared.submitter.endpoints),
            accounts: Arc::clone(&shared.accounts),
            pressure: Arc::clone(&shared.pressure),
            budget: Arc::clone(&shared.budget),
            ids: Arc::clone(&shared.ids),
            meters: Arc::clone(&shared.meters),
        }
    }
}

fn share(
    whole: &Config,
    lasting: Lasting,
    listeners: Vec<Arc<Listener>>,
    before: Option<&Shared>,
) -> Result<Shared, ConfigError> {
    let config = &whole.inbound;
    let relay = RelayPolicy::new(&config.relay_domains)
        .map_err(|(name, error)| ConfigError::bad("inbound.relay_domains", format!("holds `{name}`: {error}")))?;
    let hostname = resolve_host_name("inbound.hostname", config.hostname.as_deref())?;
    let Lasting { endpoints, accounts, pressure, budget, ids, meters } = lasting;
    Ok(Shared {
        listeners,
        relay: relay.with_postmaster(&hostname, config.postmaster.as_deref()),
        helo_own_name: config.helo_own_name,
        tls: tls(config, before.and_then(|before| before.tls.as_ref()))?,
        accounts,
        tokens: tokens(config, before.and_then(|before| before.tokens.as_ref()))?,
        recipients: Arc::new(Recipients::new(config, &hostname, before.map(|before| &*before.recipients))?),
        reports: Arc::new(Reports::new(whole)?),
        suppression: Arc::new(suppression(&whole.suppression, before)),
        limits: before.map_or_else(|| Limits::new(config), |before| before.limits.renewed(config)),
        tenants: tenants(config),
        pressure,
        budget,
        ids,
        submitter: Submitter { endpoints, timeout: config.submit_timeout, meters: Arc::clone(&meters) },
        meters,
        max_hops: usize::try_from(config.max_received_hops).unwrap_or(usize::MAX),
        patience: config.submit_timeout,
        drain_timeout: config.drain_timeout,
        user_recheck: config.user_recheck,
        etrn_networks: config.etrn_networks.clone(),
        proxies: TrustedProxies {
            xclient: config.xclient_networks.clone(),
            xforward: config.xforward_networks.clone(),
        },
        hostname,
    })
}

/// What lists have answered is remembered on.
fn suppression(config: &SuppressionConfig, before: Option<&Shared>) -> Suppression {
    before.map_or_else(|| Suppression::new(config), |before| before.suppression.renewed(config))
}

/// With the same files it is the same, which keeps sessions resumable; they are read again all the same.
fn tls(config: &InboundConfig, before: Option<&Arc<ServerTls>>) -> Result<Option<Arc<ServerTls>>, ConfigError> {
    let pairs = config.certificates().into_iter();
    let files: Vec<_> = pairs.map(|(certificate, key)| CertificateFiles { certificate, key }).collect();
    match before.filter(|tls| config.tls_client_ca.is_none() && tls.is_made_of(&files)) {
        // What was wrong with them was found by the check; a moment later their keeper says so.
        Some(tls) if tls.reload().is_ok() => Ok(Some(Arc::clone(tls))),
        _ => ServerTls::configured(config),
    }
}

/// With the same settings it is the same, which keeps the keys that were fetched.
fn tokens(config: &InboundConfig, before: Option<&Arc<TokenJudge>>) -> Result<Option<Arc<TokenJudge>>, ConfigError> {
    let Some(oauth) = &config.oauth else { return Ok(None) };
    match before.filter(|tokens| tokens.is_for(oauth)) {
        Some(tokens) => Ok(Some(Arc::clone(tokens))),
        None => TokenJudge::new(oauth.clone()).map(Some),
    }
}
