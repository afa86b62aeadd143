//! Thirty days of retries: classification, back-off, expiry and scheduling together, with nothing but a clock to turn.

use std::collections::HashMap;
use std::time::Duration;

use mailtier_schedule::{
    Classification, Entry, Insert, Limits, Next, PoolClass, Ready, RetryPolicy, Rules, Scheduler, classify,
};
use mailtier_types::{Cause, DeliveryId, Outcome, Reply, ShardId, Stage, TenantId, Timestamp, Trouble, TroubleKind};

const START: Timestamp = Timestamp::from_secs(1_800_000_000);
const DAY: Duration = Duration::from_secs(86_400);
const LIFETIME: Duration = Duration::from_secs(30 * 86_400);
const DELIVERIES: i64 = 100;
const CONCURRENCY: u32 = 3;
/// How long an attempt takes here.
const ATTEMPT: Duration = Duration::from_secs(2);

fn outcome(cause: Cause, at: Timestamp) -> Outcome {
    let stage = if matches!(cause, Cause::Reply(_)) { Stage::Final } else { Stage::Connect };
    Outcome::new(stage, cause, at)
}

fn refused(at: Timestamp) -> Outcome {
    outcome(Cause::Trouble(Trouble { kind: TroubleKind::Connect, text: "connection refused".to_owned() }), at)
}

fn taken(at: Timestamp) -> Outcome {
    outcome(Cause::Reply(Reply::received(250, None, "taken".to_owned())), at)
}

/// What became of the deliveries, and when each was attempted.
#[derive(Default)]
struct History {
    attempts: HashMap<i64, Vec<Timestamp>>,
    delivered: usize,
    expired: HashMap<i64, Timestamp>,
}

/// Runs everything to its end; the destination takes mail from `alive_from` on.
fn simulate(alive_from: Timestamp) -> History {
    let limits = Limits { max_entries: 1_000, max_entries_per_destination: 1_000 };
    let mut scheduler = Scheduler::new(limits, Rules::plain(CONCURRENCY));
    let (policy, rules) = (RetryPolicy::default(), Classification::new(Some("builtin = false")).unwrap());
    for number in 1..=DELIVERIES {
        let entry = Entry {
            id: DeliveryId::from_i64(number).unwrap(),
            shard: ShardId::of("down.example"),
            tenant: TenantId(0),
            class: PoolClass::default(),
            priority: 0,
            attempts: 0,
            due: START,
            expires_at: START.after(LIFETIME).after(Duration::from_secs(u64::try_from(number).unwrap())),
            warn_at: None,
        };
        assert_eq!(scheduler.insert("down.example", entry, START), Insert::Scheduled);
    }
    let mut history = History::default();
    let mut now = START;
    let mut random = 1_u32;
    while !scheduler.is_empty() {
        let mut attempted = Vec::new();
        while let Some(ready) = scheduler.next(now) {
            match ready {
                Ready::Expired(entry) => {
                    history.expired.insert(entry.id.as_i64(), now);
                    scheduler.finish(entry.id);
                }
                Ready::Attempt(entry) => {
                    history.attempts.entry(entry.id.as_i64()).or_default().push(now);
                    attempted.push(entry);
                }
            }
        }
        assert!(attempted.len() <= CONCURRENCY as usize);
        if attempted.is_empty() {
            now = scheduler.next_due().unwrap_or(now);
            continue;
        }
        now = now.after(ATTEMPT);
        for entry in attempted {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let chance = (random >> 8) as f32 / 16_777_216.0;
            let outcome = if now >= alive_from { taken(now) } else { refused(now) };
            let verdict = rules.judge(&outcome).map(|judgement| judgement.verdict);
            match classify(verdict, entry.attempts + 1, &policy, entry.expires_at, now, chance) {
                Next::Delivered => {
                    history.delivered += 1;
                    scheduler.finish(entry.id);
                }
                Next::Retry(at) => assert!(scheduler.defer(entry.id, entry.attempts + 1, at)),
                Next::Expire => {
                    history.expired.insert(entry.id.as_i64(), now);
                    scheduler.finish(entry.id);
                }
                Next::Fail => panic!("nothing here fails for good"),
            }
        }
    }
    history
}

#[test]
fn thirty_days_at_a_dead_host() {
    let history = simulate(Timestamp::from_micros(i64::MAX));
    assert_eq!(history.delivered, 0);
    assert_eq!(history.expired.len(), 100);
    for (number, attempts) in &history.attempts {
        // 300 + 600 + 1200 + 2400 s, then every 4000 s on average: 648 and a few in 30 days.
        assert!((600..700).contains(&attempts.len()), "{} attempts", attempts.len());
        let expires_at = START.after(LIFETIME).after(Duration::from_secs(number.unsigned_abs()));
        assert!(attempts.iter().all(|&at| at < expires_at), "no attempt when the time is up");
        let given_up = history.expired[number];
        assert!(given_up >= expires_at && given_up.since(expires_at) <= ATTEMPT, "given up on time");
        for (pair, count) in attempts.windows(2).zip(0_u32..) {
            let rule = 300.0 * f64::from(1_u32 << count.min(10));
            let wait = pair[1].since(pair[0]).as_secs_f64() - ATTEMPT.as_secs_f64();
            // The hundred stand in line for three places, two seconds each.
            assert!(wait >= rule.min(4_000.0) * 0.9 - 0.01 && wait <= rule.min(4_000.0) * 1.1 + 70.0, "{wait} s");
        }
    }
}

#[test]
fn a_host_that_comes_back_gets_everything_within_one_retry() {
    let back = START.after(DAY * 2);
    let history = simulate(back);
    assert_eq!((history.delivered, history.expired.len()), (100, 0));
    let last = history.attempts.values().filter_map(|attempts| attempts.last()).max().unwrap();
    assert!(last.since(back) < Duration::from_secs(4_400 + 120), "{:?}", last.since(back));
}
