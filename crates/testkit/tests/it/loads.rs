//! The load of the tests that break things, and what must be true of it in the end.

use std::time::{Duration, Instant};

use mailtier_config::DatabaseConfig;
use mailtier_testkit::fleet::{Fleet, Size, audit, queued};
use mailtier_testkit::installation::{Plan, pause};
use mailtier_testkit::ledger::{Balance, Behaviour, Counterpart, Ledger, Load};
use mailtier_testkit::postgres::TestDatabase;

/// Ordinary domains, one that defers each recipient once, one that refuses all.
pub(crate) const DOMAINS: &[&str] = &["one.example", "two.example", "three.example", "later.example", "never.example"];
pub(crate) const BEHAVIOUR: Behaviour =
    Behaviour { defer_once: &["later.example"], defer_always: &[], reject: &["never.example"], takes: Duration::ZERO };
/// After the load has ended, everything must be settled within this.
const SETTLE_LIMIT: Duration = Duration::from_secs(120);
/// The longest for which no mail may flow, whatever is done to the programs and their database.
const FLOW_LIMIT: Duration = Duration::from_secs(120);

/// The longest wait for anything that should happen.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);
/// Clients at a time.
pub(crate) const SESSIONS: usize = 4;
/// Of so many more recipients mail flows.
pub(crate) const FLOW: usize = 60;

/// A database with the newest schema, for a test that has no runtime.
pub(crate) fn new_database() -> TestDatabase {
    alone(TestDatabase::migrated()).unwrap()
}

/// What SQL says there.
pub(crate) fn sql(database: &TestDatabase, text: &str) -> String {
    alone(database.sql(text)).unwrap()
}

fn alone<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// Programs around a database, and mail that flows through them.
pub(crate) struct Flow {
    pub(crate) ledger: Ledger,
    pub(crate) fleet: Fleet,
    _counterpart: Counterpart,
    load: Load,
}

impl Flow {
    /// Starts programs with these settings in front of a database, which each replica reaches by its own URL.
    pub(crate) fn start(
        domains: &'static [&'static str],
        settings: impl FnOnce(Plan) -> Plan,
        size: Size,
        database: impl Fn(usize) -> String,
    ) -> Self {
        let ledger = Ledger::default();
        let counterpart = Counterpart::start(&ledger, BEHAVIOUR).unwrap();
        let mut fleet = Fleet::new(&settings(Plan::new(counterpart.address())), size, database).unwrap();
        fleet.start().unwrap();
        Self::through(fleet, ledger, counterpart, domains)
    }

    /// Through programs that run already.
    pub(crate) fn through(
        fleet: Fleet,
        ledger: Ledger,
        counterpart: Counterpart,
        domains: &'static [&'static str],
    ) -> Self {
        let load = Load::start(&ledger, fleet.smtp(), SESSIONS, domains);
        let flow = Self { ledger, fleet, _counterpart: counterpart, load };
        flow.goes_on();
        flow
    }

    /// How long it took until mail flowed again.
    pub(crate) fn goes_on(&self) -> Duration {
        until_flowing(&self.ledger, FLOW).unwrap()
    }

    /// Ends it: nothing is lost, nothing sent twice.
    pub(crate) fn conclude(self, what: &str, database: DatabaseConfig) -> Balance {
        let balance = conclude_exactly_once(&self.ledger, self.load, database).unwrap();
        println!("{what}: {balance:?}");
        self.fleet.stop().unwrap();
        balance
    }
}

pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < LIMIT, "waited in vain until {what}");
        pause();
    }
}

/// Until so many more recipients have been promised and so many more reached: mail flows (again). How long that took.
pub(crate) fn until_flowing(ledger: &Ledger, count: usize) -> anyhow::Result<Duration> {
    let (before, started) = (ledger.balance(), Instant::now());
    loop {
        let now = ledger.balance();
        if now.promised >= before.promised + count && now.arrived >= before.arrived + count {
            return Ok(started.elapsed());
        }
        anyhow::ensure!(started.elapsed() < FLOW_LIMIT, "no mail flows: {before:?}, {now:?}");
        pause();
    }
}

/// Ends the load, waits until everything is settled: nothing is lost, nothing refused for good, each recipient is in one
/// state, and nothing is queued that could arrive once more. What was repeated is for the caller to judge.
pub(crate) fn conclude(ledger: &Ledger, load: Load, database: DatabaseConfig) -> anyhow::Result<Balance> {
    load.stop();
    let balance = ledger.settle(SETTLE_LIMIT);
    anyhow::ensure!(balance.missing == 0, "promised and lost: {:?}\n{balance:?}", ledger.missing());
    let balance = until_empty(ledger, &database)?;
    anyhow::ensure!(balance.bounced > 0, "mail to never.example is returned: {balance:?}");
    anyhow::ensure!(balance.refused == 0, "whatever is broken, clients may try again: {balance:?}");
    let findings = audit(&database)?;
    anyhow::ensure!(findings.is_empty(), "in no state, or in two: {findings:?}");
    Ok(balance)
}

/// Waits until nothing is queued any more: what died with an attempt in its hands is attempted again only then.
pub(crate) fn until_empty(ledger: &Ledger, database: &DatabaseConfig) -> anyhow::Result<Balance> {
    let started = Instant::now();
    while let Some(delivery) = queued(database)? {
        anyhow::ensure!(started.elapsed() < SETTLE_LIMIT, "{delivery} stays queued: {:?}", ledger.balance());
        pause();
    }
    Ok(ledger.balance())
}

/// The same, and nothing was sent twice.
fn conclude_exactly_once(ledger: &Ledger, load: Load, database: DatabaseConfig) -> anyhow::Result<Balance> {
    let balance = conclude(ledger, load, database)?;
    anyhow::ensure!((balance.duplicates, balance.duplicate_bounces) == (0, 0), "sent twice: {balance:?}");
    Ok(balance)
}
