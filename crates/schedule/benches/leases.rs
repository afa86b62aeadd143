//! What it costs that replicas keep to limits together: one asks another for slices of the limits of so many tenants, all of
//! which have mail. Each does so ten times a second.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a benchmark may fail loudly and look at the clock")]

use std::time::{Duration, Instant};

use divan::{Bencher, black_box};
use mailtier_schedule::{Answer, Entry, GroupLimits, Lessee, Lessor, Limits, PoolClass, Rules, Scheduler, View};
use mailtier_types::{DeliveryId, ReplicaId, ShardId, SliceLease, SliceReport, TenantId, Timestamp};

fn main() {
    divan::main();
}

const TENANTS: [i32; 3] = [1_000, 10_000, 100_000];
const SAMPLES: u32 = 20;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const EXPIRY: Timestamp = Timestamp::from_secs(1_800_432_000);
/// From one question to the next.
const INTERVAL: Duration = Duration::from_millis(100);
const LEASE: Duration = Duration::from_secs(15);

/// Who asks and who is asked, after they have done so before.
struct Pair {
    scheduler: Scheduler,
    lessee: Lessee,
    lessor: Lessor,
    other: ReplicaId,
    now: Instant,
}

impl Pair {
    fn new(tenants: i32) -> Self {
        let limits = GroupLimits { concurrency: Some(10), rate: None };
        let most = usize::try_from(tenants).unwrap();
        let rules = Rules { tenant: limits, ..Rules::plain(1_000_000) };
        let mut scheduler = Scheduler::new(Limits { max_entries: most, max_entries_per_destination: most }, rules);
        let (me, other, now) = (ReplicaId::random(), ReplicaId::random(), Instant::now());
        let view = View::of(vec![me, other]);
        let (mut lessee, mut lessor) = (Lessee::new(me, LEASE), Lessor::new(other, LEASE, now));
        lessor.meet(view.clone(), now, now);
        lessee.meet(view, &mut scheduler, now, now);
        for tenant in 0..tenants {
            insert(&mut scheduler, TenantId(tenant));
        }
        while scheduler.next_attempt(NOW).is_some() {}
        let mut pair = Self { scheduler, lessee, lessor, other, now };
        let report = pair.ask();
        let lease = pair.lease(&report);
        pair.hear(&report, lease);
        pair
    }

    fn ask(&mut self) -> SliceReport {
        self.now += INTERVAL;
        let reports = self.lessee.reports(&mut self.scheduler, self.now);
        let mut to_other = reports.into_iter().filter(|(to, _)| *to == self.other);
        to_other.next().map(|(_, report)| report).unwrap()
    }

    fn lease(&mut self, report: &SliceReport) -> SliceLease {
        self.lessor.lease(report, self.now).unwrap()
    }

    fn hear(&mut self, report: &SliceReport, lease: SliceLease) {
        self.lessee.answered(self.other, report.sequence, Answer::Leased(lease), &mut self.scheduler);
    }
}

fn insert(scheduler: &mut Scheduler, tenant: TenantId) {
    let number = i64::from(tenant.0) + 1;
    let name = format!("customer-{number}.example");
    let entry = Entry {
        id: DeliveryId::from_i64(number).unwrap(),
        shard: ShardId::of(&name),
        tenant,
        class: PoolClass::default(),
        priority: 0,
        attempts: 0,
        due: NOW,
        expires_at: EXPIRY,
        warn_at: None,
    };
    scheduler.insert(&name, entry, NOW);
}

#[divan::bench(args = TENANTS, sample_count = SAMPLES, sample_size = 1)]
fn ask(bencher: Bencher<'_, '_>, tenants: i32) {
    bencher.with_inputs(|| Pair::new(tenants)).bench_local_refs(|pair| black_box(pair.ask()));
}

#[divan::bench(args = TENANTS, sample_count = SAMPLES, sample_size = 1)]
fn lease(bencher: Bencher<'_, '_>, tenants: i32) {
    let asked = || {
        let mut pair = Pair::new(tenants);
        let report = pair.ask();
        (pair, report)
    };
    bencher.with_inputs(asked).bench_local_refs(|(pair, report)| black_box(pair.lease(report)));
}

#[divan::bench(args = TENANTS, sample_count = SAMPLES, sample_size = 1)]
fn hear(bencher: Bencher<'_, '_>, tenants: i32) {
    let answered = || {
        let mut pair = Pair::new(tenants);
        let report = pair.ask();
        let lease = Some(pair.lease(&report));
        (pair, report, lease)
    };
    bencher.with_inputs(answered).bench_local_refs(|(pair, report, lease)| pair.hear(report, lease.take().unwrap()));
}
