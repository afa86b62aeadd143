//! A header section while it arrives: counts hops, finds the Message-ID and what is said of TLS, ends what is too large. Keeps only what it
//! found, whatever the sizes of chunks and fields. Not responsible for line ends: the content has CRLF only.

/// The longest name of a field that is looked for, in octets.
const MAX_NAME_OCTETS: usize = 16;
/// The longest Message-ID that is kept, in octets.
const MAX_MESSAGE_ID_OCTETS: usize = 998;

/// What most Message-IDs take, in octets.
const COMMON_MESSAGE_ID_OCTETS: usize = 96;

/// The header section exceeds its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("header section is larger than {limit_bytes} octets")]
pub struct HeaderTooLarge {
    /// The limit.
    pub limit_bytes: usize,
}

/// What the next octet belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    LineStart,
    Name,
    /// White space between a name and its colon (RFC 5322 §4.5).
    AfterName,
    Value,
    /// After the header section.
    Body,
}

/// Fields that are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    /// Before the first field.
    None,
    Received,
    /// The first Message-ID, of which this much is still to come.
    MessageId,
    /// The first TLS-Required.
    TlsRequired,
    Other,
}

/// Looks at a header section chunk by chunk.
#[derive(Clone, Debug)]
pub struct HeaderScan {
    limit_bytes: usize,
    seen_bytes: usize,
    at: At,
    field: Field,
    name: [u8; MAX_NAME_OCTETS],
    /// Of the current name; may exceed what is kept.
    name_octets: usize,
    received_count: usize,
    message_id: String,
    /// What is visible of the first TLS-Required; absent before it.
    tls_required: Option<Word>,
}

/// A short word, in lower case; what is longer is none that is looked for.
#[derive(Clone, Copy, Debug, Default)]
struct Word {
    octets: [u8; 2],
    length: usize,
}

impl Word {
    fn push(&mut self, octet: u8) {
        if let Some(place) = self.octets.get_mut(self.length) {
            *place = octet.to_ascii_lowercase();
        }
        self.length = self.length.saturating_add(1);
    }

    fn is(self, word: &[u8]) -> bool {
        self.length == word.len() && self.octets.starts_with(word)
    }
}

