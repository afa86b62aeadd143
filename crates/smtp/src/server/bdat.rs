//! BDAT: content in counted chunks (RFC 3030 §2). Not responsible for what is in them.

use bytes::Buf as _;
use mailtier_types::{Reply, reply};

use super::action::BodyType;
use super::config::Protocol;
use super::content::{Content, Fault, Lines, Step};
use super::extension::Extension;
use super::session::{Asked, Phase};
use super::{Question, ServerAction, ServerSession, Verdict};

/// A chunk that is being taken off the input.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Octets still to come.
    remaining: u64,
    last: bool,
    /// What is said at its end; till then it is swallowed, since what it holds are not commands.
    refusal: Option<Reply>,
    /// How many recipients are told so.
    recipients: usize,
    /// Octets swallowed without being looked at.
    swallowed_bytes: u64,
}

/// Digits a chunk's size can have.
const MAX_DIGITS: usize = 20;

impl ServerSession {
    /// `BDAT chunk-size [LAST]`; `admitted` is what the sequence of commands has to say.
    pub(super) fn bdat(&mut self, arguments: &str, admitted: Result<(), Reply>) {
        if !self.offers(Extension::Chunking) {
            return self.close_with(reply::NOT_IMPLEMENTED);
        }
        // Without its size nobody knows where the chunk ends: what follows cannot be told from commands.
        let Some((remaining, last)) = parse(arguments) else { return self.close_with(reply::SYNTAX) };
        if remaining == 0 && !last && self.junk_ends_session() {
            return;
        }
        self.at_once = last;
        let is_first = self.transaction.as_ref().is_some_and(|transaction| transaction.content.is_none());
        let ask = admitted.is_ok() && is_first;
        let refusal = admitted.err();
        self.phase = Phase::Chunk(Chunk { remaining, last, refusal, recipients: 1, swallowed_bytes: 0 });
        self.renew_deadline();
        if ask {
            self.ask(Question::Data, Asked::Chunk);
        }
    }

    /// Whether the message's first chunk is welcome.
    pub(super) fn chunk_answered(&mut self, verdict: Verdict) {
        let Phase::Chunk(chunk) = &mut self.phase else { return };
        match verdict {
            Verdict::Accept | Verdict::AcceptWith(_) | Verdict::Become { .. } | Verdict::Challenge(_) => {
                let config = &self.config;
                if let Some(transaction) = &mut self.transaction {
                    let binary = transaction.body == BodyType::Binary;
                    let lines = if binary { Lines::Binary } else { Lines::Text(config.lines) };
                    let limits = &config.limits;
                    let content = Content::counted(lines, config.max_message_bytes, limits.content_line_octets);
                    transaction.content = Some(content);
                }
            }
            Verdict::Reject(reply) => {
                chunk.refusal = Some(reply);
                // RFC 2033 §4.3: the last chunk is answered as the end of data is.
                if chunk.last
                    && self.config.protocol == Protocol::Lmtp
                    && let Some(transaction) = &self.transaction
                {
                    chunk.recipients = transaction.recipients;
                }
                // RFC 3030 §2: after a refusal the transaction cannot go on.
                self.abandon();
            }
            Verdict::RejectAndClose(reply) => self.close_with(reply),
        }
    }

    /// The next piece of the chunk, or its end, or the action when there is none.
    pub(super) fn poll_chunk(&mut self) -> Option<ServerAction> {
        let Phase::Chunk(chunk) = &mut self.phase else { return None };
        if chunk.remaining == 0 {
            let (last, recipients, refusal) = (chunk.last, chunk.recipients, chunk.refusal.take());
            self.phase = Phase::Commands;
            self.renew_deadline();
            if let Some(refusal) = refusal {
                self.say_for_others(&refusal, recipients);
                self.refuse_or_excuse(refusal);
                return None;
            }
            return self.chunk_ended(last);
        }
        let content = self.transaction.as_mut().and_then(|transaction| transaction.content.as_mut());
        let (step, octets) = match content {
            Some(content) => content.step_counted(&mut self.input, chunk.remaining),
            None if self.input.is_empty() => (Step::NeedInput, 0),
            None => {
                let octets = (self.input.len() as u64).min(chunk.remaining);
                self.input.advance(usize::try_from(octets).unwrap_or(usize::MAX));
                chunk.swallowed_bytes = chunk.swallowed_bytes.saturating_add(octets);
                let is_flood = chunk.swallowed_bytes > self.config.max_message_bytes;
                (if is_flood { Step::Flooded(Fault::TooBig) } else { Step::End }, octets)
            }
        };
        chunk.remaining -= octets;
        match step {
            Step::Chunk(piece) if !piece.is_empty() => Some(ServerAction::Body(piece)),
            Step::Faulted => Some(ServerAction::Reset),
            Step::NeedInput => Some(self.out_of_input()),
            Step::Flooded(fault) => {
                self.close_with(fault.reply());
                None
            }
            Step::Chunk(_) | Step::End => None,
        }
    }

    /// What is said after a chunk. The action is content that only its end made known.
    fn chunk_ended(&mut self, last: bool) -> Option<ServerAction> {
        let content = self.transaction.as_mut().and_then(|transaction| transaction.content.as_mut())?;
        if !last && content.fault().is_none() {
            self.say(&reply::CHUNK_TAKEN);
            return None;
        }
        let was_clean = content.fault().is_none();
        let rest = content.finish();
        let (fault, size_bytes) = (content.fault(), content.size_bytes());
        let found_at_end = was_clean && fault.is_some();
        match fault {
            Some(fault) if !last => self.refuse_chunk(fault),
            fault => self.end_of_data(fault, size_bytes),
        }
        if found_at_end {
            return Some(ServerAction::Reset);
        }
        rest.map(ServerAction::Body)
    }

    /// RFC 3030 §2: a chunk was refused, and with it the message.
    fn refuse_chunk(&mut self, fault: Fault) {
        self.transaction = None;
        self.refuse(fault.reply());
        self.excuse_what_follows();
    }
}

fn parse(arguments: &str) -> Option<(u64, bool)> {
    let (size, rest) = arguments.split_once(' ').unwrap_or((arguments, ""));
    let is_number = !size.is_empty() && size.len() <= MAX_DIGITS && size.bytes().all(|octet| octet.is_ascii_digit());
    let last = match rest.trim_start_matches(' ') {
        "" => false,
        word if word.eq_ignore_ascii_case("LAST") => true,
        _ => return None,
    };
    if is_number { size.parse().ok().map(|size| (size, last)) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_the_last() {
        for (text, parsed) in [
            ("0", Some((0, false))),
            ("10 last", Some((10, true))),
            ("10  LAST", Some((10, true))),
            ("18446744073709551615", Some((u64::MAX, false))),
            ("18446744073709551616", None),
            ("", None),
            ("-1", None),
            ("10 LAST LAST", None),
            ("10LAST", None),
            ("0x10", None),
        ] {
            assert_eq!(parse(text), parsed, "{text}");
        }
    }
}
