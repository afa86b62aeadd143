//! One `mailtier.toml` for all programs: a section for each, every key with a default, every key overridable by
//! `MAILTIER__SECTION__KEY`.
//!
//! Responsible for reading, for saying clearly what is wrong (the key, the nearest valid name, how to mend it), for
//! secrets from files and for the reference in docs/configuration.md. Not responsible for acting on any value.

mod address_files;
mod bounds;
mod changes;
mod check;
mod check_cluster;
mod check_egress;
mod check_inbound;
mod check_listeners;
mod check_outbound;
mod check_pools;
mod check_queue;
mod check_recipients;
mod check_routes;
mod environment;
mod error;
mod feedback;
mod inbound;
mod keys;
mod load;
mod networks;
mod pools;
mod rate;
mod reading;
mod reference;
mod routes;
mod secret;
mod section;
mod sections;
mod shaping;
mod telemetry;
mod tls_reports;
mod words;

pub use address_files::{AddressFile, AddressTable};
pub use changes::Change;
pub use check::{resolve_host_name, system_name};
pub use check_cluster::ClusterCertificate;
pub use check_egress::{ClientCertificate, PoolProxy};
pub use check_inbound::EHLO_KEYWORDS;
pub use check_recipients::domain_pattern;
pub use check_routes::{RouteHook, RouteLogin};
pub use error::ConfigError;
pub use feedback::{FeedbackConfig, ReturnPathSettings, SuppressionConfig, SuppressionMode, SuppressionTenantConfig};
pub use inbound::{
    CallAheadConfig, ContentLines, HeloOwnName, InboundConfig, ListenerConfig, ListenerProtocol, ListenerTls,
    LoginPolicy, MessageClass, NetworkConfig, OauthConfig, TenantConfig,
};
pub use pools::{
    DEFAULT_POOL, DayConfig, EgressPoolConfig, EgressProxyConfig, PoolAddressConfig, PoolConfig, PoolRuleConfig,
    ProxyProtocol, WarmUpConfig,
};
pub use rate::{InvalidRate, RateConfig};
pub use reading::{NamedFile, Reading};
pub use reference::reference_markdown;
pub use routes::{IMPLICIT_TLS_PORT, RouteConfig, RouteVia};
pub use secret::Secret;
pub use section::Key;
pub use sections::{
    ClusterConfig, DatabaseConfig, Dnssec, IpPreference, LogFormat, OutboundConfig, QueueConfig, TelemetryConfig,
    TlsPolicy, Transcripts,
};
pub use shaping::{
    DestinationConfig, ProviderConfig, RetryClass, RetryConfig, SiteConfig, TenantLimitConfig, Unanswered,
};
pub use tls_reports::{TlsReportSettings, TlsReportsConfig};
pub use words::expected;

/// The whole configuration.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What the programs share.
    pub cluster: ClusterConfig,
    /// PostgreSQL.
    pub database: DatabaseConfig,
    /// mailtier-inbound.
    pub inbound: InboundConfig,
    /// mailtier-queue.
    pub queue: QueueConfig,
    /// mailtier-outbound.
    pub outbound: OutboundConfig,
    /// What comes back.
    pub feedback: FeedbackConfig,
    /// Who is not sent to any more.
    pub suppression: SuppressionConfig,
    /// Reports of TLS to other domains.
    pub tls_reports: TlsReportsConfig,
    /// Logs, traces and metrics.
    pub telemetry: TelemetryConfig,
}

impl Config {
    /// The keys of each section, in the order of the reference.
    pub const SECTIONS: &'static [(&'static str, &'static [&'static str], &'static [Key])] = &[
        ("cluster", ClusterConfig::ABOUT, ClusterConfig::KEYS),
        ("database", DatabaseConfig::ABOUT, DatabaseConfig::KEYS),
        ("inbound", InboundConfig::ABOUT, InboundConfig::KEYS),
        ("queue", QueueConfig::ABOUT, QueueConfig::KEYS),
        ("outbound", OutboundConfig::ABOUT, OutboundConfig::KEYS),
        ("feedback", FeedbackConfig::ABOUT, FeedbackConfig::KEYS),
        ("suppression", SuppressionConfig::ABOUT, SuppressionConfig::KEYS),
        ("tls_reports", TlsReportsConfig::ABOUT, TlsReportsConfig::KEYS),
        ("telemetry", TelemetryConfig::ABOUT, TelemetryConfig::KEYS),
    ];

    /// The tables within sections, each as many times as wanted but for `oauth`, `warm_up` and `proxy`.
    pub const TABLES: &'static [(&'static str, &'static [&'static str], &'static [Key])] = &[
        ("[[inbound.listeners]]", ListenerConfig::ABOUT, ListenerConfig::KEYS),
        ("[[inbound.networks]]", NetworkConfig::ABOUT, NetworkConfig::KEYS),
        ("[[inbound.tenants]]", TenantConfig::ABOUT, TenantConfig::KEYS),
        ("[[inbound.call_ahead]]", CallAheadConfig::ABOUT, CallAheadConfig::KEYS),
        ("[inbound.oauth]", OauthConfig::ABOUT, OauthConfig::KEYS),
        ("[[queue.destinations]]", DestinationConfig::ABOUT, DestinationConfig::KEYS),
        ("[[queue.retries]]", RetryConfig::ABOUT, RetryConfig::KEYS),
        ("[[queue.providers]]", ProviderConfig::ABOUT, ProviderConfig::KEYS),
        ("[[queue.sites]]", SiteConfig::ABOUT, SiteConfig::KEYS),
        ("[[queue.tenants]]", TenantLimitConfig::ABOUT, TenantLimitConfig::KEYS),
        ("[[queue.pools]]", PoolConfig::ABOUT, PoolConfig::KEYS),
        ("[queue.pools.warm_up]", WarmUpConfig::ABOUT, WarmUpConfig::KEYS),
        ("[[queue.pool_rules]]", PoolRuleConfig::ABOUT, PoolRuleConfig::KEYS),
        ("[[outbound.pools]]", EgressPoolConfig::ABOUT, EgressPoolConfig::KEYS),
        ("[[outbound.pools.addresses]]", PoolAddressConfig::ABOUT, PoolAddressConfig::KEYS),
        ("[outbound.pools.proxy]", EgressProxyConfig::ABOUT, EgressProxyConfig::KEYS),
        ("[[outbound.routes]]", RouteConfig::ABOUT, RouteConfig::KEYS),
        ("[[suppression.tenants]]", SuppressionTenantConfig::ABOUT, SuppressionTenantConfig::KEYS),
    ];
}
