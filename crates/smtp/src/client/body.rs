//! The content as it goes over the wire: dot-stuffed, whole lines, ended by a dot (RFC 5321 §4.5.2). Not responsible
//! for when it is sent.

use memchr::memchr2;

/// Room for a few dots and the end of data, so that little content moves after it was written, in octets.
const ROOM_OCTETS: usize = 64;

/// Writes content that comes in pieces cut anywhere. Whatever it is given, it never writes a CR or LF on its own
/// (RFC 5321 §2.3.8): each that stands alone becomes a line end.
#[derive(Debug)]
pub(super) struct BodyEncoder {
    /// The next octet begins a line.
    at_line_start: bool,
    /// A CR ended the last piece: whether an LF follows it is not known yet, and it is not written yet.
    after_cr: bool,
    /// The content goes as it is, counted (RFC 3030 §2).
    raw: bool,
}

impl BodyEncoder {
    /// At the beginning of the content, which is the beginning of a line.
    pub(super) const fn new() -> Self {
        Self { at_line_start: true, after_cr: false, raw: false }
    }

    /// For content after BDAT.
    pub(super) const fn raw() -> Self {
        Self { raw: true, ..Self::new() }
    }

    /// Appends a piece to `wire`. Runs of proper lines are copied as they are.
    pub(super) fn encode(&mut self, piece: &[u8], wire: &mut Vec<u8>) {
        if piece.is_empty() {
            return;
        }
        wire.reserve(piece.len() + ROOM_OCTETS);
        if self.raw {
            wire.extend_from_slice(piece);
            return;
        }
        let mut rest = piece;
        if self.after_cr {
            self.end_line(wire);
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        // `rest` is what is not written yet, its first `done` octets are known to be proper.
        let mut done = 0;
        loop {
            if self.at_line_start && rest.get(done) == Some(&b'.') {
                wire.extend_from_slice(rest.get(..done).unwrap_or_default());
                wire.push(b'.');
                rest = rest.get(done..).unwrap_or_default();
                done = 0;
            }
            let unseen = rest.get(done..).unwrap_or_default();
            let Some(offset) = memchr2(b'\r', b'\n', unseen) else {
                self.at_line_start &= unseen.is_empty();
                wire.extend_from_slice(rest);
                return;
            };
            let end = done + offset;
            match (rest.get(end), rest.get(end + 1)) {
                (Some(b'\r'), Some(b'\n')) => {
                    self.at_line_start = true;
                    done = end + 2;
                }
                (Some(b'\r'), None) => {
                    wire.extend_from_slice(rest.get(..end).unwrap_or_default());
                    self.after_cr = true;
                    return;
                }
                _ => {
                    wire.extend_from_slice(rest.get(..end).unwrap_or_default());
                    self.end_line(wire);
                    rest = rest.get(end + 1..).unwrap_or_default();
                    done = 0;
                }
            }
        }
    }

    /// Appends the end of data, with the line end that the last line may lack (RFC 5321 §4.1.1.4).
    pub(super) fn finish(&mut self, wire: &mut Vec<u8>) {
        if std::mem::take(&mut self.raw) {
            return;
        }
        if self.after_cr || !self.at_line_start {
            self.end_line(wire);
        }
        wire.extend_from_slice(b".\r\n");
        *self = Self::new();
    }

    fn end_line(&mut self, wire: &mut Vec<u8>) {
        wire.extend_from_slice(b"\r\n");
        self.at_line_start = true;
        self.after_cr = false;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
        let mut wire = Vec::new();
        let mut encoder = BodyEncoder::new();
        for piece in pieces {
            encoder.encode(piece, &mut wire);
        }
        encoder.finish(&mut wire);
        wire
    }

    /// What RFC 5321 §4.5.2 has the receiver do.
    fn receive(wire: &[u8]) -> Vec<u8> {
        let mut content = Vec::new();
        let mut rest = wire;
        loop {
            let end = rest.windows(2).position(|pair| pair == b"\r\n").expect("every line ends") + 2;
            let (line, after) = rest.split_at(end);
            if line == b".\r\n" {
                assert_eq!(after, b"", "nothing follows the end of data");
                return content;
            }
            content.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
            rest = after;
        }
    }

    #[test]
    fn content_and_its_wire_form() {
        for (content, wire) in [
            ("", ".\r\n"),
            ("a", "a\r\n.\r\n"),
            ("a\r\n", "a\r\n.\r\n"),
            (".", "..\r\n.\r\n"),
            (".\r\n", "..\r\n.\r\n"),
            ("\r\n.\r\n", "\r\n..\r\n.\r\n"),
            ("a\r\n..b\r\n.", "a\r\n...b\r\n..\r\n.\r\n"),
            ("a.b\r\nc.\r\n", "a.b\r\nc.\r\n.\r\n"),
            ("a\nb", "a\r\nb\r\n.\r\n"),
            ("a\n.\nb", "a\r\n..\r\nb\r\n.\r\n"),
            ("a\r.\rb\r", "a\r\n..\r\nb\r\n.\r\n"),
            ("\r\r\n\n", "\r\n\r\n\r\n.\r\n"),
            ("a\r\n.\n.\r\n", "a\r\n..\r\n..\r\n.\r\n"),
        ] {
            assert_eq!(String::from_utf8(encode_pieces([content.as_bytes()])).unwrap(), wire, "{content:?}");
            assert_eq!(String::from_utf8(encode_pieces(content.as_bytes().chunks(1))).unwrap(), wire, "{content:?}");
        }
    }

    proptest! {
        #[test]
        fn borders_make_no_difference(content in "[ab.\r\n]{0,60}", size in 1_usize..7) {
            let whole = encode_pieces([content.as_bytes()]);
            prop_assert_eq!(encode_pieces(content.as_bytes().chunks(size)), whole);
        }

        #[test]
        fn no_bare_line_end_and_no_early_end_whatever_the_content(content in "[ab.\r\n]{0,60}") {
            let wire = encode_pieces([content.as_bytes()]);
            for place in 0..wire.len() {
                prop_assert!(wire[place] != b'\n' || (place > 0 && wire[place - 1] == b'\r'), "bare LF");
                prop_assert!(wire[place] != b'\r' || wire.get(place + 1) == Some(&b'\n'), "bare CR");
            }
            receive(&wire);
        }

        #[test]
        fn proper_content_arrives_as_it_was(lines in proptest::collection::vec("[ab.]{0,5}", 0..9)) {
            let content = lines.iter().map(|line| format!("{line}\r\n")).collect::<String>();
            prop_assert_eq!(receive(&encode_pieces([content.as_bytes()])), content.as_bytes());
        }
    }
}
