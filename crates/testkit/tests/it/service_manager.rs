//! What the real programs tell the manager that has started them, as systemd would hear it: over a Unix socket that
//! `NOTIFY_SOCKET` names.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use mailtier_testkit::fleet::{Fleet, Process, Size};
use mailtier_testkit::installation::Plan;
use mailtier_testkit::ledger::{Behaviour, Counterpart, Ledger};
use nix::sys::signal::Signal;

use crate::loads::{LIMIT, new_database};

/// Octets of what is said at once that are read.
const DATAGRAM_OCTETS: usize = 4096;
/// A watchdog that is fed often, and has patience with a machine that is busy.
const WATCHDOG_USEC: &str = "300000";

/// The manager's end of a socket.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(folder: &Path, name: &str) -> Self {
        let path = folder.join(format!("notify-{name}"));
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        Self { socket, path }
    }

    fn start(&self, process: &mut Process) {
        let socket = self.path.to_str().unwrap();
        process.start_with(&[("NOTIFY_SOCKET", socket), ("WATCHDOG_USEC", WATCHDOG_USEC)]).unwrap();
    }

    /// The lines of the next datagram.
    fn next(&self) -> Vec<String> {
        let mut octets = [0; DATAGRAM_OCTETS];
        let len = self.socket.recv(&mut octets).expect("the program says something in time");
        String::from_utf8(octets[..len].to_vec()).unwrap().lines().map(str::to_owned).collect()
    }

    /// The next that begins so; what comes before it is passed over, but must not begin with any of these.
    fn until(&self, begin: &str, not_before: &[&str]) -> Vec<String> {
        loop {
            let lines = self.next();
            let first = lines.first().unwrap();
            if first.starts_with(begin) {
                return lines;
            }
            assert!(!not_before.iter().any(|one| first.starts_with(one)), "{lines:?} before {begin}");
        }
    }
}

fn is_said(lines: &[String], begin: &str) -> bool {
    lines.iter().any(|line| line.starts_with(begin))
}

#[test]
fn programs_tell_of_each_step_of_their_lives() {
    let database = new_database();
    let counterpart = Counterpart::start(&Ledger::default(), Behaviour::default()).unwrap();
    let plan = Plan::new(counterpart.address()).set("cluster", "watch_files", "false");
    let mut fleet = Fleet::new(&plan, Size { inbounds: 1, queues: 1, outbounds: 1 }, |_| database.url()).unwrap();
    let file = fleet.folder().join("mailtier.toml");
    let folder = fleet.folder().to_owned();
    let good = fs::read_to_string(&file).unwrap();

    let mut managed = Vec::new();
    for process in fleet.all() {
        let manager = Manager::new(&folder, process.name());
        manager.start(process);
        let ready = manager.until("READY=1", &["STOPPING=1", "RELOADING=1"]);
        assert!(is_said(&ready, "STATUS=ready") && process.is_ready(), "{}: {ready:?}", process.name());
        managed.push((manager, process));
    }

    for (manager, process) in &mut managed {
        process.signal(Signal::SIGHUP).unwrap();
        let reloading = manager.until("RELOADING=1", &["READY=1"]);
        assert!(is_said(&reloading, "MONOTONIC_USEC="), "{reloading:?}");
        let taken_up = manager.until("READY=1", &["RELOADING=1", "STOPPING=1"]);
        assert!(is_said(&taken_up, "STATUS=ready"), "{taken_up:?}");
    }
    fs::write(&file, format!("{good}\n[nonsense]\n")).unwrap();
    for (manager, process) in &mut managed {
        process.signal(Signal::SIGHUP).unwrap();
        let refused = manager.until("READY=1", &["STOPPING=1"]);
        assert!(is_said(&refused, "STATUS=ready; the configuration"), "{refused:?}");
        assert!(refused.iter().any(|line| line.contains("nonsense")), "{refused:?}");
    }
    fs::write(&file, good).unwrap();
    for (manager, process) in &mut managed {
        process.signal(Signal::SIGHUP).unwrap();
        let mended = manager.until("READY=1", &["STOPPING=1"]);
        assert!(is_said(&mended, "STATUS=ready") && !is_said(&mended, "STATUS=ready;"), "{mended:?}");
        for _ in 0..3 {
            manager.until("WATCHDOG=1", &[]);
        }
    }

    // The queue goes first, so that the others lack it.
    let (queue, others) = managed.split_first_mut().unwrap();
    queue.1.signal(Signal::SIGTERM).unwrap();
    assert_eq!(queue.0.until("STOPPING=1", &["READY=1"]), ["STOPPING=1", "STATUS=draining"]);
    for (manager, process) in others {
        let lacks = manager.until("STATUS=", &["READY=1"]);
        assert!(is_said(&lacks, "STATUS=not ready: no queue replica"), "{}: {lacks:?}", process.name());
        process.signal(Signal::SIGTERM).unwrap();
        manager.until("STOPPING=1", &["READY=1"]);
    }
    for (_, process) in managed {
        assert!(process.until_ended().unwrap().success());
    }
}
