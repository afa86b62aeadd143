//! What an outcome means by itself: by its kind of trouble, or by the codes of RFC 5321 and RFC 3463 (with RFC 7372 and
//! the registry of enhanced codes), whatever its words.

use mailtier_types::{BounceClass, Cause, Outcome, Reply, Stage, TroubleKind};

use super::Verdict;

/// Whether trying again can help (RFC 5321 §4.2.1: 4yz against 5yz). A reply that is neither, where it should have been,
/// is the remote's confusion and may pass.
pub(super) fn verdict_of(outcome: &Outcome) -> Verdict {
    let is_permanent = match &outcome.cause {
        Cause::Trouble(trouble) => !trouble.kind.is_temporary(),
        // A refusal before MAIL speaks of this host or this moment (a block list, a misconfigured node of a cluster);
        // another exchanger or another hour may do better. RFC 5321 §3.1 leaves what follows a 554 greeting to the client;
        // Postfix has `smtp_skip_5xx_greeting = yes`.
        Cause::Reply(reply) => {
            reply.is_permanent()
                && !outcome.stage.is_before_mail()
                && !(outcome.stage == Stage::Rcpt && means_too_many(reply))
        }
    };
    if is_permanent { Verdict::Permanent } else { Verdict::Temporary }
}

/// 552 in reply to RCPT once meant too many recipients, and "the client SHOULD treat a 552 code in this case as a
/// temporary, rather than permanent, failure" (RFC 5321 §4.5.3.1.10). A full mailbox (X.2.2), also said with 552, is
/// transient by nature (RFC 3463 §3.3). Any other enhanced code, such as X.3.4 for a message that is too large, says
/// plainly that this is not that case.
fn means_too_many(reply: &Reply) -> bool {
    reply.code == 552
        && reply.enhanced.is_none_or(|status| matches!((status.subject(), status.detail()), (0, 0) | (5, 3) | (2, 2)))
}

pub(super) fn class_of(outcome: &Outcome) -> BounceClass {
    match &outcome.cause {
        Cause::Reply(reply) => of_reply(reply, outcome.stage),
        Cause::Trouble(trouble) => of_trouble(trouble.kind),
    }
}

const fn of_trouble(kind: TroubleKind) -> BounceClass {
    match kind {
        TroubleKind::DnsTemporary | TroubleKind::Loop => BounceClass::Dns,
        TroubleKind::NoSuchDomain | TroubleKind::NullMx => BounceClass::InvalidDomain,
        TroubleKind::Connect | TroubleKind::Timeout | TroubleKind::Closed => BounceClass::Network,
        TroubleKind::Unanswered => BounceClass::Unanswered,
        TroubleKind::Tls | TroubleKind::RequireTls => BounceClass::Tls,
        TroubleKind::Protocol | TroubleKind::Conversion | TroubleKind::Smtputf8 | TroubleKind::NotCapable => {
            BounceClass::Protocol
        }
        TroubleKind::Login => BounceClass::Authentication,
        TroubleKind::Administrative | TroubleKind::Held => BounceClass::Administrative,
        TroubleKind::Local => BounceClass::LocalTrouble,
    }
}

fn of_reply(reply: &Reply, stage: Stage) -> BounceClass {
    let status = reply.enhanced.map(|status| (status.subject(), status.detail()));
    if reply.is_positive() || reply.is_intermediate() {
        return BounceClass::Protocol;
    }
    match status {
        Some((7, detail)) => of_security(reply, detail, stage),
        // X.4.5 is congestion (RFC 3463 §3.5).
        Some((4, 5)) if reply.is_transient() => BounceClass::RateLimited,
        _ if stage == Stage::StartTls => BounceClass::Tls,
        _ if stage.is_before_mail() => BounceClass::Unavailable,
        Some((subject @ 1..=6, detail)) => of_status(subject, detail),
        _ => of_code(reply.code, stage),
    }
}

/// X.7 (RFC 3463 §3.8).
fn of_security(reply: &Reply, detail: u16, stage: Stage) -> BounceClass {
    match detail {
        // 421 4.7.0 closes a channel that is used too much.
        0 if reply.code == 421 => BounceClass::RateLimited,
        // 451 4.7.1 is what milters that greylist say (Rspamd, milter-greylist), whatever the words.
        1 if matches!(reply.code, 450 | 451) && !stage.is_before_mail() => BounceClass::Greylisted,
        // 4.7.28 is an unusual rate of mail; from 4.7.500 on a server of Microsoft's is too busy for us.
        28 | 500..=699 if reply.is_transient() => BounceClass::RateLimited,
        _ if stage == Stage::StartTls => BounceClass::Tls,
        // RFC 7372 §3; X.7.29 is ARC's (RFC 8617 §10.3).
        20..=26 | 29 => BounceClass::Authentication,
        // RFC 5248 §2.4, RFC 8689 §4.1.
        10 | 11 | 30 => BounceClass::Tls,
        // RFC 7293 §7: who had the mailbox or the domain has it no more.
        17 => BounceClass::InvalidMailbox,
        18 => BounceClass::InvalidDomain,
        13 => BounceClass::InactiveMailbox,
        _ => BounceClass::Policy,
    }
}

/// RFC 3463 §3.2 to §3.7.
const fn of_status(subject: u16, detail: u16) -> BounceClass {
    match (subject, detail) {
        // RFC 7505 §4.2: X.1.10 is a null MX.
        (1, 2 | 10) => BounceClass::InvalidDomain,
        // Addresses of senders.
        (1, 7 | 8) => BounceClass::Policy,
        (1, _) => BounceClass::InvalidMailbox,
        (2, 1) => BounceClass::InactiveMailbox,
        (2, 2) => BounceClass::MailboxFull,
        (2, 3) | (3, 4) => BounceClass::MessageTooLarge,
        (3, 2) => BounceClass::Unavailable,
        (3, _) | (4, 5..=7) => BounceClass::RemoteTrouble,
        (4, 3 | 4) => BounceClass::Dns,
        (4, _) => BounceClass::Network,
        (5, _) => BounceClass::Protocol,
        (6, _) => BounceClass::Content,
        _ => BounceClass::Other,
    }
}

/// RFC 5321 §4.2.3, where there is no enhanced code or it says nothing. 550 and 554 are said of anything.
fn of_code(code: u16, stage: Stage) -> BounceClass {
    match code {
        421 => BounceClass::Unavailable,
        451 | 452 => BounceClass::RemoteTrouble,
        454 | 500..=504 | 555 => BounceClass::Protocol,
        // RFC 7504 §4: the host takes no mail; the domain takes none.
        521 | 556 => BounceClass::InvalidDomain,
        530 | 535 => BounceClass::Policy,
        551 | 553 if stage == Stage::Rcpt => BounceClass::InvalidMailbox,
        552 if stage == Stage::Final => BounceClass::MailboxFull,
        552 => BounceClass::Protocol,
        _ => BounceClass::Other,
    }
}
