//! What was said between us and the hosts of an attempt, line by line, as far as it is kept. Not responsible for leaving
//! secrets out: whoever records does not record them.

use std::fmt::{self, Write as _};
use std::time::Duration;

/// The most that is kept of a transcript, in octets.
pub const MAX_TRANSCRIPT_OCTETS: usize = 4096;
/// Of that, so much of the beginning is kept whatever follows, to the end of its line.
const HEAD_OCTETS: usize = 1024;
/// What is cut out of the middle leaves so much of the end: cutting is rare then.
const TAIL_OCTETS: usize = 2048;
/// The most of a line's text, in octets.
const LINE_OCTETS: usize = 512;
/// A line's time and mark, and the sign of a cut text.
const LINE_ROOM_OCTETS: usize = LINE_OCTETS + 32;

/// The note where something was cut out.
const NOTE_OCTETS: usize = 64;

const _: () = assert!(
    HEAD_OCTETS + LINE_ROOM_OCTETS + NOTE_OCTETS + TAIL_OCTETS <= MAX_TRANSCRIPT_OCTETS,
    "what a cut leaves is within bounds"
);

/// Who has said a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// We, the client.
    Client,
    /// The remote host.
    Server,
    /// Nobody: it tells what happened.
    Note,
}

impl Speaker {
    /// The sign before what was said.
    #[must_use]
    pub const fn mark(self) -> char {
        match self {
            Self::Client => '>',
            Self::Server => '<',
            Self::Note => '*',
        }
    }

    /// The name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Note => "note",
        }
    }

    fn from_mark(mark: &str) -> Option<Self> {
        [Self::Client, Self::Server, Self::Note].into_iter().find(|one| mark.strip_prefix(one.mark()) == Some(""))
    }
}

/// A line of a transcript.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TranscriptLine<'a> {
    /// Since the connection, or the transaction on one that was open already, began.
    pub at: Duration,
    /// Who said it.
    pub by: Speaker,
    /// What, printable but for what a stranger's letters do.
    pub text: &'a str,
}

/// See the module. Bounded: where more is said than is kept, the beginning and the end remain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transcript {
    /// A line is its milliseconds, its mark and its text, with spaces between them and an LF at its end.
    text: String,
    /// Lines that were cut out of the middle.
    left_out: usize,
}

impl Transcript {
    /// Nothing was said.
    #[must_use]
    pub const fn new() -> Self {
        Self { text: String::new(), left_out: 0 }
    }

    /// Whether nothing was said.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Forgets what was said, not the room it took.
    pub fn clear(&mut self) {
        self.text.clear();
        self.left_out = 0;
    }

    /// Adds a line. What would end it, or is no text, is a space then; a long one is cut.
    pub fn add(&mut self, at: Duration, by: Speaker, text: fmt::Arguments<'_>) {
        // Writing to a String does not fail.
        let _ = write!(self.text, "{} {} ", at.as_millis(), by.mark());
        let start = self.text.len();
        let _ = self.text.write_fmt(text);
        if self.text.len() > start + LINE_OCTETS {
            self.text.truncate(self.text.floor_char_boundary(start + LINE_OCTETS));
            self.text.push_str(" …");
        }
        let line = self.text.get(start..).unwrap_or_default();
        if line.bytes().any(|octet| octet.is_ascii_control()) {
            let line = line.replace(|one: char| one.is_ascii_control(), " ");
            self.text.truncate(start);
            self.text.push_str(&line);
        }
        self.text.push('\n');
        self.keep_within_bounds();
    }

    /// What happened after this.
    pub fn append(&mut self, later: &Self) {
        self.text.push_str(&later.text);
        self.left_out += later.left_out;
        self.keep_within_bounds();
    }

    /// Its lines. What cannot be read as one is a note.
    pub fn lines(&self) -> impl Iterator<Item = TranscriptLine<'_>> {
        self.text.lines().map(|line| {
            let mut parts = line.splitn(3, ' ');
            let at = parts.next().and_then(|at| at.parse().ok()).map(Duration::from_millis);
            let by = parts.next().and_then(Speaker::from_mark);
            match (at, by, parts.next()) {
                (Some(at), Some(by), Some(text)) => TranscriptLine { at, by, text },
                _ => TranscriptLine { at: Duration::ZERO, by: Speaker::Note, text: line },
            }
        })
    }

    /// As it travels and is stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// From what has travelled or was stored: as much of it as is kept.
    #[must_use]
    pub fn from_text(text: String) -> Self {
        let mut transcript = Self { text, left_out: 0 };
        transcript.keep_within_bounds();
        transcript
    }

    fn keep_within_bounds(&mut self) {
        if self.text.len() > MAX_TRANSCRIPT_OCTETS {
            self.cut();
        }
    }

    /// Takes whole lines out of the middle.
    fn cut(&mut self) {
        let head = line_end(&self.text, HEAD_OCTETS);
        let tail = line_end(&self.text, self.text.len().saturating_sub(TAIL_OCTETS)).max(head);
        let middle = self.text.get(head..tail).unwrap_or_default();
        // The note of an earlier cut is the first line there.
        let earlier = usize::from(self.left_out > 0 && middle.ends_with('\n'));
        self.left_out += middle.lines().count().saturating_sub(earlier);
        let note = format!("0 * … {} lines are left out …\n", self.left_out);
        self.text.replace_range(head..tail, &note);
    }
}

