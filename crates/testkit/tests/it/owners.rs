//! Owners that come, go, are killed, paused and cut off, with real processes under load: nothing is lost, nothing sent
//! twice, and the rest goes on.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use mailtier_testkit::bridge::Bridge;
use mailtier_testkit::fleet::{Fleet, Size, at, migrate};
use mailtier_testkit::installation::{Plan, pause};
use mailtier_testkit::ledger::{Behaviour, Counterpart, Ledger, Load};
use mailtier_testkit::postgres::{PostgresServer, TestDatabase};
use nix::sys::signal::Signal;

use crate::clients::put_aside;
use crate::loads::{conclude_exactly_once, until_flowing};

/// So many that each of three replicas owns some; one that defers, one that refuses.
const DOMAINS: &[&str] = &[
    "one.example",
    "two.example",
    "three.example",
    "four.example",
    "five.example",
    "six.example",
    "seven.example",
    "eight.example",
    "nine.example",
    "ten.example",
    "later.example",
    "never.example",
];
const BEHAVIOUR: Behaviour =
    Behaviour { defer_once: &["later.example"], defer_always: &[], reject: &["never.example"] };
const SESSIONS: usize = 4;
const FLOW: usize = 60;
/// Until the mail of every domain moves again.
const LIMIT: Duration = Duration::from_secs(120);
/// In the tests that pause and cut off; others have what is shipped.
const LEASE: Duration = Duration::from_secs(3);

async fn database() -> TestDatabase {
    TestDatabase::migrated().await.unwrap()
}

fn new_database() -> TestDatabase {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(database())
}

fn counterpart() -> (Ledger, Counterpart) {
    let ledger = Ledger::default();
    let counterpart = Counterpart::start(&ledger, BEHAVIOUR).unwrap();
    (ledger, counterpart)
}

fn short_leases(plan: Plan) -> Plan {
    plan.set("queue", "lease", "\"3s\"").set("queue", "renew_every", "\"500ms\"").set("queue", "worker_grace", "\"3s\"")
}

/// How often something is done: once, or for a campaign (`make chaos`).
fn rounds() -> usize {
    if std::env::var_os("CHAOS_SECONDS").is_some() { 10 } else { 1 }
}

#[test]
fn replicas_are_restarted_one_after_the_other_and_nobody_notices() {
    let (ledger, counterpart) = counterpart();
    let database = new_database();
    let plan = Plan::new(counterpart.address());
    let mut fleet = Fleet::new(&plan, Size { queues: 3, outbounds: 2 }, |_| database.url()).unwrap();
    fleet.start().unwrap();
    let load = Load::start(&ledger, fleet.smtp(), SESSIONS, DOMAINS);
    until_flowing(&ledger, FLOW).unwrap();
    let _ = ledger.take_longest_gap();
    for _ in 0..rounds() + 1 {
        for replica in 0..3 {
            fleet.queues[replica].stop().unwrap();
            fleet.queues[replica].start().unwrap();
            fleet.queues[replica].until_ready().unwrap();
            until_flowing(&ledger, FLOW).unwrap();
        }
    }
    assert!(ledger.wait_for_every_domain(LIMIT));
    let gap = ledger.take_longest_gap();
    let balance = conclude_exactly_once(&ledger, load, database.config()).unwrap();
    println!("rolling restarts: some domain's mail did not move for {gap:?} at the longest; {balance:?}");
    assert_eq!(balance.put_off, 0, "clients do not notice: {balance:?}");
    fleet.stop().unwrap();
}

#[test]
fn the_mail_of_a_killed_owner_moves_again_within_seconds() {
    let (ledger, counterpart) = counterpart();
    let database = new_database();
    let plan = Plan::new(counterpart.address());
    let mut fleet = Fleet::new(&plan, Size { queues: 3, outbounds: 2 }, |_| database.url()).unwrap();
    fleet.start().unwrap();
    let load = Load::start(&ledger, fleet.smtp(), SESSIONS, DOMAINS);
    assert!(ledger.wait_for_every_domain(LIMIT));
    // Shards are spread when the replicas have seen each other.
    let owners = "SELECT count(DISTINCT owner) FROM shard";
    until_flowing(&ledger, FLOW).unwrap();
    wait_until("shards are spread", || sql(&database, owners) == "3");
    let _ = ledger.take_longest_gap();
    for replica in 0..3 {
        fleet.queues[replica].kill();
        assert!(ledger.wait_for_every_domain(LIMIT), "nobody takes over");
        println!("a killed owner: some domain's mail did not move for {:?}", ledger.take_longest_gap());
        fleet.queues[replica].start().unwrap();
        fleet.queues[replica].until_ready().unwrap();
        wait_until("shards are spread", || sql(&database, owners) == "3");
    }
    let balance = conclude_exactly_once(&ledger, load, database.config()).unwrap();
    println!("killed owners: {balance:?}");
    fleet.stop().unwrap();
}

