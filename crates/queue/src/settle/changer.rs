//! Carries out what operators order: a batch of deliveries a transaction, with its events and notifications, and tells
//! their owners. It has a session of its caller's, so that no order, however large, keeps results waiting. Not
//! responsible for which deliveries are meant.

use std::sync::Arc;

use mailtier_api::peer::{Hint, News};
use mailtier_store::{Session, StoreError, StoredDelivery};
use mailtier_telemetry::Meters;
use mailtier_types::{DeliveryId, TenantId};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::orders::{Order, hint};
use super::settler::{Settling, Unnumbered, conclude, settle_decided};
use super::{Report, What};
use crate::conductor::{Command, Conductor};
use crate::ids::Ids;

/// Changes deliveries.
#[derive(Debug, Clone)]
pub(crate) struct Changer {
    /// Settings.
    pub(crate) policy: Settling,
    /// For notifications.
    pub(crate) ids: Arc<Ids>,
    /// Told of what it owns.
    pub(crate) conductor: Conductor,
    /// To the other owners.
    pub(crate) hints: mpsc::Sender<Vec<Hint>>,
    /// Metrics.
    pub(crate) meters: Arc<Meters>,
}

impl Changer {
    /// Changes deliveries, all of them or none. Those that are over, and those of which nothing would be changed, are
    /// left out; it says how many were changed. What is in flight stays there: its result counts as far as the state
    /// that its delivery is in then lets it.
    ///
    /// # Errors
    /// Nothing is changed, or that is not known; to order it again does no harm.
    pub(crate) async fn change(
        &self,
        session: &mut Session,
        deliveries: &[DeliveryId],
        order: &Arc<Order>,
    ) -> Result<u64, StoreError> {
        let report = |delivery: &DeliveryId| Report {
            delivery: *delivery,
            attempt: 0,
            tenant: TenantId::default(),
            what: What::Ordered(Arc::clone(order)),
            worker: None,
            content: None,
        };
        let reports: Vec<Report> = deliveries.iter().map(report).collect();
        let started = Instant::now();
        let policy = self.policy.now();
        let mut planned = settle_decided(session, &reports, &policy, &self.ids, Unnumbered::AreRefused).await?;
        let hints = std::mem::take(&mut planned.hints);
        let told = (&self.conductor, &*policy, self.meters.as_ref());
        conclude(told, reports.len(), planned, started);
        let changed = hints.len() as u64;
        self.tell(hints).await;
        Ok(changed)
    }

    /// Tells the owners of these deliveries that their destinations are said to answer again: they try at once.
    pub(crate) async fn try_at_once(&self, deliveries: &[StoredDelivery]) {
        let mut hints: Vec<Hint> =
            deliveries.iter().map(|stored| hint(stored, stored.expires_at, News::Answers)).collect();
        hints.sort_unstable_by(|one, other| one.destination.cmp(&other.destination));
        hints.dedup_by(|one, other| one.destination == other.destination);
        self.tell(hints).await;
    }

    /// Each takes what is its own.
    async fn tell(&self, hints: Vec<Hint>) {
        if !hints.is_empty() {
            self.conductor.send(Command::Hinted(hints.clone()));
            let _ = self.hints.send(hints).await;
        }
    }
}
