//! `make soak`: many sessions at a time, and the memory of each program while they last. First idle sessions, which say
//! EHLO and then nothing; then active ones, each of which sends one message after the other. Responsible for the
//! sessions and the figures; what clients say is `generator`'s.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use mailtier_transport::client::Connection;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::generator::{self, Clients, Encryption};
use crate::harness::{Bench, start_sink};
use crate::mailtier::{Mailtier, Settings};
use crate::processes::{self, Running};

/// Connections that are opened at a time: a burst beyond the backlog would measure the kernel's retries.
const OPENING: usize = 200;
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

/// What idle sessions took.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Held {
    /// Whether they are in TLS.
    pub(crate) encrypted: bool,
    /// How many.
    pub(crate) sessions: usize,
    /// Seconds until all were there.
    pub(crate) opened_in: f64,
    /// Resident memory of inbound for each, at the end, in KiB.
    pub(crate) kib_per_session: f64,
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
        idle(&system, Clients::of(system.port(), Encryption::Off)?, load.idle_sessions, load.seconds).await?;
        active(&system, load).await
    });
    processes::stop(&mut sink, nix::sys::signal::Signal::SIGTERM);
    result
}

/// Opens so many sessions, which then say nothing for so long, and looks at memory meanwhile.
pub(crate) async fn idle(system: &Mailtier, clients: Clients, sessions: usize, seconds: u64) -> anyhow::Result<Held> {
    let before = memory(system);
    let started = Instant::now();
    let sessions = open(clients, sessions).await?;
    let opened_in = started.elapsed().as_secs_f64();
    println!("{} idle sessions, opened in {opened_in:.1} s:", sessions.len());
    let looks = watch(system, seconds, String::new).await;
    let inbound = |memory: &Memory| memory.first().copied().unwrap_or_default();
    let grown = looks.last().map_or(0, inbound).saturating_sub(inbound(&before));
    let kib_per_session = grown as f64 / sessions.len() as f64;
    println!("{kib_per_session:.1} KiB a session in mailtier-inbound\n");
    let encrypted = sessions.iter().all(|session| session.tls().is_some());
    let held = Held { encrypted, sessions: sessions.len(), opened_in, kib_per_session };
    let mut lost = 0;
    for mut session in sessions {
        lost += usize::from(!session.is_alive());
    }
    if lost > 0 {
        bail!("{lost} of {} sessions were lost", held.sessions);
    }
    Ok(held)
}

async fn active(system: &Mailtier, load: &Load) -> anyhow::Result<()> {
    let sessions = open(Clients::of(system.port(), Encryption::Off)?, load.active_sessions).await?;
    println!("{} active sessions, one message after the other:", sessions.len());
    let (accepted, end) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut clients = JoinSet::new();
    let body = generator::content(CONTENT_OCTETS);
    for mut session in sessions {
        let (accepted, end, body) = (Arc::clone(&accepted), Arc::clone(&end), body.clone());
        clients.spawn(async move {
            while !end.load(Ordering::Relaxed) {
                generator::deliver(&mut session, "recipient@sink.example", &body).await?;
                accepted.fetch_add(1, Ordering::Relaxed);
            }
            session.quit().await;
            anyhow::Ok(())
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

/// Sessions that have been greeted and have said EHLO, in TLS where that is asked for.
async fn open(clients: Clients, count: usize) -> anyhow::Result<Vec<Connection>> {
    let (clients, opening) = (Arc::new(clients), Arc::new(Semaphore::new(OPENING)));
    let mut sessions = JoinSet::new();
    for _ in 0..count {
        let permit = Arc::clone(&opening).acquire_owned().await?;
        let clients = Arc::clone(&clients);
        sessions.spawn(async move {
            let session = clients.open().await;
            drop(permit);
            session
        });
    }
    sessions.join_all().await.into_iter().collect()
}
