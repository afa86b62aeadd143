//! Deep queues: rows are put into the tables as if they had been deferred, and the system is started upon them. Responsible
//! for the rows and for what every measurement of such a queue asks; what is measured is `scale`'s, `drain`'s and `crowd`'s.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::bail;

use crate::database::Database;
use crate::harness::{Bench, Connections, Load, start_sink};
use crate::mailtier::{self, Mailtier, Settings};
use crate::processes::{self, Running as _};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(900);
/// Messages of one run of fresh mail.
pub(crate) const FRESH: u32 = 20_000;
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// Settings of the sessions that prepare the tables.
const QUICKLY: &str = "SET synchronous_commit = off; SET work_mem = '256MB'; ";
/// Nobody listens there, whatever else runs: the message whose rows are copied is deferred.
const TEMPLATE_ROUTE: &str = "[[outbound.routes]]\ndomain = \"template.example\"\nhosts = [\"127.0.0.1:1\"]\n";

/// A system whose queue is filled while it lasts, and where it keeps that.
#[derive(Debug)]
pub(crate) struct DeepQueue<'a> {
    /// What it is measured with.
    pub(crate) bench: &'a Bench,
    /// What it is filled through.
    pub(crate) database: Database,
    folder: PathBuf,
    settings: Settings,
}

impl<'a> DeepQueue<'a> {
    /// Kept under this name, with the defaults.
    pub(crate) fn of(bench: &'a Bench, name: &str) -> Self {
        Self::with(bench, name, Settings { sessions: bench.sessions, ..Settings::default() })
    }

    /// The same with other settings.
    pub(crate) fn with(bench: &'a Bench, name: &str, mut settings: Settings) -> Self {
        settings.sections.push_str(TEMPLATE_ROUTE);
        let folder = bench.folder.join(name);
        Self { bench, database: Database::of(&folder), folder, settings }
    }

    /// Starts the system upon what is there.
    pub(crate) fn start(&self) -> anyhow::Result<Mailtier> {
        Mailtier::start(&self.bench.programs, &self.folder, &self.settings)
    }

    /// One message that nobody takes: its rows are copied.
    pub(crate) fn template(&self, system: &Mailtier) -> anyhow::Result<()> {
        self.send(system.port(), 1)?;
        wait("the template to be deferred", || Ok(self.database.sql("SELECT count(*) FROM retry")? == "1"))?;
        self.database.sql(
            "CREATE TABLE template AS SELECT d.*, b.data, r.last_outcome FROM delivery d
             JOIN body b ON b.message_id = d.message_id JOIN retry r ON r.delivery_id = d.id;
             DELETE FROM delivery; DELETE FROM retry; DELETE FROM body",
        )?;
        Ok(())
    }

    /// Replaces what is queued by copies of the template; `destination` and `due_in` (seconds) are expressions of `i`.
    pub(crate) fn fill(&self, count: u32, destination: &str, due_in: &str, with_bodies: bool) -> anyhow::Result<()> {
        let started = Instant::now();
        // One in 50 ms before the template, each as if it were a message of its own.
        let id = "t.id - ((50 * i::bigint) << 22)";
        let series = format!("FROM template t, generate_series(1, {count}) AS i");
        let bodies = format!("INSERT INTO body SELECT {id}, 0, t.data {series};");
        self.database.sql(&format!(
            "{QUICKLY} TRUNCATE delivery, retry, body;
             INSERT INTO delivery (id, message_id, expires_at, tenant_id, shard, priority, destination, sender, recipients,
                                   options)
             SELECT {id}, {id}, now() + interval '5 days', 0, abs(hashtext({destination})) % 256, 0, {destination}, t.sender,
                    ARRAY['recipient@' || {destination}], t.options {series};
             INSERT INTO retry (delivery_id, next_attempt_at, attempts, recipients, last_outcome)
             SELECT {id}, now() + interval '1 second' * ({due_in}) + interval '5 minutes' * (({due_in} > 0)::int), 1,
                    ARRAY['recipient@' || {destination}], t.last_outcome {series};
             {}",
            if with_bodies { bodies.as_str() } else { "" }
        ))?;
        self.database.sql("VACUUM ANALYZE delivery, retry, body")?;
        self.database.sql("CHECKPOINT")?;
        eprintln!("{count} rows made in {:.0} s", started.elapsed().as_secs_f64());
        Ok(())
    }

    /// Starts anew, and waits until the queue has loaded so many, or as many as its memory has room for.
    pub(crate) fn restart(&self, system: Mailtier, count: u32) -> anyhow::Result<(Mailtier, f64)> {
        drop(system);
        let started = Instant::now();
        let system = self.start()?;
        let mut last = (0.0, Instant::now());
        wait("the queue to load", || {
            let scheduled = mailtier::queue_metric("mailtier_queue_scheduled").unwrap_or_default();
            if scheduled > last.0 {
                last = (scheduled, Instant::now());
            }
            // With less than all, what does not grow any more is all that there is room for.
            let is_full = last.0 > 0.0 && last.1.elapsed() > Duration::from_secs(5);
            Ok(scheduled >= f64::from(count) || is_full)
        })?;
        if last.0 < f64::from(count) {
            println!("\nin memory: {:.0} of {count}", last.0);
        }
        Ok((system, (last.1 - started).as_secs_f64()))
    }

    /// Fresh mail, one destination of its own: accepted and delivered a second.
    pub(crate) fn fresh(&self, system: &Mailtier) -> anyhow::Result<(f64, f64)> {
        let mut sink = start_sink(&self.bench.tools, Some(FRESH))?;
        let load = Load { sessions: self.bench.sessions, messages: FRESH, size_kib: 1, connections: Connections::Kept };
        let (accepted, delivered) = load.relay(&self.bench.tools, system.port(), &mut sink)?;
        Ok((f64::from(FRESH) / accepted.as_secs_f64(), f64::from(FRESH) / delivered.as_secs_f64()))
    }

    fn send(&self, port: u16, messages: u32) -> anyhow::Result<()> {
        let mut source = self.bench.tools.command("smtp-source");
        source.args(["-m", &messages.to_string(), "-l", "1024", "-f", "sender@source.example"]);
        let output =
            source.args(["-t", "recipient@template.example"]).arg(format!("inet:127.0.0.1:{port}")).output()?;
        if !output.status.success() {
            bail!("smtp-source: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }
}

/// Until it is there.
pub(crate) fn wait(what: &str, mut is_there: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let started = Instant::now();
    while !is_there()? {
        if started.elapsed() > PATIENCE {
            bail!("waited in vain for {what}");
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Resident memory of the queue, in MiB.
pub(crate) fn queue_mib(system: &Mailtier) -> f64 {
    processes::resident_kib(system.pid(), "mailtier-queue") as f64 / 1024.0
}

/// Attempts that the queue has handed out since it was started.
pub(crate) fn dispatched() -> Option<f64> {
    mailtier::queue_metric("mailtier_queue_dispatched_total")
}
