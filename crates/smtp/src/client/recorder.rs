//! What is said on a connection, for its transcript. Not responsible for keeping it: whoever drives the session takes it.
//!
//! Invariant: what a login says, and what it is asked, is not in it.

use std::fmt;
use std::time::{Duration, Instant};

use mailtier_types::{Reply, Speaker, Transcript};

/// In the place of what a login says.
pub(super) const SECRET: &str = "[not shown]";

/// See the module.
#[derive(Debug)]
pub(super) struct Recorder {
    /// Nothing is recorded otherwise.
    is_on: bool,
    transcript: Transcript,
    /// When the connection, or the transaction on one that was open, began.
    began_at: Instant,
    /// The latest time that is known.
    now: Instant,
}

impl Recorder {
    pub(super) const fn new(is_on: bool, now: Instant) -> Self {
        Self { is_on, transcript: Transcript::new(), began_at: now, now }
    }

    /// Forgets what was recorded.
    pub(super) fn restart(&mut self, now: Instant) {
        self.transcript.clear();
        (self.began_at, self.now) = (now, now);
    }

    pub(super) fn take(&mut self) -> Transcript {
        std::mem::take(&mut self.transcript)
    }

    /// The time goes on.
    pub(super) const fn tick(&mut self, now: Instant) {
        self.now = now;
    }

    /// Commands as they were written: lines, each with its end.
    pub(super) fn commands(&mut self, wire: &[u8]) {
        if self.is_on {
            for line in String::from_utf8_lossy(wire).lines() {
                self.add(Speaker::Client, format_args!("{line}"));
            }
        }
    }

    pub(super) fn command(&mut self, text: fmt::Arguments<'_>) {
        self.add(Speaker::Client, text);
    }

    /// A reply, as close to what was sent as is known.
    pub(super) fn reply(&mut self, reply: &Reply) {
        if !self.is_on {
            return;
        }
        let mut lines = reply.text.split('\n').peekable();
        while let Some(line) = lines.next() {
            let border = if lines.peek().is_some() { '-' } else { ' ' };
            match reply.enhanced {
                Some(enhanced) => self.add(Speaker::Server, format_args!("{}{border}{enhanced} {line}", reply.code)),
                None => self.add(Speaker::Server, format_args!("{}{border}{line}", reply.code)),
            }
        }
    }

    /// A reply that asks a login something.
    pub(super) fn challenge(&mut self) {
        self.add(Speaker::Server, format_args!("334 {SECRET}"));
    }

    pub(super) fn note(&mut self, text: fmt::Arguments<'_>) {
        self.add(Speaker::Note, text);
    }

    fn add(&mut self, by: Speaker, text: fmt::Arguments<'_>) {
        if self.is_on {
            self.transcript.add(self.elapsed(), by, text);
        }
    }

    fn elapsed(&self) -> Duration {
        self.now.saturating_duration_since(self.began_at)
    }
}
