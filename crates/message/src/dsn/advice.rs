//! What a failure means and what can be done about it, in plain English for people who know nothing of mail servers. Not
//! responsible for the facts: those are quoted beside it.

use mailtier_types::{Cause, EnhancedCode, Outcome, Stage, TroubleKind};

/// Two sentences for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Advice {
    pub(super) what_happened: &'static str,
    /// Empty where nothing can be done but wait or ask.
    pub(super) what_to_do: &'static str,
}

const fn advice(what_happened: &'static str, what_to_do: &'static str) -> Advice {
    Advice { what_happened, what_to_do }
}

/// For recipients that were given up, at once or for their age.
pub(super) fn on(outcome: Option<&Outcome>) -> Advice {
    let Some(outcome) = outcome else { return advice("The message could not be delivered.", "") };
    match &outcome.cause {
        Cause::Trouble(trouble) => for_trouble(trouble.kind),
        Cause::Reply(_) => for_status(outcome.status()).unwrap_or_else(|| for_stage(outcome.stage)),
    }
}

const fn for_trouble(kind: TroubleKind) -> Advice {
    match kind {
        TroubleKind::NoSuchDomain => advice(
            "There is no such domain, or it does not take mail.",
            "Check what stands after the @ in the address for typing errors.",
        ),
        TroubleKind::NullMx => advice(
            "The domain says that it takes no mail at all.",
            "Check what stands after the @ in the address, or find another address for the recipient.",
        ),
        TroubleKind::Conversion => advice(
            "The receiving server cannot take the kind of text that the message has.",
            "Send it again with unaccented letters only, or as an attachment.",
        ),
        TroubleKind::Smtputf8 => advice(
            "The receiving server takes no addresses with letters beyond a to z.",
            "Ask the recipient for another address, or use another one of your own.",
        ),
        TroubleKind::NotCapable => advice(
            "The receiving server cannot do what you asked for with the message.",
            "Send it again without a time limit for its delivery.",
        ),
        TroubleKind::RequireTls => advice(
            "You asked for the message to travel in encrypted form only, and the way to the recipient is not secure enough.",
            "Send it again without that, or ask the administrators of the recipient's domain.",
        ),
        TroubleKind::Loop => advice(
            "The servers that are named for the domain lead back to this system, so the mail would go in a circle.",
            "Tell the administrators of the domain; they can correct it.",
        ),
        TroubleKind::Administrative => advice(
            "An administrator of this system decided that the message is not delivered.",
            "Ask the administrators of this system if you do not know why.",
        ),
        TroubleKind::Login => advice(
            "The server that mail is handed to does not let this system in.",
            "Tell the administrators of this system; they can correct it.",
        ),
        TroubleKind::Held => advice("The message waits for a decision of an administrator of this system.", ""),
        TroubleKind::DnsTemporary => advice("The name servers of the domain did not answer as they should.", ""),
        TroubleKind::Connect => advice("The receiving server could not be reached.", ""),
        TroubleKind::Timeout | TroubleKind::Closed => {
            advice("The receiving server did not finish the conversation.", "")
        }
        TroubleKind::Unanswered => advice(
            "The receiving server was sent all of the message, and did not say whether it has taken it.",
            "Ask the recipient whether it has arrived before you send it again.",
        ),
        TroubleKind::Tls => advice("No secure connection to the receiving server could be made.", ""),
        TroubleKind::Protocol => advice("The receiving server did not keep to the rules of mail.", ""),
        TroubleKind::Local => advice("There was trouble in this system.", ""),
    }
}

/// By the subject and detail of the status (RFC 3463 §3, and the IANA registry of enhanced status codes).
const fn for_status(status: EnhancedCode) -> Option<Advice> {
    Some(match (status.subject(), status.detail()) {
        (1, 1 | 0) => advice(
            "The receiving server knows no such address.",
            "Check the address for typing errors, or ask the recipient for the right one.",
        ),
        (1, 2) => advice(
            "The receiving server is not in charge of this domain, or there is no such domain.",
            "Check what stands after the @ in the address for typing errors.",
        ),
        (1, 3) => advice("The receiving server does not understand the address.", "Check it for typing errors."),
        (1, 6) => advice(
            "The recipient has moved and left no address to forward to.",
            "Ask the recipient for the new address.",
        ),
        (1, 10) => advice(
            "The domain says that it takes no mail at all.",
            "Check what stands after the @ in the address, or find another address for the recipient.",
        ),
        (1, 7 | 8) => advice(
            "The receiving server does not accept your own address as a sender.",
            "Ask your administrators to look at the answer below.",
        ),
        (2, 1) => advice("The recipient's mailbox is closed.", "Find another way to reach the recipient."),
        (2, 2) => advice(
            "The recipient's mailbox is full.",
            "Send it again when the recipient has made room; tell them by another way.",
        ),
        (2, 3) | (3, 4) => advice(
            "The message is larger than the receiving server allows.",
            "Send it with smaller attachments or without, or in several messages.",
        ),
        (4, 6) => advice(
            "The message went in a circle between servers.",
            "Tell the administrators of the recipient's domain; they can correct it.",
        ),
        (6, _) => advice("The receiving server cannot take what the message contains.", ""),
        (7, _) => advice(
            "The receiving server refused the message by its rules. It may take it for unwanted mail, or ask for proof \
             that it comes from you.",
            "The answer below often says more. Your administrators can find out whether your domain or this system is \
             on a list of senders of unwanted mail.",
        ),
        _ => return None,
    })
}

const fn for_stage(stage: Stage) -> Advice {
    match stage {
        Stage::Mail => advice("The receiving server refused your address as a sender.", ""),
        Stage::Rcpt => advice(
            "The receiving server refused the recipient's address.",
            "Check the address for typing errors, or ask the recipient for the right one.",
        ),
        _ => advice("The receiving server refused the message.", ""),
    }
}
