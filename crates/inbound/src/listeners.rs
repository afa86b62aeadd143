//! The listeners as configured: what each offers to whom. Not responsible for accepting connections.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use mailtier_config::{
    ConfigError, ContentLines, InboundConfig, ListenerConfig, ListenerProtocol, ListenerTls, LoginPolicy, MessageClass,
    NetworkConfig, resolve_host_name,
};
use mailtier_smtp::{Extension, LinePolicy, Protocol, SaslOffer, ServerConfig};
use mailtier_types::{SaslMechanism, TenantId};

use crate::limits::ClientLimits;

/// The listener of `inbound.listen`.
const DEFAULT_NAME: &str = "smtp";

/// One listener.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) name: String,
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) protocol: ListenerProtocol,
    pub(crate) tls: ListenerTls,
    /// Who puts PROXY headers before connections; nobody else is served then.
    pub(crate) proxies: Vec<IpNet>,
    /// Whose clients may send to anyone.
    trusted: Vec<IpNet>,
    /// For clients of networks with settings of their own, the smallest network first.
    networks: Vec<(IpNet, Arc<Settings>)>,
    settings: Arc<Settings>,
}

/// What holds for a client of a listener.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) smtp: Arc<ServerConfig>,
    /// The client is refused, with this text.
    pub(crate) refuse: Option<String>,
    pub(crate) tenant: TenantId,
    pub(crate) class: Option<MessageClass>,
    pub(crate) greeting_delay: Duration,
    pub(crate) limits: ClientLimits,
}

impl Listener {
    /// All of them, the one of `inbound.listen` first.
    ///
    /// # Errors
    /// The host name is not known.
    pub(crate) fn all(config: &InboundConfig) -> Result<Vec<Arc<Self>>, ConfigError> {
        let hostname = resolve_host_name("inbound.hostname", config.hostname.as_deref())?;
        let default = ListenerConfig {
            name: DEFAULT_NAME.to_owned(),
            listen: config.listen.clone(),
            ..ListenerConfig::default()
        };
        let configured = std::iter::once(&default).chain(&config.listeners);
        let listeners = configured.filter(|listener| !listener.listen.is_empty());
        Ok(listeners.map(|listener| Arc::new(Self::new(config, listener, &hostname))).collect())
    }

    fn new(config: &InboundConfig, listener: &ListenerConfig, hostname: &str) -> Self {
        let smtp = engine(config, listener, hostname);
        let settings = Settings {
            refuse: None,
            tenant: TenantId::default(),
            class: listener.class,
            greeting_delay: listener.greeting_delay.unwrap_or(config.greeting_delay),
            limits: ClientLimits {
                sessions: config.client_sessions,
                messages_per_minute: config.client_messages_per_minute,
            },
            smtp: Arc::new(smtp),
        };
        let with = |network: &NetworkConfig| Arc::new(settings.with(network));
        let mut networks: Vec<(IpNet, Arc<Settings>)> = config
            .networks
            .iter()
            .map(|network| (network, with(network)))
            .flat_map(|(network, settings)| network.networks.iter().map(move |one| (*one, Arc::clone(&settings))))
            .collect();
        networks.sort_by_key(|(network, _)| std::cmp::Reverse(network.prefix_len()));
        Self {
            name: listener.name.clone(),
            addresses: listener.listen.clone(),
            protocol: listener.protocol,
            tls: listener.tls,
            proxies: listener.proxy_networks.clone(),
            trusted: listener.relay_networks.clone().unwrap_or_else(|| config.relay_networks.clone()),
            networks,
            settings: Arc::new(settings),
        }
    }

    /// What holds for this client.
    pub(crate) fn settings(&self, client: IpAddr) -> Arc<Settings> {
        let client = client.to_canonical();
        let own = self.networks.iter().find(|(network, _)| network.contains(&client));
        Arc::clone(own.map_or(&self.settings, |(_, settings)| settings))
    }

    /// Whether the client may send to any recipient. An IPv4 address within IPv6 counts as what it is.
    pub(crate) fn trusts(&self, client: IpAddr) -> bool {
        holds(&self.trusted, client)
    }

