//! What all sessions of the process have in common. Not responsible for any of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mailtier_config::{HeloOwnName, TenantConfig};
use mailtier_telemetry::Meters;
use mailtier_tls::ServerTls;
use mailtier_types::TenantId;

use crate::accounts::Accounts;
use crate::budget::Budget;
use crate::ids::Ids;
use crate::limits::Limits;
use crate::oauth::TokenJudge;
use crate::policy::relay::RelayPolicy;
use crate::pressure::Pressure;
use crate::recipients::Recipients;
use crate::submit::Submitter;

/// Built once at the start.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) hostname: String,
    pub(crate) tls: Option<Arc<ServerTls>>,
    pub(crate) relay: RelayPolicy,
    /// What is done about clients that go by our own name.
    pub(crate) helo_own_name: HeloOwnName,
    pub(crate) accounts: Accounts,
    /// Judges tokens, where those are taken.
    pub(crate) tokens: Option<Arc<TokenJudge>>,
    pub(crate) recipients: Arc<Recipients>,
    pub(crate) limits: Limits,
    pub(crate) tenants: HashMap<TenantId, TenantConfig>,
    pub(crate) pressure: Pressure,
    pub(crate) budget: Arc<Budget>,
    pub(crate) ids: Arc<Ids>,
    pub(crate) submitter: Submitter,
    pub(crate) meters: Arc<Meters>,
    /// Received fields a message may have.
    pub(crate) max_hops: usize,
    /// How long the queue may be away before new sessions are shed.
    pub(crate) patience: Duration,
    /// How long what is known of a user counts.
    pub(crate) user_recheck: Duration,
    /// Who may say ETRN.
    pub(crate) etrn_networks: Vec<ipnet::IpNet>,
    /// Who may say XCLIENT and XFORWARD.
    pub(crate) proxies: TrustedProxies,
}

/// Whose word about others is taken.
#[derive(Debug)]
pub(crate) struct TrustedProxies {
    pub(crate) xclient: Vec<ipnet::IpNet>,
    pub(crate) xforward: Vec<ipnet::IpNet>,
}
