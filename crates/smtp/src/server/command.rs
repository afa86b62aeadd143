//! The command names this server knows (RFC 5321 §4.1.1 and extensions). Not responsible for their arguments.

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Ehlo,
    Helo,
    Lhlo,
    Mail,
    Rcpt,
    Data,
    Bdat,
    Rset,
    Noop,
    Quit,
    Vrfy,
    Expn,
    Help,
    StartTls,
    Auth,
    Etrn,
    Xclient,
    Xforward,
    /// Known to SMTP and not offered here.
    NotOffered,
    /// The beginning of another protocol's conversation: somebody makes a browser talk to us.
    Foreign,
    Unknown,
}

impl Verb {
    #[cfg(test)]
    pub(super) const ALL: [Self; 21] = [
        Self::Ehlo,
        Self::Helo,
        Self::Lhlo,
        Self::Mail,
        Self::Rcpt,
        Self::Data,
        Self::Bdat,
        Self::Rset,
        Self::Noop,
        Self::Quit,
        Self::Vrfy,
        Self::Expn,
        Self::Help,
        Self::StartTls,
        Self::Auth,
        Self::Etrn,
        Self::Xclient,
        Self::Xforward,
        Self::NotOffered,
        Self::Foreign,
        Self::Unknown,
    ];

    /// Whether its reply must not wait for further commands (RFC 2920 §3.2); of BDAT only the last's (RFC 3030 §4.2).
    pub(super) const fn is_answered_at_once(self) -> bool {
        !matches!(self, Self::Mail | Self::Rcpt | Self::Rset | Self::Bdat)
    }

    /// Whether it leads to nothing by itself, be it obeyed or not: see [`super::ServerLimits::junk_commands`].
    pub(super) const fn is_junk(self) -> bool {
        matches!(
            self,
            Self::Ehlo
                | Self::Helo
                | Self::Lhlo
                | Self::Rset
                | Self::Noop
                | Self::Vrfy
                | Self::Expn
                | Self::Help
                | Self::Etrn
        )
    }
}

/// Names and their commands. HTTP's methods are those a cross-protocol request can begin with.
const NAMES: &[(&str, Verb)] = &[
    ("MAIL", Verb::Mail),
    ("RCPT", Verb::Rcpt),
    ("DATA", Verb::Data),
    ("EHLO", Verb::Ehlo),
    ("QUIT", Verb::Quit),
    ("RSET", Verb::Rset),
    ("NOOP", Verb::Noop),
    ("HELO", Verb::Helo),
    ("STARTTLS", Verb::StartTls),
    ("VRFY", Verb::Vrfy),
    ("HELP", Verb::Help),
    ("BDAT", Verb::Bdat),
    ("AUTH", Verb::Auth),
    ("LHLO", Verb::Lhlo),
    ("EXPN", Verb::Expn),
    ("ETRN", Verb::Etrn),
    ("XCLIENT", Verb::Xclient),
    ("XFORWARD", Verb::Xforward),
    ("TURN", Verb::NotOffered),
    ("SEND", Verb::NotOffered),
    ("SOML", Verb::NotOffered),
    ("SAML", Verb::NotOffered),
    ("GET", Verb::Foreign),
    ("HEAD", Verb::Foreign),
    ("POST", Verb::Foreign),
    ("PUT", Verb::Foreign),
    ("DELETE", Verb::Foreign),
    ("CONNECT", Verb::Foreign),
    ("OPTIONS", Verb::Foreign),
];

/// Splits a line into its command and the arguments. Trailing spaces are tolerated (RFC 5321 §4.1.1).
pub(super) fn split(line: &str) -> (Verb, &str) {
    let line = line.trim_end_matches(' ');
    let (name, arguments) = line.split_once(' ').unwrap_or((line, ""));
    let verb =
        NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map_or(Verb::Unknown, |(_, verb)| *verb);
    match verb {
        // A BDAT whose size cannot be read, since something else stands there: what follows must not be taken for commands.
        Verb::Unknown if begins_chunk(line.as_bytes()) => (Verb::Bdat, line),
        verb => (verb, arguments),
    }
}

/// Whether a line that is not legible as a whole is a BDAT.
pub(super) fn begins_chunk(line: &[u8]) -> bool {
    let (name, rest) = line.split_at_checked(4).unwrap_or_default();
    name.eq_ignore_ascii_case(b"BDAT") && !rest.first().is_some_and(u8::is_ascii_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_any_case_and_only_whole_ones() {
        assert_eq!(split("mail FROM:<>  "), (Verb::Mail, "FROM:<>"));
        assert_eq!(split("BDAT-5 10"), (Verb::Bdat, "BDAT-5 10"));
        assert_eq!(split("BDATA 5").0, Verb::Unknown);
        assert_eq!(split("Quit"), (Verb::Quit, ""));
        assert_eq!(split("DATAX"), (Verb::Unknown, ""));
        assert_eq!(split("GET / HTTP/1.1"), (Verb::Foreign, "/ HTTP/1.1"));
        assert_eq!(split(""), (Verb::Unknown, ""));
        assert_eq!(split(" NOOP"), (Verb::Unknown, "NOOP"));
    }
}
