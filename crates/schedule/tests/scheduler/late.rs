//! Senders are told on time that a delivery is late, whether or not anything is attempted then.

use std::time::Duration;

use mailtier_schedule::{Entry, Insert, Limits, PoolClass, Ready, Rules, Scheduler, Suspended};
use mailtier_types::{DeliveryId, IdSource, NodeNumber, ShardId, TenantId, Timestamp};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const HOUR: Duration = Duration::from_secs(3600);

struct Made {
    scheduler: Scheduler,
    ids: IdSource,
}

impl Made {
    fn new() -> Self {
        let limits = Limits { max_entries: 100, max_entries_per_destination: 100 };
        let scheduler = Scheduler::new(limits, Rules::plain(1));
        Self { scheduler, ids: IdSource::new(NodeNumber::new(1).unwrap()) }
    }

    fn insert(&mut self, destination: &str, due: Timestamp, expires_at: Timestamp) -> DeliveryId {
        let id = self.ids.take(1, NOW).delivery(0);
        let entry = Entry {
            id,
            shard: ShardId::of(destination),
            tenant: TenantId(0),
            class: PoolClass::DEFAULT,
            priority: 0,
            attempts: 0,
            due,
            expires_at,
            warn_at: Some(NOW.after(4 * HOUR)),
        };
        assert_eq!(self.scheduler.insert(destination, entry, NOW), Insert::Scheduled);
        id
    }

    /// Those told then; each once.
    fn told(&mut self, now: Timestamp) -> Vec<DeliveryId> {
        let mut told: Vec<_> = std::iter::from_fn(|| self.scheduler.next_late(now)).map(|entry| entry.id).collect();
        told.sort_unstable();
        told
    }
}

#[test]
fn whatever_waits_is_told_on_time_and_once() {
    let mut made = Made::new();
    let (late, week) = (NOW.after(4 * HOUR), NOW.after(168 * HOUR));
    let waiting = made.insert("a.example", NOW.after(5 * HOUR), week);
    let ready = made.insert("suspended.example", NOW, week);
    let over = made.insert("a.example", NOW.after(5 * HOUR), NOW.after(2 * HOUR));
    let flying = made.insert("b.example", NOW, week);
    let suspended = ["suspended.example".to_owned()].into();
    made.scheduler.set_suspended(Suspended { destinations: suspended, ..Suspended::default() });
    assert_eq!(
        made.scheduler.next(NOW).map(|ready| matches!(ready, Ready::Attempt(entry) if entry.id == flying)),
        Some(true)
    );
    assert_eq!(made.scheduler.next(NOW), None);
    let expired = made.scheduler.next_expired(NOW.after(2 * HOUR)).unwrap();
    assert_eq!(expired.id, over);
    made.scheduler.finish(over);
    let before = Timestamp::from_micros(late.as_micros() - 1_000);
    assert_eq!(made.told(before), []);
    assert!(made.scheduler.next_due().is_some_and(|due| before < due && due <= late));
    assert_eq!(made.told(late), [waiting, ready]);
    assert_eq!(made.told(late.after(HOUR / 2)), [], "once, and nobody interferes with an attempt under way");
    assert!(made.scheduler.release(flying, late.after(HOUR / 2)));
    assert_eq!(made.told(late.after(HOUR / 2)), [flying]);
    // They are where they were.
    made.scheduler.set_suspended(Suspended::default());
    let mut attempts: Vec<_> =
        std::iter::from_fn(|| made.scheduler.next_attempt(late.after(HOUR))).map(|entry| entry.id).collect();
    attempts.sort_unstable();
    assert_eq!(attempts, [waiting, ready, flying]);
}

#[test]
fn it_can_turn_out_to_be_too_early() {
    let mut made = Made::new();
    for (destination, due) in [("a.example", NOW), ("b.example", NOW.after(100 * HOUR))] {
        let id = made.insert(destination, due, NOW.after(168 * HOUR));
        made.scheduler.next(NOW);
        assert_eq!(made.told(NOW.after(4 * HOUR)).len(), usize::from(due > NOW));
        made.scheduler.warn_at(id, NOW.after(6 * HOUR));
        made.scheduler.release(id, NOW.after(4 * HOUR));
        assert_eq!(made.told(NOW.after(5 * HOUR)), []);
        assert_eq!(made.told(NOW.after(6 * HOUR)), [id]);
        made.scheduler.finish(id);
    }
}
