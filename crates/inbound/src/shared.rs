//! What all sessions of the process have in common. Not responsible for any of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use mailtier_config::{HeloOwnName, TenantConfig};
use mailtier_smtp::{Extension, Extensions};
use mailtier_telemetry::Meters;
use mailtier_tls::ServerTls;
use mailtier_types::TenantId;

use crate::accounts::Accounts;
use crate::budget::Budget;
use crate::ids::Ids;
use crate::limits::Limits;
use crate::listeners::{Listener, holds};
use crate::oauth::TokenJudge;
use crate::peer::Peer;
use crate::policy::relay::RelayPolicy;
use crate::pressure::Pressure;
use crate::recipients::Recipients;
use crate::reports::Reports;
use crate::submit::Submitter;
use crate::suppression::Suppression;

/// What is counted and remembered in it is the same for all; the rest is as the configuration was when a session began.
#[derive(Debug)]
pub(crate) struct Shared {
    /// In the order in which they are bound.
    pub(crate) listeners: Vec<Arc<Listener>>,
    pub(crate) hostname: String,
    pub(crate) tls: Option<Arc<ServerTls>>,
    pub(crate) relay: RelayPolicy,
    /// What is done about clients that go by our own name.
    pub(crate) helo_own_name: HeloOwnName,
    pub(crate) accounts: Arc<Accounts>,
    /// Judges tokens, where those are taken.
    pub(crate) tokens: Option<Arc<TokenJudge>>,
    pub(crate) recipients: Arc<Recipients>,
    pub(crate) reports: Arc<Reports>,
    pub(crate) suppression: Arc<Suppression>,
    pub(crate) limits: Limits,
    pub(crate) tenants: HashMap<TenantId, TenantConfig>,
    pub(crate) pressure: Arc<Pressure>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) ids: Arc<Ids>,
    pub(crate) submitter: Submitter,
    pub(crate) meters: Arc<Meters>,
    /// Received fields a message may have.
    pub(crate) max_hops: usize,
    /// How long the queue may be away before new sessions are shed.
    pub(crate) patience: Duration,
    /// After a signal, how long sessions may take to finish.
    pub(crate) drain_timeout: Duration,
    /// How long what is known of a user counts.
    pub(crate) user_recheck: Duration,
    /// Who may say ETRN.
    pub(crate) etrn_networks: Vec<IpNet>,
    /// Who may say XCLIENT and XFORWARD.
    pub(crate) proxies: TrustedProxies,
}

impl Shared {
    /// Whether the client may say ETRN.
    pub(crate) fn may_start_queue(&self, peer: &Peer) -> bool {
        peer.is_named && holds(&self.etrn_networks, peer.address.ip())
    }

    /// Of the extensions that are not for everyone, those that are for this client.
    pub(crate) fn permitted(&self, peer: &Peer) -> Extensions {
        let is_of = |networks: &[IpNet]| peer.is_named && holds(networks, peer.address.ip());
        let all = [
            (Extension::XClient, is_of(&self.proxies.xclient)),
            (Extension::XForward, is_of(&self.proxies.xforward)),
            (Extension::Etrn, self.may_start_queue(peer)),
            (Extension::Vrfy, peer.is_ours()),
            (Extension::Expn, peer.is_ours()),
        ];
        all.into_iter().filter_map(|(extension, is_permitted)| is_permitted.then_some(extension)).collect()
    }
}

/// Whose word about others is taken.
#[derive(Debug)]
pub(crate) struct TrustedProxies {
    pub(crate) xclient: Vec<IpNet>,
    pub(crate) xforward: Vec<IpNet>,
}
