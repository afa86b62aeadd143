//! Egress pools: what is beyond a day goes on or waits, a closed pool delays no other, and nothing passes that may not.

use std::collections::HashMap;
use std::time::Duration;

use mailtier_schedule::{
    AllowanceWish, Entry, GroupLimits, Insert, Limits, PoolId, PoolRule, Pools, Provider, Rate, Rules, Scheduler,
    Suspended, WarmUp,
};
use mailtier_types::{Day, DeliveryId, ShardId, TenantId, Timestamp};
use proptest::prelude::*;

const DAY: Day = Day::new(20_800);
const ROOMY: Limits = Limits { max_entries: 10_000, max_entries_per_destination: 10_000 };

fn noon() -> Timestamp {
    DAY.begins_at().after(Duration::from_secs(12 * 3600))
}

fn midnight() -> Timestamp {
    DAY.ends_at()
}

/// Pools a, b and c; tenants 1, 2 and 3 have one each, others the default one.
fn rules(change: impl FnOnce(&mut Pools, [PoolId; 3])) -> Rules {
    let mut pools = Pools::default();
    let ids = ["a", "b", "c"].map(|name| pools.add(name).unwrap());
    let rules = (1..).map(TenantId).zip(ids);
    pools.set_rules(
        rules.map(|(tenant, pool)| PoolRule { pool, tenant: Some(tenant), ..PoolRule::default() }).collect(),
    );
    change(&mut pools, ids);
    Rules { pools, ..Rules::plain(1000) }
}

fn warming(pools: &mut Pools, pool: PoolId, per_day: &[u32], overflow: Option<PoolId>) {
    let pool = pools.get_mut(pool).unwrap();
    pool.warm_up = Some(WarmUp { began: DAY, per_day: per_day.to_vec() });
    pool.overflow = overflow;
}

/// A scheduler and the table that its replicas share.
struct World {
    scheduler: Scheduler,
    taken: HashMap<(PoolId, Day), u64>,
    next: i64,
}

impl World {
    fn new(rules: Rules) -> Self {
        Self { scheduler: Scheduler::new(ROOMY, rules), taken: HashMap::new(), next: 0 }
    }

    fn insert(&mut self, tenant: i32, destination: &str, count: usize, now: Timestamp) {
        for _ in 0..count {
            self.next += 1;
            let class = self.scheduler.class_of(TenantId(tenant), "", destination);
            let entry = Entry {
                id: DeliveryId::from_i64(self.next).unwrap(),
                shard: ShardId::of(destination),
                tenant: TenantId(tenant),
                class,
                priority: 0,
                attempts: 0,
                due: now,
                expires_at: now.after(Duration::from_secs(30 * 86_400)),
                warn_at: None,
            };
            assert_eq!(self.scheduler.insert(destination, entry, now), Insert::Scheduled);
        }
    }

    fn answer(&mut self, wish: AllowanceWish) {
        let taken = self.taken.entry((wish.pool, wish.day)).or_default();
        let granted = u64::from(wish.count).min(wish.limit.saturating_sub(*taken));
        *taken += granted;
        self.scheduler.take_allowance(wish.pool, wish.day, u32::try_from(granted).unwrap(), *taken);
    }

    /// Everything that goes now, by pool.
    fn go(&mut self, now: Timestamp) -> Vec<(PoolId, DeliveryId)> {
        let mut gone = Vec::new();
        loop {
            while let Some(entry) = self.scheduler.next_attempt(now) {
                gone.push((self.scheduler.pool_of(entry.id).unwrap(), entry.id));
            }
            let wishes = self.scheduler.allowance_wishes();
            if wishes.is_empty() {
                return gone;
            }
            wishes.into_iter().for_each(|wish| self.answer(wish));
        }
    }

    fn counts(&mut self, now: Timestamp) -> [usize; 4] {
        let gone = self.go(now);
        let mut counts = [0; 4];
        gone.iter().for_each(|(pool, _)| counts[pool.index()] += 1);
        counts
    }
}

