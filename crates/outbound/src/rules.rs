//! What attempts keep to of the configuration: routes, egress pools, how connections are opened and how long they are kept.
//! An attempt keeps to the rules it began with. Not responsible for replacing them (`worker`).

use std::sync::Arc;
use std::time::Duration;

use mailtier_config::{
    Config, ConfigError, DEFAULT_POOL, EgressPoolConfig, OutboundConfig, Transcripts, resolve_host_name,
};
use mailtier_telemetry::Meters;
use mailtier_tls::{ClientTls, Verifier};

use crate::attempt::open::Opener;
use crate::connections::ConnectionLimits;
use crate::egress::EgressPools;
use crate::routes::Routes;
use crate::start::StartError;
use crate::tls_reports::SessionCounter;

/// See the module.
#[derive(Debug)]
pub(crate) struct Rules {
    /// Connections made under other rules are not used again.
    pub(crate) generation: u64,
    pub(crate) egress: EgressPools,
    pub(crate) routes: Routes,
    pub(crate) opener: Opener,
    pub(crate) connections: ConnectionLimits,
    pub(crate) transcripts: Transcripts,
    /// Content is converted for remotes that do not take it as it is.
    pub(crate) converts: bool,
    /// Where sessions are counted for reports of TLS, while there are any; these are posted then.
    pub(crate) sessions: Option<Arc<SessionCounter>>,
    /// How long what is in hand may take at the end.
    pub(crate) drain_timeout: Duration,
}

impl Rules {
    /// The first.
    ///
    /// # Errors
    /// A value, or a file that one names, cannot be used.
    pub(crate) fn new(
        config: &Config,
        sessions: &Arc<SessionCounter>,
        meters: Arc<Meters>,
    ) -> Result<Self, StartError> {
        let sessions = counted(config, sessions);
        let opener = Opener::new(
            config.outbound.connect_timeout,
            ClientTls::new()?,
            verifier(&config.outbound)?,
            sessions.clone(),
            meters,
        );
        Self::with(config, 0, (opener, sessions))
    }

    /// Those of another configuration. The egress pools are the same, for the queue was told which there are: one that the
    /// configuration has no more stays as `begun` has it.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(crate) fn renewed(
        &self,
        config: &Config,
        begun: &Config,
        sessions: &Arc<SessionCounter>,
    ) -> Result<Self, StartError> {
        let mut config = config.clone();
        if config.outbound.pools != begun.outbound.pools {
            let has = |name: &str| config.outbound.pools.iter().any(|pool| pool.name == name);
            let missing: Vec<_> = served(begun).into_iter().filter(|pool| !has(&pool.name)).collect();
            config.outbound.pools.extend(missing);
        }
        // The directory keeps to it, and both must.
        config.outbound.allow_private_addresses = begun.outbound.allow_private_addresses;
        let sessions = counted(&config, sessions);
        let opener = self.opener.renewed(config.outbound.connect_timeout, sessions.clone());
        Self::with(&config, self.generation.wrapping_add(1), (opener, sessions))
    }

    fn with(
        config: &Config,
        generation: u64,
        (opener, sessions): (Opener, Option<Arc<SessionCounter>>),
    ) -> Result<Self, StartError> {
        let outbound = &config.outbound;
        let ehlo_name = resolve_host_name("outbound.ehlo_name", outbound.ehlo_name.as_deref())?;
        Ok(Self {
            generation,
            egress: EgressPools::new(config, &ehlo_name, &config.route_policy(&ehlo_name)?)?,
            routes: Routes::new(outbound)?,
            opener,
            connections: ConnectionLimits {
                connections: outbound.max_connections,
                idle_per_key: outbound.idle_connections,
                idle_timeout: outbound.idle_timeout,
                deliveries: outbound.deliveries_per_connection,
            },
            transcripts: outbound.transcripts,
            converts: outbound.mime_conversion,
            sessions,
            drain_timeout: outbound.drain_timeout,
        })
    }
}

/// Where sessions are counted, if they are.
fn counted(config: &Config, sessions: &Arc<SessionCounter>) -> Option<Arc<SessionCounter>> {
    config.tls_reports.is_used().then(|| Arc::clone(sessions))
}

/// The pools of a configuration: `default` where none is named.
fn served(config: &Config) -> Vec<EgressPoolConfig> {
    let default = || EgressPoolConfig { name: DEFAULT_POOL.to_owned(), ..EgressPoolConfig::default() };
    let named = &config.outbound.pools;
    if named.is_empty() { vec![default()] } else { named.clone() }
}

/// Whom this worker trusts. Without anyone mail still flows, but not to hosts that have to prove who they are.
fn verifier(outbound: &OutboundConfig) -> Result<Verifier, ConfigError> {
    let Some(path) = &outbound.trusted_roots else {
        let verifier = Verifier::system();
        if let Some(reasons) = verifier.lacks_roots() {
            tracing::warn!(reasons, "no certificate of a remote host can be verified: there are no trusted roots");
        }
        return Ok(verifier);
    };
    Verifier::from_file(path)
        .map_err(|error| ConfigError::bad("outbound.trusted_roots", format!("cannot be used: {error}")))
}