impl HeaderScan {
    /// For a header section of at most `limit_bytes`.
    #[must_use]
    pub const fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            seen_bytes: 0,
            at: At::LineStart,
            field: Field::None,
            name: [0; MAX_NAME_OCTETS],
            name_octets: 0,
            received_count: 0,
            message_id: String::new(),
            tls_required: None,
        }
    }

    /// The next chunk of content, in order; whatever follows the header section is passed over. The section ends at the
    /// first empty line, or at the first line that is no field (some senders forget the empty line).
    ///
    /// # Errors
    /// The header section is too large.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<(), HeaderTooLarge> {
        let mut rest = chunk;
        while self.at != At::Body && !rest.is_empty() {
            let taken = self.step(rest).clamp(1, rest.len());
            self.seen_bytes = self.seen_bytes.saturating_add(taken);
            if self.seen_bytes > self.limit_bytes && self.at != At::Body {
                return Err(HeaderTooLarge { limit_bytes: self.limit_bytes });
            }
            rest = rest.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    /// Whether the end of the header section was seen.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        matches!(self.at, At::Body)
    }

    /// How many Received fields there are: the hops of the message (RFC 5321 §6.3).
    #[must_use]
    pub const fn received_count(&self) -> usize {
        self.received_count
    }

    /// The first Message-ID, with its angle brackets as it came; empty where there is none. Printable ASCII without
    /// spaces, at most 998 octets.
    #[must_use]
    pub fn message_id(&self) -> &str {
        &self.message_id
    }

    /// Whether it says `TLS-Required: No` (RFC 8689 §5), in any case. Any other value means nothing, and of several fields the
    /// first counts.
    #[must_use]
    pub fn is_tls_optional(&self) -> bool {
        self.tls_required.is_some_and(|value| value.is(b"no"))
    }

    /// Takes some octets; says how many.
    fn step(&mut self, rest: &[u8]) -> usize {
        let Some(&octet) = rest.first() else { return 0 };
        match self.at {
            At::LineStart => self.begin_line(octet),
            At::Name => self.name_octet(octet),
            At::AfterName => match octet {
                b' ' | b'\t' => {}
                b':' => self.end_name(),
                _ => self.at = At::Body,
            },
            At::Value => return self.value(rest),
            At::Body => {}
        }
        1
    }

    fn begin_line(&mut self, octet: u8) {
        match octet {
            // A folded line continues the field before it (RFC 5322 §2.2.3).
            b' ' | b'\t' if self.field != Field::None => self.at = At::Value,
            _ => {
                self.name_octets = 0;
                self.at = At::Name;
                self.name_octet(octet);
            }
        }
    }

    /// RFC 5322 §2.2: names are printable ASCII but the colon.
    fn name_octet(&mut self, octet: u8) {
        match octet {
            b':' if self.name_octets > 0 => self.end_name(),
            b' ' | b'\t' if self.name_octets > 0 => self.at = At::AfterName,
            b'!'..=b'~' if octet != b':' => {
                if let Some(place) = self.name.get_mut(self.name_octets) {
                    *place = octet;
                }
                self.name_octets += 1;
            }
            _ => self.at = At::Body,
        }
    }

    fn end_name(&mut self) {
        let name = self.name.get(..self.name_octets).unwrap_or_default();
        self.field = if name.eq_ignore_ascii_case(b"received") {
            self.received_count += 1;
            Field::Received
        } else if name.eq_ignore_ascii_case(b"message-id") && self.message_id.is_empty() {
            self.message_id.reserve(COMMON_MESSAGE_ID_OCTETS);
            Field::MessageId
        } else if name.eq_ignore_ascii_case(b"tls-required") && self.tls_required.is_none() {
            self.tls_required = Some(Word::default());
            Field::TlsRequired
        } else {
            Field::Other
        };
        self.at = At::Value;
    }

    fn value(&mut self, rest: &[u8]) -> usize {
        let line_feed = memchr::memchr(b'\n', rest);
        let line = rest.get(..line_feed.unwrap_or(rest.len())).unwrap_or_default();
        match (self.field, &mut self.tls_required) {
            (Field::MessageId, _) => self.message_id_octets(line),
            (Field::TlsRequired, Some(word)) => {
                line.iter().filter(|octet| **octet > b' ').for_each(|octet| word.push(*octet));
            }
            _ => {}
        }
        match line_feed {
            Some(place) => {
                self.at = At::LineStart;
                place + 1
            }
            None => rest.len(),
        }
    }

    /// Keeps what stands from the first visible octet to the `>` or the next space, through folds.
    fn message_id_octets(&mut self, octets: &[u8]) {
        for &octet in octets {
            let is_visible = octet > b' ' && octet != 0x7f;
            if is_visible && self.message_id.len() < MAX_MESSAGE_ID_OCTETS {
                self.message_id.push(if octet.is_ascii() { char::from(octet) } else { '?' });
            }
            if octet == b'>' || (!is_visible && !self.message_id.is_empty()) {
                self.field = Field::Other;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scan(content: &[u8]) -> (usize, String, bool) {
        let mut scan = HeaderScan::new(10_000);
        scan.feed(content).unwrap();
        (scan.received_count(), scan.message_id().to_owned(), scan.is_complete())
    }

    const MESSAGE: &[u8] = b"Received: from a by b; date\r\nRECEIVED : from c\r\n\tby d;\r\n date\r\nReceived-SPF: pass\r\n\
        Message-Id:\r\n <one@example.com> (comment)\r\nMessage-ID:<two@example.com>\r\nSubject: x\r\n Received: folded\r\n\
        \r\nReceived: in the body\r\n";

    #[test]
    fn hops_and_the_first_message_id_are_found() {
        assert_eq!(scan(MESSAGE), (2, "<one@example.com>".to_owned(), true));
    }

    #[test]
    fn a_header_section_without_an_end() {
        assert_eq!(scan(b""), (0, String::new(), false));
        assert_eq!(scan(b"Received: a\r\n"), (1, String::new(), false));
        assert_eq!(scan(b"Message-ID: <a@b>\r\n"), (0, "<a@b>".to_owned(), false));
    }

    #[test]
    fn what_is_no_field_ends_the_section() {
        for content in [
            &b"Hello world: no field\r\nReceived: a\r\n"[..],
            b"\r\nReceived: a\r\n",
            b" folded\r\nReceived: a\r\n",
            b": no name\r\nReceived: a\r\n",
            b"caf\xc3\xa9: x\r\nReceived: a\r\n",
            b"no colon\r\nReceived: a\r\n",
            b">From me\r\nReceived: a\r\n",
        ] {
            assert_eq!(scan(content), (0, String::new(), true), "{}", content.escape_ascii());
        }
    }

    #[test]
    fn odd_message_ids() {
        for (value, kept) in [
            ("no-brackets@example.com", "no-brackets@example.com"),
            ("<a b@c>", "<a"),
            ("  <a@\u{fc}\u{1}b>", "<a@??"),
            ("", ""),
            (" \t ", ""),
        ] {
            assert_eq!(scan(format!("Message-ID: {value}\r\n\r\n").as_bytes()).1, kept, "{value}");
        }
        let long = format!("Message-ID: <{}@b>\r\n\r\n", "a".repeat(5_000));
        assert_eq!(scan(long.as_bytes()).1.len(), MAX_MESSAGE_ID_OCTETS);
    }

    #[test]
    fn tls_is_optional_where_that_is_said_and_nothing_else() {
        for (field, expected) in [
            ("TLS-Required: No", true),
            ("tls-required:no", true),
            ("TLS-Required :\r\n\tNO ", true),
            ("TLS-Required: Yes", false),
            ("TLS-Required: None", false),
            ("TLS-Required: N", false),
            ("TLS-Required:", false),
            ("TLS-Required: No (really)", false),
            ("TLS-Required: Yes\r\nTLS-Required: No", false),
            ("X-TLS-Required: No", false),
            ("Subject: x\r\n TLS-Required: No", false),
            ("Subject: x\r\n\r\nTLS-Required: No", false),
        ] {
            let content = format!("From: a@b\r\n{field}\r\nTo: c@d\r\n\r\n");
            for size in [1, 2, 1_000] {
                let mut scan = HeaderScan::new(10_000);
                content.as_bytes().chunks(size).for_each(|piece| scan.feed(piece).unwrap());
                assert_eq!(scan.is_tls_optional(), expected, "{field}");
            }
        }
    }

    #[test]
    fn the_limit_is_the_header_sections_alone() {
        let section = b"Subject: 0123456789\r\n";
        let mut scan = HeaderScan::new(section.len());
        assert_eq!(scan.feed(section), Ok(()));
        assert_eq!(scan.feed(b"\r\n"), Ok(()), "the empty line is not part of it");
        assert_eq!(scan.feed(&[b'x'; 1_000]), Ok(()));
        let mut scan = HeaderScan::new(section.len() - 1);
        assert_eq!(scan.feed(section), Err(HeaderTooLarge { limit_bytes: 20 }));
        assert!(scan.feed(b"X: y\r\n").is_err());
    }

    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        let pieces: [&[u8]; 9] = [b"\r\n", b"Received:", b"message-id", b" ", b":", b"<a>", b"x", b"\xff", b"\r\n "];
        prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn borders_between_chunks_don_t_matter(
            content in prop_oneof![Just(MESSAGE.to_vec()), pieces()],
            borders in prop::collection::vec(1_usize..9, 1..30),
        ) {
            let whole = scan(&content);
            let mut by_pieces = HeaderScan::new(10_000);
            let mut rest = &content[..];
            for border in borders.into_iter().cycle() {
                let (piece, after) = rest.split_at(border.min(rest.len()));
                by_pieces.feed(piece).unwrap();
                rest = after;
                if rest.is_empty() { break }
            }
            let found = (by_pieces.received_count(), by_pieces.message_id().to_owned(), by_pieces.is_complete());
            prop_assert_eq!(found, whole);
        }
    }
}