#[test]
fn what_is_beyond_a_day_goes_on_to_where_the_pool_overflows() {
    let mut world = World::new(rules(|pools, [a, b, c]| {
        warming(pools, a, &[5, 10], Some(b));
        warming(pools, b, &[3, 100], Some(c));
    }));
    world.insert(1, "x.example", 20, noon());
    assert_eq!(world.counts(noon()), [0, 5, 3, 12]);
    world.insert(2, "y.example", 2, noon());
    assert_eq!(world.counts(noon()), [0, 0, 0, 2]);
    let left = |world: &World| world.scheduler.pools().map(|pool| pool.allowance_left).collect::<Vec<_>>();
    assert_eq!(left(&world), [None, Some(0), Some(0), None]);
    world.insert(1, "x.example", 20, midnight());
    assert_eq!(world.counts(midnight()), [0, 10, 10, 0], "the next day has its own");
    world.insert(1, "x.example", 20, midnight());
    assert_eq!(world.counts(midnight().after(Duration::from_secs(86_400))), [0, 20, 0, 0], "and then it is warm");
    assert_eq!(left(&world), [None, None, None, None]);
}

#[test]
fn what_is_beyond_a_day_waits_for_midnight_where_there_is_no_other_way_and_delays_nobody() {
    let mut world = World::new(rules(|pools, [a, ..]| warming(pools, a, &[5, 10, 10], None)));
    world.insert(1, "x.example", 30, noon());
    world.insert(7, "x.example", 3, noon());
    world.insert(2, "x.example", 3, noon());
    assert_eq!(world.counts(noon()), [3, 5, 3, 0]);
    let before = Timestamp::from_micros(midnight().as_micros() - 1);
    assert_eq!(world.counts(before), [0; 4]);
    assert_eq!(world.scheduler.next_due(), Some(midnight()), "it goes by itself");
    assert_eq!(world.counts(midnight()), [0, 10, 0, 0]);
    // The clock is put back by a day: that day is used up, and the next one too when it comes again.
    assert_eq!(world.counts(noon()), [0; 4]);
    assert_eq!(world.counts(midnight()), [0; 4]);
    assert_eq!(world.counts(midnight().after(Duration::from_secs(86_400))), [0, 10, 0, 0]);
    assert_eq!(world.counts(midnight().after(Duration::from_secs(2 * 86_400))), [0, 5, 0, 0], "the rest");
}

#[test]
fn nothing_goes_before_the_first_day() {
    let mut world = World::new(rules(|pools, [a, b, _]| {
        warming(pools, a, &[5], None);
        warming(pools, b, &[5], Some(PoolId::DEFAULT));
    }));
    let early = Timestamp::from_micros(DAY.begins_at().as_micros() - 1);
    world.insert(1, "x.example", 3, early);
    world.insert(2, "x.example", 3, early);
    assert_eq!(world.counts(early), [3, 0, 0, 0]);
    assert_eq!(world.counts(DAY.begins_at()), [0, 3, 0, 0]);
}

#[test]
fn what_was_handed_out_and_did_not_go_is_not_lost_for_the_day() {
    let mut world = World::new(rules(|pools, [a, ..]| warming(pools, a, &[2, 3], None)));
    world.insert(1, "x.example", 10, noon());
    let gone = world.go(noon());
    assert_eq!(gone.len(), 2);
    assert!(world.scheduler.release_unused(gone[0].1, noon()));
    assert_eq!(world.counts(noon()), [0, 1, 0, 0]);
    // One whose worker was lost may have gone.
    assert!(world.scheduler.release(gone[1].1, noon()));
    assert_eq!(world.counts(noon()), [0; 4]);
    assert_eq!(world.counts(midnight()), [0, 3, 0, 0]);
    // What went out yesterday gives nothing to today.
    assert!(world.scheduler.release_unused(gone[0].1, midnight()));
    assert_eq!(world.counts(midnight()), [0; 4]);
}

