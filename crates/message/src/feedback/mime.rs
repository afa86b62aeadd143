//! The parts of a message (RFC 2045, RFC 2046), as far as a report has any. Not responsible for what is in them.
//!
//! What a report returns is not taken apart, whatever it says it is: so hostile nesting has nothing to nest in, and depth
//! and number of what is looked at are fixed.

use std::borrow::Cow;

use mail_parser::MessageParser;
use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;

use crate::structure::{Head, MAX_BOUNDARY_OCTETS, members, split};

/// How deep multiparts may stand in one another. A report has one level; mailing lists and virus scanners add another.
const MAX_DEPTH: usize = 4;
/// The most parts that are looked at.
const MAX_PARTS: usize = 32;

/// What a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// For people, as plain text, whatever it was.
    Text,
    /// RFC 3464 §2.1, RFC 6533 §4.
    Status,
    /// RFC 5965 §2.
    Feedback,
    /// RFC 8460 §6.4, §6.5.
    TlsReport,
    /// The message that is reported, or its header section (RFC 6522 §4, RFC 6533 §5).
    Original,
    /// Anything else.
    Other,
}

/// One part, decoded.
#[derive(Debug)]
pub(super) struct Part<'a> {
    pub(super) kind: Kind,
    pub(super) body: Cow<'a, [u8]>,
}

/// The parts of a message that are not made of parts themselves, in their order.
pub(super) fn parts(content: &[u8]) -> Vec<Part<'_>> {
    let mut found = Vec::new();
    let mut open = vec![(content, 0)];
    let mut seen = 0;
    while let Some((section, depth)) = open.pop() {
        seen += 1;
        if seen > MAX_PARTS {
            break;
        }
        let (head, body) = split(section);
        match &head.boundary {
            Some(boundary) if head.media.starts_with("multipart/") && depth < MAX_DEPTH => {
                let mut members = members(body, boundary, MAX_PARTS);
                // The first is looked at first.
                members.reverse();
                open.extend(members.into_iter().filter_map(|member| Some((body.get(member)?, depth + 1))));
            }
            _ => found.push(decoded(&head, body)),
        }
    }
    found
}

fn decoded<'a>(head: &Head, body: &'a [u8]) -> Part<'a> {
    let kind = match head.media.as_str() {
        "message/delivery-status" | "message/global-delivery-status" => Kind::Status,
        "message/feedback-report" => Kind::Feedback,
        "application/tlsrpt+gzip" | "application/tlsrpt+json" => Kind::TlsReport,
        "message/rfc822" | "message/global" | "text/rfc822-headers" | "message/global-headers" => Kind::Original,
        "" => Kind::Text,
        media if media.starts_with("text/") => Kind::Text,
        _ => Kind::Other,
    };
    let body = match (kind, head.encoding.as_str()) {
        (Kind::Text, _) => Cow::Owned(text(head, body).into_bytes()),
        (Kind::Other, _) => Cow::Borrowed(body),
        (_, "base64") => base64_decode(body).map_or(Cow::Borrowed(body), Cow::Owned),
        (_, "quoted-printable") => quoted_printable_decode(body).map_or(Cow::Borrowed(body), Cow::Owned),
        _ => Cow::Borrowed(body),
    };
    Part { kind, body }
}

/// A text for people as UTF-8, without its markup. The parser is given a message that has this body and nothing else of
/// the stranger's, so that it finds no parts to go into.
fn text(head: &Head, body: &[u8]) -> String {
    let is_token = |text: &&str| {
        text.len() <= MAX_BOUNDARY_OCTETS
            && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_.:".contains(&octet))
    };
    let charset = head.charset.as_deref().filter(is_token).unwrap_or("utf-8");
    let media = if head.media == "text/html" { "text/html" } else { "text/plain" };
    let encoding = Some(head.encoding.as_str()).filter(is_token).unwrap_or("8bit");
    let mut message =
        format!("Content-Type: {media}; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n")
            .into_bytes();
    message.extend_from_slice(body);
    let parsed = MessageParser::new().parse(&message);
    let text = parsed.as_ref().and_then(|parsed| parsed.body_text(0));
    text.map_or_else(|| String::from_utf8_lossy(body).into_owned(), Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(content: &str) -> Vec<(Kind, String)> {
        let told = |part: Part<'_>| (part.kind, String::from_utf8_lossy(&part.body).trim().to_owned());
        parts(content.as_bytes()).into_iter().map(told).collect()
    }

    #[test]
    fn a_report_is_taken_apart() {
        let content = "Content-Type: multipart/report; report-type=\"delivery-status\";\r\n boundary=\"=_b\"\r\n\r\npreamble\r\n\
            --=_b\r\n\r\nfor people\r\n--=_b\r\nContent-Type: message/delivery-status\r\n\
            Content-Transfer-Encoding: base64\r\n\r\nQTogMQ0K\r\n--=_b\r\nContent-Type: message/rfc822\r\n\r\n\
            Content-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--\r\n--=_b--\r\nepilogue\r\n";
        let found = kinds(content);
        assert_eq!(found[0], (Kind::Text, "for people".to_owned()));
        assert_eq!(found[1], (Kind::Status, "A: 1".to_owned()));
        assert_eq!(found[2].0, Kind::Original, "what is returned is not taken apart");
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn depth_and_number_are_fixed() {
        let many = "--b\r\n\r\nx\r\n".repeat(1000);
        assert!(kinds(&format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{many}")).len() <= MAX_PARTS);
        let level = |number: usize| format!("Content-Type: multipart/mixed; boundary=b{number}\r\n\r\n--b{number}\r\n");
        let deep: String = (0..10_000).map(level).collect();
        let found = kinds(&deep);
        assert_eq!((found.len(), found[0].0), (1, Kind::Other));
        let nested = "Content-Type: message/rfc822\r\n\r\n".repeat(30_000);
        assert_eq!(kinds(&nested).len(), 1);
    }

    #[test]
    fn texts_are_told_as_people_see_them() {
        let html = "Content-Type: text/html; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
            <p>gr=FCn</p><p>550 no such user</p>\r\n";
        let (_, text) = &kinds(html)[0];
        assert!(text.contains("grün") && text.contains("550 no such user") && !text.contains("<p>"), "{text}");
        let evil = "Content-Type: text/plain; charset=\"x\r\n\tContent-Type: message/rfc822\"\r\n\r\nplain\r\n";
        assert_eq!(kinds(evil), [(Kind::Text, "plain".to_owned())]);
    }
}
