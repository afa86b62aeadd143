//! Settlement, the slow path: whatever is not "all delivered" is decided while the deliveries are locked, and written in
//! one transaction with its events and notifications. Not responsible for deciding.

use bytes::Bytes;
use mailtier_crashpoint::{Point, reach, reach_waiting};
use mailtier_types::{DeliveryId, MessageId};

use crate::columns::{bind_events, bind_finished, bind_retries};
use crate::error::StoreError;
use crate::model::{Hold, NewMessage, Reroute, SettlePlan, StoredDelivery};
use crate::session::{Session, Transaction};
use crate::sql;
use crate::wire::{Columns as _, Time, stored_delivery};

/// Bits of `delivery.flags`: it is held; a route has held it, and holds it no more once it is released.
const FLAG_HELD: i16 = 1;
const FLAG_WAS_HELD_BY_ROUTE: i16 = 8;

/// A settlement under way. Dropped without [`commit`](Self::commit) or [`rollback`](Self::rollback) it comes to nothing,
/// and its session is spent.
#[derive(Debug)]
pub struct SettleTx<'a> {
    transaction: Transaction<'a>,
}

impl Session {
    /// Begins a settlement.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub async fn begin_settle(&mut self) -> Result<SettleTx<'_>, StoreError> {
        Ok(SettleTx { transaction: self.begin().await? })
    }
}

impl SettleTx<'_> {
    /// Locks deliveries against every other settlement until this one ends, and reads them as they are now. Those that
    /// are over are missing: who finds one here is the only one to end it.
    ///
    /// # Errors
    /// They cannot be locked; the settlement is over.
    pub async fn lock(&mut self, deliveries: &[DeliveryId]) -> Result<Vec<StoredDelivery>, StoreError> {
        let session = self.transaction.session();
        let rows = session.write(sqlx::query(sql::LOCK_DELIVERIES).bind(numbers(deliveries))).await?;
        let locked: Vec<DeliveryId> = rows.iter().map(|row| row.delivery_id("id")).collect::<Result<_, _>>()?;
        // None is left out: who finds one missing takes it for over.
        session.fetch_rows(&locked).await?.iter().map(stored_delivery).collect()
    }

    /// The first chunk of a body; nothing where it is gone.
    ///
    /// # Errors
    /// It cannot be read; the settlement is over.
    pub async fn first_chunk(&mut self, message: MessageId) -> Result<Option<Bytes>, StoreError> {
        self.transaction.session().body_chunk(message, 0).await
    }

    /// Writes a plan about deliveries that were locked before. A retry replaces what is stored only when it counts more
    /// attempts, or as many with fewer recipients left: an older opinion never wins.
    ///
    /// # Errors
    /// The settlement is over.
    pub async fn apply(&mut self, plan: &SettlePlan) -> Result<(), StoreError> {
        let session = self.transaction.session();
        let statement = bind_finished(sqlx::query(sql::SETTLE), &plan.finished);
        let statement = bind_retries(bind_events(statement, &plan.events), &plan.retries);
        session.write(statement).await?;
        if !plan.told.is_empty() {
            let ids: Vec<i64> = plan.told.iter().map(|(delivery, _)| delivery.as_i64()).collect();
            let due: Vec<Time> = plan.told.iter().map(|(_, due)| Time(*due)).collect();
            session.write(sqlx::query(sql::TELL).bind(ids).bind(due).bind(Time(plan.at))).await?;
        }
        session.suppress(&plan.suppressions).await?;
        let dsns: Vec<&NewMessage> = plan.dsns.iter().collect();
        if !dsns.is_empty() {
            reach(Point::SettleWritten);
            session.insert(&dsns).await?;
            reach(Point::NotificationWritten);
        }
        self.apply_orders(plan).await
    }

    /// What an operator has ordered: each statement only where there is something to write.
    async fn apply_orders(&mut self, plan: &SettlePlan) -> Result<(), StoreError> {
        let session = self.transaction.session();
        if !plan.holds.is_empty() {
            let holds = || plan.holds.iter().map(|hold| &hold.held);
            let flags = |hold: &Hold| if hold.by_route { FLAG_HELD | FLAG_WAS_HELD_BY_ROUTE } else { FLAG_HELD };
            let statement = sqlx::query(sql::PUT_HELD)
                .bind(plan.holds.iter().map(|hold| hold.delivery.as_i64()).collect::<Vec<_>>())
                .bind(holds().map(|held| Time(held.since)).collect::<Vec<_>>())
                .bind(holds().map(|held| held.operator.as_str()).collect::<Vec<_>>())
                .bind(holds().map(|held| held.reason.as_str()).collect::<Vec<_>>())
                .bind(plan.holds.iter().map(flags).collect::<Vec<i16>>());
            session.write(statement).await?;
        }
        if !plan.releases.is_empty() {
            let statement = sqlx::query(sql::RELEASE_HELD)
                .bind(plan.releases.iter().map(|(id, _)| id.as_i64()).collect::<Vec<_>>())
                .bind(plan.releases.iter().map(|(_, expires_at)| Time(*expires_at)).collect::<Vec<_>>());
            session.write(statement).await?;
        }
        if let Some((deliveries, due)) = &plan.hastened {
            session.write(sqlx::query(sql::RETRY_NOW).bind(numbers(deliveries)).bind(Time(*due))).await?;
        }
        if let Some(Reroute { deliveries, hosts, due }) = &plan.reroute {
            let hosts = Some(hosts).filter(|hosts| !hosts.is_empty());
            let statement = sqlx::query(sql::REROUTE).bind(numbers(deliveries)).bind(Time(*due)).bind(hosts);
            session.write(statement).await?;
        }
        Ok(())
    }

    /// Makes it durable.
    ///
    /// # Errors
    /// Nothing is changed, or, with [`StoreError::Unknown`], that is not known: begin again with the same results. What
    /// was committed then is missing from what [`lock`](Self::lock) finds.
    pub async fn commit(self) -> Result<(), StoreError> {
        reach_waiting(Point::SettleSent, self.transaction.commit()).await
    }

    /// Gives it up and leaves the session usable.
    ///
    /// # Errors
    /// The connection is lost, and the settlement with it.
    pub async fn rollback(self) -> Result<(), StoreError> {
        self.transaction.rollback().await
    }
}

fn numbers(deliveries: &[DeliveryId]) -> Vec<i64> {
    deliveries.iter().map(|delivery| delivery.as_i64()).collect()
}