#[test]
fn a_pools_rate_is_not_used_by_what_is_refused() {
    let mut world = World::new(rules(|pools, [a, ..]| {
        let rate = Some(Rate::new(1, Duration::from_secs(60)));
        pools.get_mut(a).unwrap().limits = GroupLimits { concurrency: None, rate };
    }));
    world.insert(1, "x.example", 2, noon());
    let gone = world.go(noon());
    assert_eq!(gone.len(), 1);
    let soon = noon().after(Duration::from_secs(1));
    assert!(world.scheduler.release_unused(gone[0].1, soon));
    assert_eq!(world.counts(soon), [0, 1, 0, 0]);
    assert_eq!(world.counts(soon.after(Duration::from_secs(59))), [0; 4]);
    assert_eq!(world.counts(soon.after(Duration::from_secs(60))), [0, 1, 0, 0]);
}

#[test]
fn a_pool_without_workers_or_credit_delays_no_other_mail_not_even_to_the_same_destination() {
    let mut world = World::new(rules(|_, _| {}));
    let ids: Vec<PoolId> = world.scheduler.pools().map(|pool| pool.id).collect();
    let [default, a, b, c] = ids[..] else { panic!("{ids:?}") };
    for (pool, credit, is_served) in [(default, 2, true), (a, 0, false), (b, 0, true), (c, 100, true)] {
        world.scheduler.set_pool_credit(pool, credit, is_served);
    }
    for tenant in [1, 2, 3, 9] {
        world.insert(tenant, "x.example", 5, noon());
    }
    assert_eq!(world.counts(noon()), [2, 0, 0, 5]);
    let unserved = |world: &World| -> Vec<(String, usize)> {
        let pools = world.scheduler.pools().filter(|pool| pool.is_unserved);
        pools.map(|pool| (pool.name.to_owned(), pool.ready)).collect()
    };
    assert_eq!(unserved(&world), [("a".to_owned(), 5)]);
    world.scheduler.set_pool_credit(default, 1, true);
    world.scheduler.set_pool_credit(b, 3, true);
    assert_eq!(world.counts(noon()), [1, 0, 3, 0]);
    world.scheduler.set_pool_credit(a, 4, true);
    assert_eq!(world.counts(noon()), [0, 4, 0, 0]);
    assert_eq!(unserved(&world), []);
    let ready: Vec<usize> = world.scheduler.pools().map(|pool| pool.ready).collect();
    assert_eq!(ready, [2, 1, 2, 0]);
}

#[test]
fn mail_of_a_pool_that_nobody_serves_makes_room_for_others() {
    let limits = Limits { max_entries: 1_000, max_entries_per_destination: 1_000 };
    let mut world = World { scheduler: Scheduler::new(limits, rules(|_, _| {})), taken: HashMap::new(), next: 0 };
    let a = world.scheduler.pools().nth(1).unwrap().id;
    world.scheduler.set_pool_credit(a, 0, false);
    world.insert(1, "x.example", 1_000, noon());
    world.insert(9, "y.example", 400, noon());
    let gone = world.go(noon());
    assert_eq!(gone.len(), 400);
    let class = world.scheduler.class_of(TenantId(1), "", "z.example");
    let resting = Entry {
        id: DeliveryId::from_i64(5_000).unwrap(),
        shard: ShardId::of("z.example"),
        class,
        ..world.scheduler.entry(gone[0].1).unwrap()
    };
    assert_eq!(world.scheduler.insert("z.example", resting, noon()), Insert::Spilled);
    assert_eq!(world.scheduler.reloadable_shards(midnight()).count(), 0, "nothing is read for what rests");
    gone.iter().for_each(|(_, id)| assert!(world.scheduler.finish(*id)));
    world.scheduler.set_pool_credit(a, 1_000, true);
    assert!(world.scheduler.reloadable_shards(noon()).any(|shard| shard == ShardId::of("x.example")));
}

