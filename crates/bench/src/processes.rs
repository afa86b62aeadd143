//! Processes under measurement: CPU and memory of whole trees from `/proc`, waiting for a port, stopping by pid.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::net::TcpStream;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::bail;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, sysconf};

/// Something that relays.
pub(crate) trait Running {
    /// The root of its process tree.
    fn pid(&self) -> u32;
    /// Where it takes mail.
    fn port(&self) -> u16;
}

/// CPU time of a tree by the name of the program, ended children included: they count for the program that has waited for
/// them, as PostgreSQL's first process does for each session.
pub(crate) fn cpu_by_program(root: u32) -> BTreeMap<String, Duration> {
    let mut used = BTreeMap::new();
    for pid in tree(root) {
        let Some(stat) = stat(pid) else { continue };
        let program = program(pid).unwrap_or_else(|| "ending".to_owned());
        *used.entry(program).or_default() += Duration::from_secs_f64(stat.ticks as f64 / ticks_per_second());
    }
    used
}

/// CPU time of this process and of those it has started and waited for; systems that still run are none of these.
pub(crate) fn own_cpu() -> Duration {
    let ticks = stat(std::process::id()).map_or(0, |stat| stat.ticks);
    Duration::from_secs_f64(ticks as f64 / ticks_per_second())
}

/// The processes of this name within a tree.
pub(crate) fn pids_of(root: u32, name: &str) -> Vec<u32> {
    tree(root).into_iter().filter(|pid| program(*pid).is_some_and(|program| program == name)).collect()
}

/// The name of the file that a process runs.
fn program(pid: u32) -> Option<String> {
    let path = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    Some(path.file_name()?.to_string_lossy().into_owned())
}

/// Proportional set size of a tree, in bytes: shared pages count once.
pub(crate) fn memory(root: u32) -> u64 {
    let kib: u64 = tree(root)
        .iter()
        .filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok())
        .filter_map(|text| {
            let line = text.lines().find(|line| line.starts_with("Pss:"))?.to_owned();
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        })
        .sum();
    kib * 1024
}

/// Resident memory of the processes of this name within a tree, in KiB.
pub(crate) fn resident_kib(root: u32, name: &str) -> u64 {
    let resident = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    pids_of(root, name).into_iter().filter_map(resident).sum()
}

/// The unit of the times in `/proc`.
fn ticks_per_second() -> f64 {
    sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100) as f64
}

struct Stat {
    parent: u32,
    /// User and system time, of the process and its ended children.
    ticks: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; the fields are counted from behind it (proc(5)).
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok());
    let ticks = (11..=14).filter_map(number).sum();
    Some(Stat { parent: u32::try_from(number(1)?).ok()?, ticks })
}

/// A process and all below it.
fn tree(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        if let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok())
            && let Some(stat) = stat(pid)
        {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&pid) = found.get(next) {
        found.extend(children.remove(&pid).unwrap_or_default());
        next += 1;
    }
    found
}

/// Waits until something listens on loopback.
pub(crate) fn wait_for_port(port: u16, limit: Duration, mut alive: impl FnMut() -> bool) -> anyhow::Result<()> {
    let started = Instant::now();
    while started.elapsed() < limit {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(());
        }
        if !alive() {
            bail!("ended before it listened on port {port}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bail!("nothing listens on port {port} after {limit:?}")
}

/// Asks a process to end, and kills it when it has not after 30 s.
pub(crate) fn stop(child: &mut Child, signal: Signal) {
    if let Ok(pid) = i32::try_from(child.id()) {
        let _ = kill(Pid::from_raw(pid), signal);
    }
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(30) {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
}
