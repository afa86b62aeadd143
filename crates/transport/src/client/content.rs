//! The content of a message on its way into an engine. Not responsible for how it is sent.

use bytes::Bytes;
use mailtier_smtp::{ClientSession, MAX_UNASKED_OCTETS, Transaction};
use memchr::memchr_iter;

use crate::link::now;

/// How much is made ready before it is written, in octets: a message below this goes out in one write, with the dot
/// that ends it.
const WRITE_OCTETS: usize = 128 * 1024;

/// What an engine has not been given yet.
pub(super) struct Content<'a> {
    chunks: &'a [Bytes],
    /// Octets of the first chunk that were given.
    given: usize,
}

impl<'a> Content<'a> {
    pub(super) const fn new(chunks: &'a [Bytes]) -> Self {
        Self { chunks, given: 0 }
    }

    /// Gives as much as one write takes, and the end where nothing is left.
    pub(super) fn give(&mut self, session: &mut ClientSession) {
        while let Some((chunk, later)) = self.chunks.split_first() {
            let room = WRITE_OCTETS.saturating_sub(session.output().len());
            if room == 0 {
                return;
            }
            let rest = chunk.get(self.given..).unwrap_or_default();
            let piece = rest.get(..room).unwrap_or(rest);
            session.body(piece);
            self.given += piece.len();
            if self.given >= chunk.len() {
                (self.chunks, self.given) = (later, 0);
            }
        }
        session.end_of_body(now());
    }
}

/// Says in `transaction` what the content needs, where that is less or more than was declared: a declaration alone
/// keeps no message from an old server, and 8-bit content is never sent undeclared.
pub(super) fn look_at(body: &[Bytes], chunking: bool, transaction: &mut Transaction) {
    transaction.eight_bit = body.iter().any(|chunk| !chunk.is_ascii());
    // What is counted must be counted right, whatever was said before.
    transaction.size_bytes = body.iter().map(|chunk| chunk.len() as u64).sum();
    // Of interest only where it may go by BDAT.
    let may_go = chunking && transaction.size_bytes <= MAX_UNASKED_OCTETS;
    transaction.proper_lines = may_go && has_proper_lines(body);
    // RFC 6531 §3.2: beside addresses, which the engine looks at, it is header fields that need the extension.
    transaction.smtputf8 &= transaction.eight_bit && has_eight_bit_header(body);
}

/// Whether every line ends with CRLF, the last one too, and neither CR nor LF is anywhere else.
fn has_proper_lines(body: &[Bytes]) -> bool {
    let (mut last, mut returns, mut feeds) = (0, 0_usize, 0_usize);
    for chunk in body.iter().filter(|chunk| !chunk.is_empty()) {
        let before = |place: usize| place.checked_sub(1).map_or(Some(&last), |before| chunk.get(before));
        for place in memchr_iter(b'\n', chunk) {
            if before(place) != Some(&b'\r') {
                return false;
            }
            feeds += 1;
        }
        returns += memchr_iter(b'\r', chunk).count();
        last = chunk.last().copied().unwrap_or_default();
    }
    last == b'\n' && returns == feeds
}

/// Whether an octet above 127 stands before the empty line that ends the header section.
fn has_eight_bit_header(body: &[Bytes]) -> bool {
    let mut line_is_empty = true;
    for octet in body.iter().flatten() {
        match octet {
            b'\n' if line_is_empty => return false,
            b'\n' => line_is_empty = true,
            b'\r' => {}
            octet if !octet.is_ascii() => return true,
            _ => line_is_empty = false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use mailtier_types::ReversePath;

    use super::*;

    fn needs(chunks: &[&str], smtputf8: bool, eight_bit: bool) -> (bool, bool) {
        let body: Vec<_> = chunks.iter().map(|chunk| Bytes::copy_from_slice(chunk.as_bytes())).collect();
        let mut transaction = Transaction {
            sender: ReversePath::Null,
            recipients: Vec::new(),
            eight_bit,
            smtputf8,
            proper_lines: false,
            size_bytes: 0,
            wishes: mailtier_smtp::Wishes::default(),
        };
        look_at(&body, true, &mut transaction);
        (transaction.eight_bit, transaction.smtputf8)
    }

    #[test]
    fn lines_that_are_none() {
        for (chunks, expected) in [
            (&["a\r\n"][..], true),
            (&["a\r\n.\r\n\r\n"], true),
            (&["a\r", "\nb\r\n"], true),
            (&["a", "", "\r\n"], true),
            (&["a"], false),
            (&[""], false),
            (&[], false),
            (&["a\n"], false),
            (&["a\r\nb\n"], false),
            (&["a\r\nb\r"], false),
            (&["a\rb\r\n"], false),
            (&["\na\r\n"], false),
            (&["a", "\nb\r\n"], false),
            (&["a\r\r\n"], false),
        ] {
            let body: Vec<_> = chunks.iter().map(|chunk| Bytes::copy_from_slice(chunk.as_bytes())).collect();
            assert_eq!(has_proper_lines(&body), expected, "{chunks:?}");
        }
    }

    #[test]
    fn what_content_needs_and_what_was_declared() {
        assert_eq!(needs(&["Subject: x\r\n\r\nx"], true, true), (false, false), "declared without need");
        assert_eq!(needs(&["Subject: x\r\n\r\né"], false, false), (true, false), "undeclared 8-bit content");
        assert_eq!(needs(&["Subject: x\r\n\r", "\né"], true, true), (true, false), "only the body is 8-bit");
        assert_eq!(needs(&["Subject: ", "é\r\n\r\nx"], true, true), (true, true), "the header is 8-bit");
        assert_eq!(needs(&["Subject: x\r", "\nTo: é"], true, true), (true, true), "a header without end");
    }
}
