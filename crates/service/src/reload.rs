//! Reads the configuration again while a program runs: on SIGHUP, and when its file changes or one that it names. What
//! cannot be used changes nothing. Not responsible for what a program does with it ([`Reload`]).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use mailtier_config::{Change, Config, ConfigError, NamedFile, Reading};
use mailtier_telemetry::{Meters, Telemetry};
use tokio::signal::unix::Signal;
use tokio::time::{MissedTickBehavior, interval};

use crate::context::Reload;
use crate::file_stamp::FileStamp;
use crate::manager::Manager;
use crate::program::{Program, problem};
use crate::watched_files::{WatchedFiles, named, paths};

/// What a reload needs of the process.
pub(crate) struct Parts {
    pub(crate) program: Program,
    /// The configuration's file.
    pub(crate) path: Option<PathBuf>,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) manager: Manager,
    /// What the program began with.
    pub(crate) reading: Arc<Reading>,
}

/// See the module.
pub(crate) struct Reloader {
    parts: Parts,
    reload: Reload,
    /// What the program runs with. What needs a restart is compared with what it began with.
    runs: Arc<Reading>,
    files: WatchedFiles,
}

/// Why what was read is not used.
struct Unusable {
    text: String,
    /// What it names is looked at, so that it is read again when that comes or is mended.
    reading: Option<Reading>,
    missing: Option<PathBuf>,
}

impl Reloader {
    /// Of a program that runs with what it began with.
    pub(crate) fn new(parts: Parts, reload: Reload) -> Self {
        let runs = Arc::clone(&parts.reading);
        let mut this = Self { parts, reload, runs, files: WatchedFiles::default() };
        let named = named(&[Some(&this.runs)], this.parts.program.reads);
        this.files.were_read(paths(this.parts.path.as_deref(), &named), &this.files.look());
        this.files.were_taken_up(&named);
        this.record();
        this
    }

