//! A program whose configuration is changed again and again, and what it says of that. Not responsible for what is changed.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use mailtier_config::{ConfigError, Reading};
use mailtier_testkit::installation::{pause, program};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use toml::Table;

use super::bare;
use crate::loads::LIMIT;

/// What a program says of a configuration: keys, without what tells one table of a list from another.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Those that it has taken up.
    pub(super) now: BTreeSet<String>,
    /// Those that wait for a restart.
    pub(super) restart: BTreeSet<String>,
}

impl Report {
    /// Whether a key is among them.
    pub(super) fn names(&self, path: &str) -> bool {
        self.now.contains(path) || self.restart.contains(path)
    }

    /// What was said besides.
    pub(super) fn extend(&mut self, other: Self) {
        self.now.extend(other.now);
        self.restart.extend(other.restart);
    }
}

/// See the module.
pub(super) struct Driven {
    child: Child,
    file: PathBuf,
    log: File,
    /// What it began with.
    begun: Reading,
    /// A line that is not whole yet.
    rest: Vec<u8>,
}

impl Driven {
    /// Starts `mailtier-<name>` and waits until it answers signals.
    pub(super) fn start(name: &str, folder: &Path, tree: &Table) -> Self {
        let (file, log) = (folder.join(format!("{name}.toml")), folder.join(format!("{name}.log")));
        fs::write(&file, tree.to_string()).unwrap();
        let written = File::create(&log).unwrap();
        let child = Command::new(program(&format!("mailtier-{name}")).unwrap())
            .env("MAILTIER_CONFIG", &file)
            .stdin(Stdio::null())
            .stdout(written.try_clone().unwrap())
            .stderr(written)
            .spawn()
            .unwrap();
        let begun = read(&file).unwrap();
        let mut driven = Self { child, file, log: File::open(&log).unwrap(), begun, rest: Vec::new() };
        driven.until(|line| (message(line) == "started").then_some(()));
        driven
    }

    /// What it says of another configuration, or why it does not use it. It must be another than at the start in this key.
    pub(super) fn reload(&mut self, tree: &Table, changed: Option<&str>) -> Result<Report, String> {
        fs::write(&self.file, tree.to_string()).unwrap();
        // What no program would take is not worth a signal.
        let reading = read(&self.file).map_err(|error| error.to_string())?;
        if let Some(key) = changed {
            let (section, _) = key.split_once('.').unwrap();
            let changes = reading.changes_since(&self.begun, &[section]);
            if !changes.iter().any(|change| bare(&change.key) == key) {
                return Err("it is what it was".to_owned());
            }
        }
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGHUP).unwrap();
        let mut report = Report::default();
        self.until(|line| {
            let key = || bare(field(line, "key").unwrap_or_default());
            match message(line) {
                "the configuration has changed" => drop(report.now.insert(key())),
                "the configuration has changed, and this needs a restart" => drop(report.restart.insert(key())),
                "the configuration is taken up" => return Some(None),
                said if said.starts_with("the configuration is as it was") => return Some(None),
                said if said.ends_with("the program runs on with the configuration that it has") => {
                    return Some(Some(said.to_owned()));
                }
                _ => {}
            }
            None
        })
        .map_or(Ok(report), Err)
    }

    /// Reads its log until a line that is wanted.
    fn until<T>(&mut self, mut wanted: impl FnMut(&Value) -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            let mut read = std::mem::take(&mut self.rest);
            self.log.read_to_end(&mut read).unwrap();
            let end = read.iter().rposition(|octet| *octet == b'\n').map_or(0, |at| at + 1);
            self.rest = read.split_off(end);
            // What a signal sets off ends with one line, so that nothing is missed behind it.
            let lines = read.split(|octet| *octet == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
            if let Some(found) = lines.into_iter().find_map(|line: Value| wanted(&line)) {
                return found;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && started.elapsed() < LIMIT, "{ended:?}: {}", String::from_utf8_lossy(&read));
            pause();
        }
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(file: &Path) -> Result<Reading, ConfigError> {
    Reading::load_with(Some(file), HashMap::new())
}

fn field<'a>(line: &'a Value, name: &str) -> Option<&'a str> {
    line.get("fields").unwrap_or(line).get(name)?.as_str()
}

fn message(line: &Value) -> &str {
    field(line, "message").unwrap_or_default()
}
