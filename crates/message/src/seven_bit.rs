//! Content that a server without 8BITMIME takes (RFC 6152 §3): each part that is not 7-bit becomes quoted-printable or base64
//! (RFC 2045 §6), and nothing else is touched. Not responsible for when that is needed.
//!
//! What has octets above 127 in a header field, a preamble or a place that no reader shows cannot be said in 7 bits without
//! changing what it says, and is refused.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::header::{has_field, original_headers};
use crate::quoted_printable::quoted_printable;
use crate::structure::{Head, MAX_HEADER_OCTETS, members, split};

/// Octets of a line of base64, before they are encoded: 76 characters (RFC 2045 §6.8).
const BASE64_LINE_OCTETS: usize = 57;
/// The longest line of 7-bit content without its end (RFC 5322 §2.1.1), in octets.
const MAX_LINE_OCTETS: usize = 998;
/// The field that says how a part is encoded.
const ENCODING_FIELD: &str = "Content-Transfer-Encoding";
/// How deep parts and messages may stand in one another.
const MAX_DEPTH: usize = 16;

/// Why content cannot be converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSevenBit {
    /// There is no telling what is header and what is body.
    #[error("it cannot be read as a message")]
    Unreadable,
    /// RFC 6532 allows it where SMTPUTF8 is spoken, RFC 2047 says how else.
    #[error("octets above 127 are in its header fields or between its parts")]
    OutsideOfParts,
    /// A part is said to be encoded and has octets that no encoding has.
    #[error("a part that is said to be encoded has octets above 127")]
    FalselyEncoded,
    /// Parts in parts.
    #[error("it has more than {MAX_DEPTH} parts in one another")]
    TooDeep,
}

/// A replacement of octets.
struct Edit {
    at: Range<usize>,
    by: Vec<u8>,
}

/// The same message in 7 bits.
///
/// # Errors
/// [`NotSevenBit`]; nothing is lost by trying.
pub fn to_seven_bit(content: &[u8]) -> Result<Vec<u8>, NotSevenBit> {
    let mut edits = Vec::new();
    convert(content, 0, 0, &mut edits)?;
    let converted = apply(content, edits).ok_or(NotSevenBit::Unreadable)?;
    if converted.is_ascii() { Ok(converted) } else { Err(NotSevenBit::OutsideOfParts) }
}

fn apply(content: &[u8], edits: Vec<Edit>) -> Option<Vec<u8>> {
    let mut converted = Vec::with_capacity(content.len() + content.len() / 2);
    let mut done = 0;
    for Edit { at, by } in edits {
        converted.extend_from_slice(content.get(done..at.start)?);
        converted.extend_from_slice(&by);
        done = at.end;
    }
    converted.extend_from_slice(content.get(done..)?);
    Some(converted)
}

/// `section` is a part, or a message, that begins at this octet of the content. Edits come in the order of what they change.
fn convert(section: &[u8], at: usize, depth: usize, edits: &mut Vec<Edit>) -> Result<(), NotSevenBit> {
    if depth > MAX_DEPTH {
        return Err(NotSevenBit::TooDeep);
    }
    let (head, body) = split(section);
    let body_at = at + (section.len() - body.len());
    let is_encoded = matches!(head.encoding.as_str(), "base64" | "quoted-printable");
    let boundary = head.boundary.as_ref().filter(|_| head.media.starts_with("multipart/"));
    let is_message = matches!(head.media.as_str(), "message/rfc822" | "message/global") && !is_encoded;
    // RFC 2045 §6.4: what is made of parts says only what its parts may be.
    if (boundary.is_some() || is_message) && !head.encoding.is_empty() {
        edits.push(field(section, at, &head, "7bit", false));
    }
    if let Some(boundary) = boundary {
        for member in members(body, boundary, usize::MAX) {
            let part = body.get(member.clone()).unwrap_or_default();
            // RFC 2046 §5.1.1: the line end before a boundary belongs to that.
            let part = part.strip_suffix(b"\r\n").or_else(|| part.strip_suffix(b"\n")).unwrap_or(part);
            convert(part, body_at + member.start, depth + 1, edits)?;
        }
        return Ok(());
    }
    if is_message {
        return convert(body, body_at, depth + 1, edits);
    }
    if is_seven_bit(body) {
        return Ok(());
    }
    if is_encoded {
        return Err(NotSevenBit::FalselyEncoded);
    }
    let (name, by) = encoded(&head, body);
    edits.push(field(section, at, &head, name, depth == 0));
    edits.push(Edit { at: body_at..body_at + body.len(), by });
    Ok(())
}

