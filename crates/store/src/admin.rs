//! What operators ask: pages, never counts. One statement looks at a bounded number of rows, so that no question of an
//! operator holds up vacuum or the hot path. Not responsible for who may ask.

use mailtier_types::{DeliveryId, MessageId, TenantId};

use crate::error::StoreError;
use crate::model::StoredDelivery;
use crate::session::Session;
use crate::sql;
use crate::wire::{Columns as _, found_of_page, readable, small, stored_delivery};

/// Which deliveries to list, as far as columns tell; what is absent matches all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryFilter {
    /// Exactly this tenant.
    pub tenant: Option<TenantId>,
    /// Exactly this destination.
    pub destination: Option<String>,
    /// Exactly this reverse-path, without angle brackets.
    pub sender: Option<String>,
    /// A reverse-path at this domain.
    pub sender_domain: Option<String>,
    /// A recipient still to be delivered.
    pub recipient: Option<String>,
    /// A recipient at this domain, still to be delivered.
    pub recipient_domain: Option<String>,
    /// Attempts that are over: so many or more.
    pub min_attempts: u16,
    /// Attempts that are over: so many or fewer.
    pub max_attempts: u16,
    /// Only those that are held, or only those that are not.
    pub held: Option<bool>,
}

impl Default for DeliveryFilter {
    fn default() -> Self {
        Self {
            tenant: None,
            destination: None,
            sender: None,
            sender_domain: None,
            recipient: None,
            recipient_domain: None,
            min_attempts: 0,
            max_attempts: u16::MAX,
            held: None,
        }
    }
}

/// Where a page is looked for, and how large it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageBounds {
    /// Ids above this one.
    pub after: i64,
    /// Ids below this one.
    pub before: i64,
    /// So many are looked at, at the most.
    pub rows: u32,
    /// So many are returned, at the most.
    pub limit: u32,
}

/// A page of deliveries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryPage {
    /// In the order of their ids. May be fewer than the limit, or none, although more follow.
    pub deliveries: Vec<StoredDelivery>,
    /// After which the next page begins; nothing at the end.
    pub next: Option<DeliveryId>,
    /// How many were looked at.
    pub looked_at: u64,
}

/// Recipients after which a page of a list ends: a delivery has up to 4096 of them.
const PAGE_RECIPIENTS: i64 = 20_000;

impl Session {
    /// A page of deliveries. Beyond its other bounds it ends with the delivery that brings its recipients to
    /// 20,000, so that it has a bounded size. A row that cannot be read is missing, with an error in the log.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn list(&mut self, filter: &DeliveryFilter, bounds: PageBounds) -> Result<DeliveryPage, StoreError> {
        let at = |domain: &Option<String>| domain.as_ref().map(|domain| format!("@{domain}"));
        let query = sqlx::query(sql::LIST)
            .bind(bounds.after)
            .bind(bounds.before)
            .bind(i64::from(bounds.rows))
            .bind(i64::from(bounds.limit))
            .bind(PAGE_RECIPIENTS)
            .bind(filter.tenant.map(|tenant| tenant.0))
            .bind(filter.destination.as_deref())
            .bind(filter.sender.as_deref())
            .bind(at(&filter.sender_domain))
            .bind(filter.recipient.as_deref())
            .bind(at(&filter.recipient_domain))
            .bind(small(filter.min_attempts))
            .bind(small(filter.max_attempts))
            .bind(filter.held);
        let page = found_of_page(self.read(query).await?)?;
        let deliveries = readable(&page.found, stored_delivery);
        let recipients: usize = deliveries.iter().map(|delivery| delivery.recipients.len()).sum();
        let is_cut = page.found.len() >= usize::try_from(bounds.limit).unwrap_or(usize::MAX)
            || i64::try_from(recipients).is_ok_and(|recipients| recipients >= PAGE_RECIPIENTS)
            // How many recipients those have that cannot be read is not known.
            || deliveries.len() < page.found.len();
        if let Some(last) = page.found.last().filter(|_| is_cut) {
            let (next, place) = (last.delivery_id("id")?, last.value::<i64>("place")?);
            return Ok(DeliveryPage { deliveries, next: Some(next), looked_at: place.unsigned_abs() });
        }
        let next = page.bound.filter(|_| page.looked_at >= u64::from(bounds.rows));
        Ok(DeliveryPage { deliveries, next, looked_at: page.looked_at })
    }

    /// The deliveries of a message that are not over. One that cannot be read is missing, with an error in the log.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn show(&mut self, message: MessageId) -> Result<Vec<StoredDelivery>, StoreError> {
        let rows = self.read(sqlx::query(sql::SHOW).bind(message.as_i64())).await?;
        Ok(readable(&rows, stored_delivery))
    }

    /// Deliveries that are held and over, at most `limit`: there are none.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn audit_held(&mut self, limit: u32) -> Result<Vec<DeliveryId>, StoreError> {
        let rows = self.read(sqlx::query(sql::AUDIT_HELD).bind(i64::from(limit))).await?;
        rows.iter().map(|row| row.delivery_id("delivery_id")).collect()
    }
}
