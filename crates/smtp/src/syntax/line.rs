//! Takes lines off a buffer. A line ends with CRLF and with nothing else (RFC 5321 §2.3.8): whoever lets a bare LF end
//! a line sees commands where the hosts before him saw none. Not responsible for what a line says.

use bytes::{Buf, BytesMut};
use memchr::memchr;

/// What is at the beginning of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Not yet a whole line.
    Nothing,
    /// A line within its limit; it was copied out without its CRLF.
    Line,
    /// A line beyond its limit; it was dropped, but for its first [`BEGINNING_OCTETS`].
    TooLong,
    /// The same by so much that its end is not waited for.
    Endless,
    /// A line feed without a carriage return before it; everything up to it was dropped.
    BareLineFeed,
}

/// What is read of a line beyond its limit before its sender is not listened to any longer, in octets.
const MAX_DROPPED_OCTETS: usize = 1024 * 1024;

/// What is kept of a line beyond its limit, in octets: enough to tell which command it is.
pub(crate) const BEGINNING_OCTETS: usize = 8;

/// Takes lines off a buffer whatever the borders at which it was filled. Keeps at most one line's limit of octets.
#[derive(Debug)]
pub(crate) struct LineTaker {
    limit_octets: usize,
    /// What was dropped of the line under way, which is beyond its limit where this is not 0.
    dropped_octets: usize,
    /// How that line begins.
    beginning: [u8; BEGINNING_OCTETS],
    /// The last octet dropped was a carriage return.
    dropped_cr: bool,
}

impl LineTaker {
    /// For lines of at most `limit_octets`, CRLF included.
    pub(crate) const fn new(limit_octets: usize) -> Self {
        Self { limit_octets, dropped_octets: 0, beginning: [0; BEGINNING_OCTETS], dropped_cr: false }
    }

    /// From the next line on.
    pub(crate) fn set_limit(&mut self, limit_octets: usize) {
        self.limit_octets = limit_octets;
    }

    /// Takes the next line off `input`. `line` is overwritten when there is one, and with the beginning of one that is too
    /// long.
    pub(crate) fn take(&mut self, input: &mut BytesMut, line: &mut Vec<u8>) -> Taken {
        let Some(feed) = memchr(b'\n', input) else {
            return self.drop_overlong(input);
        };
        let content = input.get(..feed).unwrap_or_default();
        let after_return = match content.last() {
            Some(octet) => *octet == b'\r',
            None => self.dropped_cr,
        };
        if self.dropped_octets == 0 {
            self.keep_beginning(content);
        }
        let octets = self.dropped_octets.saturating_add(feed);
        let taken = match after_return {
            _ if octets > MAX_DROPPED_OCTETS => Taken::Endless,
            false => Taken::BareLineFeed,
            true if octets >= self.limit_octets => {
                line.clear();
                line.extend_from_slice(&self.beginning);
                Taken::TooLong
            }
            true => {
                line.clear();
                line.extend_from_slice(content.strip_suffix(b"\r").unwrap_or(content));
                Taken::Line
            }
        };
        input.advance(feed + 1);
        self.dropped_octets = 0;
        self.dropped_cr = false;
        taken
    }

    /// What a line shorter than that lacks is spaces.
    fn keep_beginning(&mut self, line: &[u8]) {
        self.beginning = [b' '; BEGINNING_OCTETS];
        self.beginning.iter_mut().zip(line).for_each(|(kept, octet)| *kept = *octet);
    }

    /// Without a line feed within the limit the line is too long whatever follows, and nothing of it needs keeping.
    fn drop_overlong(&mut self, input: &mut BytesMut) -> Taken {
        if self.dropped_octets > 0 || input.len() >= self.limit_octets {
            if self.dropped_octets == 0 {
                self.keep_beginning(input);
            }
            self.dropped_octets = self.dropped_octets.saturating_add(input.len());
            if let Some(last) = input.last() {
                self.dropped_cr = *last == b'\r';
            }
            input.clear();
        }
        if self.dropped_octets > MAX_DROPPED_OCTETS { Taken::Endless } else { Taken::Nothing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `text` in pieces of `step` octets and lists what is taken.
    fn taken(text: &[u8], step: usize, limit: usize) -> Vec<String> {
        let (mut input, mut line, mut taker) = (BytesMut::new(), Vec::new(), LineTaker::new(limit));
        let mut seen = Vec::new();
        for piece in text.chunks(step) {
            input.extend_from_slice(piece);
            loop {
                match taker.take(&mut input, &mut line) {
                    Taken::Nothing => break,
                    Taken::Line => seen.push(String::from_utf8_lossy(&line).into_owned()),
                    Taken::TooLong => seen.push(format!("!TooLong {}", String::from_utf8_lossy(&line))),
                    other => seen.push(format!("!{other:?}")),
                }
            }
            assert!(input.len() < limit, "a line's limit bounds what is kept");
        }
        seen
    }

    #[test]
    fn a_line_that_never_ends_is_not_read_for_ever() {
        for step in [MAX_DROPPED_OCTETS * 2, 4096, 4099] {
            let mut text = vec![b'x'; MAX_DROPPED_OCTETS];
            text.extend_from_slice(b"\r\nNOOP\r\n");
            assert_eq!(taken(&text, step, 10_000), ["!Endless", "NOOP"], "by {step}");
            text.drain(..1);
            assert_eq!(taken(&text, step, 10_000), ["!TooLong xxxxxxxx", "NOOP"], "by {step}");
        }
    }

    #[test]
    fn only_crlf_ends_a_line() {
        for (text, expected) in [
            (&b"one\r\ntwo\r\n"[..], vec!["one", "two"]),
            (b"\r\n\r\n", vec!["", ""]),
            (b"a\rb\r\n", vec!["a\rb"]),
            (b"a\r\r\n", vec!["a\r"]),
            (b"a\nb\r\n", vec!["!BareLineFeed", "b"]),
            (b"\nb\r\n", vec!["!BareLineFeed", "b"]),
            (b"12345678\r\nx\r\n", vec!["12345678", "x"]),
            (b"123456789\r\nx\r\n", vec!["!TooLong 12345678", "x"]),
            (b"1234567890123456789012345\r\nx\r\n", vec!["!TooLong 12345678", "x"]),
            (b"1234567890123456789012345\nx\r\n", vec!["!BareLineFeed", "x"]),
            (b"no end\r", vec![]),
        ] {
            for step in 1..=text.len() {
                assert_eq!(taken(text, step, 10), expected, "{:?} by {step}", String::from_utf8_lossy(text));
            }
        }
    }
}