    /// Until the program ends. Signals that come while one is answered are one more.
    pub(crate) async fn run(mut self, mut hangup: Signal) {
        let mut beat = interval(FileStamp::LOOK_EVERY);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = hangup.recv() => {
                    tracing::info!("SIGHUP: the configuration is read again");
                    self = self.apart(Self::read_again).await;
                }
                _ = beat.tick() => self = self.apart(Self::follow_files).await,
            }
        }
    }

    /// Files are read and keys are parsed where nothing else has to wait for it.
    async fn apart(mut self, what: fn(&mut Self)) -> Self {
        let done = tokio::task::spawn_blocking(move || {
            what(&mut self);
            self
        });
        match done.await {
            Ok(this) => this,
            Err(error) => {
                tracing::error!(%error, "the configuration is not read again until the program is started again");
                std::future::pending().await
            }
        }
    }

    fn follow_files(&mut self) {
        if self.runs.config().cluster.watch_files && self.files.have_changed() {
            tracing::info!("files of the configuration have changed: it is read again");
            self.read_again();
        }
    }

    /// Reads, and takes up what can be used.
    fn read_again(&mut self) {
        self.parts.manager.reads_again();
        let before = self.files.look();
        let read = self.try_read();
        let unusable = read.as_ref().err();
        let readings =
            [read.as_ref().ok().or(Some(&self.runs)).map(Arc::as_ref), unusable.and_then(|one| one.reading.as_ref())];
        let named = named(&readings, self.parts.program.reads);
        let missing = unusable.and_then(|unusable| unusable.missing.as_deref());
        self.files.were_read(paths(self.parts.path.as_deref(), &named).chain(missing), &before);
        match read {
            Ok(read) => {
                self.take_up(read, &named);
                self.parts.manager.has_read_again(None);
            }
            Err(Unusable { text, .. }) => {
                self.parts.manager.has_read_again(Some(&text));
                self.parts.meters.config_reload_successful.record(0, &[]);
                tracing::error!("{text}; the program runs on with the configuration that it has");
            }
        }
    }

    fn try_read(&self) -> Result<Arc<Reading>, Unusable> {
        let path = self.parts.path.as_deref();
        let read = Reading::load(path).map_err(|error| {
            let missing = match &error {
                ConfigError::UnreadableFile { path, .. } => Some(path.clone()),
                _ => None,
            };
            Unusable { text: problem(path, &error.into()), reading: None, missing }
        })?;
        match self.use_it(read.config()) {
            Ok(()) => Ok(Arc::new(read)),
            Err(error) => Err(Unusable { text: problem(path, &error), reading: Some(read), missing: None }),
        }
    }

    /// Telemetry comes last: of what was checked it takes everything.
    fn use_it(&self, config: &Arc<Config>) -> anyhow::Result<()> {
        self.parts.program.check(config)?;
        (self.reload)(config)?;
        Ok(self.parts.telemetry.reload(&config.telemetry)?)
    }

    /// From now on this is what the program runs with; says what is another.
    fn take_up(&mut self, read: Arc<Reading>, named: &[NamedFile]) {
        let reads = self.parts.program.reads;
        let mut waiting = read.changes_since(&self.parts.reading, reads);
        let mut changes = read.changes_since(&self.runs, reads);
        // Of a table that was away meanwhile, and that the program has all the same, a value may count at once.
        let counts = |key: &str| waiting.iter().any(|since| since.key == key && !since.needs_restart);
        changes.retain(|change| !change.needs_restart || counts(&change.key));
        waiting.retain(|change| change.needs_restart);
        let files = self.files.were_taken_up(named);
        self.runs = read;
        self.record();
        say(&changes, &waiting, &files);
        let hash = format!("{:08x}", self.runs.fingerprint(reads));
        if changes.is_empty() && waiting.is_empty() && files.is_empty() {
            tracing::info!(hash, "the configuration is as it was; the files that it names were read again");
        } else {
            tracing::info!(hash, "the configuration is taken up");
        }
    }

    /// The metrics of what runs now.
    fn record(&self) {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (meters, reads) = (&self.parts.meters, self.parts.program.reads);
        meters.config_reload_successful.record(1, &[]);
        meters.config_reload_timestamp.record(since.as_secs(), &[]);
        meters.config_hash.record(u64::from(self.runs.fingerprint(reads)), &[]);
    }
}

