//! What the scheduler's operations cost on this machine: `cargo run --release -p mailtier-schedule --example timing`.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a stopwatch for people"
)]

use std::time::{Duration, Instant};

use mailtier_schedule::{Answer, Entry, GroupLimits, Lessee, Lessor, Limits, PoolClass, Ready, Rules, Scheduler, View};
use mailtier_types::{DeliveryId, ReplicaId, ShardId, TenantId, Timestamp};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn main() {
    let count: usize = std::env::args().nth(1).and_then(|argument| argument.parse().ok()).unwrap_or(5_000_000);
    let destinations = std::env::args().nth(2).and_then(|argument| argument.parse().ok()).unwrap_or(100_000);
    let names: Vec<String> = (0..destinations).map(|number| format!("customer-{number}.example")).collect();
    let limits = Limits { max_entries: count, max_entries_per_destination: count };
    let mut scheduler = Scheduler::new(limits, Rules::plain(20));
    println!("{count} deliveries to {} destinations", names.len());
    let before = resident_kib();

    measure("insert, ready", count, || fill(&mut scheduler, &names, count, NOW));
    let octets = (resident_kib() - before) * 1024 / count;
    println!("{octets:>12} octets of memory for each, {} MiB in all", (resident_kib() - before) / 1024);
    measure("next and finish", count, || drain(&mut scheduler, NOW));

    let later = NOW.after(Duration::from_secs(3_600));
    measure("insert, waiting", count, || fill(&mut scheduler, &names, count, later));
    measure("all due at once: first next", 1, || _ = scheduler.next(later));
    measure("next and finish", count - 1, || drain(&mut scheduler, later));

    measure("insert and next and finish, one by one", count, || one_by_one(&mut scheduler, &names, count));

    fill(&mut scheduler, &names, count, later);
    let attempts = measure("next and defer", count, || defer_all(&mut scheduler, later));
    println!("{attempts:>12} attempts made");
    measure("drop one of 256 shards", count / 256, || _ = scheduler.drop_shard(ShardId::new(0)));
    measure("drop the others", count / 256 * 255, || ShardId::all().for_each(|shard| _ = scheduler.drop_shard(shard)));

    measure("insert, ready, one destination", count, || fill(&mut scheduler, &names[..1], count, NOW));
    measure("the first next", 1, || _ = scheduler.next(NOW));
    measure("next and finish", count - 1, || drain(&mut scheduler, NOW));
    drop(scheduler);
    [1_000, 10_000, 100_000].into_iter().for_each(lease);
}

/// One of two replicas asks for slices of the limits of so many tenants, all with mail, as often as it does.
fn lease(tenants: i32) {
    let limits = GroupLimits { concurrency: Some(10), rate: None };
    let count = usize::try_from(tenants).unwrap();
    let rules = Rules { tenant: limits, ..Rules::plain(1_000_000) };
    let mut scheduler = Scheduler::new(Limits { max_entries: count, max_entries_per_destination: count }, rules);
    let lease = Duration::from_secs(15);
    let (me, other, mut now) = (ReplicaId::random(), ReplicaId::random(), Instant::now());
    let view = View::of(vec![me, other]);
    let mut lessee = Lessee::new(me, lease);
    let mut lessor = Lessor::new(other, lease, now);
    lessor.meet(view.clone(), now, now);
    lessee.meet(view, &mut scheduler, now, now);
    for tenant in 0..tenants {
        fill_for(&mut scheduler, TenantId(tenant), i64::from(tenant) + 1);
    }
    while scheduler.next_attempt(NOW).is_some() {}
    let (rounds, mut asking, mut answering, mut hearing) = (20, Duration::ZERO, Duration::ZERO, Duration::ZERO);
    for _ in 0..rounds {
        now += Duration::from_millis(100);
        let start = Instant::now();
        let reports = lessee.reports(&mut scheduler, now);
        asking += start.elapsed();
        for (to, report) in reports {
            let start = Instant::now();
            let leased = lessor.lease(&report, now).filter(|_| to == other);
            answering += start.elapsed();
            let start = Instant::now();
            lessee.answered(to, report.sequence, leased.map_or(Answer::Lost, Answer::Leased), &mut scheduler);
            hearing += start.elapsed();
        }
    }
    println!(
        "{:>12.2} ms to ask, {:.2} ms to hear, {:.2} ms to lease, ten times a second: {tenants} tenants with limits",
        asking.as_secs_f64() * 1e3 / f64::from(rounds),
        hearing.as_secs_f64() * 1e3 / f64::from(rounds),
        answering.as_secs_f64() * 1e3 / f64::from(rounds)
    );
}

fn measure<T>(what: &str, count: usize, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    let taken = start.elapsed();
    println!(
        "{:>12.1} ns each, {:>8.1} ms: {what}",
        taken.as_secs_f64() * 1e9 / count as f64,
        taken.as_secs_f64() * 1e3
    );
    result
}

fn fill_for(scheduler: &mut Scheduler, tenant: TenantId, number: i64) {
    let name = format!("customer-{number}.example");
    let entry = Entry {
        id: DeliveryId::from_i64(number).unwrap(),
        shard: ShardId::of(&name),
        tenant,
        class: PoolClass::default(),
        priority: 0,
        attempts: 0,
        due: NOW,
        expires_at: NOW.after(Duration::from_secs(432_000)),
        warn_at: None,
    };
    scheduler.insert(&name, entry, NOW);
}

fn fill(scheduler: &mut Scheduler, names: &[String], count: usize, due: Timestamp) {
    for number in 0..count {
        let name = &names[number * 7919 % names.len()];
        let entry = Entry {
            id: DeliveryId::from_i64(i64::try_from(number).unwrap_or(0) + 1).unwrap(),
            shard: ShardId::of(name),
            tenant: TenantId(0),
            class: PoolClass::default(),
            priority: 0,
            attempts: 0,
            due,
            expires_at: NOW.after(Duration::from_secs(432_000)),
            warn_at: None,
        };
        scheduler.insert(name, entry, NOW);
    }
}

fn drain(scheduler: &mut Scheduler, now: Timestamp) {
    while let Some(Ready::Attempt(entry)) = scheduler.next(now) {
        scheduler.finish(entry.id);
    }
}

fn one_by_one(scheduler: &mut Scheduler, names: &[String], count: usize) {
    for number in 0..count {
        fill(scheduler, std::slice::from_ref(&names[number % 1_000]), 1, NOW);
        drain(scheduler, NOW);
    }
}

fn defer_all(scheduler: &mut Scheduler, now: Timestamp) -> usize {
    let mut attempts = 0;
    while let Some(Ready::Attempt(entry)) = scheduler.next(now) {
        attempts += 1;
        scheduler.defer(entry.id, entry.attempts + 1, now.after(Duration::from_secs(300 + attempts % 60)));
    }
    usize::try_from(attempts).unwrap_or(usize::MAX)
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
