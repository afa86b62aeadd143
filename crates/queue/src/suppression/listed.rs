//! Which tenants have anybody on their lists, in memory: mail of all others costs nothing. What is known is a few seconds old
//! at the most, and newer where this replica itself has put somebody on a list.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use mailtier_store::{NewSuppression, Store};
use mailtier_telemetry::Meters;
use mailtier_types::TenantId;
use parking_lot::RwLock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::database::Connector;

/// How old what is known may be.
const FRESH: Duration = Duration::from_secs(3);

/// See the module. Nothing is known in the beginning, and where no tenant has a list: then anybody may be listed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listed(Arc<Known>);

#[derive(Debug, Default)]
struct Known {
    tenants: RwLock<Option<HashSet<TenantId>>>,
    /// Whether any tenant has a list.
    are_used: watch::Sender<bool>,
}

impl Listed {
    /// Whether lists are used from now on.
    pub(crate) fn set_used(&self, are_used: bool) {
        self.0.are_used.send_replace(are_used);
    }

    /// Until lists are used. What is known while they are not would grow old.
    async fn until_used(&self) {
        let mut are_used = self.0.are_used.subscribe();
        if !*are_used.borrow() {
            *self.0.tenants.write() = None;
            // Whoever says so is here.
            let _ = are_used.wait_for(|are_used| *are_used).await;
        }
    }

    /// Whether anybody may be on this tenant's list.
    pub(crate) fn has_any(&self, tenant: TenantId) -> bool {
        self.0.tenants.read().as_ref().is_none_or(|known| known.contains(&tenant))
    }

    /// Somebody was put on lists here.
    pub(crate) fn add(&self, suppressions: &[NewSuppression]) {
        if suppressions.is_empty() {
            return;
        }
        if let Some(known) = self.0.tenants.write().as_mut() {
            known.extend(suppressions.iter().map(|one| one.tenant));
        }
    }
}

/// Keeps it fresh.
#[derive(Debug)]
pub(crate) struct ListKeeper {
    /// What is kept.
    pub(crate) listed: Listed,
    /// The database.
    pub(crate) store: Store,
    /// Metrics.
    pub(crate) meters: Arc<Meters>,
    /// When to end.
    pub(crate) shutdown: CancellationToken,
}

impl ListKeeper {
    /// Reads until the shutdown.
    pub(crate) async fn run(self) {
        let mut connector = Connector::new(self.store.clone(), Arc::clone(&self.meters), "suppression");
        while self.shutdown.run_until_cancelled(self.listed.until_used()).await.is_some() {
            let read = match connector.session().await {
                Ok(session) => session.suppressing_tenants().await,
                Err(error) => Err(error),
            };
            match read {
                Ok(tenants) => {
                    connector.recovered();
                    *self.listed.0.tenants.write() = Some(tenants.into_iter().collect());
                }
                Err(error) => {
                    connector.trouble(&error).await;
                    continue;
                }
            }
            let _ = tokio::time::timeout(FRESH, self.shutdown.cancelled()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use mailtier_store::SuppressionSource;
    use mailtier_types::Timestamp;

    use super::*;

    #[test]
    fn before_it_is_known_anybody_may_be_listed() {
        let listed = Listed::default();
        let suppression = NewSuppression {
            tenant: TenantId(7),
            address: "user@b.example".into(),
            source: SuppressionSource::Operator,
            reason: String::new(),
            message: None,
            created_by: "alice".into(),
            created_at: Timestamp::EPOCH,
            expires_at: None,
        };
        listed.add(std::slice::from_ref(&suppression));
        assert!(listed.has_any(TenantId(0)), "what one replica did says nothing of the others");
        *listed.0.tenants.write() = Some(HashSet::new());
        assert!(!listed.has_any(TenantId(7)));
        listed.add(&[suppression]);
        assert!(listed.has_any(TenantId(7)) && !listed.has_any(TenantId(0)));
    }

    #[tokio::test]
    async fn what_was_known_is_forgotten_while_no_tenant_has_a_list() {
        let listed = Listed::default();
        listed.set_used(true);
        listed.until_used().await;
        *listed.0.tenants.write() = Some(HashSet::new());
        listed.until_used().await;
        assert!(!listed.has_any(TenantId(7)), "it is used all the time");
        listed.set_used(false);
        let (waiting, used) = (listed.until_used(), async {
            assert!(listed.has_any(TenantId(7)));
            listed.set_used(true);
        });
        tokio::join!(waiting, used);
    }
}
