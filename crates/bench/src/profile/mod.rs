//! `make profile`: where the time goes while mail is relayed. First what everything counts by itself, undisturbed; then
//! the system calls of each program; then samples of stacks. Responsible for the order and for what is divided by what.

mod counts;
mod flame_graph;
mod stacks;
mod statements;
mod syscalls;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::signal::Signal;

use crate::database::Database;
use crate::harness::{Bench, Connections, Load, start_sink};
use crate::mailtier::{Mailtier, Settings};
use crate::processes::{self, Running as _};

use counts::Counted;

/// Whose time is looked into.
const PROGRAMS: [&str; 4] = ["mailtier-inbound", "mailtier-queue", "mailtier-outbound", "postgres"];
/// Load before anything is looked at.
const WARM_UP: Duration = Duration::from_secs(3);
/// More messages than can be sent meanwhile; the source is stopped at the end.
const ENDLESS: u32 = 1_000_000_000;

/// What is looked at, and for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Profile {
    /// The folder for the report; what an earlier one left there is replaced.
    #[arg(long, default_value = "target/profile/report")]
    report: PathBuf,
    /// The message size, in KiB.
    #[arg(long, default_value_t = 4)]
    size_kib: u32,
    /// How the source's messages reach the system.
    #[arg(long, value_enum, default_value_t = Connections::Kept)]
    connections: Connections,
    /// How long to count, and how long to take samples, in seconds.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// How long to count the system calls of each program, in seconds.
    #[arg(long, default_value_t = 3)]
    syscall_seconds: u64,
    /// Samples of each thread a second.
    #[arg(long, default_value_t = 997)]
    frequency: u32,
}

/// Looks at everything, and writes it into the folder.
pub(crate) fn run(bench: &Bench, profile: &Profile) -> anyhow::Result<()> {
    fs::create_dir_all(&profile.report).with_context(|| format!("cannot make {}", profile.report.display()))?;
    let folder = bench.folder.join("profile");
    let database = Database::of(&folder);
    let settings = Settings { sessions: bench.sessions, ..Settings::default() };
    // The server must begin with the library that counts statements, so it is started twice.
    let system = Mailtier::start(&bench.programs, &folder, &settings)?;
    let has_statements = statements::prepare(&database)?;
    drop(system);
    let system = Mailtier::start(&bench.programs, &folder, &settings)?;
    if has_statements {
        statements::begin(&database)?;
    }
    let mut sink = start_sink(&bench.tools, None)?;
    let load = Load {
        sessions: bench.sessions,
        messages: ENDLESS,
        size_kib: profile.size_kib,
        connections: profile.connections,
    };
    let source = load.source(&bench.tools, system.port()).stdout(Stdio::null()).spawn().context("no smtp-source")?;
    let mut look = Look { bench, profile, system, database, source, has_statements };
    let result = look.at_everything();
    processes::stop(&mut look.source, Signal::SIGTERM);
    processes::stop(&mut sink, Signal::SIGTERM);
    result
}

struct Look<'a> {
    bench: &'a Bench,
    profile: &'a Profile,
    system: Mailtier,
    database: Database,
    source: Child,
    has_statements: bool,
}

