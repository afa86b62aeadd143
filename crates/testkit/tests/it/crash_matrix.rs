//! A process that dies between any two steps of a message's life: at every crash point, under load, with real processes
//! and a real PostgreSQL. The published window (docs/architecture.md) is where it is said to be, and nowhere else.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, ensure};
use mailtier_crashpoint::{Point, VARIABLE};
use mailtier_message::{ReturnPaths, Returned};
use mailtier_testkit::fleet::{Fleet, Process, Size};
use mailtier_testkit::installation::{Plan, pause};
use mailtier_testkit::ledger::{Balance, Counterpart, Ledger, Load, send};
use mailtier_testkit::postgres::TestDatabase;
use mailtier_types::{Domain, IdSource, NodeNumber, TenantId, Timestamp};
use nix::sys::signal::Signal;

use crate::loads::{BEHAVIOUR, DOMAINS, conclude, until_flowing};

/// Installations at a time.
const LANES: usize = 5;
const SESSIONS: usize = 3;
/// Recipients promised and reached before and after.
const FLOW: usize = 30;
/// For a large message.
const LETTER_LIMIT: Duration = Duration::from_secs(60);

/// Who dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Inbound,
    Queue,
    Outbound,
}

/// When the point is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Occasion {
    /// Under load, when it is reached for the so-many-th time.
    Load(u32),
    /// While a large message is sent.
    LargeMessage,
    /// While something comes back to a return path, when it is reached for the so-many-th time.
    Report(u32),
    /// In the process that comes after one that was killed.
    Takeover,
    /// In the process that comes after one that left in order, when it is reached for the so-many-th time.
    Succession(u32),
    /// When it is asked to leave.
    Leaving,
}

/// The domain of return paths, a key for them, and how many reports are sent to one.
const RETURN_PATHS: &str = "bounces.load.example";
const RETURN_PATH_KEY: &str = "0123456789abcdef0123456789abcdef";
const REPORTS: usize = 6;

/// So many processes that come after one that left, at the most.
const SUCCESSORS: usize = 5;

/// Who dies at a point, and when. A statement waits twice the first time, for the server to have read it and for its
/// answer; later times are of statements that are known.
const fn case(point: Point) -> (Victim, Occasion) {
    use Occasion::{LargeMessage, Leaving, Load, Report, Succession, Takeover};
    use Victim::{Inbound, Outbound, Queue};
    match point {
        Point::ContentReceived | Point::ReplyOwed => (Inbound, Load(20)),
        Point::PartStored => (Queue, LargeMessage),
        Point::AsideAccepted | Point::AsideWritten | Point::AsideSent => (Queue, Report(3)),
        Point::SubmissionsGathered | Point::AcceptCommitted | Point::VerdictSent => (Queue, Load(20)),
        Point::AcceptSent | Point::FinishSent | Point::SettleSent => (Queue, Load(20)),
        Point::Scheduled | Point::Dispatched | Point::ResultHeard | Point::Settled => (Queue, Load(20)),
        Point::SettleLocked | Point::SettleWritten => (Queue, Load(5)),
        Point::NotificationWritten | Point::NotificationUnscheduled => (Queue, Load(5)),
        Point::LeaseRenewed => (Queue, Load(4)),
        Point::TakeSent => (Queue, Succession(2)),
        Point::ShardsTaken | Point::WorkersAsked | Point::TakenOver | Point::PageLoaded => (Queue, Takeover),
        Point::DrainBegun | Point::Drained | Point::ShardsReleased | Point::Left => (Queue, Leaving),
        Point::WorkAdmitted | Point::TransactionBegins => (Outbound, Load(20)),
        Point::RemoteAccepted | Point::ResultKept | Point::ResultSent => (Outbound, Load(20)),
    }
}

impl Victim {
    fn of(self, fleet: &mut Fleet) -> &mut Process {
        match self {
            Self::Inbound => &mut fleet.inbounds[0],
            Self::Queue => &mut fleet.queues[0],
            Self::Outbound => &mut fleet.outbounds[0],
        }
    }
}

