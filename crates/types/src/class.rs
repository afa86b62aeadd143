//! Classes of failure: what kind of trouble an outcome is, in so few words that operators can give each its own schedule.
//! Each follows from the bounce class (`bounce`), which says more.

use std::fmt;
use std::str::FromStr;

/// What kind of failure an outcome is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// The remote does not know us yet and takes the same message a little later (RFC 6647).
    Greylisted,
    /// The remote wants less: fewer connections, or fewer messages in a time.
    Throttled,
    /// The mailbox is full (RFC 3463 X.2.2).
    MailboxFull,
    /// Name servers or hosts cannot be reached, or break off.
    Unreachable,
    /// TLS, or a policy about who we are (RFC 3463 X.7).
    Security,
    /// Anything else.
    Other,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Greylisted, Self::Throttled, Self::MailboxFull, Self::Unreachable, Self::Security, Self::Other];

    /// The word for it in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Greylisted => "greylisted",
            Self::Throttled => "throttled",
            Self::MailboxFull => "mailbox_full",
            Self::Unreachable => "unreachable",
            Self::Security => "security",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoClass;

impl fmt::Display for NoClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no class of failure has this name")
    }
}

impl std::error::Error for NoClass {}

impl FromStr for Class {
    type Err = NoClass;

    fn from_str(text: &str) -> Result<Self, NoClass> {
        Self::ALL.into_iter().find(|class| class.name() == text).ok_or(NoClass)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_has_a_word_of_its_own() {
        for class in Class::ALL {
            assert_eq!(class.to_string().parse(), Ok(class));
        }
        assert_eq!("nothing".parse::<Class>(), Err(NoClass));
    }
}
