//! What keeps the tables in shape: partitions of history made ahead and dropped when old, bodies that no delivery
//! needs, failed logins that count no more, rules, suppressions and policies of MTA-STS whose time is over, days of warm-ups and
//! counters of TLS reports that are long past.
//! Every replica does it; doing it twice does no harm. The same loop counts what only the tables know, for metrics.

mod census;

use std::sync::Arc;
use std::time::{Duration, Instant};

use mailtier_store::{Store, StoreError};
use mailtier_telemetry::Meters;
use mailtier_types::ReplicaId;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::database::Connector;

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(600);
/// How often it is counted what is in the tables, and looked how many connections there are.
const CENSUS_EVERY: Duration = Duration::from_secs(15);
/// Partitions made ahead, in days: so long may nobody be there to make more.
const PARTITIONS_AHEAD: u16 = 7;
/// How long it is kept what egress pools have let out on a day, for operators who look.
const POOL_DAYS_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long what sessions came to is kept: its report is due on the next day, and tried for another.
const TLS_COUNTED_FOR: Duration = Duration::from_secs(5 * 24 * 3600);
/// An upload is taken for given up when it is this old: the slowest client may take hours for a large message.
const ORPHAN_AGE: Duration = Duration::from_secs(24 * 3600);

/// The loop.
#[derive(Debug)]
pub(crate) struct Sweeper {
    /// This replica.
    pub(crate) me: ReplicaId,
    /// The database.
    pub(crate) store: Store,
    /// How long history is kept.
    pub(crate) retention: Duration,
    /// How long failed logins count.
    pub(crate) login_window: Duration,
    /// Metrics.
    pub(crate) meters: Arc<Meters>,
    /// When to end.
    pub(crate) shutdown: CancellationToken,
}

impl Sweeper {
    /// Runs until the shutdown.
    pub(crate) async fn run(self) {
        let mut connector = Connector::new(self.store.clone(), Arc::clone(&self.meters), "maintenance");
        let mut next_round = Instant::now();
        while !self.shutdown.is_cancelled() {
            match self.beat(&mut connector, &mut next_round).await {
                Ok(()) => connector.recovered(),
                Err(error) => {
                    connector.trouble(&error).await;
                    continue;
                }
            }
            let _ = tokio::time::timeout(CENSUS_EVERY, self.shutdown.cancelled()).await;
        }
    }

    async fn beat(&self, connector: &mut Connector, next_round: &mut Instant) -> Result<(), StoreError> {
        census::tell_usage(&self.store, &self.meters);
        let counted = connector.session().await?.census(self.me).await?;
        census::tell(counted, &self.meters, clock::now());
        if Instant::now() >= *next_round {
            self.round(connector).await?;
            *next_round = Instant::now() + ROUND;
        }
        Ok(())
    }

    async fn round(&self, connector: &mut Connector) -> Result<(), StoreError> {
        let now = clock::now();
        let made = connector.session().await?.ensure_event_partitions(now, PARTITIONS_AHEAD).await?;
        let swept = connector.session().await?.sweep_orphan_bodies(now.before(ORPHAN_AGE)).await?;
        connector.session().await?.forget_login_failures(now.before(self.login_window)).await?;
        connector.session().await?.sweep_rules(now).await?;
        connector.session().await?.sweep_suppressions(now).await?;
        connector.session().await?.sweep_pool_days(now.before(POOL_DAYS_KEPT)).await?;
        connector.session().await?.sweep_tls(now.before(TLS_COUNTED_FOR), now).await?;
        connector.session().await?.sweep_sts_policies(now).await?;
        // Last, because a reader of old history may hold it up.
        let dropped = connector.session().await?.drop_event_partitions(now.before(self.retention)).await?;
        if !made.is_empty() || !dropped.is_empty() || swept > 0 {
            tracing::info!(?made, ?dropped, orphan_chunks = swept, "tables maintained");
        }
        Ok(())
    }
}