#[test]
fn a_death_between_any_two_steps_loses_nothing_and_repeats_only_in_the_window() {
    let next = AtomicUsize::new(0);
    let failures: Mutex<Vec<String>> = Mutex::default();
    let only = std::env::var("CRASH_POINT").ok();
    // A campaign (`make chaos`) goes round more often.
    let rounds = if std::env::var_os("CHAOS_SECONDS").is_some() { 5 } else { 1 };
    let is_wanted = |point: &&Point| only.as_ref().is_none_or(|only| point.name() == only);
    let points: Vec<Point> = (0..rounds).flat_map(|_| Point::ALL.iter().filter(is_wanted).copied()).collect();
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                while let Some(point) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let began = Instant::now();
                    match run(*point) {
                        Ok(balance) => println!("{point}: {:?}, {balance:?}", began.elapsed()),
                        Err(error) => failures.lock().unwrap().push(format!("{point}: {error:#}")),
                    }
                }
            });
        }
    });
    println!("{} points, {:?}", points.len(), started.elapsed());
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

fn ends_soon(process: &mut Process) -> bool {
    let started = Instant::now();
    while process.is_running() && started.elapsed() < Duration::from_secs(10) {
        pause();
    }
    !process.is_running()
}

fn run(point: Point) -> anyhow::Result<Balance> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let database = runtime.block_on(TestDatabase::migrated())?;
    let ledger = Ledger::default();
    let counterpart = Counterpart::start(&ledger, BEHAVIOUR)?;
    let plan = Plan::new(counterpart.address())
        .set("queue", "lease", "\"3s\"")
        .set("queue", "renew_every", "\"500ms\"")
        .set("queue", "worker_grace", "\"2s\"")
        .set("queue", "catch_up_every", "\"1s\"")
        .set("feedback", "return_path_domain", format!("\"{RETURN_PATHS}\""))
        .set("feedback", "return_path_keys", format!("\"{RETURN_PATH_KEY}\""));
    let mut fleet = Fleet::new(&plan, Size { inbounds: 1, queues: 1, outbounds: 1 }, |_| database.url())?;
    let broken = break_at(point, &mut fleet, &ledger, &counterpart);
    let load = broken.with_context(|| last_lines(&case(point).0.of(&mut fleet).log()))?;
    let balance = conclude(&ledger, load, database.config())?;
    judge(point, balance)?;
    if matches!(case(point).1, Occasion::Report(_)) {
        runtime.block_on(judge_reports(&database))?;
    }
    fleet.stop()?;
    Ok(balance)
}

/// The end of a log.
fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// Everything runs, the victim dies at the point and comes back, and mail flows again.
fn break_at(point: Point, fleet: &mut Fleet, ledger: &Ledger, counterpart: &Counterpart) -> anyhow::Result<Load> {
    let (victim, occasion) = case(point);
    let times = match occasion {
        Occasion::Load(times) | Occasion::Succession(times) | Occasion::Report(times) => times,
        Occasion::LargeMessage | Occasion::Takeover | Occasion::Leaving => 1,
    };
    let armed = format!("{point}:{times}");
    let armed = [(VARIABLE, armed.as_str())];
    let is_armed_at_first = !matches!(occasion, Occasion::Takeover | Occasion::Succession(_));
    victim.of(fleet).start_with(if is_armed_at_first { &armed } else { &[] })?;
    fleet.all().filter_map(|process| (!process.is_running()).then_some(process)).try_for_each(Process::start)?;
    fleet.until_ready()?;
    let load = Load::start(ledger, fleet.smtp(), SESSIONS, DOMAINS);
    let (mut sending, mut reporting) = (None, None);
    match occasion {
        Occasion::Load(_) => {}
        Occasion::LargeMessage => sending = Some(insist(fleet.smtp()[0])),
        Occasion::Report(_) => reporting = Some(report(fleet.smtp()[0])),
        Occasion::Takeover => {
            until_flowing(ledger, FLOW)?;
            victim.of(fleet).kill();
            victim.of(fleet).start_with(&armed)?;
        }
        Occasion::Succession(_) => {
            until_flowing(ledger, FLOW)?;
            // A server that is quick enough answers before the statement has waited for it so often.
            for _ in 0..SUCCESSORS {
                victim.of(fleet).stop()?;
                victim.of(fleet).start_with(&armed)?;
                if ends_soon(victim.of(fleet)) {
                    break;
                }
            }
        }
        Occasion::Leaving => {
            until_flowing(ledger, FLOW)?;
            victim.of(fleet).signal(Signal::SIGTERM)?;
        }
    }
    let status = victim.of(fleet).until_ended()?;
    ensure!(status.signal() == Some(Signal::SIGABRT as i32), "ended otherwise: {status}");
    victim.of(fleet).start()?;
    victim.of(fleet).until_ready()?;
    until_flowing(ledger, FLOW)?;
    sending.map_or(Ok(()), |sending| until_arrived(counterpart, sending))?;
    if let Some(reporting) = reporting {
        ensure!(reporting.join().unwrap(), "reports are never taken");
    }
    Ok(load)
}

