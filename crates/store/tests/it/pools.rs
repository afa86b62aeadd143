//! Days of warm-ups: what all replicas together take of them.

use std::time::Duration;

use mailtier_store::{RuleAction, RuleKey, Slice, StoredRule};
use mailtier_types::Day;

use crate::mail::{now, open};

const DAY: Day = Day::new(20_777);

fn slice(granted: u32, taken: u64) -> Slice {
    Slice { granted, taken }
}

#[tokio::test]
async fn a_day_is_shared_out_to_the_last_and_no_further() {
    let (database, store, mut one) = open().await;
    let mut other = store.session().await.unwrap();
    assert_eq!(one.take_allowance("warm", DAY, 6, 10).await.unwrap(), slice(6, 6));
    assert_eq!(other.take_allowance("warm", DAY, 6, 10).await.unwrap(), slice(4, 10));
    assert_eq!(one.take_allowance("warm", DAY, 6, 10).await.unwrap(), slice(0, 10));
    assert_eq!(one.take_allowance("warm", Day::new(20_778), 30, 20).await.unwrap(), slice(20, 20), "another day");
    assert_eq!(one.take_allowance("cold", DAY, 1, 10).await.unwrap(), slice(1, 1), "another pool");
    other.return_allowance("warm", DAY, 3).await.unwrap();
    assert_eq!(one.take_allowance("warm", DAY, 6, 10).await.unwrap(), slice(3, 10));
    // An operator who changes his mind: what is out is out.
    assert_eq!(one.take_allowance("warm", DAY, 6, 5).await.unwrap(), slice(0, 10));
    assert_eq!(one.take_allowance("warm", DAY, 6, 12).await.unwrap(), slice(2, 12));
    other.return_allowance("warm", Day::new(1), 3).await.unwrap();
    let told = database.sql("SELECT day, taken FROM pool_day WHERE pool = 'warm' ORDER BY day").await.unwrap();
    assert_eq!(told, "2026-11-20|12\n2026-11-21|20");

    one.sweep_pool_days(Day::new(20_778).begins_at()).await.unwrap();
    assert_eq!(database.sql("SELECT day FROM pool_day").await.unwrap(), "2026-11-21");
}

#[tokio::test]
async fn replicas_that_ask_at_a_time_get_no_more_than_there_is() {
    let (_database, store, _session) = open().await;
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut session = store.session().await.unwrap();
        asking.spawn(async move {
            let mut granted = 0;
            for _ in 0..40 {
                granted += session.take_allowance("warm", DAY, 3, 500).await.unwrap().granted;
            }
            granted
        });
    }
    assert_eq!(asking.join_all().await.into_iter().sum::<u32>(), 500);
}

#[tokio::test]
async fn a_pool_can_be_suspended() {
    let (_database, _store, mut session) = open().await;
    let key = RuleKey { kind: "pool".to_owned(), name: "warm".to_owned() };
    let (reason, created_by) = (String::new(), "alice".to_owned());
    let expires_at = Some(now().after(Duration::from_secs(60)));
    let rule = StoredRule { key: key.clone(), reason, created_by, created_at: now(), expires_at };
    assert!(session.put_rule(RuleAction::Suspend, &rule).await.unwrap());
    assert_eq!(session.rules(RuleAction::Suspend, now()).await.unwrap()[0].key, key);
}
