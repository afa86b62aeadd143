//! Delivery status (RFC 3464 §2), in the international form too (RFC 6533 §4). Servers that leave out what must be there,
//! as old Exchange does, are understood as far as possible.

use super::fields::{Group, groups};
use super::mime::Part;
use super::{
    Fate, MAX_ADDRESS_OCTETS, MAX_DIAGNOSTIC_OCTETS, MAX_NAME_OCTETS, MAX_REPORTED, Reported, StatusReport, code_in,
    kept, status_in,
};

/// The name of this form.
const FORM: &str = "rfc3464";

/// A part of delivery status; nothing where it is about nobody.
pub(super) fn read(part: &Part<'_>) -> Option<StatusReport> {
    let text = String::from_utf8_lossy(&part.body);
    let groups = groups(&text);
    let recipients: Vec<Reported> = groups.iter().filter_map(recipient).take(MAX_REPORTED).collect();
    if recipients.is_empty() {
        return None;
    }
    let reporter = groups.iter().find_map(|group| group.typed("reporting-mta")).map_or("", |(_, name)| name);
    Some(StatusReport { form: FORM, reporter: kept(reporter, MAX_NAME_OCTETS), recipients })
}

/// A group about a recipient: RFC 3464 §2.3 asks for Final-Recipient, Action and Status; any two say enough.
fn recipient(group: &Group) -> Option<Reported> {
    let address = |name: &str| group.typed(name).map(|(kind, text)| address(kind, text)).unwrap_or_default();
    let (recipient, original) = (address("final-recipient"), address("original-recipient"));
    let (diagnostic_kind, diagnostic) = group.typed("diagnostic-code").unwrap_or_default();
    // Comments may follow (RFC 3464 §2.3.4): `5.1.1 (bad destination mailbox address)`. Where all is said in the
    // diagnostic, the status is only of its class, X.0.0.
    let status = group.value("status").and_then(status_in);
    let precise = status.filter(|status| (status.subject(), status.detail()) != (0, 0));
    let of_diagnostic = status_in(diagnostic);
    let action = group.value("action").unwrap_or_default().to_ascii_lowercase();
    let fate = fate(&action, status.or(of_diagnostic).map(|status| status.class()))?;
    let says_something = !action.is_empty() || status.is_some();
    if !(says_something && (!recipient.is_empty() || !original.is_empty() || !diagnostic.is_empty())) {
        return None;
    }
    Some(Reported {
        fate,
        recipient,
        original,
        status: precise.or(of_diagnostic).or(status),
        // Of X.400 and others the digits are no reply's.
        code: Some(diagnostic)
            .filter(|_| diagnostic_kind.is_empty() || diagnostic_kind.eq_ignore_ascii_case("smtp"))
            .and_then(code_in),
        diagnostic: kept(diagnostic, MAX_DIAGNOSTIC_OCTETS),
        host: kept(group.typed("remote-mta").map_or("", |(_, name)| name), MAX_NAME_OCTETS),
    })
}

/// By the action, or where there is none or another, by the class of the status.
fn fate(action: &str, class: Option<u8>) -> Option<Fate> {
    match (action.split_whitespace().next().unwrap_or_default(), class) {
        ("failed" | "failure", _) => Some(Fate::Failed),
        ("delayed", _) => Some(Fate::Delayed),
        ("delivered", _) => Some(Fate::Delivered),
        ("relayed" | "expanded", _) => Some(Fate::Relayed),
        (_, Some(5)) => Some(Fate::Failed),
        (_, Some(4)) => Some(Fate::Delayed),
        (_, Some(2)) => Some(Fate::Delivered),
        _ => None,
    }
}

/// An address of a type. Those of type `utf-8` may have characters written as `\x{20AC}` (RFC 6533 §3); xtext, which is
/// for ESMTP parameters, is found here too.
fn address(kind: &str, text: &str) -> String {
    let text = text.trim().trim_start_matches('<').trim_end_matches('>');
    let text = if kind.eq_ignore_ascii_case("utf-8") { unescaped(text) } else { text.to_owned() };
    let text = kept(&text, MAX_ADDRESS_OCTETS);
    if text.contains('@') { text } else { String::new() }
}

fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\x{") {
        plain.push_str(before);
        let decoded = after.split_once('}').and_then(|(digits, tail)| {
            let number = u32::from_str_radix(digits, 16).ok().filter(|_| digits.len() <= 6)?;
            Some((char::from_u32(number)?, tail))
        });
        match decoded {
            Some((character, tail)) => {
                plain.push(character);
                rest = tail;
            }
            None => {
                plain.push_str("\\x{");
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::super::mime::Kind;
    use super::*;

    fn of(text: &str) -> Option<StatusReport> {
        read(&Part { kind: Kind::Status, body: Cow::Borrowed(text.as_bytes()) })
    }

    #[test]
    fn what_is_missing_is_found_elsewhere() {
        let report =
            of("Final-Recipient: rfc822; a@b.example\nStatus: 5.0.0\nDiagnostic-Code: smtp; 550-5.1.1 gone\n").unwrap();
        let one = &report.recipients[0];
        assert_eq!((one.fate, one.code), (Fate::Failed, Some(550)));
        assert_eq!(one.status.unwrap().to_string(), "5.1.1");
        assert!(of("Reporting-MTA: dns; x\n\nAction: failed\n").is_none(), "about nobody, and nothing is said");
        assert!(of("Final-Recipient: rfc822; a@b.example\nAction: pondered\n").is_none());
        let typed =
            of("Final-Recipient: a@b.example\nAction: failed (gone)\nDiagnostic-Code: X-Notes; 550 things\n").unwrap();
        assert_eq!((typed.recipients[0].recipient.as_str(), typed.recipients[0].code), ("a@b.example", None));
    }

    #[test]
    fn characters_beyond_ascii_are_read_in_both_forms() {
        assert_eq!(address("utf-8", "j\\x{F6}rg@b.example"), "jörg@b.example");
        assert_eq!(address("utf-8", "jörg@b.example"), "jörg@b.example");
        assert_eq!(address("rfc822", "j\\x{F6}rg@b.example"), "j\\x{F6}rg@b.example");
        assert_eq!(address("utf-8", "\\x{}\\x{110000}\\x{20AC@b.example"), "\\x{}\\x{110000}\\x{20AC@b.example");
    }
}