/// RFC 2045 §2.7, §2.8. Binary content has lines of any length, and CR and LF anywhere.
fn is_seven_bit(body: &[u8]) -> bool {
    let is_line = |line: &[u8]| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        line.len() <= MAX_LINE_OCTETS && !line.contains(&b'\r') && !line.contains(&0)
    };
    let ends = body.split(|octet| *octet == b'\n').count().saturating_sub(1);
    let proper_ends = body.windows(2).filter(|pair| pair == b"\r\n").count();
    body.is_ascii() && ends == proper_ends && body.split(|octet| *octet == b'\n').all(is_line)
}

/// Text stays readable; what is no text, or has line ends that are no line ends, is base64 octet by octet.
fn encoded(head: &Head, body: &[u8]) -> (&'static str, Vec<u8>) {
    let bare = body.windows(2).any(|pair| (pair.first() == Some(&b'\r')) != (pair.last() == Some(&b'\n')));
    let is_text = head.media.is_empty() || head.media.starts_with("text/");
    if is_text && !bare && !body.ends_with(b"\r") && !body.starts_with(b"\n") {
        let mut encoded = Vec::with_capacity(body.len() + body.len() / 2);
        quoted_printable(&mut encoded, body);
        ("quoted-printable", encoded)
    } else {
        ("base64", base64_lines(body))
    }
}

fn base64_lines(body: &[u8]) -> Vec<u8> {
    let lines: Vec<String> = body.chunks(BASE64_LINE_OCTETS).map(|line| STANDARD.encode(line)).collect();
    lines.join("\r\n").into_bytes()
}

/// Says in the part's header section how it is encoded. `is_root`: where it has no MIME at all it gets some (RFC 1428 §4).
fn field(section: &[u8], at: usize, head: &Head, value: &str, is_root: bool) -> Edit {
    let header = original_headers(section, MAX_HEADER_OCTETS);
    let mut fields = format!("{ENCODING_FIELD}: {value}\r\n");
    if let Some(known) = place_of(header, ENCODING_FIELD) {
        return Edit { at: at + known.start..at + known.end, by: fields.into_bytes() };
    }
    if is_root && head.media.is_empty() {
        fields.push_str("Content-Type: text/plain; charset=unknown-8bit\r\n");
    }
    if is_root && !has_field(header, "MIME-Version") {
        fields.push_str("MIME-Version: 1.0\r\n");
    }
    let rest = section.get(header.len()..).unwrap_or_default();
    if !rest.starts_with(b"\r\n") && !rest.starts_with(b"\n") {
        // What is no field has ended the header section.
        fields.push_str("\r\n");
    }
    Edit { at: at + header.len()..at + header.len(), by: fields.into_bytes() }
}

/// Where the first field with this name is in a header section, its folded lines with it.
fn place_of(header: &[u8], name: &str) -> Option<Range<usize>> {
    let (mut found, mut line_start) = (None, 0);
    for line in header.split_inclusive(|octet| *octet == b'\n') {
        let is_folded = matches!(line.first(), Some(b' ' | b'\t'));
        match found {
            Some(start) if !is_folded => return Some(start..line_start),
            None if !is_folded && has_field(line, name) => found = Some(line_start),
            _ => {}
        }
        line_start += line.len();
    }
    found.map(|start| start..line_start)
}

#[cfg(test)]
mod tests {
    use mail_parser::MessageParser;
    use proptest::prelude::*;

    use super::*;

