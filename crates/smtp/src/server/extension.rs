//! The extensions this server knows. Not responsible for any of them: each has its own file.

use std::fmt;

/// A service extension, by the name EHLO has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Extension {
    /// RFC 2920.
    Pipelining,
    /// RFC 1870.
    Size,
    /// RFC 6152.
    EightBitMime,
    /// RFC 3030: BDAT.
    Chunking,
    /// RFC 3030: BODY=BINARYMIME.
    BinaryMime,
    /// RFC 6531.
    SmtpUtf8,
    /// RFC 2034.
    EnhancedStatusCodes,
    /// RFC 3461.
    Dsn,
    /// RFC 3207.
    StartTls,
    /// RFC 4954.
    Auth,
    /// RFC 8689.
    RequireTls,
    /// RFC 2852.
    DeliverBy,
    /// RFC 4865.
    FutureRelease,
    /// RFC 6710.
    MtPriority,
    /// RFC 9422.
    Limits,
    /// RFC 1985.
    Etrn,
    /// RFC 5321 §3.5.
    Vrfy,
    /// RFC 5321 §3.5.
    Expn,
    /// RFC 5321 §4.1.1.8.
    Help,
    /// Postfix's, for proxies that log in or filter before us.
    XClient,
    /// Postfix's, for filters behind another server.
    XForward,
}

impl Extension {
    /// In the order EHLO has them.
    pub const ALL: [Self; 21] = [
        Self::Pipelining,
        Self::Size,
        Self::EightBitMime,
        Self::Chunking,
        Self::BinaryMime,
        Self::SmtpUtf8,
        Self::EnhancedStatusCodes,
        Self::Dsn,
        Self::StartTls,
        Self::Auth,
        Self::RequireTls,
        Self::DeliverBy,
        Self::FutureRelease,
        Self::MtPriority,
        Self::Limits,
        Self::Etrn,
        Self::Vrfy,
        Self::Expn,
        Self::Help,
        Self::XClient,
        Self::XForward,
    ];

    /// As EHLO has it.
    #[must_use]
    pub const fn keyword(self) -> &'static str {
        match self {
            Self::Pipelining => "PIPELINING",
            Self::Size => "SIZE",
            Self::EightBitMime => "8BITMIME",
            Self::Chunking => "CHUNKING",
            Self::BinaryMime => "BINARYMIME",
            Self::SmtpUtf8 => "SMTPUTF8",
            Self::EnhancedStatusCodes => "ENHANCEDSTATUSCODES",
            Self::Dsn => "DSN",
            Self::StartTls => "STARTTLS",
            Self::Auth => "AUTH",
            Self::RequireTls => "REQUIRETLS",
            Self::DeliverBy => "DELIVERBY",
            Self::FutureRelease => "FUTURERELEASE",
            Self::MtPriority => "MT-PRIORITY",
            Self::Limits => "LIMITS",
            Self::Etrn => "ETRN",
            Self::Vrfy => "VRFY",
            Self::Expn => "EXPN",
            Self::Help => "HELP",
            Self::XClient => "XCLIENT",
            Self::XForward => "XFORWARD",
        }
    }

    /// By its keyword, in any case.
    #[must_use]
    pub fn from_keyword(keyword: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|extension| extension.keyword().eq_ignore_ascii_case(keyword))
    }
}

/// Some of the extensions.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Extensions(u32);

impl Extensions {
    /// None.
    pub const NONE: Self = Self(0);

    /// These too.
    #[must_use]
    pub const fn with(self, extension: Extension) -> Self {
        Self(self.0 | 1 << extension as u32)
    }

    /// But this one.
    #[must_use]
    pub const fn without(self, extension: Extension) -> Self {
        Self(self.0 & !(1 << extension as u32))
    }

    /// Whether this one is among them.
    #[must_use]
    pub const fn contains(self, extension: Extension) -> bool {
        self.0 & (1 << extension as u32) != 0
    }
}

impl FromIterator<Extension> for Extensions {
    fn from_iter<I: IntoIterator<Item = Extension>>(extensions: I) -> Self {
        extensions.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(Extension::ALL.into_iter().filter(|extension| self.contains(*extension))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_read_back_and_sets_hold_what_was_put_in() {
        let mut set = Extensions::NONE;
        for extension in Extension::ALL {
            assert_eq!(Extension::from_keyword(&extension.keyword().to_lowercase()), Some(extension));
            assert!(!set.contains(extension));
            set = set.with(extension);
            assert!(set.contains(extension) && !set.without(extension).contains(extension));
        }
        assert_eq!(set, Extension::ALL.into_iter().collect());
    }
}
