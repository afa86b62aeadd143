//! The content of a message as it comes off the wire: where it ends, dots, and what must not be in it. Not responsible
//! for what the content says.
//!
//! After DATA, content ends with `CRLF.CRLF` and with nothing that resembles it. SMTP smuggling lives on servers that
//! disagree about that, so the scanner knows one line end only, whatever is done about others. After BDAT, content ends
//! where its length says, and a dot means nothing.

use bytes::{Buf, Bytes, BytesMut};
use mailtier_types::Reply;
use mailtier_types::reply;
use memchr::memchr3;

use super::config::LinePolicy;
use super::normalize::Normalizer;

/// Why content is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A CR or LF on its own (RFC 5321 §2.3.8).
    BareLineEnd,
    /// A null octet (RFC 5321 §4.5.2, RFC 5322 §4).
    NullOctet,
    /// A line beyond [`super::ServerLimits::content_line_octets`].
    LineTooLong,
    /// More octets than SIZE offered (RFC 1870 §6.3).
    TooBig,
}

impl Fault {
    pub(super) const fn reply(self) -> Reply {
        match self {
            Self::BareLineEnd => reply::BARE_LINE_END_IN_CONTENT,
            Self::NullOctet => reply::NUL_IN_CONTENT,
            Self::LineTooLong => reply::CONTENT_LINE_TOO_LONG,
            Self::TooBig => reply::MESSAGE_TOO_BIG,
        }
    }
}

/// What the input turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Content, dots taken off.
    Chunk(Bytes),
    /// The first fault. From now on content is swallowed.
    Faulted,
    /// So much was swallowed that the end is not waited for.
    Flooded(Fault),
    /// Nothing more can be said without more input.
    NeedInput,
    /// The end of data was taken off the input.
    End,
}

/// Where in a line the next octet stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// After CRLF, or at the very beginning: the CRLF of the DATA command counts (RFC 5321 §4.1.1.4).
    LineStart,
    /// After a dot at the start of a line, which was taken off.
    Dot,
    /// After a dot and CR at the start of a line; both were taken off.
    DotCr,
    /// Within a line.
    Line,
    /// After a CR.
    Cr,
}

/// What is read of refused content at least, whatever the limit of size, in octets.
const LEAST_SWALLOWED_BYTES: u64 = 1024 * 1024;

/// What lines must be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lines {
    /// RFC 5321's, or the content is refused or repaired.
    Text(LinePolicy),
    /// Anything: there are none (RFC 3030 §3).
    Binary,
}

/// Looks for the end of data and for what is wrong with it.
#[derive(Debug)]
pub(super) struct Content {
    place: Place,
    fault: Option<Fault>,
    size_bytes: u64,
    /// Octets since the fault.
    swallowed_bytes: u64,
    line_octets: usize,
    max_bytes: u64,
    max_line_octets: usize,
    /// Bad lines are refused.
    strict: bool,
    /// A dot at the start of a line means something.
    dotted: bool,
    normalizer: Option<Normalizer>,
}

impl Content {
    /// For DATA.
    pub(super) fn dotted(policy: LinePolicy, max_bytes: u64, max_line_octets: usize) -> Self {
        Self { dotted: true, ..Self::counted(Lines::Text(policy), max_bytes, max_line_octets) }
    }

    /// For BDAT.
    pub(super) fn counted(lines: Lines, max_bytes: u64, max_line_octets: usize) -> Self {
        let normalizer = (lines == Lines::Text(LinePolicy::Normalize)).then(|| Normalizer::new(max_line_octets));
        Self {
            place: Place::LineStart,
            fault: None,
            size_bytes: 0,
            swallowed_bytes: 0,
            line_octets: 0,
            max_bytes,
            max_line_octets,
            strict: lines == Lines::Text(LinePolicy::Strict),
            dotted: false,
            normalizer,
        }
    }

    /// What is wrong with the content seen so far.
    pub(super) const fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Octets of content so far, as they were sent; meaningful while there is no fault.
    pub(super) const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Takes content after DATA off the input.
    pub(super) fn step(&mut self, input: &mut BytesMut) -> Step {
        let was_clean = self.fault.is_none();
        loop {
            match self.fault {
                Some(_) if was_clean => return Step::Faulted,
                Some(fault) if self.is_flood() => return Step::Flooded(fault),
                _ => {}
            }
            let Some(first) = input.first().copied() else { return Step::NeedInput };
            match (self.place, first) {
                (Place::LineStart, b'.') => {
                    self.place = Place::Dot;
                    input.advance(1);
                }
                (Place::Dot, b'\r') => {
                    self.place = Place::DotCr;
                    input.advance(1);
                }
                (Place::DotCr, b'\n') => {
                    input.advance(1);
                    return Step::End;
                }
                // RFC 5321 §4.5.2: the first of further octets after a leading dot begins the line.
                (Place::Dot, _) => self.place = Place::Line,
                (Place::DotCr, _) => {
                    self.fail(Fault::BareLineEnd);
                    self.place = Place::Line;
                    // Repaired content keeps the CR that was taken for the beginning of the end, for the next piece.
                    if let Some(normalizer) = &mut self.normalizer {
                        normalizer.push(b"\r");
                    }
                }
                (Place::LineStart | Place::Line | Place::Cr, _) => {
                    if let Some(chunk) = self.take(input, usize::MAX).filter(|chunk| !chunk.is_empty()) {
                        return Step::Chunk(chunk);
                    }
                }
            }
        }
    }

