//! Replies out of octets (RFC 5321 §4.2) that a stranger sends: every line and every reply has a limit. Not responsible
//! for what a reply means.

use mailtier_types::{EnhancedCode, Reply};
use memchr::memchr;

/// Longest line of a reply, in octets. RFC 5321 §4.5.3.1.5 has servers stop at 512; some don't.
pub(super) const MAX_LINE_OCTETS: usize = 4096;
/// Most lines of a reply.
pub(super) const MAX_LINES: usize = 256;
/// Longest reply, in octets.
pub(super) const MAX_REPLY_OCTETS: usize = 32 * 1024;
/// Buffers larger than this are given back when nothing is left in them, in octets.
const KEPT_BUFFER_OCTETS: usize = 1024;

const _: () = assert!(MAX_LINE_OCTETS >= 512, "RFC 5321 section 4.5.3.1.5");

/// What the remote did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ReplyError {
    /// Not three digits and a separator.
    #[error("the remote sent something that is no SMTP reply")]
    NotAReply,
    /// See [`MAX_LINE_OCTETS`].
    #[error("the remote sent a reply line of more than {MAX_LINE_OCTETS} octets")]
    LineTooLong,
    /// See [`MAX_LINES`] and [`MAX_REPLY_OCTETS`].
    #[error("the remote sent a reply of more than {MAX_LINES} lines or {MAX_REPLY_OCTETS} octets")]
    ReplyTooLong,
}

/// Collects input and gives back whole replies.
#[derive(Debug, Default)]
pub(super) struct ReplyReader {
    /// Octets received; those before `start` are used up.
    input: Vec<u8>,
    start: usize,
    /// The text of the reply so far, lines separated by `\n`.
    text: String,
    lines: usize,
    octets: usize,
    enhanced: Option<EnhancedCode>,
}

impl ReplyReader {
    /// Takes input. The caller stops calling when a reply was refused, and reads replies after each call: what waits
    /// here is bounded by that.
    pub(super) fn push(&mut self, data: &[u8]) {
        if self.start == self.input.len() {
            self.forget_input();
        }
        self.input.extend_from_slice(data);
    }

    /// The next whole reply, if there is one.
    pub(super) fn next(&mut self) -> Result<Option<Reply>, ReplyError> {
        loop {
            let unread = self.input.get(self.start..).unwrap_or_default();
            let window = unread.get(..MAX_LINE_OCTETS).unwrap_or(unread);
            let Some(end) = memchr(b'\n', window) else {
                return if unread.len() >= MAX_LINE_OCTETS { Err(ReplyError::LineTooLong) } else { Ok(None) };
            };
            let line = window.get(..end).unwrap_or_default();
            let parsed = ReplyLine::parse(line.strip_suffix(b"\r").unwrap_or(line))?;
            self.octets += end + 1;
            self.lines += 1;
            if self.lines > MAX_LINES || self.octets > MAX_REPLY_OCTETS {
                return Err(ReplyError::ReplyTooLong);
            }
            if self.lines == 1 {
                self.enhanced = parsed.enhanced();
            } else {
                self.text.push('\n');
            }
            parsed.append_text(self.enhanced, &mut self.text);
            self.start += end + 1;
            if parsed.is_last {
                return Ok(Some(self.take_reply(parsed.code)));
            }
        }
    }

    /// Whether input waits that no reply was made of: nothing may follow what was awaited.
    pub(super) fn has_leftover(&self) -> bool {
        self.start < self.input.len() || self.lines > 0
    }

    fn take_reply(&mut self, code: u16) -> Reply {
        if self.start == self.input.len() {
            self.forget_input();
        }
        (self.lines, self.octets) = (0, 0);
        Reply::received(code, self.enhanced.take(), std::mem::take(&mut self.text))
    }

    fn forget_input(&mut self) {
        self.start = 0;
        if self.input.capacity() > KEPT_BUFFER_OCTETS {
            self.input = Vec::new();
        } else {
            self.input.clear();
        }
    }
}