/// A line for each change.
fn say(changes: &[Change], waiting: &[Change], files: &[&NamedFile]) {
    for Change { key, from, to, .. } in changes {
        tracing::info!(key, from, to, applies = "now", "the configuration has changed");
    }
    for Change { key, from, to, .. } in waiting {
        tracing::warn!(key, from, to, applies = "restart", "the configuration has changed, and this needs a restart");
    }
    for NamedFile { key, path, needs_restart } in files {
        let applies = if *needs_restart { "restart" } else { "now" };
        tracing::info!(key, file = %path.display(), applies, "a file that the configuration names has changed");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use parking_lot::Mutex;
    use tempfile::TempDir;

    use super::*;

    const PROGRAM: Program = Program {
        reads: &["cluster", "queue", "telemetry"],
        check: |config| match config.queue.threads {
            13 => Err(ConfigError::bad("queue.threads", "is 13").into()),
            _ => Ok(()),
        },
        ..crate::program::tests::PROGRAM
    };

    /// A program that notes what it is told.
    struct Told {
        folder: TempDir,
        reloader: Reloader,
        lifetimes: Arc<Mutex<Vec<u64>>>,
    }

    impl Told {
        fn new(text: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("mailtier.toml");
            std::fs::write(&path, text).unwrap();
            let reading = Reading::load_with(Some(&path), HashMap::new()).unwrap();
            let telemetry = mailtier_telemetry::init(&reading.config().telemetry, "test", "test").unwrap();
            let parts = Parts {
                program: PROGRAM,
                path: Some(path),
                meters: Arc::new(telemetry.meters()),
                telemetry: Arc::new(telemetry),
                manager: Manager::default(),
                reading: Arc::new(reading),
            };
            let lifetimes = Arc::new(Mutex::new(Vec::new()));
            let told = Arc::clone(&lifetimes);
            let reload: Reload = Box::new(move |config| {
                told.lock().push(config.queue.lifetime.as_secs());
                Ok(())
            });
            Self { folder, reloader: Reloader::new(parts, reload), lifetimes }
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.folder.path().join(name), text).unwrap();
        }

        fn path(&self, name: &str) -> String {
            self.folder.path().join(name).display().to_string()
        }

        /// Looks as often as it takes for a change to count.
        fn look(&mut self) -> Vec<u64> {
            self.reloader.follow_files();
            self.reloader.follow_files();
            self.told()
        }

        /// What it was told since it was last asked.
        fn told(&self) -> Vec<u64> {
            std::mem::take(&mut self.lifetimes.lock())
        }

        fn metric(&self, name: &str) -> u64 {
            let text = self.reloader.parts.telemetry.metrics_text();
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line.rsplit(' ').next().unwrap().parse().unwrap()
        }

        fn is_good(&self) -> bool {
            self.metric("mailtier_config_reload_successful") == 1
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_changed_file_is_taken_up_and_a_bad_one_changes_nothing() {
        let mut told = Told::new("[queue]\nlifetime = \"1d\"");
        let (hash, since) =
            (told.metric("mailtier_config_hash"), told.metric("mailtier_config_reload_timestamp_seconds"));
        assert!(told.is_good() && since > 1_500_000_000);
        assert!(told.look().is_empty(), "nothing has changed");
        told.write("mailtier.toml", "[queue]\nlifetime = \"2d\"");
        assert_eq!(told.look(), [172_800]);
        assert!(told.look().is_empty());
        for bad in
            ["[queue]\nlifetime = \"soon\"", "[queue]\nthreads = 13", "[telemetry]\nlog_filter = \"a=loud\"", "[queu"]
        {
            told.write("mailtier.toml", bad);
            assert!(told.look().is_empty() && !told.is_good(), "{bad}");
            assert!(told.look().is_empty(), "it is read once");
            assert_eq!(told.reloader.runs.config().queue.lifetime.as_secs(), 172_800);
        }
        told.write("mailtier.toml", "[queue]\nlifetime = \"3d\"");
        assert_eq!(told.look(), [259_200]);
        assert!(told.is_good());
        told.write("mailtier.toml", "[queue]\nlifetime = \"1d\"");
        assert_eq!(told.look(), [86_400]);
        assert_eq!(told.metric("mailtier_config_hash"), hash, "the same as before");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_secret_that_changes_or_comes_late_is_read() {
        let mut told = Told::new("");
        let naming = |name: &str| format!("[cluster]\nsecret_file = \"{}\"", told.path(name));
        let (first, late) = (naming("first"), naming("late"));
        told.write("first", "a secret that is long enough for everybody");
        told.write("mailtier.toml", &first);
        assert_eq!(told.look().len(), 1);
        told.write("first", "another one that is long enough for everybody");
        assert_eq!(told.look().len(), 1);
        told.write("mailtier.toml", &late);
        assert!(told.look().is_empty() && !told.is_good());
        told.write("late", "a secret that is long enough for everybody");
        assert_eq!(told.look().len(), 1);
        assert!(told.is_good());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_signal_counts_where_files_are_not_watched_and_where_nothing_has_changed() {
        let mut told = Told::new("[cluster]\nwatch_files = false");
        told.write("mailtier.toml", "[cluster]\nwatch_files = false\n[queue]\nlifetime = \"2d\"");
        assert!(told.look().is_empty());
        told.reloader.read_again();
        told.reloader.read_again();
        assert_eq!(told.told(), [172_800, 172_800]);
        told.write("mailtier.toml", "");
        told.reloader.read_again();
        told.write("mailtier.toml", "[queue]\nlifetime = \"3d\"");
        assert_eq!(told.look().last(), Some(&259_200), "it is looked at again");
    }
}
