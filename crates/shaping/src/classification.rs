//! The rules of what replies mean, read from the operator's file. Not responsible for the rules.

use std::fmt;
use std::path::{Path, PathBuf};

use mailtier_schedule::Classification;

/// The rules cannot be used.
#[derive(Debug, thiserror::Error)]
pub struct ClassificationError {
    /// The operator's file; absent where it is not to blame.
    pub path: Option<PathBuf>,
    problem: String,
}

impl fmt::Display for ClassificationError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(formatter, "{}: {}", path.display(), self.problem),
            None => formatter.write_str(&self.problem),
        }
    }
}

/// The rules of a file and the built-in ones; these alone without a file.
///
/// # Errors
/// [`ClassificationError`] says what is wrong in which file.
pub fn classification(path: Option<&Path>) -> Result<Classification, ClassificationError> {
    let bad = |problem: String| ClassificationError { path: path.map(Path::to_owned), problem };
    let own = path.map(std::fs::read_to_string).transpose().map_err(|error| bad(error.to_string()))?;
    Classification::new(own.as_deref()).map_err(|error| bad(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[[rules]]\nname = \"ours\"\nclass = \"spamm\"").unwrap();
        let problem = classification(Some(file.path())).unwrap_err().to_string();
        assert!(problem.contains(&file.path().display().to_string()) && problem.contains("`spam`"), "{problem}");
        let problem = classification(Some(Path::new("/nonexistent/rules"))).unwrap_err().to_string();
        assert!(problem.starts_with("/nonexistent/rules: "), "{problem}");
    }
}
