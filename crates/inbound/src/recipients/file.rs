//! Recipients and aliases in files, read again when they change. Not responsible for what they lead to.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use mailtier_config::{AddressFile, AddressTable, ConfigError};
use mailtier_service::FileStamp;
use tokio_util::sync::CancellationToken;

use super::{Answer, Patterns};

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
    kind: AddressFile,
    table: ArcSwap<(FileStamp, AddressTable)>,
}

impl Files {
    /// # Errors
    /// A file cannot be read, or has a line that means nothing.
    pub(super) fn load(recipients: Option<&Path>, aliases: Option<&Path>) -> Result<Arc<Self>, ConfigError> {
        let open = |kind, path: Option<&Path>| path.map(|path| Watched::open(kind, path)).transpose();
        Ok(Arc::new(Self {
            recipients: open(AddressFile::Recipients, recipients)?,
            aliases: open(AddressFile::Aliases, aliases)?,
        }))
    }

    pub(super) fn look_up(&self, patterns: &Patterns) -> Answer {
        let said = |file: &Option<Watched>, pattern: &str| {
            file.as_ref().and_then(|file| file.table.load().1.get(pattern).cloned())
        };
        let answer = patterns.judge(|pattern| said(&self.aliases, pattern).or_else(|| said(&self.recipients, pattern)));
        answer.unwrap_or(Answer::Unknown { decides: self.recipients.is_some() })
    }

    /// Reads what has changed, until the end or until nobody uses it any more.
    pub(super) async fn watch(this: Weak<Self>, end: CancellationToken) {
        while tokio::time::timeout(FileStamp::LOOK_EVERY, end.cancelled()).await.is_err() {
            let Some(files) = this.upgrade().filter(|files| files.all().next().is_some()) else { return };
            files.refresh();
        }
    }

    /// Reads what has changed.
    pub(super) fn refresh(&self) {
        self.all().for_each(Watched::refresh);
    }

    /// Whether they are read from these.
    pub(super) fn are(&self, recipients: Option<&Path>, aliases: Option<&Path>) -> bool {
        let path = |file: &Option<Watched>| file.as_ref().map(|file| file.path.clone());
        (path(&self.recipients).as_deref(), path(&self.aliases).as_deref()) == (recipients, aliases)
    }

    fn all(&self) -> impl Iterator<Item = &Watched> {
        [&self.recipients, &self.aliases].into_iter().flatten()
    }
}

impl Watched {
    fn open(kind: AddressFile, path: &Path) -> Result<Self, ConfigError> {
        Ok(Self { path: path.into(), kind, table: ArcSwap::from_pointee(load(kind, path)?) })
    }

    fn refresh(&self) {
        if self.table.load().0 == FileStamp::of(&self.path) {
            return;
        }
        match load(self.kind, &self.path) {
            Ok(loaded) => {
                tracing::info!(file = %self.path.display(), entries = loaded.1.len(), "read again");
                self.table.store(Arc::new(loaded));
            }
            Err(error) => tracing::warn!(%error, "the file stays as it was"),
        }
    }
}

fn load(kind: AddressFile, path: &Path) -> Result<(FileStamp, AddressTable), ConfigError> {
    let stamp = FileStamp::of(path);
    Ok((stamp, kind.read(path)?))
}

#[cfg(test)]
mod tests {
    use mailtier_types::Mailbox;

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
    fn a_file_that_cannot_be_read_is_named_with_its_key() {
        let error = Files::load(Some(Path::new("/nonexistent")), None).unwrap_err().to_string();
        assert!(error.contains("inbound.recipients_file") && error.contains("/nonexistent"), "{error}");
    }
}
