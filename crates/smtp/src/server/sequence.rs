//! Which command may be said when (RFC 5321 §4.1.4): one table. Not responsible for what a command does.

use mailtier_types::Reply;
use mailtier_types::reply;

use super::command::Verb;

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Service was refused in the greeting.
    Refused,
    /// Nothing but the greeting was said, or TLS has just begun.
    Start,
    /// EHLO or HELO was accepted.
    Greeted,
    /// MAIL was accepted.
    Mail,
    /// MAIL and at least one RCPT were accepted.
    Rcpt,
    /// The first BDAT was accepted, and the last has not come.
    Chunks,
}

/// What a listener asks for before it takes mail, and is not there yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// Nothing.
    Nothing,
    /// TLS.
    Tls,
    /// A login.
    Login,
}

/// Whether the command may be said here; else the reply that says what must come first.
pub(super) fn admit(place: Place, missing: Missing, verb: Verb) -> Result<(), Reply> {
    // RFC 5321 §3.1: after a 554 greeting, everything but QUIT is out of sequence.
    if place == Place::Refused && verb != Verb::Quit {
        return Err(reply::BAD_SEQUENCE.with_text("No service here, send QUIT"));
    }
    match missing {
        // RFC 3207 §4.
        Missing::Tls
            if !matches!(verb, Verb::Noop | Verb::Ehlo | Verb::Lhlo | Verb::StartTls | Verb::Quit | Verb::Xclient) =>
        {
            return Err(reply::TLS_REQUIRED);
        }
        // RFC 4954 §6.
        Missing::Login if needs_login(verb) => return Err(reply::LOGIN_REQUIRED),
        _ => {}
    }
    match (verb, place) {
        // Nothing that is said before STARTTLS counts (RFC 3207 §4.2), and some clients say nothing before it.
        (
            Verb::Mail | Verb::Rcpt | Verb::Data | Verb::Bdat | Verb::Auth | Verb::Etrn | Verb::Xforward,
            Place::Start,
        ) => Err(reply::BAD_SEQUENCE.with_text("Send EHLO first")),
        // RFC 3030 §2.
        (Verb::Mail | Verb::Rcpt | Verb::Data, Place::Chunks) => {
            Err(reply::BAD_SEQUENCE.with_text("Send the last chunk, or RSET"))
        }
        (Verb::Mail, Place::Mail | Place::Rcpt) => Err(reply::BAD_SEQUENCE.with_text("Sender already given")),
        // RFC 4954 §4, RFC 1985 §5.1; XCLIENT_README and XFORWARD_README.
        (
            Verb::Auth | Verb::Etrn | Verb::Xclient | Verb::Xforward | Verb::StartTls,
            Place::Mail | Place::Rcpt | Place::Chunks,
        ) => Err(reply::BAD_SEQUENCE.with_text("Not within a transaction")),
        (Verb::Rcpt | Verb::Data | Verb::Bdat, Place::Greeted) => Err(reply::BAD_SEQUENCE.with_text("Send MAIL first")),
        // RFC 5321 §3.3.
        (Verb::Data | Verb::Bdat, Place::Mail) => Err(reply::NO_VALID_RECIPIENTS),
        // RFC 5321 §4.1.4: EHLO, RSET, NOOP, HELP, VRFY, EXPN and QUIT fit anywhere.
        _ => Ok(()),
    }
}

const fn needs_login(verb: Verb) -> bool {
    matches!(verb, Verb::Mail | Verb::Rcpt | Verb::Data | Verb::Bdat | Verb::Vrfy | Verb::Expn | Verb::Etrn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_table() {
        let places = [Place::Refused, Place::Start, Place::Greeted, Place::Mail, Place::Rcpt, Place::Chunks];
        let mut table = String::new();
        for missing in [Missing::Nothing, Missing::Tls, Missing::Login] {
            for place in places {
                for verb in Verb::ALL {
                    let said = admit(place, missing, verb).err().map_or("yes".into(), |reply| reply.to_string());
                    let (place, missing) = (format!("{place:?}"), format!("{missing:?}"));
                    table.push_str(&format!("{place:<8}{missing:<9}{:<11}{said}\n", format!("{verb:?}")));
                }
            }
        }
        insta::assert_snapshot!(table);
    }
}
