//! Priority and age within one queue: what is urgent goes first, and nothing waits for ever.

use std::time::Duration;

use mailtier_schedule::{Entry, Limits, PoolClass, Rules, Scheduler};
use mailtier_types::{DeliveryId, ShardId, TenantId, Timestamp};
use proptest::prelude::*;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const STEP: Duration = Duration::from_secs(60);

fn entry(destination: &str, number: i64, priority: i16, due: Timestamp) -> Entry {
    Entry {
        id: DeliveryId::from_i64(number).unwrap(),
        shard: ShardId::of(destination),
        tenant: TenantId(0),
        class: PoolClass::default(),
        priority,
        attempts: 0,
        due,
        expires_at: NOW.after(Duration::from_secs(30 * 86_400)),
        warn_at: None,
    }
}

fn scheduler(concurrency: u32) -> Scheduler {
    let limits = Limits { max_entries: 100_000, max_entries_per_destination: 100_000 };
    Scheduler::new(limits, Rules::plain(concurrency)).with_priority_step(STEP)
}

#[test]
fn bulk_mail_delays_other_destinations_not_at_all_and_its_own_by_what_is_in_flight() {
    let mut scheduler = scheduler(2);
    for number in 1..=1_000 {
        scheduler.insert("big.example", entry("big.example", number, -4, NOW), NOW);
    }
    let begun: Vec<_> = std::iter::from_fn(|| scheduler.next_attempt(NOW)).map(|entry| entry.id).collect();
    assert_eq!(begun.len(), 2);
    scheduler.insert("other.example", entry("other.example", 2_001, -4, NOW), NOW);
    scheduler.insert("big.example", entry("big.example", 2_002, 4, NOW), NOW);
    assert_eq!(scheduler.next_attempt(NOW).unwrap().id.as_i64(), 2_001, "it has its own limit");
    assert_eq!(scheduler.next_attempt(NOW), None);
    scheduler.finish(begun[0]);
    assert_eq!(scheduler.next_attempt(NOW).unwrap().id.as_i64(), 2_002, "the next place is the urgent one's");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    /// One attempt a second, and more urgent mail comes than that: whatever has waited for all steps between its priority
    /// and the highest is overtaken by nothing new.
    #[test]
    fn a_flood_of_urgent_mail_starves_nobody(
        priority in -9..9_i16,
        urgent in -8..10_i16,
        backlog in 1..200_i64,
        flood in 1..4_i64,
    ) {
        let mut scheduler = scheduler(1);
        for number in 1..=backlog {
            scheduler.insert("b.example", entry("b.example", number, urgent, NOW), NOW);
        }
        scheduler.insert("b.example", entry("b.example", 1_000, priority, NOW), NOW);
        // Until then newcomers may go before it; after that only what was there already, which is worked off.
        let steps = i64::from((urgent - priority).max(0));
        let most = backlog + steps * 60 * (flood + 1) + 1;
        let mut number = 10_000;
        for second in 0..=most {
            let now = NOW.after(Duration::from_secs(second.unsigned_abs()));
            for _ in 0..flood {
                number += 1;
                scheduler.insert("b.example", entry("b.example", number, urgent, now), now);
            }
            let attempt = scheduler.next_attempt(now).unwrap();
            if attempt.id.as_i64() == 1_000 {
                return Ok(());
            }
            prop_assert!(attempt.due.as_micros() <= NOW.as_micros() + steps * 60_000_000, "{attempt:?} overtakes it");
            scheduler.finish(attempt.id);
        }
        prop_assert!(false, "it starves");
    }
}
