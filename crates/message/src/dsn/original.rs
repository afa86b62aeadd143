//! The header section of the message a notification is about (RFC 6522 §4; RFC 6533 §5 with addresses beyond ASCII). It
//! is returned as it came; where the octets cannot be sent as they are, they are encoded.

use crate::dsn::DsnFacts;
use crate::header;
use crate::text::{Charset, MAX_LINE_OCTETS};

/// What is returned, in octets.
const MAX_RETURNED_OCTETS: usize = 64 * 1024;
/// RFC 2045 §6.7, rule 5, without the `=` of a soft line break.
const ENCODED_LINE: usize = 75;

/// The part with its own header section.
pub(super) fn part(facts: &DsnFacts<'_>, charset: Charset) -> Vec<u8> {
    if facts.is_whole {
        return whole(facts.original_headers, charset);
    }
    let section = header::original_headers(facts.original_headers, MAX_RETURNED_OCTETS);
    let form = Form::of(section, charset);
    let mut out = b"Content-Description: Header of the message\r\n".to_vec();
    out.extend_from_slice(form.fields());
    out.extend_from_slice(b"\r\n");
    match form {
        Form::Encoded => quoted_printable(&mut out, section),
        Form::Plain | Form::Global => out.extend_from_slice(section),
    }
    out
}

/// All of the message (RFC 3461 §6.2). Its lines are legal: it was taken.
fn whole(content: &[u8], charset: Charset) -> Vec<u8> {
    let mut out = b"Content-Description: The message\r\n".to_vec();
    out.extend_from_slice(match charset {
        Charset::Ascii => b"Content-Type: message/rfc822\r\n".as_slice(),
        Charset::Utf8 => b"Content-Type: message/global\r\n",
    });
    if !content.is_ascii() {
        out.extend_from_slice(b"Content-Transfer-Encoding: 8bit\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(content);
    out
}

/// How the octets travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// ASCII in lines of legal length.
    Plain,
    /// UTF-8 in lines of legal length, for a reader who can take it.
    Global,
    /// Anything.
    Encoded,
}

impl Form {
    fn of(section: &[u8], charset: Charset) -> Self {
        let lines_are_legal = section.split_inclusive(|&octet| octet == b'\n').all(|line| {
            line.strip_suffix(b"\r\n").is_some_and(|line| {
                line.len() <= MAX_LINE_OCTETS && memchr::memchr3(b'\r', b'\n', b'\0', line).is_none()
            })
        });
        match (lines_are_legal, section.is_ascii(), charset) {
            (true, true, _) => Self::Plain,
            (true, false, Charset::Utf8) if std::str::from_utf8(section).is_ok() => Self::Global,
            _ => Self::Encoded,
        }
    }

    const fn fields(self) -> &'static [u8] {
        match self {
            Self::Plain => b"Content-Type: text/rfc822-headers\r\n",
            Self::Global => b"Content-Type: message/global-headers\r\nContent-Transfer-Encoding: 8bit\r\n",
            Self::Encoded => b"Content-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: quoted-printable\r\n",
        }
    }
}

/// RFC 2045 §6.7. CRLF is a line break; every other CR, LF and control octet is encoded.
fn quoted_printable(out: &mut Vec<u8>, content: &[u8]) {
    let mut column = 0;
    for line in content.split_inclusive(|&octet| octet == b'\n') {
        let (text, end) = match line.strip_suffix(b"\r\n") {
            Some(text) => (text, &b"\r\n"[..]),
            None => (line, &b""[..]),
        };
        for (place, &octet) in text.iter().enumerate() {
            let is_last = place + 1 == text.len();
            let is_plain = match octet {
                b' ' | b'\t' => !is_last,
                b'=' => false,
                _ => octet.is_ascii_graphic(),
            };
            let width = if is_plain { 1 } else { 3 };
            if column + width > ENCODED_LINE {
                out.extend_from_slice(b"=\r\n");
                column = 0;
            }
            if is_plain {
                out.push(octet);
            } else {
                out.extend_from_slice(format!("={octet:02X}").as_bytes());
            }
            column += width;
        }
        if !end.is_empty() {
            out.extend_from_slice(end);
            column = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use mail_parser::decoders::quoted_printable::quoted_printable_decode;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_encoded_can_be_decoded(content in prop::collection::vec(
            prop_oneof![any::<u8>(), Just(b' '), Just(b'='), Just(b'a')], 0..300,
        ).prop_map(|line| [&line[..], b"\r\n"].concat())) {
            let mut encoded = Vec::new();
            quoted_printable(&mut encoded, &content);
            prop_assert!(encoded.is_ascii());
            for line in encoded.split(|&octet| octet == b'\n') {
                prop_assert!(line.len() <= 77 && !line.ends_with(b" \r"));
            }
            prop_assert_eq!(quoted_printable_decode(&encoded).unwrap(), content);
        }
    }

    #[test]
    fn each_section_travels_as_it_can() {
        let long = [b"X: ".to_vec(), vec![b'x'; 2_000], b"\r\n".to_vec()].concat();
        assert_eq!(Form::of(b"", Charset::Ascii), Form::Plain);
        assert_eq!(Form::of(b"A: b\r\n", Charset::Utf8), Form::Plain);
        assert_eq!(Form::of("A: \u{fc}\r\n".as_bytes(), Charset::Utf8), Form::Global);
        assert_eq!(Form::of("A: \u{fc}\r\n".as_bytes(), Charset::Ascii), Form::Encoded);
        for content in [&b"A: \xff\r\n"[..], b"A: \0\r\n", b"A: a\nB: b\r\n", b"A: a\rb\r\n", &long] {
            assert_eq!(Form::of(content, Charset::Utf8), Form::Encoded);
        }
    }
}