/// The reply that a text is: all of its lines, without the end of the last. Nothing where it is none, or more than one.
#[must_use]
pub fn parse_reply(text: &str) -> Option<Reply> {
    let mut reader = ReplyReader::default();
    reader.push(text.as_bytes());
    reader.push(b"\n");
    reader.next().ok().flatten().filter(|_| !reader.has_leftover())
}

/// One line, without its end.
struct ReplyLine<'a> {
    code: u16,
    is_last: bool,
    text: &'a [u8],
}

impl<'a> ReplyLine<'a> {
    /// `Reply-line` of RFC 5321 §4.2. Where lines of one reply disagree about the code, the last one counts.
    fn parse(line: &'a [u8]) -> Result<Self, ReplyError> {
        let (code, rest) = line.split_at_checked(3).ok_or(ReplyError::NotAReply)?;
        let code = code.iter().try_fold(0_u16, |code, digit| {
            digit.is_ascii_digit().then(|| code * 10 + u16::from(digit - b'0')).ok_or(ReplyError::NotAReply)
        })?;
        if !(200..=599).contains(&code) {
            return Err(ReplyError::NotAReply);
        }
        match rest.split_first() {
            // RFC 5321 §4.2.1 asks clients to take a code without any text.
            None => Ok(Self { code, is_last: true, text: b"" }),
            Some((b' ', text)) => Ok(Self { code, is_last: true, text }),
            Some((b'-', text)) => Ok(Self { code, is_last: false, text }),
            Some(_) => Err(ReplyError::NotAReply),
        }
    }

    /// The enhanced code at the beginning of the text, if it is of the reply's class (RFC 2034 §4).
    fn enhanced(&self) -> Option<EnhancedCode> {
        let word = self.text.split(|octet| *octet == b' ').next()?;
        let enhanced: EnhancedCode = std::str::from_utf8(word).ok()?.parse().ok()?;
        (u16::from(enhanced.class()) == self.code / 100).then_some(enhanced)
    }

