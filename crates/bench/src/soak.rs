//! `make soak`: many sessions at a time, and the memory of each program while they last. First idle sessions, which say
//! EHLO and then nothing; then active ones, each of which sends one message after the other. Responsible for the
//! clients and the figures.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::harness::{Bench, start_sink};
use crate::mailtier::{Mailtier, Settings};
use crate::processes::{self, Running};

/// Connections that are opened at a time: a burst beyond the backlog would measure the kernel's retries.
const OPENING: usize = 200;
/// How long a reply may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Octets of one message's content.
const CONTENT_OCTETS: usize = 4096;
/// What memory is measured of.
const PROGRAMS: [&str; 3] = ["mailtier-inbound", "mailtier-queue", "mailtier-outbound"];
/// Looks at memory in one phase.
const LOOKS: u32 = 12;

/// How many sessions, and for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Load {
    /// Idle sessions.
    #[arg(long, default_value_t = 10_000)]
    idle_sessions: usize,
    /// Active sessions.
    #[arg(long, default_value_t = 2_000)]
    active_sessions: usize,
    /// Seconds of each phase.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// Resident memory of the programs, in KiB.
type Memory = [u64; PROGRAMS.len()];

/// Runs both phases and prints what they showed.
pub(crate) fn run(bench: &Bench, load: &Load) -> anyhow::Result<()> {
    let needed = u64::try_from(load.idle_sessions.max(load.active_sessions))? + 100;
    if rlimit::increase_nofile_limit(needed)? < needed {
        bail!("{needed} open files are needed; raise the limit (`ulimit -n`)");
    }
    let mut sink = start_sink(&bench.tools, None)?;
    let system = Mailtier::start(&bench.programs, &bench.folder.join("soak"), &Settings::default())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        idle(&system, load).await?;
        active(&system, load).await
    });
    processes::stop(&mut sink, nix::sys::signal::Signal::SIGTERM);
    result
}

async fn idle(system: &Mailtier, load: &Load) -> anyhow::Result<()> {
    let before = memory(system);
    let started = Instant::now();
    let sessions = open(system.port(), load.idle_sessions).await?;
    let opened = started.elapsed();
    println!("{} idle sessions, opened in {:.1} s:", sessions.len(), opened.as_secs_f64());
    let looks = watch(system, load.seconds, String::new).await;
    let inbound = |memory: &Memory| memory.first().copied().unwrap_or_default();
    let grown = looks.last().map_or(0, inbound).saturating_sub(inbound(&before));
    println!("{:.1} KiB a session in mailtier-inbound\n", grown as f64 / sessions.len() as f64);
    let alive = sessions.len();
    let mut checks = JoinSet::new();
    for mut session in sessions {
        checks.spawn(async move { session.say("QUIT\r\n", "221").await });
    }
    let ended = checks.join_all().await.into_iter().filter(Result::is_ok).count();
    if ended < alive {
        bail!("{} of {alive} sessions were lost", alive - ended);
    }
    Ok(())
}

async fn active(system: &Mailtier, load: &Load) -> anyhow::Result<()> {
    let sessions = open(system.port(), load.active_sessions).await?;
    println!("{} active sessions, one message after the other:", sessions.len());
    let (accepted, end) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut clients = JoinSet::new();
    for mut session in sessions {
        let (accepted, end) = (Arc::clone(&accepted), Arc::clone(&end));
        clients.spawn(async move {
            while !end.load(Ordering::Relaxed) {
                session.send_message().await?;
                accepted.fetch_add(1, Ordering::Relaxed);
            }
            session.say("QUIT\r\n", "221").await
        });
    }
    watch(system, load.seconds, || format!(", {} accepted", accepted.load(Ordering::Relaxed))).await;
    end.store(true, Ordering::Relaxed);
    let lost = clients.join_all().await.into_iter().find_map(Result::err);
    lost.map_or(Ok(()), |error| Err(error.context("an active session was lost")))
}

/// Looks at memory again and again, and prints it.
async fn watch(system: &Mailtier, seconds: u64, more: impl Fn() -> String) -> Vec<Memory> {
    let mut looks = Vec::new();
    let every = Duration::from_secs(seconds) / LOOKS;
    for look in 1..=LOOKS {
        tokio::time::sleep(every).await;
        let now = memory(system);
        let shown: Vec<String> =
            PROGRAMS.iter().zip(now).map(|(name, kib)| format!("{name} {:.1} MiB", kib as f64 / 1024.0)).collect();
        println!("{:>5.0} s: {}{}", (every * look).as_secs_f64(), shown.join(", "), more());
        looks.push(now);
    }
    looks
}

fn memory(system: &Mailtier) -> Memory {
    PROGRAMS.map(|name| processes::resident_kib(system.pid(), name))
}

/// Sessions that have been greeted and have said EHLO.
async fn open(port: u16, count: usize) -> anyhow::Result<Vec<Session>> {
    let opening = Arc::new(Semaphore::new(OPENING));
    let mut sessions = JoinSet::new();
    for _ in 0..count {
        let permit = Arc::clone(&opening).acquire_owned().await?;
        sessions.spawn(async move {
            let session = Session::open(port).await;
            drop(permit);
            session
        });
    }
    sessions.join_all().await.into_iter().collect()
}

/// A client.
#[derive(Debug)]
struct Session {
    stream: TcpStream,
}

impl Session {
    async fn open(port: u16) -> anyhow::Result<Self> {
        let mut session = Self { stream: TcpStream::connect(("127.0.0.1", port)).await? };
        session.say("", "220").await?;
        session.say("EHLO client.bench.example\r\n", "250").await?;
        Ok(session)
    }

    /// Says something and hears replies up to the last line of the first, which must begin so.
    async fn say(&mut self, words: &str, code: &str) -> anyhow::Result<()> {
        self.stream.write_all(words.as_bytes()).await?;
        let mut heard = Vec::new();
        let mut buffer = [0; 1024];
        loop {
            let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut buffer)).await.context("no reply")??;
            heard.extend_from_slice(buffer.get(..read).unwrap_or_default());
            let text = String::from_utf8_lossy(&heard);
            let is_last = |line: &str| line.as_bytes().get(3) == Some(&b' ');
            match text.strip_suffix("\r\n").and_then(|text| text.lines().last()).filter(|line| is_last(line)) {
                Some(line) if line.starts_with(code) => return Ok(()),
                Some(line) => bail!("{:?} was answered with {line}", words.lines().next()),
                None if read == 0 => bail!("the server has closed"),
                None => {}
            }
        }
    }

    async fn send_message(&mut self) -> anyhow::Result<()> {
        self.say("MAIL FROM:<sender@source.example>\r\n", "250").await?;
        self.say("RCPT TO:<recipient@sink.example>\r\n", "250").await?;
        self.say("DATA\r\n", "354").await?;
        let line = "0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz\r\n";
        let content = format!("Subject: soak\r\n\r\n{}.\r\n", line.repeat(CONTENT_OCTETS / line.len()));
        self.say(&content, "250").await
    }
}
