//! `make idle`: sessions that say nothing, many more than `soak` has, in clear and in TLS; and what each costs in memory.
//! Responsible for the phases; the sessions are `soak`'s.

use crate::certificates;
use crate::generator::{Clients, Encryption};
use crate::harness::Bench;
use crate::mailtier::{Mailtier, Settings};
use crate::processes::Running as _;
use crate::relay::remove;
use crate::soak::{self, Held};

/// Files that the programs and this one have open beside sessions.
const RESERVED_FILES: u64 = 200;
/// KiB for a session, in clear and in TLS.
const GOALS: [(Encryption, f64); 2] = [(Encryption::Off, 20.0), (Encryption::Fresh, 60.0)];

/// How many, and for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Idle {
    /// Sessions in clear, a phase for each number.
    #[arg(long, value_delimiter = ',', default_values_t = [20_000])]
    clear: Vec<usize>,
    /// Sessions in TLS, a phase for each number.
    #[arg(long, value_delimiter = ',', default_values_t = [5_000, 20_000])]
    tls: Vec<usize>,
    /// Seconds of each phase.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// Runs every phase on a system of its own and prints what it showed.
pub(crate) fn run(bench: &Bench, idle: &Idle) -> anyhow::Result<()> {
    let certificate = certificates::self_made(&bench.folder)?;
    let (chain, key) = (certificate.certificate.display(), certificate.key.display());
    let settings =
        Settings { inbound: format!("tls_certificate = \"{chain}\"\ntls_key = \"{key}\"\n"), ..Settings::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    for (encryption, goal) in GOALS {
        let counts = if encryption == Encryption::Off { &idle.clear } else { &idle.tls };
        for &wanted in counts {
            let sessions = possible(wanted)?;
            let folder = bench.folder.join("run");
            let system = Mailtier::start(&bench.programs, &folder, &settings)?;
            println!("{}:", if encryption == Encryption::Off { "in clear" } else { "in TLS" });
            let clients = Clients::of(system.port(), encryption)?;
            let held = runtime.block_on(soak::idle(&system, clients, sessions, idle.seconds))?;
            drop(system);
            remove(folder)?;
            let Held { kib_per_session, .. } = held;
            let is_met = if kib_per_session <= goal { "met" } else { "missed" };
            println!("goal, at most {goal:.0} KiB a session: {is_met}\n");
            bench.raw.keep("idle", &held)?;
        }
    }
    Ok(())
}

/// As many as asked for, or as the system lets one process have files open: this one, and inbound, which inherits it.
fn possible(wanted: usize) -> anyhow::Result<usize> {
    let given = rlimit::increase_nofile_limit(u64::try_from(wanted)? + RESERVED_FILES)?;
    let most = usize::try_from(given.saturating_sub(RESERVED_FILES))?;
    if most < wanted {
        println!("{most} sessions instead of {wanted}: the limit of open files is {given} (`ulimit -n`)");
    }
    Ok(wanted.min(most))
}
