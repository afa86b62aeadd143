//! Kills under load, on the real programs with a real PostgreSQL: every 250 is delivered or returned, and a delivery is
//! repeated only where docs/architecture.md says it can be. `CHAOS_SECONDS` makes a campaign of it.

use std::time::{Duration, Instant};

use mailtier_testkit::installation::{Installation, Plan};
use mailtier_testkit::ledger::{Balance, Counterpart, Ledger, Load};

use crate::loads::{BEHAVIOUR, DOMAINS, until_empty, wait_until};

const SESSIONS: usize = 8;
/// After the load has ended, everything must be settled within this.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);

/// Kills the programs in turn, each as soon as it runs and mail flows again, for a while or for `CHAOS_SECONDS`. Says how
/// often.
fn campaign(names: &[&str]) -> (Balance, u32) {
    let ledger = Ledger::default();
    let counterpart = Counterpart::start(&ledger, BEHAVIOUR).unwrap();
    let plan = Plan::new(counterpart.address()).set("queue", "worker_grace", "\"2s\"");
    let installation = Installation::start(&plan).unwrap();
    let load = Load::start(&ledger, &[installation.smtp()], SESSIONS, DOMAINS);
    let seconds: Option<u64> = std::env::var("CHAOS_SECONDS").ok().and_then(|text| text.parse().ok());
    let started = Instant::now();
    let mut kills = 0;
    while kills == 0 || seconds.is_some_and(|seconds| started.elapsed() < Duration::from_secs(seconds)) {
        for name in names {
            wait_for_more_mail(&ledger, &installation);
            wait_until("it runs", || installation.pid_of(name).is_some());
            installation.kill(name).unwrap();
            kills += 1;
        }
    }
    wait_for_more_mail(&ledger, &installation);
    let balance = settle(&ledger, load, &installation);
    println!("{names:?}, {kills} kills: {balance:?}");
    assert_eq!(balance.missing, 0, "promised and lost: {:?}\n{balance:?}", ledger.missing());
    assert!(balance.promised > 100, "{balance:?}");
    assert!(balance.bounced > 0, "mail to never.example is returned: {balance:?}");
    assert_eq!(installation.audit().unwrap(), [], "each recipient is in one state");
    installation.stop().unwrap();
    (balance, kills)
}

/// Ends the load, and waits until nothing is missing, and nothing queued that could arrive once more.
fn settle(ledger: &Ledger, load: Load, installation: &Installation) -> Balance {
    load.stop();
    match ledger.settle(SETTLE_LIMIT) {
        balance if balance.missing > 0 => balance,
        _ => until_empty(ledger, &installation.database()).unwrap(),
    }
}

/// Until 50 more messages have been promised and 50 more have arrived: mail flows (again).
fn wait_for_more_mail(ledger: &Ledger, installation: &Installation) {
    let (before, started) = (ledger.balance(), Instant::now());
    let flows = |now: Balance| now.promised >= before.promised + 50 && now.arrived >= before.arrived + 50;
    while !flows(ledger.balance()) {
        assert!(started.elapsed() < Duration::from_secs(60), "no mail flows:\n{}", installation.log());
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn a_killed_inbound_loses_and_repeats_nothing() {
    let (balance, _) = campaign(&["mailtier-inbound", "mailtier-inbound"]);
    assert_eq!((balance.duplicates, balance.duplicate_bounces), (0, 0));
}

#[test]
fn a_killed_queue_loses_and_repeats_nothing() {
    let (balance, _) = campaign(&["mailtier-queue", "mailtier-queue"]);
    assert_eq!((balance.duplicates, balance.duplicate_bounces), (0, 0));
}

#[test]
fn a_killed_outbound_loses_nothing_and_repeats_only_what_was_in_its_hands() {
    let (balance, kills) = campaign(&["mailtier-outbound", "mailtier-outbound"]);
    // The published window: what the killed processes had in flight, 200 each at the most.
    assert!(balance.duplicates <= 200 * kills, "{balance:?}");
}

#[test]
fn a_killed_postgres_loses_and_repeats_nothing() {
    let (balance, _) = campaign(&["postgres", "postgres"]);
    assert_eq!((balance.duplicates, balance.duplicate_bounces), (0, 0));
}

#[test]
fn of_two_queue_replicas_one_is_killed() {
    let ledger = Ledger::default();
    let counterpart = Counterpart::start(&ledger, BEHAVIOUR).unwrap();
    let plan = Plan::new(counterpart.address())
        .set("queue", "worker_grace", "\"2s\"")
        .set("queue", "lease", "\"3s\"")
        .set("queue", "renew_every", "\"500ms\"")
        .with_second_queue();
    let mut installation = Installation::start(&plan).unwrap();
    let load = Load::start(&ledger, &[installation.smtp()], SESSIONS, DOMAINS);
    for _ in 0..2 {
        wait_for_more_mail(&ledger, &installation);
        installation.kill_second_queue();
        wait_for_more_mail(&ledger, &installation);
        installation.start_second_queue().unwrap();
    }
    wait_for_more_mail(&ledger, &installation);
    let balance = settle(&ledger, load, &installation);
    println!("two replicas: {balance:?}");
    assert_eq!(balance.missing, 0, "promised and lost: {:?}", ledger.missing());
    assert_eq!((balance.duplicates, balance.duplicate_bounces), (0, 0));
    assert_eq!(installation.audit().unwrap(), [], "each recipient is in one state");
    installation.stop().unwrap();
}