/// One that is stored in parts.
fn large_content() -> Vec<u8> {
    let mut content = b"Subject: large\r\n\r\n".to_vec();
    for number in 0_u64..150_000 {
        content.extend_from_slice(format!("{:020}\r\n", number.wrapping_mul(0x9E37_79B9_7F4A_7C15)).as_bytes());
    }
    content
}

/// Sends a large message until it is taken.
fn insist(server: SocketAddr) -> JoinHandle<bool> {
    std::thread::spawn(move || {
        let (content, started) = (large_content(), Instant::now());
        while started.elapsed() < LETTER_LIMIT {
            let sent = send(server, "<large@load.example>", &["large@one.example"], &content);
            if sent.is_ok_and(|code| code == 250) {
                return true;
            }
            pause();
        }
        false
    })
}

/// It was taken, and arrives whole.
fn until_arrived(counterpart: &Counterpart, sending: JoinHandle<bool>) -> anyhow::Result<()> {
    ensure!(sending.join().unwrap(), "a large message is never taken");
    let letters = counterpart.wait_for_letters(1, LETTER_LIMIT);
    let content = large_content();
    ensure!(letters.iter().any(|letter| letter.content.ends_with(&content)), "a large message does not arrive whole");
    Ok(())
}

/// What comes back about one message, until several of it were taken.
fn report(server: SocketAddr) -> JoinHandle<bool> {
    std::thread::spawn(move || {
        let lifetime = Duration::from_secs(86_400);
        let paths = ReturnPaths::new(Domain::parse(RETURN_PATHS).unwrap(), RETURN_PATH_KEY, lifetime).unwrap();
        let accepted = Timestamp::from_system(SystemTime::now());
        let message = IdSource::new(NodeNumber::new(1023).unwrap()).take(1, accepted);
        let returned = Returned { message, delivery: message.delivery(0), tenant: TenantId(7), recipient: None };
        let path = paths.sign(returned).unwrap().to_string();
        let content = b"Subject: failure notice\r\n\r\nHi. This is the qmail-send program at far.example.\r\n\r\n\
            <gone@far.example>:\r\n550 5.1.1 no such user\r\n";
        let (mut taken, started) = (0, Instant::now());
        while taken < REPORTS && started.elapsed() < LETTER_LIMIT {
            match send(server, "<>", &[&path], content) {
                Ok(250) => taken += 1,
                _ => pause(),
            }
        }
        taken == REPORTS
    })
}

/// Each report that was accepted is one event of the message it is about, and has arrived: neither is there without the
/// others.
async fn judge_reports(database: &TestDatabase) -> anyhow::Result<()> {
    let counted = database
        .sql(
            "SELECT concat_ws(' ', count(*) FILTER (WHERE kind = 1 AND recipients[1] LIKE 'bounces+%'),
                 count(*) FILTER (WHERE kind = 3 AND recipients[1] LIKE 'bounces+%'), count(*) FILTER (WHERE kind = 11))
             FROM event",
        )
        .await?;
    let counts: Vec<usize> = counted.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let [accepted, arrived, bounced] = counts.as_slice() else { anyhow::bail!("three counts: {counted}") };
    ensure!(*accepted >= REPORTS && accepted == arrived && accepted == bounced, "accepted, arrived, told: {counted}");
    Ok(())
}

/// Only what dies with the result of an attempt in its hands may repeat it, and only once.
fn judge(point: Point, balance: Balance) -> anyhow::Result<()> {
    let (victim, _) = case(point);
    if victim != Victim::Outbound {
        ensure!((balance.duplicates, balance.duplicate_bounces) == (0, 0), "sent twice: {balance:?}");
    }
    ensure!(balance.most_arrivals <= 2, "one death repeats nothing twice: {balance:?}");
    if point == Point::RemoteAccepted {
        ensure!(balance.duplicates + balance.duplicate_bounces > 0, "the window is there: {balance:?}");
    }
    Ok(())
}