/// The end of the line that has this octet; of one without end, that of the longest line there is.
fn line_end(text: &str, octet: usize) -> usize {
    let from = text.floor_char_boundary(octet);
    let rest = text.get(from..).unwrap_or_default();
    let end = rest.find('\n').map_or(text.len(), |offset| from + offset + 1);
    // What others have written may be one line.
    end.min(text.floor_char_boundary(octet.saturating_add(LINE_ROOM_OCTETS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(at: u64) -> Duration {
        Duration::from_millis(at)
    }

    #[test]
    fn lines_come_out_as_they_went_in() {
        let mut transcript = Transcript::new();
        transcript.add(ms(0), Speaker::Server, format_args!("220 mx.example.net"));
        transcript.add(ms(12), Speaker::Client, format_args!("EHLO {}", "mail.example.org"));
        transcript.add(ms(250_000), Speaker::Note, format_args!("connection lost\r\nby the {}[2Jremote", "\u{1b}"));
        let lines: Vec<_> = transcript.lines().collect();
        let expected = [
            TranscriptLine { at: ms(0), by: Speaker::Server, text: "220 mx.example.net" },
            TranscriptLine { at: ms(12), by: Speaker::Client, text: "EHLO mail.example.org" },
            TranscriptLine { at: ms(250_000), by: Speaker::Note, text: "connection lost  by the  [2Jremote" },
        ];
        assert_eq!(lines, expected);
        assert_eq!(Transcript::from_text(transcript.as_str().to_owned()), transcript);
    }

    #[test]
    fn what_is_no_line_is_shown_as_it_is() {
        for text in ["hello", "12 ? x", "-1 > x", "1 >", ""] {
            let transcript = Transcript::from_text(text.to_owned());
            let found: Vec<_> = transcript.lines().map(|line| (line.by, line.text)).collect();
            let expected: &[_] = if text.is_empty() { &[] } else { &[(Speaker::Note, text)] };
            assert_eq!(found, expected, "{text:?}");
        }
    }

    #[test]
    fn a_long_line_and_many_lines_leave_the_beginning_and_the_end() {
        let mut transcript = Transcript::new();
        transcript.add(ms(1), Speaker::Server, format_args!("220 first"));
        for count in 0..10_000_u32 {
            transcript.add(ms(2), Speaker::Client, format_args!("RCPT TO:<{count}@example.com>"));
            assert!(transcript.as_str().len() <= MAX_TRANSCRIPT_OCTETS);
        }
        transcript.add(ms(3), Speaker::Server, format_args!("{}", "550 ü".repeat(1000)));
        let lines: Vec<_> = transcript.lines().collect();
        assert_eq!(lines[0].text, "220 first");
        assert_eq!(lines[1].text, "RCPT TO:<0@example.com>");
        let last = lines.last().unwrap().text;
        assert!(last.starts_with("550 ü550") && last.ends_with(" …") && last.len() < LINE_OCTETS + 5, "{last}");
        assert_eq!(lines[lines.len() - 2].text, "RCPT TO:<9999@example.com>");
        let cut = lines.iter().find(|line| line.text.contains("left out")).expect("it says so");
        let shown = lines.len() - 3;
        assert_eq!(cut.text, format!("… {} lines are left out …", 10_000 - shown), "every line is shown or counted");
    }

    #[test]
    fn whatever_was_stored_is_bounded() {
        for text in ["x".repeat(100_000), "ü".repeat(50_000), "1 > x\n".repeat(50_000), "\n".repeat(50_000)] {
            let transcript = Transcript::from_text(text);
            assert!(transcript.as_str().len() <= MAX_TRANSCRIPT_OCTETS, "{}", transcript.as_str().len());
            let _ = transcript.lines().count();
        }
    }

    #[test]
    fn one_after_the_other() {
        let (mut one, mut two) = (Transcript::new(), Transcript::new());
        for count in 0..200_u32 {
            one.add(ms(1), Speaker::Note, format_args!("one {count}"));
            two.add(ms(1), Speaker::Note, format_args!("two {count}"));
        }
        one.append(&two);
        assert!(one.as_str().len() <= MAX_TRANSCRIPT_OCTETS);
        assert_eq!(one.lines().next().unwrap().text, "one 0");
        assert_eq!(one.lines().last().unwrap().text, "two 199");
    }
}
