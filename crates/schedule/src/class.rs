//! Which class of failure an outcome is of: from its stage, its codes and, where those say little, its words. Not
//! responsible for what follows from it (`classify`, `retry`).

use mailtier_types::{Cause, Class, Outcome, Reply, Stage, TroubleKind};

/// Words of hosts that ask for the same message a little later. What greylists is software of one host, and says so.
const GREYLISTING: [&str; 5] = ["greylist", "graylist", "grey list", "gray list", "grey-list"];
/// Words of hosts that want less.
const THROTTLING: [&str; 8] = [
    "too many connections",
    "too many concurrent",
    "too many sessions",
    "too many messages",
    "rate limit",
    "throttl",
    "too quickly",
    "unusual rate",
];
/// Words of hosts that say X.2.2 without saying so.
const FULL: [&str; 5] = ["mailbox full", "mailbox is full", "over quota", "quota exceeded", "overquota"];

/// The class of an outcome. What was delivered is of none, and gets `Other`.
#[must_use]
pub fn class_of(outcome: &Outcome) -> Class {
    match &outcome.cause {
        Cause::Reply(reply) => of_reply(reply, outcome.stage),
        Cause::Trouble(trouble) => match trouble.kind {
            TroubleKind::DnsTemporary | TroubleKind::Connect | TroubleKind::Timeout | TroubleKind::Closed => {
                Class::Unreachable
            }
            TroubleKind::Tls | TroubleKind::RequireTls => Class::Security,
            _ => Class::Other,
        },
    }
}

fn of_reply(reply: &Reply, stage: Stage) -> Class {
    if reply.is_positive() {
        return Class::Other;
    }
    let status = reply.enhanced.map(|status| (status.subject(), status.detail()));
    let text = reply.text.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let is_about_mail = matches!(stage, Stage::Mail | Stage::Rcpt | Stage::Data | Stage::Final);
    if status == Some((2, 2)) || (is_about_mail && says(&FULL)) {
        Class::MailboxFull
    } else if is_about_mail && matches!(reply.code, 450 | 451) && says(&GREYLISTING) {
        Class::Greylisted
    } else if wants_less(reply.code, status) || (reply.code < 500 && says(&THROTTLING)) {
        Class::Throttled
    } else if is_about_mail && matches!(reply.code, 450 | 451) && status == Some((7, 1)) {
        // 451 4.7.1 is what milters that greylist say (Rspamd, milter-greylist), whatever the words.
        Class::Greylisted
    } else if status.is_some_and(|(subject, _)| subject == 7) || stage == Stage::StartTls {
        Class::Security
    } else if !is_about_mail {
        Class::Unreachable
    } else {
        Class::Other
    }
}

/// By code and status alone: 421 4.7.0 closes a channel that is used too much, X.4.5 is congestion (RFC 3463 §3.5), 4.7.28
/// is Gmail's word for an unusual rate, and 4.7.500 and above are Microsoft's for a server that is too busy for us.
fn wants_less(code: u16, status: Option<(u16, u16)>) -> bool {
    match status {
        Some((7, 0)) => code == 421,
        Some((4, 5) | (7, 28)) => code < 500,
        Some((7, detail)) => code < 500 && (500..700).contains(&detail),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use mailtier_types::{Timestamp, Trouble};

    use super::*;

    fn class(stage: Stage, cause: Cause) -> Class {
        class_of(&Outcome::new(stage, cause, Timestamp::EPOCH))
    }

    #[test]
    fn what_hosts_say() {
        for (stage, said, expected) in [
            (Stage::Rcpt, "450 4.2.0 Recipient address rejected: Greylisted, see help", Class::Greylisted),
            (Stage::Rcpt, "451 4.7.1 Try again later", Class::Greylisted),
            (Stage::Final, "451 Graylisting in action, please come back in 00:05:00", Class::Greylisted),
            (Stage::Rcpt, "550 5.7.1 greylisted for ever", Class::Security),
            (Stage::Banner, "421 4.7.0 Too many concurrent SMTP connections", Class::Throttled),
            (Stage::Mail, "421 4.7.0 [TSS04] Messages temporarily deferred", Class::Throttled),
            (Stage::Final, "421 4.7.28 Our system has detected an unusual rate of mail", Class::Throttled),
            (Stage::Mail, "451 4.7.500 Server busy. Please try again later", Class::Throttled),
            (Stage::Rcpt, "450 4.2.1 The user is receiving mail too quickly", Class::Throttled),
            (Stage::Rcpt, "452 4.5.3 Too many recipients", Class::Other),
            (Stage::Rcpt, "452 4.2.2 Mailbox full", Class::MailboxFull),
            (Stage::Rcpt, "552 5.2.2 The account is over quota", Class::MailboxFull),
            (Stage::Final, "452 User is over quota", Class::MailboxFull),
            (Stage::Banner, "554 5.7.1 You are on a list", Class::Security),
            (Stage::Banner, "421 4.3.0 Closing for maintenance", Class::Unreachable),
            (Stage::Ehlo, "502 What?", Class::Unreachable),
            (Stage::StartTls, "454 TLS not available", Class::Security),
            (Stage::Rcpt, "451 4.3.0 Aliases error", Class::Other),
            (Stage::Rcpt, "550 5.1.1 Nobody of that name", Class::Other),
            (Stage::Final, "250 2.0.0 Taken, with no greylist", Class::Other),
        ] {
            let (code, rest) = said.split_once(' ').unwrap();
            let enhanced = rest.split(' ').next().and_then(|word| word.parse().ok());
            let reply = Reply::received(code.parse().unwrap(), enhanced, rest.to_owned());
            assert_eq!(class(stage, Cause::Reply(reply)), expected, "{said}");
        }
    }

    #[test]
    fn where_nobody_said_anything() {
        use TroubleKind as Kind;
        for (kind, expected) in [
            (Kind::DnsTemporary, Class::Unreachable),
            (Kind::Connect, Class::Unreachable),
            (Kind::Timeout, Class::Unreachable),
            (Kind::Closed, Class::Unreachable),
            (Kind::Tls, Class::Security),
            (Kind::Protocol, Class::Other),
            (Kind::Local, Class::Other),
        ] {
            let cause = Cause::Trouble(Trouble { kind, text: String::new() });
            assert_eq!(class(Stage::Connect, cause), expected, "{kind:?}");
        }
    }
}
