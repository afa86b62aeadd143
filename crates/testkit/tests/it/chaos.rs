//! Kills under load, on the real programs with a real PostgreSQL: every 250 is delivered or returned, and a delivery is
//! repeated only where docs/architecture.md says it can be. `CHAOS_SECONDS` makes a campaign of it.

use std::time::{Duration, Instant};

use mailtier_testkit::installation::{Installation, Plan};
use mailtier_testkit::ledger::{Balance, Behaviour, Counterpart, Ledger, Load};

/// Domains of the load: ordinary ones, one that defers each message once, one that refuses all.
const DOMAINS: &[&str] = &["one.example", "two.example", "three.example", "later.example", "never.example"];
const BEHAVIOUR: Behaviour =
    Behaviour { defer_once: &["later.example"], defer_always: &[], reject: &["never.example"], takes: Duration::ZERO };
const SESSIONS: usize = 8;
/// After the load has ended, everything must be settled within this.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);

/// Kills the programs in turn, each as soon as mail flows again, for a while or for `CHAOS_SECONDS`.
fn campaign(names: &[&str]) -> Balance {
    let ledger = Ledger::default();
    let counterpart = Counterpart::start(&ledger, BEHAVIOUR).unwrap();
    let plan = Plan::new(counterpart.address()).set("queue", "worker_grace", "\"2s\"");
    let installation = Installation::start(&plan).unwrap();
    let load = Load::start(&ledger, installation.smtp(), SESSIONS, DOMAINS);
    let seconds: Option<u64> = std::env::var("CHAOS_SECONDS").ok().and_then(|text| text.parse().ok());
    let started = Instant::now();
    let mut rounds = 0;
    while rounds == 0 || seconds.is_some_and(|seconds| started.elapsed() < Duration::from_secs(seconds)) {
        for name in names {
            wait_for_more_mail(&ledger, &installation);
            installation.kill(name).unwrap();
        }
        rounds += 1;
    }
    wait_for_more_mail(&ledger, &installation);
    load.stop();
    let balance = ledger.settle(SETTLE_LIMIT);
    println!("{names:?}, {rounds} rounds: {balance:?}");
    assert_eq!(balance.missing, 0, "promised and lost: {:?}\n{balance:?}", ledger.missing());
    assert!(balance.promised > 100, "{balance:?}");
    assert!(balance.bounced > 0, "mail to never.example is returned: {balance:?}");
    assert_eq!(installation.audit().unwrap(), [], "each recipient is in one state");
    installation.stop().unwrap();
    balance
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
    let balance = campaign(&["mailtier-inbound", "mailtier-inbound"]);
    assert_eq!((balance.duplicates, balance.duplicate_bounces), (0, 0));
}

#[test]
fn a_killed_queue_loses_and_repeats_nothing() {
    let balance = campaign(&["mailtier-queue", "mailtier-queue"]);
    assert_eq!((balance.duplicates, balance.duplicate_bounces), (0, 0));
}

#[test]
fn a_killed_outbound_loses_nothing_and_repeats_only_what_was_in_its_hands() {
    let balance = campaign(&["mailtier-outbound", "mailtier-outbound"]);
    // The published window: what the two killed processes had in flight, 200 each at the most.
    assert!(balance.duplicates <= 400, "{balance:?}");
}

#[test]
fn a_killed_postgres_loses_and_repeats_nothing() {
    let balance = campaign(&["postgres", "postgres"]);
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
    let load = Load::start(&ledger, installation.smtp(), SESSIONS, DOMAINS);
    for _ in 0..2 {
        wait_for_more_mail(&ledger, &installation);
        installation.kill_second_queue();
        wait_for_more_mail(&ledger, &installation);
        installation.start_second_queue().unwrap();
    }
    wait_for_more_mail(&ledger, &installation);
    load.stop();
    let balance = ledger.settle(SETTLE_LIMIT);
    println!("two replicas: {balance:?}");
    assert_eq!(balance.missing, 0, "promised and lost: {:?}", ledger.missing());
    assert_eq!((balance.duplicates, balance.duplicate_bounces), (0, 0));
    assert_eq!(installation.audit().unwrap(), [], "each recipient is in one state");
    installation.stop().unwrap();
}
