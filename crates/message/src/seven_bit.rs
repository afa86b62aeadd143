//! Content that a server without 8BITMIME takes (RFC 6152 §3): each part that is not 7-bit becomes quoted-printable or base64
//! (RFC 2045 §6), and nothing else is touched. Not responsible for when that is needed.
//!
//! What has octets above 127 in a header field, a preamble or a place that no reader shows cannot be said in 7 bits without
//! changing what it says, and is refused.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mail_parser::{Encoding, Message, MessageParser, MessagePart, MimeHeaders as _, PartType};

use crate::quoted_printable::quoted_printable;

/// Octets of a line of base64, before they are encoded: 76 characters (RFC 2045 §6.8).
const BASE64_LINE_OCTETS: usize = 57;
/// The longest line of 7-bit content without its end (RFC 5322 §2.1.1), in octets.
const MAX_LINE_OCTETS: usize = 998;
/// The field that says how a part is encoded.
const ENCODING_FIELD: &str = "Content-Transfer-Encoding";
/// How deep messages may stand in one another.
const MAX_DEPTH: usize = 8;

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
    /// Messages in messages.
    #[error("it has more than {MAX_DEPTH} messages in one another")]
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
    let message = MessageParser::new().parse(content).ok_or(NotSevenBit::Unreadable)?;
    let mut edits = Vec::new();
    convert(content, &message, 0, &mut edits)?;
    edits.sort_by_key(|edit| edit.at.start);
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

fn convert(content: &[u8], message: &Message<'_>, depth: usize, edits: &mut Vec<Edit>) -> Result<(), NotSevenBit> {
    if depth > MAX_DEPTH {
        return Err(NotSevenBit::TooDeep);
    }
    for (number, part) in message.parts.iter().enumerate() {
        let (body_start, end) = (part.offset_body as usize, part.offset_end as usize);
        let body = content.get(body_start..end).ok_or(NotSevenBit::Unreadable)?;
        match &part.body {
            // RFC 2045 §6.4: what is made of parts says only what its parts may be.
            PartType::Multipart(_) => {
                if encoding_of(part).is_some() {
                    edits.push(field(content, part, "7bit", false)?);
                }
            }
            PartType::Message(nested) if part.encoding == Encoding::None => {
                if encoding_of(part).is_some() {
                    edits.push(field(content, part, "7bit", false)?);
                }
                convert(content, nested, depth + 1, edits)?;
            }
            _ if is_seven_bit(body) => {}
            _ if part.encoding != Encoding::None || part.is_encoding_problem => {
                return Err(NotSevenBit::FalselyEncoded);
            }
            _ => {
                let (name, by) = encoded(part, body);
                edits.push(Edit { at: body_start..end, by });
                edits.push(field(content, part, name, depth == 0 && number == 0)?);
            }
        }
    }
    Ok(())
}

fn encoding_of<'a>(part: &'a MessagePart<'_>) -> Option<&'a str> {
    part.content_transfer_encoding()
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
fn encoded(part: &MessagePart<'_>, body: &[u8]) -> (&'static str, Vec<u8>) {
    let bare = body.windows(2).any(|pair| (pair.first() == Some(&b'\r')) != (pair.last() == Some(&b'\n')));
    let is_text = part.content_type().is_none_or(|kind| kind.ctype().eq_ignore_ascii_case("text"));
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
fn field(content: &[u8], part: &MessagePart<'_>, value: &str, is_root: bool) -> Result<Edit, NotSevenBit> {
    let is = |name: &str| part.headers.iter().find(|header| header.name.as_str().eq_ignore_ascii_case(name));
    if let Some(header) = is(ENCODING_FIELD) {
        let at = header.offset_start as usize..header.offset_end as usize;
        let written = content.get(at.clone()).ok_or(NotSevenBit::Unreadable)?;
        let end: &[u8] = if written.ends_with(b"\r\n") { b"\r\n" } else { b"\n" };
        return Ok(Edit { at, by: [b" ", value.as_bytes(), end].concat() });
    }
    let body_start = part.offset_body as usize;
    let header = content.get(part.offset_header as usize..body_start).ok_or(NotSevenBit::Unreadable)?;
    // Before the empty line that ends the section.
    let place = match header {
        header if header.ends_with(b"\r\n") => body_start - 2,
        header if header.ends_with(b"\n") => body_start - 1,
        // No header section and nothing that ends it.
        _ => return Err(NotSevenBit::Unreadable),
    };
    let mut fields = format!("{ENCODING_FIELD}: {value}\r\n");
    if is_root && is("Content-Type").is_none() {
        fields.push_str("Content-Type: text/plain; charset=unknown-8bit\r\n");
    }
    if is_root && is("MIME-Version").is_none() {
        fields.push_str("MIME-Version: 1.0\r\n");
    }
    Ok(Edit { at: place..place, by: fields.into_bytes() })
}

#[cfg(test)]
mod tests {
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
