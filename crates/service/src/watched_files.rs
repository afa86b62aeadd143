//! The files that a configuration is made of, and whether they have changed. Not responsible for reading them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mailtier_config::{NamedFile, Reading};

use crate::file_stamp::FileStamp;

/// What is looked at.
#[derive(Debug, Default)]
pub(crate) struct WatchedFiles {
    /// As they were when they were last read, whatever came of it.
    seen: Stamps,
    /// As they were when they were last taken up.
    used: Stamps,
    /// As they were at the last look, where that was not as they were read.
    unsettled: Option<Stamps>,
}

/// Files as they are at one time.
pub(crate) type Stamps = BTreeMap<PathBuf, FileStamp>;

impl WatchedFiles {
    /// What the files are like now. To be taken before they are read, so that what changes meanwhile is read again.
    pub(crate) fn look(&self) -> Stamps {
        self.seen.keys().map(|path| (path.clone(), FileStamp::of(path))).collect()
    }

    /// Whether files are not as they were read, and no longer being written: they were the same at the look before.
    pub(crate) fn have_changed(&mut self) -> bool {
        let now = self.look();
        if now == self.seen {
            self.unsettled = None;
            return false;
        }
        let have_settled = self.unsettled.as_ref() == Some(&now);
        self.unsettled = Some(now);
        have_settled
    }

    /// These are looked at from now on. They were read, and of those that were looked at already this is how they were.
    pub(crate) fn were_read<'a>(&mut self, paths: impl Iterator<Item = &'a Path>, before: &Stamps) {
        let stamp = |path: &Path| before.get(path).copied().unwrap_or_else(|| FileStamp::of(path));
        self.seen = paths.map(|path| (path.to_owned(), stamp(path))).collect();
        self.unsettled = None;
    }

    /// What was read last is taken up. Says which of these files are other than before.
    pub(crate) fn were_taken_up<'a>(&mut self, named: &'a [NamedFile]) -> Vec<&'a NamedFile> {
        let before = std::mem::replace(&mut self.used, self.seen.clone());
        let is_other = |file: &&NamedFile| {
            let (old, new) = (before.get(&file.path), self.used.get(&file.path));
            old.is_some() && old != new
        };
        named.iter().filter(is_other).collect()
    }
}

/// The configuration's own file, and those that it names for a program.
pub(crate) fn paths<'a>(own: Option<&'a Path>, named: &'a [NamedFile]) -> impl Iterator<Item = &'a Path> {
    own.into_iter().chain(named.iter().map(|file| file.path.as_path()))
}

/// Those that are named for a program by what is used, and by what could not be used.
pub(crate) fn named(readings: &[Option<&Reading>], reads: &[&str]) -> Vec<NamedFile> {
    readings.iter().flatten().flat_map(|reading| reading.files(reads)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_being_written_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        write("1");
        let mut files = WatchedFiles::default();
        files.were_read(std::iter::once(path.as_path()), &Stamps::new());
        assert!(!files.have_changed());
        write("12");
        assert!(!files.have_changed());
        write("123");
        assert!(!files.have_changed(), "it is still being written");
        assert!(files.have_changed() && files.have_changed(), "until it is read");
        let before = files.look();
        files.were_read(std::iter::once(path.as_path()), &before);
        assert!(!files.have_changed());
        write("1234");
        assert!(!files.have_changed());
        write("x");
        files.were_read(std::iter::once(path.as_path()), &before);
        assert!(!files.have_changed());
        assert!(files.have_changed(), "it changed while it was read");
    }

    #[test]
    fn what_changed_is_told_when_it_is_taken_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let named = [NamedFile { key: "a.b".into(), path: path.clone(), needs_restart: false }];
        let mut files = WatchedFiles::default();
        let read = |files: &mut WatchedFiles| {
            let before = files.look();
            files.were_read(std::iter::once(path.as_path()), &before);
        };
        std::fs::write(&path, "1").unwrap();
        read(&mut files);
        assert!(files.were_taken_up(&named).is_empty(), "it is new");
        std::fs::write(&path, "12").unwrap();
        read(&mut files);
        read(&mut files);
        assert_eq!(files.were_taken_up(&named).len(), 1, "also after it could not be used once");
        assert!(files.were_taken_up(&named).is_empty());
    }
}