    fn converted(content: &str) -> String {
        String::from_utf8(to_seven_bit(content.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn text_becomes_quoted_printable_and_says_so() {
        let head = "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n";
        assert_eq!(
            converted(&format!("{head}Content-Transfer-Encoding: 8bit\r\n\r\nÄ = a \r\n.\r\nend\r\n")),
            format!("{head}Content-Transfer-Encoding: quoted-printable\r\n\r\n=C3=84 =3D a=20\r\n.\r\nend\r\n")
        );
        assert_eq!(
            converted(&format!("{head}\r\nÄ")),
            format!("{head}Content-Transfer-Encoding: quoted-printable\r\n\r\n=C3=84")
        );
    }

    #[test]
    fn content_without_mime_gets_some() {
        assert_eq!(
            converted("Subject: x\r\n\r\nÄ\r\n"),
            "Subject: x\r\nContent-Transfer-Encoding: quoted-printable\r\n\
             Content-Type: text/plain; charset=unknown-8bit\r\nMIME-Version: 1.0\r\n\r\n=C3=84\r\n"
        );
    }

    #[test]
    fn of_several_parts_each_is_looked_at() {
        let before = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\
             Content-Transfer-Encoding: 8bit\r\n\r\npreamble\r\n\
             --b\r\n\r\nplain ü\r\n\
             --b\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: 7bit\r\n\r\n<p>nothing</p>\r\n\
             --b\r\nContent-Type: application/x\r\nContent-Transfer-Encoding: 8BIT\r\n\r\nü\r\n\
             --b\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
             Subject: inner\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: 8bit\r\n\r\ninner ü\r\n\
             --b--\r\nepilogue\r\n";
        let after = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\
             Content-Transfer-Encoding: 7bit\r\n\r\npreamble\r\n\
             --b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nplain =C3=BC\r\n\
             --b\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: 7bit\r\n\r\n<p>nothing</p>\r\n\
             --b\r\nContent-Type: application/x\r\nContent-Transfer-Encoding: base64\r\n\r\nw7w=\r\n\
             --b\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\n\
             Subject: inner\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\ninner =C3=BC\r\n\
             --b--\r\nepilogue\r\n";
        assert_eq!(converted(before), after);
        assert_eq!(converted(after), after, "what is 7-bit stays as it is");
    }

    #[test]
    fn binary_content_keeps_every_octet() {
        let content = b"MIME-Version: 1.0\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\n\x89PNG\r\n\x1a\n\0\r\r\n";
        let converted = to_seven_bit(content).unwrap();
        let parsed = MessageParser::new().parse(&converted).unwrap();
        assert_eq!(parsed.parts[0].contents(), b"\x89PNG\r\n\x1a\n\0\r\r\n");
    }

    #[test]
    fn what_is_in_no_part_cannot_be_converted() {
        for (content, why) in [
            ("Subject: ü\r\n\r\nx\r\n", NotSevenBit::OutsideOfParts),
            (
                "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\nü\r\n--b\r\n\r\nx\r\n--b--\r\n",
                NotSevenBit::OutsideOfParts,
            ),
            (
                "MIME-Version: 1.0\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\nü\r\n",
                NotSevenBit::FalselyEncoded,
            ),
        ] {
            assert_eq!(to_seven_bit(content.as_bytes()), Err(why), "{content}");
        }
    }

    #[test]
    fn messages_in_messages_have_an_end() {
        let mut content = "Content-Type: text/plain\r\n\r\nü\r\n".to_owned();
        for _ in 0..100 {
            content = format!("Content-Type: message/rfc822\r\n\r\n{content}");
        }
        assert!(to_seven_bit(content.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn text_reads_as_before(text in "([a-c=. \tF\u{fc}]{0,90}\r\n){0,5}[a\u{fc}]{0,3}") {
            let content = format!("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{text}");
            let converted = to_seven_bit(content.as_bytes()).unwrap();
            prop_assert!(converted.split(|octet| *octet == b'\n').all(|line| line.len() <= 77 || text.is_ascii()));
            let parsed = MessageParser::new().parse(&converted).unwrap();
            prop_assert_eq!(parsed.parts[0].contents(), text.as_bytes());
        }

        #[test]
        fn whatever_it_is_given_it_gives_back_seven_bits_or_nothing(
            pieces in proptest::collection::vec(prop_oneof![
                Just("--b\r\n"), Just("--b--\r\n"), Just("\r\n"), Just("\u{fc}"), Just("\n"), Just("\r"),
                Just("Content-Type: multipart/mixed; boundary=b\r\n"), Just("Content-Type: message/rfc822\r\n"),
                Just("Content-Transfer-Encoding: 8bit\r\n"), Just("Content-Transfer-Encoding: base64\r\n"),
                Just("Content-Type: text/plain\r\n"), Just("Subject: x\r\n"), Just("text\r\n"), Just(" folded\r\n"),
            ], 0..20),
        ) {
            if let Ok(converted) = to_seven_bit(pieces.concat().as_bytes()) {
                prop_assert!(converted.is_ascii());
            }
        }
    }
}
