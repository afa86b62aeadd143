//! What all sessions of the process have in common. Not responsible for any of it.

use std::sync::Arc;
use std::time::Duration;

use mailtier_smtp::ServerConfig;
use mailtier_telemetry::Meters;
use mailtier_tls::ServerTls;

use crate::budget::Budget;
use crate::ids::Ids;
use crate::policy::RelayPolicy;
use crate::submit::Submitter;

/// Built once at the start.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) smtp: Arc<ServerConfig>,
    pub(crate) tls: Option<Arc<ServerTls>>,
    pub(crate) policy: RelayPolicy,
    pub(crate) budget: Arc<Budget>,
    pub(crate) ids: Arc<Ids>,
    pub(crate) submitter: Submitter,
    pub(crate) meters: Arc<Meters>,
    /// Received fields a message may have.
    pub(crate) max_hops: usize,
    /// How long the queue may be away before new sessions are shed.
    pub(crate) patience: Duration,
}
