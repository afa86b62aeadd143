//! By what a change of a file shows, for files that are read again while a program runs. Not responsible for reading them.

use std::path::Path;
use std::time::{Duration, SystemTime};

/// The file's time and size; nothing where it is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStamp(Option<(SystemTime, u64)>);

impl FileStamp {
    /// Of a file that is missing.
    pub const MISSING: Self = Self(None);
    /// How often is looked for a change.
    pub const LOOK_EVERY: Duration = Duration::from_secs(5);

    /// Of a file as it is now. It is taken before the file is read: what changes meanwhile is read again.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        let metadata = std::fs::metadata(path).ok();
        Self(metadata.and_then(|metadata| Some((metadata.modified().ok()?, metadata.len()))))
    }
}