impl Look<'_> {
    fn at_everything(&mut self) -> anyhow::Result<()> {
        self.pass(WARM_UP)?;
        let counted = self.count()?;
        self.count_syscalls()?;
        self.sample(&counted)?;
        println!("the report is in {}", self.profile.report.display());
        Ok(())
    }

    /// Lets time pass under load.
    fn pass(&mut self, time: Duration) -> anyhow::Result<()> {
        std::thread::sleep(time);
        if let Some(status) = self.source.try_wait()? {
            bail!("smtp-source has ended meanwhile: {status}");
        }
        Ok(())
    }

    /// Of what is counted anyway, what one message takes.
    fn count(&mut self) -> anyhow::Result<Counted> {
        if self.has_statements {
            statements::reset(&self.database)?;
        }
        let before = counts::Reading::take(self.system.pid(), &self.database)?;
        self.pass(Duration::from_secs(self.profile.seconds))?;
        let after = counts::Reading::take(self.system.pid(), &self.database)?;
        let counted = Counted::between(&before, &after)?;
        self.bench.raw.keep("profile", &counted)?;
        let text = counted.markdown();
        print!("{text}");
        self.write("counts.md", &text)?;
        if self.has_statements {
            let text = statements::table(&self.database, counted.messages)?;
            self.write("statements.txt", &text)?;
        }
        Ok(counted)
    }

    /// Program by program, since what counts them costs time itself.
    fn count_syscalls(&mut self) -> anyhow::Result<()> {
        let seconds = self.profile.syscall_seconds;
        println!("system calls for a message, over {seconds} s each:");
        for program in PROGRAMS {
            let before = counts::messages()?;
            let trace = syscalls::trace(&self.pids(program)?, seconds)?;
            let messages = counts::messages()? - before;
            self.pass(Duration::ZERO)?;
            let text = trace.table(messages);
            println!("{program}: {:.2}", trace.total() / messages);
            self.write(&format!("{program}.syscalls.txt"), &text)?;
        }
        Ok(())
    }

    /// All programs at a time.
    fn sample(&mut self, counted: &Counted) -> anyhow::Result<()> {
        let mut recorders = Vec::new();
        for program in PROGRAMS {
            let file = self.bench.folder.join(format!("{program}.perf"));
            let mut perf = Command::new("perf");
            perf.args([
                "record",
                "-q",
                "-e",
                "cpu-clock",
                "-F",
                &self.profile.frequency.to_string(),
                "--call-graph",
                "fp",
            ])
            .args(["-p", &self.pids(program)?, "-o"])
            .arg(&file)
            .args(["--", "sleep", &self.profile.seconds.to_string()])
            .stderr(Stdio::null());
            recorders.push((program, file, perf.spawn().context("cannot start perf: is linux-perf installed?")?));
        }
        for (program, _, recorder) in &mut recorders {
            let status = recorder.wait()?;
            if !status.success() {
                bail!("perf record of {program}: {status}");
            }
        }
        self.pass(Duration::ZERO)?;
        // Whatever reads the samples takes time that the next ones should not have in them.
        for (program, file, _) in recorders {
            let stacks = stacks::read(&file)?;
            let cpu_us = counted.cpu_us(program);
            println!("{program}: {} samples", stacks.samples());
            self.write(&format!("{program}.folded"), &stacks.folded())?;
            self.write(&format!("{program}.symbols.txt"), &stacks.symbols(cpu_us))?;
            self.write(&format!("{program}.svg"), &flame_graph::svg(program, stacks.counts()))?;
            fs::remove_file(file)?;
        }
        Ok(())
    }

    /// As perf wants them. PostgreSQL's workers come and go, and perf takes none that has gone; those that come are
    /// counted with the process that has started them.
    fn pids(&self, program: &str) -> anyhow::Result<String> {
        let lasts = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !is_passing(&line));
        let pids: Vec<String> = processes::pids_of(self.system.pid(), program)
            .into_iter()
            .filter(lasts)
            .map(|pid| pid.to_string())
            .collect();
        if pids.is_empty() {
            bail!("no process of {program} runs");
        }
        Ok(pids.join(","))
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.profile.report.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Whether this command line is that of a process that ends by itself before long.
fn is_passing(command_line: &str) -> bool {
    command_line.starts_with("postgres:") && command_line.contains(" worker")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_workers_of_postgres_pass() {
        assert!(is_passing("postgres: autovacuum worker postgres"));
        assert!(is_passing("postgres: parallel worker for PID 17"));
        assert!(!is_passing("postgres: autovacuum launcher"));
        assert!(!is_passing("postgres: mailtier postgres [local] idle"));
        assert!(!is_passing("/opt/mailtier-queue --config a worker"));
    }
}