#[test]
fn a_pool_keeps_to_its_limits_over_all_destinations_and_a_suspended_one_waits() {
    let limits = GroupLimits { concurrency: Some(4), rate: None };
    let mut world = World::new(rules(|pools, [a, b, _]| {
        pools.get_mut(a).unwrap().limits = limits;
        pools.get_mut(b).unwrap().limits =
            GroupLimits { concurrency: None, rate: Some(Rate::new(60, Duration::from_secs(60))) };
    }));
    for number in 0..10 {
        world.insert(1, &format!("d{number}.example"), 3, noon());
        world.insert(2, &format!("d{number}.example"), 1, noon());
    }
    let gone = world.go(noon());
    assert_eq!(gone.len(), 4 + 1);
    let second = noon().after(Duration::from_secs(1));
    assert_eq!(world.scheduler.next_due(), Some(second));
    assert_eq!(world.counts(second), [0, 0, 1, 0]);
    gone.iter().for_each(|(_, id)| assert!(world.scheduler.finish(*id)));
    assert_eq!(world.counts(second)[1], 4);
    let suspended = Suspended { pools: ["a".to_owned()].into(), ..Suspended::default() };
    world.scheduler.set_suspended(suspended);
    let in_flight = world.scheduler.pools().nth(1).unwrap();
    assert!(in_flight.is_suspended && in_flight.in_flight == 4);
    assert_eq!(world.counts(second)[1], 0);
    world.scheduler.set_suspended(Suspended::default());
    assert_eq!(world.counts(second)[1], 0, "as many as may are under way");
}

#[test]
fn mail_changes_its_pool_when_its_destinations_provider_becomes_known() {
    let mut rules = rules(|_, _| {});
    let a = rules.pools.find("a").unwrap();
    let rule =
        |provider: Option<&str>, pool| PoolRule { pool, provider: provider.map(str::to_owned), ..PoolRule::default() };
    let b = rules.pools.find("b").unwrap();
    rules.pools.set_rules(vec![rule(Some("big"), a), rule(None, b)]);
    let exchangers = vec!["mx.big.example".to_owned()];
    rules.providers = vec![Provider { name: "big".to_owned(), exchangers, limits: GroupLimits::default() }];
    rules.destination.initial_concurrency = 1;
    rules.destination.concurrency = 1;
    let mut world = World::new(rules);
    world.scheduler.set_pool_credit(b, 1, true);
    world.insert(0, "x.example", 3, noon());
    let gone = world.go(noon());
    assert_eq!(gone.iter().map(|(pool, _)| *pool).collect::<Vec<_>>(), [b]);
    let said = mailtier_schedule::Feedback::Good;
    world.scheduler.learn(gone[0].1, said, Some("one.mx.big.example"), 0.5, noon());
    world.scheduler.finish(gone[0].1);
    assert_eq!(world.counts(noon()), [0, 1, 0, 0]);
    assert_eq!(world.scheduler.pools().map(|pool| pool.ready).collect::<Vec<_>>(), [0, 1, 0, 0]);
}

#[test]
fn mail_that_a_pool_holds_leaves_it_when_its_destination_is_found_to_be_anothers() {
    let mut rules = rules(|_, _| {});
    let [a, b] = ["a", "b"].map(|name| rules.pools.find(name).unwrap());
    let big = PoolRule { pool: a, provider: Some("big".to_owned()), ..PoolRule::default() };
    rules.pools.set_rules(vec![big, PoolRule { pool: b, ..PoolRule::default() }]);
    let exchangers = vec!["mx.big.example".to_owned()];
    rules.providers = vec![Provider { name: "big".to_owned(), exchangers, limits: GroupLimits::default() }];
    let mut world = World::new(rules);
    world.scheduler.set_pool_credit(b, 1, true);
    world.insert(0, "x.example", 3, noon());
    let gone = world.go(noon());
    assert_eq!(gone.len(), 1);
    let met = |world: &mut World, exchanger| {
        world.scheduler.learn(gone[0].1, mailtier_schedule::Feedback::Good, Some(exchanger), 0.5, noon());
        world.counts(noon())
    };
    assert_eq!(met(&mut world, "mx.small.example"), [0; 4], "the pool's workers can take no more");
    assert_eq!(met(&mut world, "mx.big.example"), [0, 2, 0, 0]);
}