    /// Takes at most so many octets of a BDAT chunk off the input, and says how many. With a fault they are swallowed;
    /// the first one is [`Step::Faulted`].
    pub(super) fn step_counted(&mut self, input: &mut BytesMut, at_most: u64) -> (Step, u64) {
        if input.is_empty() {
            return (Step::NeedInput, 0);
        }
        let before = input.len();
        let was_clean = self.fault.is_none();
        let chunk = self.take(input, usize::try_from(at_most).unwrap_or(usize::MAX));
        let taken = (before - input.len()) as u64;
        match chunk {
            Some(chunk) => (Step::Chunk(chunk), taken),
            None => match self.fault {
                Some(_) if was_clean => (Step::Faulted, taken),
                Some(fault) if self.is_flood() => (Step::Flooded(fault), taken),
                _ => (Step::Chunk(Bytes::new()), taken),
            },
        }
    }

    /// The last chunk is over: what its end leaves to say. A CR at the very end is on its own.
    pub(super) fn finish(&mut self) -> Option<Bytes> {
        if self.place == Place::Cr {
            self.fail(Fault::BareLineEnd);
        }
        let rest = self.normalizer.as_mut().map(Normalizer::finish)?;
        (!rest.is_empty()).then_some(rest)
    }

    /// Goes over input up to a dot that means something. Nothing where it is not content or is refused.
    fn take(&mut self, input: &mut BytesMut, at_most: usize) -> Option<Bytes> {
        let within = input.get(..at_most).unwrap_or(input);
        let octets = self.scan(self.within_size(within));
        self.count(octets);
        if self.fault.is_some() {
            self.swallowed_bytes = self.swallowed_bytes.saturating_add(octets as u64);
            input.advance(octets);
            return None;
        }
        let chunk = input.split_to(octets).freeze();
        Some(self.repaired(chunk))
    }

    /// A client that does not know what its message is refused for sends it to the end, and once more as much as is
    /// taken of any message is heard of it.
    const fn is_flood(&self) -> bool {
        self.swallowed_bytes > self.max_bytes.saturating_add(LEAST_SWALLOWED_BYTES)
    }

    fn repaired(&mut self, chunk: Bytes) -> Bytes {
        match &mut self.normalizer {
            Some(normalizer) => normalizer.push(&chunk),
            None => chunk,
        }
    }

    /// Goes over lines up to the end of `buffer` or a dot at the start of a line, and says how many octets that are.
    fn scan(&mut self, buffer: &[u8]) -> usize {
        let mut at = 0;
        while let Some((&first, rest)) = buffer.get(at..).and_then(<[u8]>::split_first) {
            match (self.place, first) {
                (Place::LineStart, b'.') if self.dotted => return at,
                (Place::Cr, b'\n') => {
                    at += 1;
                    self.end_line();
                }
                (Place::Cr, _) => {
                    self.fail(Fault::BareLineEnd);
                    self.place = Place::Line;
                }
                _ => {
                    self.place = Place::Line;
                    at += self.scan_line(first, rest);
                }
            }
        }
        at
    }

    /// Goes on to the next octet that means something, and says how many octets that are.
    fn scan_line(&mut self, first: u8, rest: &[u8]) -> usize {
        let found = match first {
            b'\r' | b'\n' | 0 => Some((0, first)),
            _ => memchr3(b'\r', b'\n', 0, rest).map(|at| (at + 1, rest.get(at).copied().unwrap_or_default())),
        };
        let octets = found.map_or(rest.len() + 1, |(at, _)| at + 1);
        self.line_octets = self.line_octets.saturating_add(octets);
        if self.line_octets - usize::from(found.is_some()) > self.max_line_octets {
            self.fail(Fault::LineTooLong);
        }
        match found {
            Some((_, b'\r')) => self.place = Place::Cr,
            Some((_, b'\n')) => self.fail(Fault::BareLineEnd),
            Some(_) => self.fail(Fault::NullOctet),
            None => {}
        }
        octets
    }

    fn end_line(&mut self) {
        if self.line_octets >= self.max_line_octets {
            self.fail(Fault::LineTooLong);
        }
        self.line_octets = 0;
        self.place = Place::LineStart;
    }

    /// The input up to the first octet beyond the size limit, so that what is found first does not depend on how much
    /// was read at a time.
    fn within_size<'a>(&self, input: &'a [u8]) -> &'a [u8] {
        if self.fault.is_some() {
            return input;
        }
        let room = self.max_bytes.saturating_sub(self.size_bytes).saturating_add(1);
        usize::try_from(room).ok().and_then(|room| input.get(..room)).unwrap_or(input)
    }

    fn count(&mut self, octets: usize) {
        self.size_bytes = self.size_bytes.saturating_add(octets as u64);
        if self.size_bytes > self.max_bytes {
            self.fault.get_or_insert(Fault::TooBig);
        }
    }

    /// The first fault is the one that is reported; content that is to be repaired, or has no lines, has none.
    fn fail(&mut self, fault: Fault) {
        if self.strict {
            self.fault.get_or_insert(fault);
        }
    }
}
