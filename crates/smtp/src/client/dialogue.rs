//! What each reply leads to, by where the session stands. Not responsible for replies within an envelope: those are the
//! exchange's.

use std::sync::Arc;
use std::time::Instant;

use mailtier_types::{Cause, Reply, Stage};

use super::Capabilities;
use super::body::BodyEncoder;
use super::exchange::{Exchange, Progress};
use super::recorder::SECRET;
use super::session::{ClientSession, Phase};

/// What is kept of a reply's text, in octets.
const MAX_KEPT_TEXT_OCTETS: usize = 2048;

impl ClientSession {
    pub(super) fn handle_reply(&mut self, reply: Reply, now: Instant) {
        let reply = match &self.login {
            Some(login) if reply.code != 334 => login.without_secrets(reply),
            _ => reply,
        };
        match self.phase {
            Phase::Login if reply.code == 334 => self.recorder.challenge(),
            _ => self.recorder.reply(&reply),
        }
        match self.phase {
            Phase::Banner => self.handle_banner(reply, now),
            Phase::Ehlo => self.handle_ehlo(reply, now),
            Phase::Helo if reply.is_positive() => self.become_ready(),
            Phase::StartTls if reply.code == 220 => self.phase = Phase::Handshake,
            Phase::StartTls if reply.is_positive() => {
                self.fail_protocol("the remote answered STARTTLS with another 2xx")
            }
            Phase::Helo | Phase::StartTls => self.fail_by(reply),
            Phase::Login => self.handle_login_reply(reply, now),
            Phase::Envelope => self.handle_envelope_reply(reply, now),
            Phase::Body if self.exchange.as_ref().is_some_and(Exchange::is_waiting) => {
                self.handle_envelope_reply(reply, now);
            }
            Phase::Body => self.handle_early_reply(reply),
            // The dot is the last octet that is written: while anything waits, nothing can be a reply to it.
            Phase::Final | Phase::FinalOfNothing if !self.output().is_empty() => self.handle_early_reply(reply),
            Phase::Final => self.handle_final_reply(reply),
            Phase::FinalOfNothing if reply.code == 421 => self.fail_by(reply),
            Phase::FinalOfNothing => self.finish(),
            Phase::Ready if reply.code == 421 => self.fail_by(reply),
            Phase::Ready | Phase::Challenged => self.fail_protocol("the remote sent a reply that nothing asked for"),
            Phase::Handshake => self.fail_protocol("the remote sent plaintext after its reply to STARTTLS"),
            Phase::Quit | Phase::Closed => self.close(),
        }
    }

    /// RFC 5321 §3.1, §4.3.1: 220 is the only positive greeting.
    fn handle_banner(&mut self, reply: Reply, now: Instant) {
        if reply.code == 220 {
            self.send_hello(self.config.hello(), Phase::Ehlo, now);
        } else if reply.is_positive() || reply.is_intermediate() {
            self.fail_protocol("the remote greeted with something else than 220");
        } else {
            self.fail_by(reply);
        }
    }

    fn handle_ehlo(&mut self, reply: Reply, now: Instant) {
        if reply.is_positive() {
            self.capabilities = Capabilities::parse(&reply.text);
            self.become_ready();
        } else if reply.is_permanent() && !self.config.lmtp {
            // RFC 5321 §3.2: a server that does not know EHLO is told HELO.
            self.send_hello("HELO", Phase::Helo, now);
        } else {
            self.fail_by(reply);
        }
    }

    fn handle_envelope_reply(&mut self, reply: Reply, now: Instant) {
        // RFC 5321 §3.8: 421 announces at any moment that the connection closes.
        if reply.code == 421 {
            return self.fail_by(reply);
        }
        let stage = self.stage();
        if stage == Stage::Final && (self.phase == Phase::Body || !self.output().is_empty()) {
            return self.handle_early_reply(reply);
        }
        let Some(exchange) = self.exchange.as_mut() else { return };
        match exchange.take_reply(bounded(reply)) {
            Progress::Continues => {
                if !exchange.is_waiting() {
                    self.write_commands();
                }
                self.expect_reply(now);
            }
            Progress::Content => {
                self.phase = Phase::Body;
                self.encoder = BodyEncoder::new();
                self.expect_reply(now);
            }
            Progress::NoContent => self.end_data(Phase::FinalOfNothing, now),
            Progress::Over => self.finish(),
            Progress::OutOfStep(text) => self.fail_out_of_step(stage, text),
        }
    }

    /// A reply before the end of data can only be bad news.
    fn handle_early_reply(&mut self, reply: Reply) {
        if reply.is_positive() || reply.is_intermediate() {
            self.fail_protocol("the remote replied before the end of data");
        } else {
            self.fail_by(reply);
        }
    }

    fn handle_final_reply(&mut self, reply: Reply) {
        if reply.code == 421 {
            self.fail_by(reply);
        } else if reply.is_intermediate() {
            self.fail_protocol("the remote answered the end of data with 3xx");
        } else {
            let Some(exchange) = self.exchange.as_mut() else { return };
            if !reply.is_positive() {
                exchange.note_refusal();
            }
            if exchange.take_final_reply(&Cause::Reply(bounded(reply)), self.config.lmtp) {
                self.finish();
            }
        }
    }

    pub(super) fn send_hello(&mut self, verb: &str, phase: Phase, now: Instant) {
        let config = Arc::clone(&self.config);
        self.send_command(verb, Some(&config.ehlo_name), phase, now);
    }

    /// What a login answers, which is nobody else's business.
    pub(super) fn send_answer(&mut self, line: &str, now: Instant) {
        self.output.extend_from_slice(line.as_bytes());
        self.output.extend_from_slice(b"\r\n");
        self.phase = Phase::Login;
        self.recorder.tick(now);
        self.recorder.command(format_args!("{SECRET}"));
        self.expect_reply(now);
    }

    pub(super) fn send_command(&mut self, verb: &str, argument: Option<&str>, phase: Phase, now: Instant) {
        let before = self.output.len();
        self.output.extend_from_slice(verb.as_bytes());
        if let Some(argument) = argument {
            self.output.push(b' ');
            self.output.extend(argument.bytes().filter(u8::is_ascii_graphic));
        }
        self.output.extend_from_slice(b"\r\n");
        self.phase = phase;
        self.recorder.tick(now);
        match (phase, argument) {
            (Phase::Login, Some(_)) => self.recorder.command(format_args!("{verb} {SECRET}")),
            _ => self.recorder.commands(self.output.get(before..).unwrap_or_default()),
        }
        self.expect_reply(now);
    }
}

/// A reply with as much of its text as is worth keeping: it goes into events, DSNs and logs.
pub(super) fn bounded(mut reply: Reply) -> Reply {
    if reply.text.len() > MAX_KEPT_TEXT_OCTETS {
        let text = reply.text.to_mut();
        text.truncate(text.floor_char_boundary(MAX_KEPT_TEXT_OCTETS));
    }
    reply
}