    /// Whether this is a submission service: logins, own senders, completed messages (RFC 6409).
    pub(crate) fn is_submission(&self) -> bool {
        self.protocol == ListenerProtocol::Submission
    }
}

/// Whether some network holds the client.
pub(crate) fn holds(networks: &[IpNet], client: IpAddr) -> bool {
    let client = client.to_canonical();
    networks.iter().any(|network| network.contains(&client))
}

impl Settings {
    fn with(&self, network: &NetworkConfig) -> Self {
        let mut smtp = ServerConfig::clone(&self.smtp);
        smtp.max_message_bytes = network.max_message_size.map_or(smtp.max_message_bytes, |size| size.as_u64());
        smtp.max_recipients = network.max_recipients.unwrap_or(smtp.max_recipients);
        Self {
            smtp: Arc::new(smtp),
            refuse: network.refuse.clone(),
            tenant: network.tenant.map_or(self.tenant, TenantId),
            class: network.class.or(self.class),
            greeting_delay: network.greeting_delay.unwrap_or(self.greeting_delay),
            limits: ClientLimits {
                sessions: network.client_sessions.unwrap_or(self.limits.sessions),
                messages_per_minute: network.client_messages_per_minute.unwrap_or(self.limits.messages_per_minute),
            },
        }
    }
}

/// What the engine is told.
fn engine(config: &InboundConfig, listener: &ListenerConfig, hostname: &str) -> ServerConfig {
    let mut smtp = ServerConfig::new(hostname);
    let is_submission = listener.protocol == ListenerProtocol::Submission;
    smtp.protocol = if listener.protocol == ListenerProtocol::Lmtp { Protocol::Lmtp } else { Protocol::Smtp };
    smtp.max_message_bytes = listener.max_message_size.unwrap_or(config.max_message_size).as_u64();
    smtp.max_recipients = listener.max_recipients.unwrap_or(config.max_recipients);
    smtp.max_transactions = config.max_transactions;
    smtp.starttls =
        config.tls_certificate.is_some() && matches!(listener.tls, ListenerTls::Offered | ListenerTls::Required);
    smtp.tls_required = listener.tls == ListenerTls::Required;
    smtp.sasl = sasl(config, listener);
    let hold = if is_submission { config.max_hold.as_secs() } else { 0 };
    smtp.max_hold_seconds = u32::try_from(hold).unwrap_or(u32::MAX);
    smtp.lines = match listener.lines.unwrap_or(config.lines) {
        ContentLines::Strict => LinePolicy::Strict,
        ContentLines::Normalize => LinePolicy::Normalize,
    };
    smtp.strict_hello = !is_submission;
    smtp.limits.errors = config.max_errors;
    smtp.timeouts.command = config.command_timeout;
    smtp.timeouts.content = config.command_timeout;
    let offered = [
        (Extension::Vrfy, config.vrfy),
        (Extension::Expn, config.expn),
        (Extension::Etrn, !config.etrn_networks.is_empty()),
    ];
    for (extension, _) in offered.iter().filter(|(_, is_offered)| *is_offered) {
        smtp.extensions = smtp.extensions.with(*extension);
    }
    for extension in config.discard_ehlo_keywords.iter().filter_map(|keyword| Extension::from_keyword(keyword)) {
        smtp.extensions = smtp.extensions.without(extension);
    }
    smtp
}

fn sasl(config: &InboundConfig, listener: &ListenerConfig) -> Option<SaslOffer> {
    let policy = listener.login_policy();
    // Names that are none were refused with the configuration.
    let mechanisms = config.sasl_mechanisms.iter().filter_map(|name| name.parse().ok()).collect::<Vec<SaslMechanism>>();
    (policy != LoginPolicy::Off).then_some(SaslOffer {
        mechanisms,
        in_clear: config.sasl_in_clear,
        required: policy == LoginPolicy::Required,
    })
}

/// Tenants' limits by their number.
pub(crate) fn tenants(config: &InboundConfig) -> HashMap<TenantId, mailtier_config::TenantConfig> {
    config.tenants.iter().map(|tenant| (TenantId(tenant.id), tenant.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_extension_can_be_discarded_by_its_keyword() {
        assert_eq!(Extension::ALL.map(Extension::keyword), mailtier_config::EHLO_KEYWORDS);
    }
}