#[derive(Clone, Debug)]
enum Step {
    Insert { tenant: i32, destination: usize },
    Go,
    End { which: usize, unused: bool },
    Credit { pool: usize, credit: u32, is_served: bool },
    Suspend { pool: Option<usize> },
    Wait { hours: u64 },
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..5_i32, 0..3_usize).prop_map(|(tenant, destination)| Step::Insert { tenant, destination }),
        3 => Just(Step::Go),
        3 => (any::<usize>(), any::<bool>()).prop_map(|(which, unused)| Step::End { which, unused }),
        1 => (0..4_usize, 0..5_u32, prop::bool::weighted(0.8))
            .prop_map(|(pool, credit, is_served)| Step::Credit { pool, credit, is_served }),
        1 => prop::option::of(0..4_usize).prop_map(|pool| Step::Suspend { pool }),
        1 => (1..30_u64).prop_map(|hours| Step::Wait { hours }),
    ]
}

proptest! {
    /// Whatever happens, no day has more than it is allowed, no pool more than its limit or its workers' credit, and in
    /// the end everything goes.
    #[test]
    fn nothing_passes_that_may_not_and_everything_goes_in_the_end(all in prop::collection::vec(steps(), 1..150)) {
        const PER_DAY: [u32; 2] = [4, 6];
        let mut world = World::new(rules(|pools, [a, b, c]| {
            warming(pools, a, &PER_DAY, Some(b));
            warming(pools, c, &PER_DAY, None);
            pools.get_mut(b).unwrap().limits.concurrency = Some(3);
        }));
        let ids: Vec<PoolId> = world.scheduler.pools().map(|pool| pool.id).collect();
        let names = ["default", "a", "b", "c"];
        let (mut now, mut flying, mut out_of_day) = (noon(), Vec::new(), HashMap::<(PoolId, Day), u64>::new());
        let mut suspended: Option<usize> = None;
        for step in all {
            match step {
                Step::Insert { tenant, destination } => world.insert(tenant, &format!("d{destination}.example"), 1, now),
                Step::Go => {
                    for (pool, id) in world.go(now) {
                        prop_assert!(suspended.is_none_or(|suspended| ids[suspended] != pool));
                        *out_of_day.entry((pool, Day::of(now))).or_default() += 1;
                        flying.push((pool, id, Day::of(now)));
                    }
                    prop_assert!(flying.iter().filter(|(pool, ..)| *pool == ids[2]).count() <= 3);
                }
                Step::End { which, unused } if !flying.is_empty() => {
                    let (pool, id, day) = flying.swap_remove(which % flying.len());
                    if unused {
                        prop_assert!(world.scheduler.release_unused(id, now));
                        if day == Day::of(now) {
                            *out_of_day.get_mut(&(pool, day)).unwrap() -= 1;
                        }
                    } else {
                        prop_assert!(world.scheduler.finish(id));
                    }
                }
                Step::End { .. } => {}
                Step::Credit { pool, credit, is_served } => {
                    world.scheduler.set_pool_credit(ids[pool], credit * u32::from(is_served), is_served);
                }
                Step::Suspend { pool } => {
                    suspended = pool;
                    let pools = pool.iter().map(|pool| names[*pool].to_owned()).collect();
                    world.scheduler.set_suspended(Suspended { pools, ..Suspended::default() });
                }
                Step::Wait { hours } => now = now.after(Duration::from_secs(hours * 3600)),
            }
            for ((pool, day), out) in &out_of_day {
                let nth = usize::try_from(day.days_after(DAY)).unwrap();
                if *pool == ids[1] || *pool == ids[3] {
                    prop_assert!(PER_DAY.get(nth).is_none_or(|most| *out <= u64::from(*most)), "{out_of_day:?}");
                }
            }
        }
        world.scheduler.set_suspended(Suspended::default());
        ids.iter().for_each(|pool| world.scheduler.set_pool_credit(*pool, 10_000, true));
        for _ in 0..100 {
            flying.drain(..).for_each(|(_, id, _)| assert!(world.scheduler.finish(id)));
            flying.extend(world.go(now).into_iter().map(|(pool, id)| (pool, id, DAY)));
            now = now.after(Duration::from_secs(12 * 3600));
        }
        prop_assert_eq!(world.scheduler.len(), 0, "{:?}", world.scheduler);
    }
}
