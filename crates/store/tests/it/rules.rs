//! Operators' rules: given, replaced, over, gone.

use std::time::Duration;

use mailtier_store::{MAX_RULES, RuleAction, RuleKey, StoredRule};
use mailtier_types::Timestamp;

use crate::mail::{now, open};

const SUSPEND: RuleAction = RuleAction::Suspend;
const HOUR: Duration = Duration::from_secs(3_600);

fn key(kind: &str, name: &str) -> RuleKey {
    RuleKey { kind: kind.to_owned(), name: name.to_owned() }
}

fn rule(kind: &str, name: &str, expires_at: Option<Timestamp>) -> StoredRule {
    let created_at = Timestamp::from_millis(now().as_millis());
    let (reason, created_by) = ("they asked".to_owned(), "alice".to_owned());
    StoredRule { key: key(kind, name), reason, created_by, created_at, expires_at }
}

#[tokio::test]
async fn a_rule_is_in_force_until_it_is_deleted_or_over() {
    let (database, _store, mut session) = open().await;
    let at = Timestamp::from_millis(now().as_millis());
    let lasting = rule("destination", "b.example", None);
    let short = rule("tenant", "7", Some(at.after(HOUR)));
    for rule in [&short, &lasting] {
        assert!(session.put_rule(SUSPEND, rule).await.unwrap());
    }
    assert_eq!(session.rules(SUSPEND, at).await.unwrap(), [lasting.clone(), short.clone()]);
    assert_eq!(
        session.rules(SUSPEND, at.after(HOUR)).await.unwrap(),
        std::slice::from_ref(&lasting),
        "the other is over"
    );
    assert!(!short.is_in_force(at.after(HOUR)) && lasting.is_in_force(at.after(HOUR)));

    session.sweep_rules(at).await.unwrap();
    assert_eq!(database.sql("SELECT count(*) FROM rule").await.unwrap(), "2", "nothing is over yet");
    assert!(!session.delete_rule(SUSPEND, &short.key, at.after(HOUR)).await.unwrap(), "it means nothing any more");
    assert!(session.put_rule(SUSPEND, &short).await.unwrap());
    session.sweep_rules(at.after(HOUR)).await.unwrap();
    assert_eq!(database.sql("SELECT name FROM rule").await.unwrap(), "b.example");

    assert!(session.delete_rule(SUSPEND, &lasting.key, at).await.unwrap());
    assert!(!session.delete_rule(SUSPEND, &lasting.key, at).await.unwrap());
    assert!(session.rules(SUSPEND, at).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_rule_that_is_given_again_replaces_the_one_before() {
    let (_database, _store, mut session) = open().await;
    session.put_rule(SUSPEND, &rule("provider", "big", None)).await.unwrap();
    let until = Timestamp::from_millis(now().as_millis()).after(HOUR);
    let (reason, created_by) = ("until noon".to_owned(), "bob".to_owned());
    let again = StoredRule { reason, created_by, ..rule("provider", "big", Some(until)) };
    session.put_rule(SUSPEND, &again).await.unwrap();
    assert_eq!(session.rules(SUSPEND, now()).await.unwrap(), [again]);
}

#[tokio::test]
async fn rules_are_listed_by_pages_and_limited() {
    let (database, _store, mut session) = open().await;
    for name in ["a.example", "b.example", "c.example"] {
        session.put_rule(SUSPEND, &rule("destination", name, None)).await.unwrap();
    }
    session.put_rule(SUSPEND, &rule("tenant", "1", None)).await.unwrap();
    let first = session.rules_after(SUSPEND, now(), &key("", ""), 2).await.unwrap();
    let rest = session.rules_after(SUSPEND, now(), &first[1].key, 10).await.unwrap();
    let names: Vec<_> = first.iter().chain(&rest).map(|rule| rule.key.name.as_str()).collect();
    assert_eq!(names, ["a.example", "b.example", "c.example", "1"]);

    let fill = format!(
        "INSERT INTO rule SELECT 'suspend', 'destination', 'x' || n, '', 'tests', now() FROM generate_series(5, {MAX_RULES}) n"
    );
    database.sql(&fill).await.unwrap();
    assert!(!session.put_rule(SUSPEND, &rule("destination", "d.example", None)).await.unwrap(), "one too many");
    assert!(session.put_rule(SUSPEND, &rule("tenant", "1", None)).await.unwrap(), "no more than before");
}
