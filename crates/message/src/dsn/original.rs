//! The header section of the message a notification is about (RFC 6522 §4; RFC 6533 §5 with addresses beyond ASCII). It
//! is returned as it came; where the octets cannot be sent as they are, they are encoded.

use crate::dsn::DsnFacts;
use crate::header;
use crate::quoted_printable::quoted_printable;
use crate::text::{Charset, MAX_LINE_OCTETS};

/// What is returned, in octets.
const MAX_RETURNED_OCTETS: usize = 64 * 1024;

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

#[cfg(test)]
mod tests {
    use super::*;

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
