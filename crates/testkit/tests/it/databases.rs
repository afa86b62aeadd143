//! What becomes of PostgreSQL under load: restarted, its connections cut, failed over to a standby, its disk full, a
//! pooler in front of it, a dump behind. Nothing is lost, nothing sent twice, and clients are told to try again at worst.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use mailtier_testkit::bridge::Bridge;
use mailtier_testkit::fleet::{Size, at, migrate};
use mailtier_testkit::installation::{Plan, pause};
use mailtier_testkit::postgres::{Pooler, PostgresServer, Stop};
use nix::unistd::Uid;

use crate::clients::put_aside;
use crate::loads::{DOMAINS, Flow, wait_until};

/// Octets of the small disk, and what a file cannot take of it.
const DISK_OCTETS: u64 = 240 << 20;
const LEFT_OCTETS: u64 = 512 << 10;
/// Connections of one replica that is busy: one for each loop of the queue, and a few for questions.
const FEW_CONNECTIONS: usize = 12;

/// Mail that flows through so many replicas in front of this database.
fn flow(queues: usize, database: &str) -> Flow {
    let settings = |plan: Plan| plan.set("queue", "worker_grace", "\"3s\"").set("inbound", "submit_timeout", "\"5s\"");
    Flow::start(DOMAINS, settings, Size { inbounds: 1, queues, outbounds: 1 }, |_| database.to_owned())
}

/// How often something is done: a few times, or for a campaign (`make chaos`).
fn rounds() -> usize {
    if std::env::var_os("CHAOS_SECONDS").is_some() { 30 } else { 3 }
}

#[test]
fn a_database_that_is_restarted_in_order_or_killed_comes_back() {
    let mut server = PostgresServer::start().unwrap();
    let url = server.url("postgres");
    migrate(&url).unwrap();
    let flow = flow(1, &url);
    for how in [Stop::Fast, Stop::Crash, Stop::Kill] {
        server.stop(how).unwrap();
        server.restart().unwrap();
        println!("{how:?}: mail flows again after {:?}", flow.goes_on());
    }
    flow.conclude("restarts", at(&url));
}

#[test]
fn connections_that_are_cut_again_and_again_are_made_anew() {
    let server = PostgresServer::start().unwrap();
    let url = server.url("postgres");
    migrate(&url).unwrap();
    let flow = flow(2, &url);
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'mailtier-queue'";
    for _ in 0..rounds() {
        let count: usize = server.sql("postgres", cut).unwrap().parse().unwrap();
        assert!(count > 0, "the programs are connected");
        flow.goes_on();
    }
    flow.conclude("cut connections", at(&url));
}

/// The way to the database is what changes, as with a virtual address, a service or a pooler; the URL names one host.
#[test]
fn a_primary_that_dies_is_succeeded_by_its_quorum_standby() {
    let mut primary = PostgresServer::start().unwrap();
    let standby = primary.standby("heir").unwrap();
    primary.sql("postgres", "ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (heir)'").unwrap();
    primary.sql("postgres", "SELECT pg_reload_conf()").unwrap();
    let is_quorum = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'quorum'";
    wait_until("the standby counts", || primary.sql("postgres", is_quorum).is_ok_and(|count| count == "1"));
    let bridge = Bridge::start(&primary.socket()).unwrap();
    let url = format!("postgres://postgres@{}/postgres", bridge.address());
    migrate(&url).unwrap();
    let flow = flow(2, &url);

    primary.stop(Stop::Kill).unwrap();
    let died_at = Instant::now();
    standby.sql("postgres", "SELECT pg_promote()").unwrap();
    bridge.lead_to(&standby.socket());
    flow.goes_on();
    println!("failover: mail flows again after {:?}", died_at.elapsed());
    flow.conclude("failover", at(&standby.url("postgres")));
}

#[test]
fn a_full_disk_makes_clients_wait_and_loses_nothing() {
    let Some(disk) = SmallDisk::new() else {
        println!("left out: a small file system can only be made by root (mount -t tmpfs)");
        return;
    };
    let small = ["max_wal_size=64MB", "min_wal_size=32MB"];
    let mut server = PostgresServer::start_below(&disk.folder, &small).unwrap();
    let url = server.url("postgres");
    migrate(&url).unwrap();
    let flow = flow(1, &url);
    let before = flow.ledger.balance().put_off;
    disk.fill();
    // What is left of the present segment of WAL would last for a while.
    let _ = server.sql("postgres", "SELECT pg_switch_wal()");
    wait_until("clients are told to wait", || flow.ledger.balance().put_off > before);
    disk.empty();
    // PostgreSQL ends itself where it can write no WAL, and is started again by whoever runs it.
    wait_until("PostgreSQL is back", || {
        server.sql("postgres", "SELECT 1").is_ok() || {
            let _ = server.stop(Stop::Kill);
            server.restart().is_ok()
        }
    });
    println!("a full disk: mail flows again after {:?}", flow.goes_on());
    flow.conclude("a full disk", at(&url));
}