#[test]
fn an_owner_that_was_paused_past_its_lease_does_no_harm() {
    let (ledger, counterpart) = counterpart();
    let database = new_database();
    let plan = short_leases(Plan::new(counterpart.address()));
    let mut fleet = Fleet::new(&plan, Size { queues: 2, outbounds: 2 }, |_| database.url()).unwrap();
    fleet.start().unwrap();
    let load = Load::start(&ledger, fleet.smtp(), SESSIONS, DOMAINS);
    for _ in 0..rounds() {
        for replica in 0..2 {
            until_flowing(&ledger, FLOW).unwrap();
            wait_until("shards are spread", || sql(&database, "SELECT count(DISTINCT owner) FROM shard") == "2");
            fleet.queues[replica].signal(Signal::SIGSTOP).unwrap();
            assert!(ledger.wait_for_every_domain(LIMIT), "nobody takes over");
            fleet.queues[replica].signal(Signal::SIGCONT).unwrap();
            until_flowing(&ledger, FLOW).unwrap();
        }
    }
    let balance = conclude_exactly_once(&ledger, load, database.config()).unwrap();
    println!("paused owners: {balance:?}");
    fleet.stop().unwrap();
}

#[test]
fn an_owner_that_is_cut_off_from_the_database_stops_before_another_begins() {
    let (ledger, counterpart) = counterpart();
    let server = PostgresServer::start().unwrap();
    let bridges = [Bridge::start(&server.socket()).unwrap(), Bridge::start(&server.socket()).unwrap()];
    migrate(&server.url("postgres")).unwrap();
    let plan = short_leases(Plan::new(counterpart.address()));
    let url = |number: usize| format!("postgres://postgres@{}/postgres", bridges[number].address());
    let mut fleet = Fleet::new(&plan, Size { queues: 2, outbounds: 2 }, url).unwrap();
    fleet.start().unwrap();
    let load = Load::start(&ledger, fleet.smtp(), SESSIONS, DOMAINS);
    until_flowing(&ledger, FLOW).unwrap();
    let owners = "SELECT count(DISTINCT owner) FROM shard";
    wait_until("shards are spread", || server.sql("postgres", owners).is_ok_and(|count| count == "2"));

    bridges[0].hold();
    let held_at = Instant::now();
    let dispatched = || fleet.queues[0].metric("mailtier_queue_dispatched_total").unwrap();
    let one_owner = "SELECT count(DISTINCT owner) FROM shard WHERE lease_until > now()";
    // Its last renewal was asked for before it was cut off: two thirds of the lease are over before this.
    wait_until("its own clock says so", || held_at.elapsed() > LEASE * 2 / 3 + Duration::from_millis(200));
    let before = dispatched();
    assert!(before > 0.0);
    wait_until("another has taken over", || server.sql("postgres", one_owner).is_ok_and(|count| count == "1"));
    assert!(ledger.wait_for_every_domain(LIMIT), "nobody takes over");
    println!("a partition: taken over after {:?}", held_at.elapsed());
    assert_eq!(dispatched(), before, "who is cut off dispatches nothing");
    bridges[0].release();
    until_flowing(&ledger, FLOW).unwrap();
    let balance = conclude_exactly_once(&ledger, load, at(&server.url("postgres"))).unwrap();
    println!("a partition: {balance:?}");
    fleet.stop().unwrap();
}

