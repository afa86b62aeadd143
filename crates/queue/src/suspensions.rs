//! Suspensions as operators, the table of rules and the schedule have them; and the one that a queue may begin with.

use mailtier_api::ApiError;
use mailtier_api::suspensions::{STARTED_PAUSED, Scope, Suspension};
use mailtier_schedule::Suspended;
use mailtier_store::{RuleAction, RuleKey, Store, StoreError, StoredRule};
use mailtier_types::Timestamp;
use tokio::sync::oneshot;

/// Tells the keeper that the rules have changed; it answers when they are applied.
pub(crate) type RulesChanged = oneshot::Sender<()>;

/// What a rule is stored under.
pub(crate) fn key(scope: &Scope) -> RuleKey {
    RuleKey { kind: scope.kind().to_owned(), name: scope.name() }
}

/// A rule as operators see it.
///
/// # Errors
/// A newer program has made it, or somebody by hand.
pub(crate) fn suspension(rule: StoredRule) -> Result<Suspension, ApiError> {
    Ok(Suspension {
        scope: Scope::parse(&rule.key.kind, &rule.key.name)?,
        reason: rule.reason,
        operator: rule.created_by,
        since: rule.created_at,
        until: rule.expires_at,
    })
}

/// What is suspended by those of these rules that are in force. Those about what is not known here change nothing.
pub(crate) fn suspended(rules: &[StoredRule], now: Timestamp) -> Suspended {
    let mut suspended = Suspended::default();
    for rule in rules.iter().filter(|rule| rule.is_in_force(now)) {
        match Scope::parse(&rule.key.kind, &rule.key.name) {
            Ok(Scope::Destination(domain)) => suspended.destinations.insert(domain.to_string()),
            Ok(Scope::Provider(name)) => suspended.providers.insert(name),
            Ok(Scope::Tenant(tenant)) => suspended.tenants.insert(tenant),
            Ok(Scope::Pool(name)) => suspended.pools.insert(name),
            Ok(Scope::Everything) => !std::mem::replace(&mut suspended.everything, true),
            Err(_) => false,
        };
    }
    suspended
}

/// Suspends everything before this replica has a part in anything (`queue.start_paused`). What is suspended already stays
/// as it is: its beginning tells which mail was there before.
pub(crate) async fn pause(store: &Store, now: Timestamp) -> Result<(), StoreError> {
    let mut session = store.session().await?;
    let key = key(&Scope::Everything);
    if session.rules(RuleAction::Suspend, now).await?.iter().all(|rule| rule.key != key) {
        let reason = "queue.start_paused: what is queued may have been delivered since its backup was made".to_owned();
        let created_by = STARTED_PAUSED.to_owned();
        let rule = StoredRule { key, reason, created_by, created_at: now, expires_at: None };
        session.put_rule(RuleAction::Suspend, &rule).await?;
    }
    tracing::warn!("queue.start_paused: nothing is attempted or given up until `mailtier queue resume --all`");
    Ok(())
}

/// How many of these rules are about what is not known here.
pub(crate) fn unknown(rules: &[StoredRule]) -> usize {
    rules.iter().filter(|rule| Scope::parse(&rule.key.kind, &rule.key.name).is_err()).count()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mailtier_types::TenantId;

    use super::*;

    fn rule(kind: &str, name: &str, expires_at: Option<Timestamp>) -> StoredRule {
        let key = RuleKey { kind: kind.to_owned(), name: name.to_owned() };
        let (reason, created_by) = ("they asked".to_owned(), "alice".to_owned());
        StoredRule { key, reason, created_by, created_at: Timestamp::from_secs(1000), expires_at }
    }

    #[test]
    fn rules_suspend_what_they_name_while_they_are_in_force() {
        let now = Timestamp::from_secs(2000);
        let rules = [
            rule("destination", "B.example", None),
            rule("destination", "c.example", Some(now)),
            rule("provider", "big", Some(now.after(Duration::from_secs(1)))),
            rule("tenant", "7", None),
            rule("pool", "warm", None),
            rule("route", "of a newer program", None),
            rule("everything", "mail", None),
        ];
        let expected = Suspended {
            destinations: ["b.example".to_owned()].into(),
            providers: ["big".to_owned()].into(),
            tenants: [TenantId(7)].into(),
            pools: ["warm".to_owned()].into(),
            everything: true,
        };
        assert_eq!(suspended(&rules, now), expected);
        assert_eq!(unknown(&rules), 1);
        let told = suspension(rules[3].clone()).unwrap();
        assert_eq!((key(&told.scope), told.operator.as_str()), (rules[3].key.clone(), "alice"));
    }
}
