//! Operators change deliveries: what fits a filter, a bounded part of it in each call, in batches that are changed as a
//! whole or not at all. Not responsible for what a change means: `settle::orders` is.

use std::sync::Arc;

use mailtier_api::ApiError;
use mailtier_api::admin::DeliveryView;
use mailtier_api::change::{ChangeAnswer, ChangeOrder, DeliveryChange};
use mailtier_store::{Session, StoredDelivery};
use mailtier_types::DeliveryId;

use super::{AdminService, trouble, views};
use crate::clock;
use crate::settle::{Order, would_change};

/// Deliveries changed by one transaction.
const CHANGED_AT_ONCE: u32 = 500;

impl AdminService {
    /// One call's part of a change. What cannot be read may not be what a filter means: it is left alone unless its
    /// message is named.
    pub(super) async fn change_it(&self, order: ChangeOrder) -> Result<ChangeAnswer, ApiError> {
        self.work(move |this, mut session| async move {
            let answer = this.change_part(&mut session, &order).await;
            let (operator, change, filter) = (&order.operator, order.change.name(), &order.filter);
            let (dry_run, after, reason) = (order.dry_run, order.after, &order.reason);
            match &answer {
                Ok(ChangeAnswer { looked_at, matched, changed, next, .. }) => tracing::info!(
                    operator, change, %filter, reason, dry_run, after, looked_at, matched, changed, next,
                    "deliveries changed"
                ),
                Err(error) => {
                    tracing::warn!(operator, change, %filter, reason, dry_run, after, %error, "deliveries not changed");
                }
            }
            answer
        })
        .await
    }

    async fn change_part(&self, session: &mut Session, order: &ChangeOrder) -> Result<ChangeAnswer, ApiError> {
        let mut search = self.searching.begin(&order.filter, order.after)?;
        let settled = Arc::new(Order {
            what: order.change.clone(),
            operator: order.operator.clone(),
            reason: order.reason.clone(),
            recipients: order.filter.recipient.clone(),
            is_by_route: false,
        });
        let (mut answer, mut done_to) = (ChangeAnswer::default(), order.after);
        while let Some(mut page) = search.page(session, CHANGED_AT_ONCE).await? {
            let end = page.last().map_or(done_to, |last| last.id.as_i64());
            if order.filter.messages.is_empty() {
                page.retain(|row| views::delivery(row).unreadable.is_empty());
            }
            if order.dry_run {
                answer.changed += try_on(&page, order, &mut answer.first);
            } else if !page.is_empty() {
                let ids: Vec<DeliveryId> = page.iter().map(|row| row.id).collect();
                match self.changer.change(session, &ids, &settled).await {
                    Ok(changed) => answer.changed += changed,
                    // What was changed before is told; whoever goes on from there meets the trouble again.
                    Err(error) if done_to > order.after => {
                        tracing::warn!(%error, "a batch could not be changed; the call ends before it");
                        return Ok(ChangeAnswer { looked_at: search.looked_at(), next: done_to, ..answer });
                    }
                    Err(error) => return Err(trouble(&error)),
                }
                if order.change == DeliveryChange::RetryNow {
                    self.changer.try_at_once(&page).await;
                }
            }
            answer.matched += page.len() as u64;
            done_to = end;
        }
        Ok(ChangeAnswer { looked_at: search.looked_at(), next: search.next(), ..answer })
    }
}

/// How many of a page would be changed; the first are added to those that are shown.
fn try_on(page: &[StoredDelivery], order: &ChangeOrder, first: &mut Vec<DeliveryView>) -> u64 {
    let now = clock::now();
    let mut changed = 0;
    for row in page.iter().filter(|row| would_change(row, &order.change, now)) {
        changed += 1;
        if first.len() < usize::try_from(order.show).unwrap_or(usize::MAX) {
            first.push(views::delivery(row));
        }
    }
    changed
}
