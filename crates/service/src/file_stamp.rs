//! By what a change of a file shows, for files that are read again while a program runs. Not responsible for reading them.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Which file a name leads to, its time and its size; nothing where it is missing. Links are followed: one that leads
/// elsewhere, as Kubernetes changes what it mounts, is a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStamp(Option<Stamp>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    /// Device and inode.
    file: (u64, u64),
    modified: SystemTime,
    octets: u64,
}

impl FileStamp {
    /// Of a file that is missing.
    pub const MISSING: Self = Self(None);
    /// How often is looked for a change.
    pub const LOOK_EVERY: Duration = Duration::from_secs(5);

    /// Of a file as it is now. It is taken before the file is read: what changes meanwhile is read again.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        let metadata = std::fs::metadata(path).ok();
        Self(metadata.and_then(|metadata| {
            let file = (metadata.dev(), metadata.ino());
            Some(Stamp { file, modified: metadata.modified().ok()?, octets: metadata.len() })
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_leads_elsewhere_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        // As Kubernetes does it: the name leads through `..data` to a folder for each version.
        for (version, text) in [("v1", "one"), ("v2", "two")] {
            std::fs::create_dir(folder.path().join(version)).unwrap();
            let file = std::fs::File::create(folder.path().join(version).join("x.toml")).unwrap();
            std::fs::write(folder.path().join(version).join("x.toml"), text).unwrap();
            file.set_modified(time).unwrap();
        }
        let (data, name) = (folder.path().join("..data"), folder.path().join("x.toml"));
        std::os::unix::fs::symlink("v1", &data).unwrap();
        std::os::unix::fs::symlink("..data/x.toml", &name).unwrap();
        let before = FileStamp::of(&name);
        assert_eq!(before, FileStamp::of(&name));
        std::os::unix::fs::symlink("v2", folder.path().join("..data_tmp")).unwrap();
        std::fs::rename(folder.path().join("..data_tmp"), &data).unwrap();
        assert_ne!(before, FileStamp::of(&name), "the same time and size, and another file");
        std::fs::remove_file(&data).unwrap();
        assert_eq!(FileStamp::of(&name), FileStamp::MISSING);
    }
}
