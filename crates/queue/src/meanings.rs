//! What replies mean, as the operator's file of rules says at the moment: it is read again when it changes. Not responsible for
//! the rules themselves (`mailtier-schedule`), nor for what follows from them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use mailtier_schedule::Classification;
use mailtier_service::FileStamp;
use mailtier_shaping::{ClassificationError, classification};

/// See the module.
#[derive(Debug)]
pub(crate) struct Meanings {
    /// As it was when it was read at the start; absent where the built-in rules are all there are: they never change.
    file: Option<(PathBuf, FileStamp)>,
    now: ArcSwap<Classification>,
}

impl Meanings {
    /// Reads the file of rules, if there is one.
    ///
    /// # Errors
    /// It cannot be read, or a rule in it is wrong.
    pub(crate) fn read(path: Option<&Path>) -> Result<Self, ClassificationError> {
        let file = path.map(|path| (path.to_owned(), FileStamp::of(path)));
        Ok(Self { file, now: ArcSwap::from_pointee(classification(path)?) })
    }

    /// Rules that do not change.
    #[cfg(test)]
    pub(crate) fn fixed(classification: Classification) -> Arc<Self> {
        Arc::new(Self { file: None, now: ArcSwap::from_pointee(classification) })
    }

    /// The rules of this moment.
    pub(crate) fn now(&self) -> Arc<Classification> {
        self.now.load_full()
    }

    /// Looks for changes until it is dropped.
    pub(crate) async fn watch(self: Arc<Self>) {
        // Whatever has changed since the start is read with the first look.
        let Some((path, mut known)) = self.file.clone() else { return };
        let mut beat = tokio::time::interval(FileStamp::LOOK_EVERY);
        loop {
            beat.tick().await;
            let (this, path, before) = (Arc::clone(&self), path.clone(), known);
            // Rules are compiled into one automaton, which takes its time.
            known = tokio::task::spawn_blocking(move || this.look(&path, before)).await.unwrap_or(known);
        }
    }

    /// Reads the file again where it has changed. What is wrong with it is said once, and the rules stay as they were.
    fn look(&self, path: &Path, known: FileStamp) -> FileStamp {
        let found = FileStamp::of(path);
        if found == known {
            return known;
        }
        match classification(Some(path)) {
            Ok(classification) => {
                let rules = classification.rules().count();
                tracing::info!(path = %path.display(), rules, "rules of what replies mean, read again");
                self.now.store(Arc::new(classification));
            }
            Err(error) => tracing::error!(%error, "the rules of what replies mean stay as they were"),
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use mailtier_types::{BounceClass, Cause, Outcome, Reply, Stage, Timestamp};

    use super::*;

    fn class(meanings: &Meanings) -> Option<BounceClass> {
        let reply = Reply::received(550, None, "closed for the night".to_owned());
        let outcome = Outcome::new(Stage::Rcpt, Cause::Reply(reply), Timestamp::EPOCH);
        meanings.now().judge(&outcome).map(|judgement| judgement.class)
    }

    #[test]
    fn a_changed_file_counts_and_a_wrong_one_does_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let write = |text: &str| std::fs::write(file.path(), text).unwrap();
        let rule = |class: &str| {
            format!("builtin = false\n[[rules]]\nname = \"x\"\ntexts = [\"night\"]\nclass = \"{class}\"\n")
        };
        write(&rule("spam"));
        let meanings = Meanings::read(Some(file.path())).unwrap();
        assert_eq!(class(&meanings), Some(BounceClass::Spam));
        let known = FileStamp::of(file.path());
        let look = |known| meanings.look(file.path(), known);
        assert_eq!(look(known), known, "nothing has changed");
        write(&rule("unavailable"));
        let known = look(known);
        assert_eq!(class(&meanings), Some(BounceClass::Unavailable));
        write(&rule("no_such_class_at_all"));
        let wrong = look(known);
        assert_ne!(wrong, known, "it is said once what is wrong");
        assert_eq!(class(&meanings), Some(BounceClass::Unavailable));
        std::fs::remove_file(file.path()).unwrap();
        assert_eq!(look(wrong), FileStamp::MISSING);
        assert_eq!(class(&meanings), Some(BounceClass::Unavailable));
        write(&rule("policy"));
        look(FileStamp::MISSING);
        assert_eq!(class(&meanings), Some(BounceClass::Policy));
    }
}
