//! The files of recipients and aliases that `[inbound]` names: what is in them, and what is wrong with them. Not
//! responsible for when they are read.

use std::collections::HashMap;
use std::path::Path;

use mailtier_types::{Domain, Mailbox};

use crate::{ConfigError, InboundConfig};

/// Addresses, or `@domain` for all of one, and who gets their mail: nobody else where that is empty.
pub type AddressTable = HashMap<String, Vec<Mailbox>>;

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressFile {
    /// `inbound.recipients_file`.
    Recipients,
    /// `inbound.aliases_file`.
    Aliases,
}

impl AddressFile {
    /// What a file says.
    ///
    /// # Errors
    /// It cannot be read, or has a line that means nothing; the error names the key, the file and the line.
    pub fn read(self, path: &Path) -> Result<AddressTable, ConfigError> {
        let bad = |problem: String| ConfigError::bad(self.key(), format!("names {}: {problem}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
        self.parse(&text).map_err(bad)
    }

    const fn key(self) -> &'static str {
        match self {
            Self::Recipients => "inbound.recipients_file",
            Self::Aliases => "inbound.aliases_file",
        }
    }

    fn parse(self, text: &str) -> Result<AddressTable, String> {
        match self {
            Self::Recipients => lines(text).map(|(number, line)| Ok((pattern(line, number)?, Vec::new()))).collect(),
            Self::Aliases => aliases(text),
        }
    }
}

impl InboundConfig {
    /// Whether the files of recipients and aliases, where there are any, can be used.
    ///
    /// # Errors
    /// As [`AddressFile::read`].
    pub fn check_address_files(&self) -> Result<(), ConfigError> {
        let files = [(AddressFile::Recipients, &self.recipients_file), (AddressFile::Aliases, &self.aliases_file)];
        let named = files.into_iter().filter_map(|(kind, path)| Some((kind, path.as_deref()?)));
        named.into_iter().try_for_each(|(kind, path)| kind.read(path).map(|_| ()))
    }
}

/// Lines that say something, numbered from 1.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text.lines().zip(1..).map(|(line, number)| (number, line.trim()));
    numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

fn aliases(text: &str) -> Result<AddressTable, String> {
    let mut table = AddressTable::new();
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

    #[test]
    fn what_is_wrong_with_a_file_is_said_with_its_line() {
        for (text, problem) in [
            ("a@example.org: b@example.org\nnonsense", "line 2: no colon"),
            ("a@example.org:", "line 1: nobody after the colon"),
            ("a@example.org: nonsense", "line 1: `nonsense`"),
            ("a@example.org: b@example.org\nA@example.org: c@example.org", "line 2: said twice"),
            ("@@: b@example.org", "line 1: `@@`"),
        ] {
            let said = AddressFile::Aliases.parse(text).unwrap_err();
            assert!(said.contains(problem), "{text}: {said}");
        }
        let said = AddressFile::Recipients.parse("# ours\n\nnonsense").unwrap_err();
        assert!(said.contains("line 3: `nonsense`"), "{said}");
    }
}