#[test]
fn a_pooler_in_transaction_mode_is_worked_through() {
    let server = PostgresServer::start().unwrap();
    // What a pooler does not pass on is set for the role, and the schema is migrated past it (docs/database.md).
    for setting in ["enable_seqscan = off", "enable_bitmapscan = off", "jit = off", "work_mem = '16MB'"] {
        server.sql("postgres", &format!("ALTER ROLE postgres SET {setting}")).unwrap();
    }
    let direct = server.url("postgres");
    migrate(&direct).unwrap();
    let pooler = Pooler::start(&put_aside("pgbouncer/run"), &server, 5).unwrap();
    let flow = flow(2, &pooler.url("postgres"));
    for _ in 0..rounds() {
        flow.goes_on();
        let connections = connections(&server);
        assert!((1..=5).contains(&connections), "two replicas share what the pooler has: {connections}");
    }
    let log = flow.fleet.queues[0].log();
    assert!(!log.contains("planner settings did not arrive") && !log.contains("database trouble"), "{log}");
    // Every session of the pooler is cut, and its statements with it.
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'mailtier-queue'";
    server.sql("postgres", cut).unwrap();
    flow.goes_on();
    flow.conclude("through a pooler", at(&direct));
}

#[test]
fn a_replica_has_a_handful_of_connections() {
    let server = PostgresServer::start().unwrap();
    let url = server.url("postgres");
    migrate(&url).unwrap();
    let flow = flow(1, &url);
    let mut most = 0;
    for _ in 0..rounds() {
        flow.goes_on();
        most = most.max(connections(&server));
    }
    println!("connections of a busy replica: {most}");
    assert!((1..=FEW_CONNECTIONS).contains(&most), "{most}");
    flow.conclude("connections", at(&url));
}

/// Figures, no promise of a time: how fast mail goes before, while and after a snapshot is held open and dumps run.
#[test]
#[ignore = "a measurement of a minute: make chaos"]
fn a_snapshot_held_open_slows_nothing() {
    let span = Duration::from_secs(20);
    let server = PostgresServer::start().unwrap();
    let url = server.url("postgres");
    migrate(&url).unwrap();
    let flow = flow(1, &url);
    let settle = || {
        let metric = |name: &str| flow.fleet.queues[0].metric(name).unwrap_or_default();
        let (sum, count) = (
            metric("mailtier_queue_settle_duration_seconds_sum"),
            metric("mailtier_queue_settle_duration_seconds_count"),
        );
        (sum, count)
    };
    let measure = |what: &str, meanwhile: &dyn Fn()| {
        let (before, settled, started) = (flow.ledger.balance().arrived, settle(), Instant::now());
        while started.elapsed() < span {
            meanwhile();
            pause();
        }
        let rate = (flow.ledger.balance().arrived - before) as f64 / started.elapsed().as_secs_f64();
        let (sum, count) = settle();
        let latency = Duration::from_secs_f64((sum - settled.0) / (count - settled.1).max(1.0));
        println!("{what}: {rate:.0} recipients a second, a settlement takes {latency:?}");
        rate
    };
    let before = measure("before", &|| {});
    let snapshot = std::thread::scope(|scope| {
        let hold = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM delivery; SELECT pg_sleep_for('{} s'); COMMIT",
            span.as_secs() + 2
        );
        let server = &server;
        scope.spawn(move || server.sql("postgres", &hold).unwrap());
        measure("a snapshot held open, and dumps", &|| {
            server.dump("postgres").unwrap().wait().unwrap();
        })
    });
    let after = measure("after", &|| {});
    assert!(snapshot > before / 4.0 && after > before / 4.0, "{before} {snapshot} {after}");
    flow.conclude("a snapshot", at(&url));
}

fn connections(server: &PostgresServer) -> usize {
    let count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mailtier-queue'";
    server.sql("postgres", count).unwrap().parse().unwrap()
}

/// A file system of its own, which is soon full.
struct SmallDisk {
    folder: PathBuf,
    _around: tempfile::TempDir,
}

impl SmallDisk {
    /// Nothing where that is not allowed.
    fn new() -> Option<Self> {
        if !Uid::effective().is_root() {
            return None;
        }
        let around = tempfile::Builder::new().prefix("mailtier-disk").tempdir_in("/var/tmp").unwrap();
        fs::set_permissions(around.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let folder = around.path().join("disk");
        fs::create_dir(&folder).unwrap();
        let size = format!("size={DISK_OCTETS},mode=755");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&folder).status();
        mounted.is_ok_and(|status| status.success()).then_some(Self { folder, _around: around })
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }

    /// Next to nothing is left.
    fn fill(&self) {
        let left = |folder: &Path| {
            let output = Command::new("df").args(["--output=avail", "-B1"]).arg(folder).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            text.lines().nth(1).unwrap().trim().parse::<u64>().unwrap()
        };
        let octets = left(&self.folder).saturating_sub(LEFT_OCTETS).to_string();
        let filled = Command::new("fallocate").args(["-l", &octets]).arg(self.filler()).status().unwrap();
        assert!(filled.success());
    }

    fn empty(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.folder).status();
    }
}