    /// Appends the text, without the enhanced code that the reply already has, and with no control octet.
    fn append_text(&self, enhanced: Option<EnhancedCode>, text: &mut String) {
        let own = if enhanced.is_some() && self.enhanced() == enhanced {
            let after = memchr(b' ', self.text).map_or(self.text.len(), |space| space + 1);
            self.text.get(after..).unwrap_or_default()
        } else {
            self.text
        };
        let from = text.len();
        text.push_str(&String::from_utf8_lossy(own));
        if text.get(from..).is_some_and(|added| added.contains(char::is_control)) {
            let cleaned = text.get(from..).unwrap_or_default().replace(char::is_control, " ");
            text.truncate(from);
            text.push_str(&cleaned);
        }
        text.truncate(from + text.get(from..).unwrap_or_default().trim_end().len());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(input: &[u8]) -> Result<Vec<Reply>, ReplyError> {
        read_pieces([input])
    }

    fn read_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Reply>, ReplyError> {
        let mut reader = ReplyReader::default();
        let mut replies = Vec::new();
        for piece in pieces {
            reader.push(piece);
            while let Some(reply) = reader.next()? {
                replies.push(reply);
            }
        }
        Ok(replies)
    }

    fn reply(code: u16, enhanced: &str, text: &str) -> Reply {
        Reply::received(code, enhanced.parse().ok(), text.to_owned())
    }

    #[test]
    fn replies_as_servers_write_them() {
        for (wire, expected) in [
            ("250 OK\r\n", vec![reply(250, "", "OK")]),
            ("250\r\n", vec![reply(250, "", "")]),
            ("250 \r\n", vec![reply(250, "", "")]),
            ("250 2.1.5 Ok\r\n", vec![reply(250, "2.1.5", "Ok")]),
            ("550 5.1.1\r\n", vec![reply(550, "5.1.1", "")]),
            // Of another class, so it is not this reply's status (RFC 2034 section 4).
            ("550 2.1.1 odd\r\n", vec![reply(550, "", "2.1.1 odd")]),
            ("354 3.0.0 go\r\n", vec![reply(354, "", "3.0.0 go")]),
            ("550-5.7.1 one\r\n550-5.7.1 two\r\n550 5.7.1 three\r\n", vec![reply(550, "5.7.1", "one\ntwo\nthree")]),
            ("250-mx\r\n250-SIZE 5\r\n250 8BITMIME\r\n", vec![reply(250, "", "mx\nSIZE 5\n8BITMIME")]),
            ("250-\r\n250 x\r\n", vec![reply(250, "", "\nx")]),
            ("250 a\r\n550 b\r\n", vec![reply(250, "", "a"), reply(550, "", "b")]),
            ("250 bare\n", vec![reply(250, "", "bare")]),
            ("250 tab\there\rand\0there \r\n", vec![reply(250, "", "tab here and there")]),
            ("450-a\r\n451 b\r\n", vec![reply(451, "", "a\nb")]),
        ] {
            assert_eq!(read(wire.as_bytes()), Ok(expected.clone()), "{wire:?}");
            assert_eq!(read_pieces(wire.as_bytes().chunks(1)), Ok(expected), "{wire:?}");
        }
        assert_eq!(read(b"250 caf\xe9\r\n"), Ok(vec![reply(250, "", "caf\u{fffd}")]));
    }

    #[test]
    fn what_is_no_reply() {
        for wire in [
            "\r\n",
            "25\r\n",
            "2500 x\r\n",
            "250_x\r\n",
            "abc x\r\n",
            "600 x\r\n",
            "199 x\r\n",
            "+25 x\r\n",
            "HTTP/1.1 400\r\n",
        ] {
            assert_eq!(read(wire.as_bytes()), Err(ReplyError::NotAReply), "{wire:?}");
        }
    }

    #[test]
    fn a_peer_does_not_choose_our_memory() {
        assert_eq!(read(&[b'2'; MAX_LINE_OCTETS]), Err(ReplyError::LineTooLong));
        let longest = format!("250 {}\r\n", "x".repeat(MAX_LINE_OCTETS - 6));
        assert_eq!(read(longest.as_bytes()).unwrap().len(), 1);
        let longer = format!("250 {}\r\n", "x".repeat(MAX_LINE_OCTETS - 5));
        assert_eq!(read(longer.as_bytes()), Err(ReplyError::LineTooLong));
        assert_eq!(read("250-x\r\n".repeat(MAX_LINES + 1).as_bytes()), Err(ReplyError::ReplyTooLong));
        let wide = format!("250-{}\r\n", "x".repeat(1000)).repeat(40);
        assert_eq!(read(wide.as_bytes()), Err(ReplyError::ReplyTooLong));
    }

    #[test]
    fn limits_are_of_one_reply_and_not_of_a_session() {
        assert_eq!(read("250 x\r\n".repeat(10_000).as_bytes()).unwrap().len(), 10_000);
    }

    #[test]
    fn leftovers_are_noticed() {
        let mut reader = ReplyReader::default();
        reader.push(b"220 go\r\n250-half");
        assert!(reader.next().unwrap().is_some() && reader.has_leftover());
        assert!(reader.next().unwrap().is_none() && reader.has_leftover());
        reader.push(b"\r\n250 whole\r\n");
        assert!(reader.next().unwrap().is_some() && !reader.has_leftover());
    }

    proptest! {
        #[test]
        fn garbage_never_panics_and_borders_make_no_difference(
            garbage in proptest::collection::vec(prop_oneof![Just(b'2'), Just(b'5'), Just(b'0'), Just(b'-'), Just(b' '), Just(b'\r'), Just(b'\n'), any::<u8>()], 0..200),
            size in 1_usize..9,
        ) {
            prop_assert_eq!(read_pieces(garbage.chunks(size)), read(&garbage));
        }
    }
}
