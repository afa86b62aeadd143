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
}

/// Whether the command may be said here; else the reply that says what must come first.
pub(super) fn admit(place: Place, tls_missing: bool, verb: Verb) -> Result<(), Reply> {
    // RFC 5321 §3.1: after a 554 greeting, everything but QUIT is out of sequence.
    if place == Place::Refused && verb != Verb::Quit {
        return Err(reply::BAD_SEQUENCE.with_text("No service here, send QUIT"));
    }
    // RFC 3207 §4.
    if tls_missing && !matches!(verb, Verb::Noop | Verb::Ehlo | Verb::StartTls | Verb::Quit) {
        return Err(reply::TLS_REQUIRED);
    }
    match (verb, place) {
        (Verb::Mail | Verb::Rcpt | Verb::Data | Verb::StartTls, Place::Start) => {
            Err(reply::BAD_SEQUENCE.with_text("Send EHLO first"))
        }
        (Verb::Mail, Place::Mail | Place::Rcpt) => Err(reply::BAD_SEQUENCE.with_text("Sender already given")),
        (Verb::Rcpt | Verb::Data, Place::Greeted) => Err(reply::BAD_SEQUENCE.with_text("Send MAIL first")),
        // RFC 5321 §3.3.
        (Verb::Data, Place::Mail) => Err(reply::NO_VALID_RECIPIENTS),
        // RFC 5321 §4.1.4: EHLO, RSET, NOOP, HELP, VRFY and QUIT fit anywhere.
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_table() {
        let places = [Place::Refused, Place::Start, Place::Greeted, Place::Mail, Place::Rcpt];
        let mut table = String::new();
        for tls_missing in [false, true] {
            for place in places {
                for verb in Verb::ALL {
                    let said = admit(place, tls_missing, verb).err().map_or("yes".into(), |reply| reply.to_string());
                    let tls = if tls_missing { "tls missing" } else { "" };
                    table.push_str(&format!("{:<8}{tls:<12}{:<11}{said}\n", format!("{place:?}"), format!("{verb:?}")));
                }
            }
        }
        insta::assert_snapshot!(table);
    }
}
