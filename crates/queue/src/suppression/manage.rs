//! Lists as operators change them and see them, and as inbound asks of them.

use mailtier_api::ApiError;
use mailtier_api::accounts::FoundSuppression;
use mailtier_api::suppressions::{ListSuppressions, SuppressOrder, Suppression, suppressed_address};
use mailtier_store::{NewSuppression, StoredSuppression, SuppressionPage, SuppressionSource};
use mailtier_types::TenantId;

use super::Listed;
use crate::accounts::Desk;
use crate::clock;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Lists {
    desk: Desk,
    listed: Listed,
}

impl Lists {
    pub(crate) const fn new(desk: Desk, listed: Listed) -> Self {
        Self { desk, listed }
    }

    /// Puts recipients on a list; how many.
    pub(crate) async fn suppress(&self, order: SuppressOrder) -> Result<u64, ApiError> {
        let SuppressOrder { tenant, suppressions, operator } = order;
        let now = clock::now();
        let one = |one: mailtier_api::suppressions::NewSuppression| NewSuppression {
            tenant,
            address: one.address,
            source: SuppressionSource::Operator,
            reason: one.reason,
            message: None,
            created_by: operator.clone(),
            created_at: now,
            expires_at: one.until,
        };
        let rows: Vec<NewSuppression> = suppressions.into_iter().map(one).collect();
        let stored = rows.clone();
        let put = self.desk.ask(move |session| {
            let rows = stored.clone();
            Box::pin(async move { session.suppress(&rows).await })
        });
        let changed = put.await?;
        self.listed.add(&rows);
        tracing::info!(operator, tenant = tenant.0, recipients = changed, "put on the suppression list");
        Ok(changed)
    }

    /// Takes a recipient off a list; false where it was not there.
    pub(crate) async fn unsuppress(&self, tenant: TenantId, address: String, operator: &str) -> Result<bool, ApiError> {
        let gone = address.clone();
        let deleted = self.desk.ask(move |session| {
            let address = address.clone();
            Box::pin(async move { session.unsuppress(tenant, &address, clock::now()).await })
        });
        let deleted = deleted.await?;
        tracing::info!(
            operator,
            tenant = tenant.0,
            recipient = gone,
            was_there = deleted,
            "taken off the suppression list"
        );
        Ok(deleted)
    }

    /// A page of who is on lists.
    pub(crate) async fn list(&self, request: ListSuppressions) -> Result<Vec<Suppression>, ApiError> {
        let read = self.desk.ask(move |session| {
            let ListSuppressions { filter, after, limit } = request.clone();
            Box::pin(async move {
                let page = SuppressionPage {
                    tenant: filter.tenant,
                    address: filter.address.as_deref(),
                    after: after.as_ref().map(|(tenant, address)| (*tenant, address.as_str())),
                    limit,
                };
                session.suppressions(&page, clock::now()).await
            })
        });
        Ok(read.await?.into_iter().map(view).collect())
    }

    /// Whether a recipient is on a tenant's list.
    pub(crate) async fn find(&self, tenant: TenantId, recipient: &str) -> Result<FoundSuppression, ApiError> {
        if !self.listed.has_any(tenant) {
            return Ok(FoundSuppression::Nobody);
        }
        let wanted = vec![(tenant, suppressed_address(recipient)?)];
        let found = self.desk.ask(move |session| {
            let wanted = wanted.clone();
            Box::pin(async move { session.find_suppressed(&wanted, clock::now()).await })
        });
        Ok(match found.await?.into_iter().next() {
            Some(found) => FoundSuppression::Listed(found.reason),
            None => FoundSuppression::NotListed,
        })
    }
}

fn view(stored: StoredSuppression) -> Suppression {
    Suppression {
        tenant: stored.tenant,
        address: stored.address,
        source: stored.source,
        reason: stored.reason,
        operator: stored.created_by,
        since: stored.created_at,
        until: stored.expires_at,
        message: stored.message,
    }
}
