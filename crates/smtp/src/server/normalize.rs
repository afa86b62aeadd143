//! Repairs the lines of content: what leaves here has CRLF at the end of each line and nowhere else, no null octet, and
//! no line beyond the limit. Not responsible for where content ends: that was found before, and no repair can move it.

use bytes::{Bytes, BytesMut};
use memchr::memchr3;

/// What separates the parts of a folded line: in a header it is folding white space (RFC 5322 §2.2.3), and in a body
/// readers know it from Postfix.
const FOLD: &[u8] = b"\r\n ";
/// An octet that continues a UTF-8 sequence.
const fn continues(octet: u8) -> bool {
    octet & 0xc0 == 0x80
}

/// Repairs content piece by piece.
#[derive(Debug)]
pub(super) struct Normalizer {
    /// A CR was the last octet; what it means, the next one says.
    pending_cr: bool,
    /// Octets of the line so far.
    line_octets: usize,
    /// A line with its CRLF has at most so many.
    max_line_octets: usize,
}

impl Normalizer {
    pub(super) const fn new(max_line_octets: usize) -> Self {
        Self { pending_cr: false, line_octets: 0, max_line_octets }
    }

    /// The next piece, repaired.
    pub(super) fn push(&mut self, piece: &[u8]) -> Bytes {
        let mut repaired = BytesMut::with_capacity(piece.len() + 64);
        let mut rest = piece;
        while let Some((&first, after)) = rest.split_first() {
            if std::mem::take(&mut self.pending_cr) {
                self.end_line(&mut repaired);
                if first == b'\n' {
                    rest = after;
                    continue;
                }
            }
            rest = match first {
                b'\r' => {
                    self.pending_cr = true;
                    after
                }
                b'\n' => {
                    self.end_line(&mut repaired);
                    after
                }
                0 => after,
                _ => {
                    let (text, after) = rest.split_at(memchr3(b'\r', b'\n', 0, rest).unwrap_or(rest.len()));
                    self.add(text, &mut repaired);
                    after
                }
            };
        }
        repaired.freeze()
    }

    /// What is left to say at the end: the line end that a last CR stands for.
    pub(super) fn finish(&mut self) -> Bytes {
        if std::mem::take(&mut self.pending_cr) { Bytes::from_static(b"\r\n") } else { Bytes::new() }
    }

    fn end_line(&mut self, repaired: &mut BytesMut) {
        repaired.extend_from_slice(b"\r\n");
        self.line_octets = 0;
    }

    /// Text without line ends, folded where it gets too long, never within a character.
    fn add(&mut self, mut text: &[u8], repaired: &mut BytesMut) {
        loop {
            let room = (self.max_line_octets - 2).saturating_sub(self.line_octets);
            if text.len() <= room {
                repaired.extend_from_slice(text);
                self.line_octets += text.len();
                return;
            }
            let within_character = |at: usize| text.get(at).is_some_and(|octet| continues(*octet));
            let cut = (room.saturating_sub(3)..=room).rev().find(|at| !within_character(*at)).unwrap_or(room);
            let (line, after) = text.split_at(cut);
            repaired.extend_from_slice(line);
            repaired.extend_from_slice(FOLD);
            self.line_octets = 1;
            text = after;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalized(text: &[u8], step: usize, limit: usize) -> Vec<u8> {
        let mut normalizer = Normalizer::new(limit);
        let mut whole: Vec<u8> = text.chunks(step).flat_map(|piece| normalizer.push(piece)).collect();
        whole.extend(normalizer.finish());
        whole
    }

    #[test]
    fn every_line_end_becomes_crlf_whatever_the_borders() {
        for (text, expected) in [
            (&b"a\r\nb\r\n"[..], &b"a\r\nb\r\n"[..]),
            (b"a\nb\rc\r\n", b"a\r\nb\r\nc\r\n"),
            (b"a\r\r\nb", b"a\r\n\r\nb"),
            (b"a\n\r\nb\0c\r", b"a\r\n\r\nbc\r\n"),
            (b"\0\0", b""),
        ] {
            for step in 1..=text.len() {
                assert_eq!(normalized(text, step, 1000), expected, "{text:?} by {step}");
            }
        }
    }

    #[test]
    fn long_lines_are_folded_between_characters() {
        assert_eq!(normalized(b"0123456789abcdef\r\n", 18, 10), b"01234567\r\n 89abcde\r\n f\r\n");
        assert_eq!(normalized("aaaaaaaäb\r\n".as_bytes(), 99, 10), "aaaaaaa\r\n äb\r\n".as_bytes());
        assert_eq!(normalized(b"01234567\r\n", 3, 10), b"01234567\r\n", "a line at the limit stays");
    }

    proptest::proptest! {
        #[test]
        fn what_leaves_is_clean(text in proptest::collection::vec(proptest::prop_oneof![
            4 => proptest::num::u8::ANY, 1 => proptest::strategy::Just(b'\r'), 1 => proptest::strategy::Just(b'\n')
        ], 0..200), step in 1_usize..20) {
            let clean = normalized(&text, step, 30);
            proptest::prop_assert!(!clean.contains(&0));
            let mut lines: Vec<&[u8]> = clean.split(|octet| *octet == b'\n').collect();
            let last = lines.pop().unwrap_or_default();
            proptest::prop_assert!(!last.contains(&b'\r') && last.len() <= 28);
            for line in lines {
                proptest::prop_assert_eq!(line.iter().filter(|octet| **octet == b'\r').count(), 1);
                proptest::prop_assert!(line.ends_with(b"\r") && line.len() <= 29);
            }
        }
    }
}
