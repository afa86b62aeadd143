//! Recipients and aliases in files, read again when they change. Not responsible for what they lead to.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use mailtier_config::ConfigError;
use mailtier_types::{Domain, Mailbox};
use tokio_util::sync::CancellationToken;

use super::{Answer, Patterns};

/// How often a change is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Patterns and who gets their mail: nobody else where that is empty.
type Table = HashMap<String, Vec<Mailbox>>;

/// Both files.
#[derive(Debug)]
pub(super) struct Files {
    recipients: Option<Watched>,
    aliases: Option<Watched>,
}

/// One file as it was read.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    read: fn(&str) -> Result<Table, String>,
    table: ArcSwap<(Option<Stamp>, Table)>,
}

/// What changes when a file does.
type Stamp = (SystemTime, u64);

impl Files {
    /// # Errors
    /// A file cannot be read, or has a line that means nothing.
    pub(super) fn load(recipients: Option<&Path>, aliases: Option<&Path>) -> Result<Arc<Self>, ConfigError> {
        let open = |key, path: Option<&Path>, read| path.map(|path| Watched::open(key, path, read)).transpose();
        Ok(Arc::new(Self {
            recipients: open("inbound.recipients_file", recipients, read_recipients)?,
            aliases: open("inbound.aliases_file", aliases, read_aliases)?,
        }))
    }

    pub(super) fn look_up(&self, patterns: &Patterns) -> Answer {
        let said = |file: &Option<Watched>, pattern: &str| {
            file.as_ref().and_then(|file| file.table.load().1.get(pattern).cloned())
        };
        let answer = patterns.judge(|pattern| said(&self.aliases, pattern).or_else(|| said(&self.recipients, pattern)));
        answer.unwrap_or(Answer::Unknown { decides: self.recipients.is_some() })
    }

    /// Reads what has changed, until the end.
    pub(super) async fn watch(&self, end: CancellationToken) {
        let files: Vec<&Watched> = [&self.recipients, &self.aliases].into_iter().flatten().collect();
        if files.is_empty() {
            return;
        }
        while tokio::time::timeout(LOOK_EVERY, end.cancelled()).await.is_err() {
            files.iter().for_each(|file| file.refresh());
        }
    }
}

impl Watched {
    fn open(key: &'static str, path: &Path, read: fn(&str) -> Result<Table, String>) -> Result<Self, ConfigError> {
        let loaded = load(path, read).map_err(|problem| ConfigError::BadValue { key, problem })?;
        Ok(Self { path: path.into(), read, table: ArcSwap::from_pointee(loaded) })
    }

    fn refresh(&self) {
        if self.table.load().0 == stamp(&self.path) {
            return;
        }
        match load(&self.path, self.read) {
            Ok(loaded) => {
                tracing::info!(file = %self.path.display(), entries = loaded.1.len(), "read again");
                self.table.store(Arc::new(loaded));
            }
            Err(problem) => tracing::warn!(problem, "the file stays as it was"),
        }
    }
}

fn load(path: &Path, read: fn(&str) -> Result<Table, String>) -> Result<(Option<Stamp>, Table), String> {
    // Taken before: what changes while it is read is read again.
    let stamp = stamp(path);
    let text = std::fs::read_to_string(path).map_err(|error| format!("names {}: {error}", path.display()))?;
    let table = read(&text).map_err(|problem| format!("names {}: {problem}", path.display()))?;
    Ok((stamp, table))
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// Lines that say something, numbered from 1.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text.lines().zip(1..).map(|(line, number)| (number, line.trim()));
    numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

fn read_recipients(text: &str) -> Result<Table, String> {
    lines(text).map(|(number, line)| Ok((pattern(line, number)?, Vec::new()))).collect()
}

fn read_aliases(text: &str) -> Result<Table, String> {
    let mut table = Table::new();
    for (number, line) in lines(text) {
        let bad = |what: &str| format!("line {number}: {what}; expected user@example.com: other@example.com, …");
        let (name, targets) = line.split_once(':').ok_or_else(|| bad("no colon"))?;
        let mut mailboxes = Vec::new();
        for target in targets.split(',').map(str::trim).filter(|target| !target.is_empty()) {
            mailboxes.push(Mailbox::parse(target).map_err(|error| bad(&format!("`{target}`: {error}")))?);
        }
        if mailboxes.is_empty() {
            return Err(bad("nobody after the colon"));
        }
        if table.insert(pattern(name.trim(), number)?, mailboxes).is_some() {
            return Err(bad("said twice"));
        }
    }
    Ok(table)
}

/// `user@example.com` or `@example.com`.
fn pattern(text: &str, number: usize) -> Result<String, String> {
    let bad = |error| format!("line {number}: `{text}` is neither an address nor @domain: {error}");
    match text.strip_prefix('@') {
        Some(domain) => Domain::parse(domain).map(|domain| format!("@{domain}")).map_err(bad),
        None => Mailbox::parse(text).map(|mailbox| mailbox.as_str().to_lowercase()).map_err(bad),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(text: &str) -> Patterns {
        Patterns::of(&Mailbox::parse(text).unwrap(), Some('+'))
    }

    #[test]
    fn files_are_read_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let (recipients, aliases) = (folder.path().join("r"), folder.path().join("a"));
        std::fs::write(&recipients, "# ours\nUser@example.org\n\n@open.example\n").unwrap();
        std::fs::write(&aliases, "info@example.org: user@example.org, x@example.net\n@all.example: user@example.org\n")
            .unwrap();
        let files = Files::load(Some(&recipients), Some(&aliases)).unwrap();
        assert_eq!(files.look_up(&patterns("user+x@example.org")), Answer::Known);
        assert_eq!(files.look_up(&patterns("any@open.example")), Answer::Known);
        assert_eq!(files.look_up(&patterns("nobody@example.org")), Answer::Unknown { decides: true });
        assert!(matches!(files.look_up(&patterns("INFO@example.org")), Answer::Alias(targets) if targets.len() == 2));
        assert!(matches!(files.look_up(&patterns("any@all.example")), Answer::Alias(_)));
        std::fs::write(&recipients, "nobody@example.org\nmore@example.org\n").unwrap();
        files.recipients.as_ref().unwrap().refresh();
        assert_eq!(files.look_up(&patterns("nobody@example.org")), Answer::Known);
        std::fs::write(&recipients, "nonsense\n").unwrap();
        files.recipients.as_ref().unwrap().refresh();
        assert_eq!(files.look_up(&patterns("nobody@example.org")), Answer::Known, "what was good stays");
        let only_aliases = Files::load(None, Some(&aliases)).unwrap();
        assert_eq!(only_aliases.look_up(&patterns("any@example.org")), Answer::Unknown { decides: false });
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_with_its_line() {
        for (text, problem) in [
            ("a@example.org: b@example.org\nnonsense", "line 2: no colon"),
            ("a@example.org:", "line 1: nobody after the colon"),
            ("a@example.org: nonsense", "line 1: `nonsense`"),
            ("a@example.org: b@example.org\nA@example.org: c@example.org", "line 2: said twice"),
            ("@@: b@example.org", "line 1: `@@`"),
        ] {
            let said = read_aliases(text).unwrap_err();
            assert!(said.contains(problem), "{text}: {said}");
        }
        let error = Files::load(Some(Path::new("/nonexistent")), None).unwrap_err().to_string();
        assert!(error.contains("inbound.recipients_file") && error.contains("/nonexistent"), "{error}");
    }
}
