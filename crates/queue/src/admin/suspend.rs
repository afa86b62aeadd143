//! Operators suspend and resume. The table of rules is what counts; the keeper of this replica reads it at once, those
//! of the others at their next round.

use std::time::Duration;

use mailtier_api::ApiError;
use mailtier_api::suspensions::{ResumeOrder, Scope, SuspendOrder, Suspension};
use mailtier_config::expected;
use mailtier_store::{MAX_RULES, RuleAction, RuleKey, StoredRule};
use mailtier_types::Domain;
use tokio::sync::{mpsc, oneshot};

use super::known::Known;
use super::{AdminService, trouble};
use crate::clock;
use crate::suspensions::{RulesChanged, key, suspension};

/// How long an operator's answer waits for this replica's keeper, which may wait for the database.
const APPLIED_WITHIN: Duration = Duration::from_secs(5);

/// What suspending needs.
#[derive(Debug, Clone)]
pub(crate) struct Suspending {
    known: Known,
    /// To the keeper.
    changes: mpsc::Sender<RulesChanged>,
}

impl Suspending {
    pub(crate) const fn new(known: Known, changes: mpsc::Sender<RulesChanged>) -> Self {
        Self { known, changes }
    }

    /// What nothing can ever match is not suspended: it would look as if it helped.
    fn judge(&self, scope: &Scope) -> Result<(), ApiError> {
        match scope {
            Scope::Destination(domain) => self.judge_destination(domain),
            Scope::Provider(name) => {
                judge_provider(name, &self.known.now().providers.iter().map(String::as_str).collect::<Vec<_>>())
            }
            Scope::Tenant(_) | Scope::Everything => Ok(()),
            Scope::Pool(name) => self.judge_pool(name),
        }
    }

    fn judge_destination(&self, domain: &Domain) -> Result<(), ApiError> {
        let name = domain.as_str();
        if name.contains('.')
            || domain.literal().is_some()
            || self.known.now().destinations.iter().any(|known| known == name)
        {
            return Ok(());
        }
        let advice = "expected a domain such as example.com, or a name that stands in [[queue.destinations]]";
        Err(ApiError::Invalid(format!("destination: `{name}` has no dot: {advice}")))
    }

    fn judge_pool(&self, name: &str) -> Result<(), ApiError> {
        let names = self.known.now();
        if names.pools.iter().any(|known| known == name) {
            return Ok(());
        }
        let known: Vec<&str> = names.pools.iter().map(String::as_str).collect();
        Err(ApiError::Invalid(format!("pool: `{name}` is not configured: {}", expected(name, &known))))
    }

    /// Until this replica goes by what is in the table. One that leaves, or whose database is away, dispatches nothing.
    async fn apply(&self) {
        let (done, applied) = oneshot::channel();
        let applying = async {
            if self.changes.send(done).await.is_ok() {
                let _ = applied.await;
            }
        };
        if tokio::time::timeout(APPLIED_WITHIN, applying).await.is_err() {
            tracing::warn!("a changed rule is stored and not applied yet; it will be at the next renewal");
        }
    }
}

/// Whether a provider is configured; if not, which one was probably meant.
pub(super) fn judge_provider(name: &str, known: &[&str]) -> Result<(), ApiError> {
    if known.contains(&name) {
        return Ok(());
    }
    Err(ApiError::Invalid(match known {
        [] => format!("provider: `{name}` is not configured, nor is any other: see [[queue.providers]]"),
        known => format!("provider: `{name}` is not configured: {}", expected(name, known)),
    }))
}

impl AdminService {
    pub(super) async fn suspend_it(&self, order: SuspendOrder) -> Result<(), ApiError> {
        self.suspending.judge(&order.scope)?;
        self.work(move |this, mut session| async move {
            let now = clock::now();
            let rule = StoredRule {
                key: key(&order.scope),
                reason: order.reason,
                created_by: order.operator,
                created_at: now,
                expires_at: order.lasting.map(|lasting| now.after(lasting)),
            };
            let is_put = session.put_rule(RuleAction::Suspend, &rule).await.map_err(|error| trouble(&error))?;
            drop(session);
            if !is_put {
                return Err(ApiError::Invalid(format!("there are {MAX_RULES} suspensions: resume others first")));
            }
            tracing::info!(
                operator = rule.created_by,
                scope = %order.scope,
                reason = rule.reason,
                lasting_s = order.lasting.map(|lasting| lasting.as_secs()),
                "suspended"
            );
            this.suspending.apply().await;
            Ok(())
        })
        .await
    }

    pub(super) async fn resume_it(&self, order: ResumeOrder) -> Result<bool, ApiError> {
        self.work(move |this, mut session| async move {
            let (key, now) = (key(&order.scope), clock::now());
            let resumed = session.delete_rule(RuleAction::Suspend, &key, now).await.map_err(|error| trouble(&error))?;
            drop(session);
            tracing::info!(operator = order.operator, scope = %order.scope, was_suspended = resumed, "resumed");
            this.suspending.apply().await;
            Ok(resumed)
        })
        .await
    }

    pub(super) async fn suspensions(&self, after: Option<Scope>, limit: u32) -> Result<Vec<Suspension>, ApiError> {
        self.work(move |_, mut session| async move {
            let beginning = || RuleKey { kind: String::new(), name: String::new() };
            let after = after.as_ref().map_or_else(beginning, key);
            let rules = session.rules_after(RuleAction::Suspend, clock::now(), &after, limit).await;
            rules.map_err(|error| trouble(&error))?.into_iter().map(suspension).collect()
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use mailtier_config::{DestinationConfig, ProviderConfig, QueueConfig};

    use super::*;

    #[test]
    fn what_nothing_can_match_is_refused_with_what_was_probably_meant() {
        let config = QueueConfig {
            destinations: vec![DestinationConfig { domain: "Mailhost".into(), ..Default::default() }],
            providers: vec![ProviderConfig { name: "google".into(), ..Default::default() }],
            ..QueueConfig::default()
        };
        let (changes, _) = mpsc::channel(1);
        let suspending = Suspending::new(Known::new(&config), changes.clone());
        let judge =
            |scope: Result<Scope, ApiError>| suspending.judge(&scope.unwrap()).map_err(|error| error.to_string());
        for known in [Scope::destination("b.example"), Scope::destination("mailhost"), Scope::provider("google")] {
            assert_eq!(judge(known), Ok(()));
        }
        assert_eq!(judge(Scope::destination("[192.0.2.1]")), Ok(()));
        assert!(judge(Scope::destination("postmaster")).unwrap_err().contains("`postmaster` has no dot"));
        let refused = judge(Scope::provider("Gogle")).unwrap_err();
        assert!(
            refused.contains("`Gogle` is not configured") && refused.contains("did you mean `google`?"),
            "{refused}"
        );
        let none =
            Suspending::new(Known::new(&QueueConfig::default()), changes).judge(&Scope::provider("google").unwrap());
        assert!(none.unwrap_err().to_string().contains("[[queue.providers]]"));
    }
}