#[test]
fn a_database_that_is_paused_for_longer_than_a_lease_makes_no_two_owners() {
    let (ledger, counterpart) = counterpart();
    let server = PostgresServer::start().unwrap();
    migrate(&server.url("postgres")).unwrap();
    let plan = short_leases(Plan::new(counterpart.address()));
    let mut fleet = Fleet::new(&plan, Size { queues: 2, outbounds: 2 }, |_| server.url("postgres")).unwrap();
    fleet.start().unwrap();
    let load = Load::start(&ledger, fleet.smtp(), SESSIONS, DOMAINS);
    until_flowing(&ledger, FLOW).unwrap();
    server.signal(Signal::SIGSTOP).unwrap();
    let paused_at = Instant::now();
    wait_until("every lease has run out", || paused_at.elapsed() > LEASE * 2);
    server.signal(Signal::SIGCONT).unwrap();
    println!("a paused database: mail flows again after {:?}", until_flowing(&ledger, FLOW).unwrap());
    let balance = conclude_exactly_once(&ledger, load, at(&server.url("postgres"))).unwrap();
    println!("a paused database: {balance:?}");
    fleet.stop().unwrap();
}

/// Half of everything is of the version before; then each is replaced, forwards and back. `make compat` builds it.
#[test]
#[ignore = "needs the programs of the version before: make compat"]
fn neighbouring_versions_run_side_by_side() {
    let before = PathBuf::from(std::env::var_os("MAILTIER_BEFORE").expect("MAILTIER_BEFORE names the folder"));
    let now = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned();
    let (ledger, counterpart) = counterpart();
    let database = new_database();
    let plan = Plan::new(counterpart.address());
    let mut fleet = Fleet::new(&plan, Size { queues: 2, outbounds: 2 }, |_| database.url()).unwrap();
    fleet.queues[0].run_from(&before);
    fleet.outbounds[0].run_from(&before);
    fleet.inbound.run_from(&before);
    fleet.start().unwrap();
    let load = Load::start(&ledger, fleet.smtp(), SESSIONS, DOMAINS);
    until_flowing(&ledger, FLOW).unwrap();
    for version in [&now, &before, &now] {
        for process in fleet.all() {
            process.stop().unwrap();
            process.run_from(version);
            process.start().unwrap();
            process.until_ready().unwrap();
            until_flowing(&ledger, FLOW).unwrap();
        }
    }
    let balance = conclude_exactly_once(&ledger, load, database.config()).unwrap();
    println!("neighbouring versions: {balance:?}");
    fleet.stop().unwrap();
}

/// The clocks that count for ownership are the database's, and each owner's own that no one sets. What wall clocks say
/// decides when mail is due, so this load has nothing that is put off.
#[test]
fn clocks_that_jump_by_an_hour_do_no_harm() {
    let library = put_aside("libfaketime.so.1").to_string_lossy().into_owned();
    let domains = &DOMAINS[..10];
    let ledger = Ledger::default();
    let counterpart =
        Counterpart::start(&ledger, Behaviour { reject: &["ten.example"], ..Behaviour::default() }).unwrap();
    let database = new_database();
    let plan = short_leases(Plan::new(counterpart.address()));
    let mut fleet = Fleet::new(&plan, Size { queues: 2, outbounds: 2 }, |_| database.url()).unwrap();
    let clocks = [fleet.folder().join("clock-of-queue"), fleet.folder().join("clock-of-outbound")];
    let set = |clock: usize, to: &str| std::fs::write(&clocks[clock], to).unwrap();
    set(0, "+3600");
    set(1, "-3600");
    for (clock, process) in clocks.iter().zip([&mut fleet.queues[0], &mut fleet.outbounds[0]]) {
        let path = clock.to_string_lossy().into_owned();
        let faked = [
            ("LD_PRELOAD", library.as_str()),
            ("FAKETIME_TIMESTAMP_FILE", &path),
            ("FAKETIME_CACHE_DURATION", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ];
        process.start_with(&faked).unwrap();
    }
    fleet.queues[1].start().unwrap();
    fleet.outbounds[1].start().unwrap();
    fleet.inbound.start().unwrap();
    fleet.until_ready().unwrap();
    let load = Load::start(&ledger, fleet.smtp(), SESSIONS, domains);
    until_flowing(&ledger, FLOW).unwrap();
    for to in ["-3600", "+7200", "+0"] {
        set(0, to);
        set(1, to);
        assert!(ledger.wait_for_every_domain(LIMIT), "mail stands still: {to}");
        until_flowing(&ledger, FLOW).unwrap();
    }
    let balance = conclude_exactly_once(&ledger, load, database.config()).unwrap();
    println!("clocks that jump: {balance:?}");
    fleet.stop().unwrap();
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < LIMIT, "waited in vain until {what}");
        pause();
    }
}

fn sql(database: &TestDatabase, text: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(database.sql(text)).unwrap()
}
