//! The state of one client session and its transitions. Not responsible for sockets or clocks, nor for what happens
//! between MAIL and DATA: that is an exchange.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mailtier_types::{Cause, Reply, Stage, Transcript, TroubleKind};

use super::body::BodyEncoder;
use super::dialogue::bounded;
use super::exchange::{Exchange, trouble};
use super::login::Login;
use super::recorder::Recorder;
use super::reply_reader::ReplyReader;
use super::{Capabilities, ClientConfig, SessionFailure, Transaction, TransactionReport};
use crate::TlsInfo;

/// An output buffer larger than this is given back when it is empty, in octets.
const KEPT_OUTPUT_OCTETS: usize = 1024;

/// What the commands of a common transaction take, in octets.
const GROUP_OCTETS: usize = 256;

/// What the driver does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAction {
    /// Write [`ClientSession::output`], then say [`ClientSession::sent`]. Input may be given meanwhile.
    Send,
    /// Wait for input or [`ClientSession::next_timeout`].
    NeedInput,
    /// A transaction, STARTTLS or QUIT may begin.
    Ready,
    /// Give the content with [`ClientSession::body`] and [`ClientSession::end_of_body`]. Several pieces may be given
    /// before output is written, and input may be given between them.
    NeedBody,
    /// Do the TLS handshake, then say [`ClientSession::handle_tls`].
    UpgradeTls,
    /// The remote wants to be answered this, with [`ClientSession::answer`].
    Challenge(Vec<u8>),
    /// The transaction is over.
    Finished(TransactionReport),
    /// The session is over, and no transaction was under way.
    Failed(SessionFailure),
    /// Close the connection.
    Closed,
}

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The greeting is awaited.
    Banner,
    /// The reply to EHLO is awaited.
    Ehlo,
    /// The reply to HELO is awaited.
    Helo,
    /// Nothing is under way.
    Ready,
    /// The reply to STARTTLS is awaited.
    StartTls,
    /// The driver does the handshake.
    Handshake,
    /// The reply to AUTH, or to an answer of ours, is awaited.
    Login,
    /// The driver is to answer a challenge.
    Challenged,
    /// Replies to MAIL, RCPT and DATA are awaited.
    Envelope,
    /// The driver gives the content.
    Body,
    /// The reply to the end of data is awaited.
    Final,
    /// As `Final`, where only a dot was sent because nobody was left to receive anything.
    FinalOfNothing,
    /// The reply to QUIT is awaited.
    Quit,
    /// Over.
    Closed,
}

/// One SMTP connection, seen from the client.
pub struct ClientSession {
    pub(super) config: Arc<ClientConfig>,
    pub(super) phase: Phase,
    pub(super) capabilities: Capabilities,
    tls: Option<TlsInfo>,
    reader: ReplyReader,
    /// To be written, from `written` on.
    pub(super) output: Vec<u8>,
    written: usize,
    pub(super) encoder: BodyEncoder,
    pub(super) exchange: Option<Exchange>,
    pub(super) login: Option<Login>,
    pub(super) logged_in: bool,
    /// The last transaction was left open, and RSET must come before the next (RFC 5321 §4.1.1.5).
    reset_first: bool,
    /// For the reply or the progress that is awaited.
    deadline: Option<Instant>,
    /// For the transaction as a whole.
    transaction_deadline: Option<Instant>,
    /// Octets of the content that were given.
    content_octets: u64,
    pub(super) recorder: Recorder,
    /// Something to be told once.
    pub(super) event: Option<ClientAction>,
}

/// What is said is not shown: passwords are among it.
impl fmt::Debug for ClientSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSession").field("phase", &self.phase).finish_non_exhaustive()
    }
}

impl ClientSession {
    /// A session on a connection that was just opened: it waits for the greeting (RFC 5321 §3.1).
    #[must_use]
    pub fn new(config: Arc<ClientConfig>, now: Instant) -> Self {
        let deadline = now.checked_add(config.timeouts.banner);
        let recorder = Recorder::new(config.keeps_transcript, now);
        Self {
            config,
            phase: Phase::Banner,
            capabilities: Capabilities::default(),
            tls: None,
            reader: ReplyReader::default(),
            output: Vec::new(),
            written: 0,
            encoder: BodyEncoder::new(),
            exchange: None,
            login: None,
            logged_in: false,
            reset_first: false,
            deadline,
            transaction_deadline: None,
            content_octets: 0,
            recorder,
            event: None,
        }
    }

    /// What to do next.
    pub fn poll(&mut self) -> ClientAction {
        if let Some(event) = self.event.take() {
            return event;
        }
        match self.phase {
            Phase::Closed => ClientAction::Closed,
            _ if !self.output().is_empty() => ClientAction::Send,
            Phase::Ready => ClientAction::Ready,
            Phase::Body => ClientAction::NeedBody,
            Phase::Handshake => ClientAction::UpgradeTls,
            _ => ClientAction::NeedInput,
        }
    }

    /// What is to be written.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        self.output.get(self.written..).unwrap_or_default()
    }

    /// So many octets of the output were written.
    pub fn sent(&mut self, octets: usize, now: Instant) {
        self.written = self.written.saturating_add(octets).min(self.output.len());
        if self.written == self.output.len() {
            self.clear_output();
        }
        // The time for a reply begins when its command is out; while much is sent, progress is what counts.
        self.expect_reply(now);
    }

    /// What the remote offers. After HELO, and before any EHLO, nothing.
    #[must_use]
    pub const fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The facts of TLS, where it is active.
    #[must_use]
    pub const fn tls(&self) -> Option<&TlsInfo> {
        self.tls.as_ref()
    }

    /// When [`Self::handle_timeout`] wants to be called.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.deadline.into_iter().chain(self.transaction_deadline).min()
    }

    /// Ends what has waited too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.recorder.tick(now);
        if self.next_timeout().is_some_and(|deadline| deadline <= now) {
            self.break_off(TroubleKind::Timeout, "timed out");
        }
    }

    /// The remote closed its side, or the connection broke.
    pub fn handle_eof(&mut self, now: Instant) {
        self.recorder.tick(now);
        self.break_off(TroubleKind::Closed, "connection lost");
    }

    /// Octets from the remote.
    pub fn handle_input(&mut self, data: &[u8], now: Instant) {
        if self.phase == Phase::Closed || data.is_empty() {
            return;
        }
        self.recorder.tick(now);
        self.reader.push(data);
        while self.phase != Phase::Closed {
            match self.reader.next() {
                Ok(Some(reply)) => self.handle_reply(reply, now),
                Ok(None) => break,
                Err(error) => self.fail_protocol(error.to_string()),
            }
        }
        // RFC 3207 §4.2 has nothing between the 220 and the handshake: what came there was injected.
        if self.phase == Phase::Handshake && self.reader.has_leftover() {
            self.fail_protocol("the remote sent plaintext after its reply to STARTTLS");
        }
    }

    /// STARTTLS, where [`Capabilities::starttls`] is offered and the session is ready (RFC 3207 §4).
    pub fn start_tls(&mut self, now: Instant) {
        if self.phase == Phase::Ready {
            self.send_command("STARTTLS", None, Phase::StartTls, now);
        }
    }

    /// The handshake is done. After STARTTLS everything learnt before is forgotten, and EHLO is said again (RFC 3207 §4.2);
    /// where the connection begins in TLS the greeting comes after it (RFC 8314 §3.3).
    pub fn handle_tls(&mut self, info: TlsInfo, now: Instant) {
        if !matches!(self.phase, Phase::Banner | Phase::Handshake) {
            return;
        }
        self.recorder.tick(now);
        self.recorder.note(format_args!("TLS: {} {}", info.version, info.cipher));
        self.tls = Some(info);
        if self.phase == Phase::Handshake {
            self.capabilities = Capabilities::default();
            self.logged_in = false;
            self.reader = ReplyReader::default();
            self.send_hello(self.config.hello(), Phase::Ehlo, now);
        }
    }

    /// Begins a transaction on a session that is ready. On any other session it ends at once.
    pub fn begin(&mut self, transaction: Transaction, now: Instant) {
        let mut exchange = Exchange::new(transaction, &self.capabilities, &self.config, self.reset_first);
        if self.phase != Phase::Ready {
            exchange.decide(Stage::Mail, &trouble(TroubleKind::Closed, "the session is not ready for a transaction"));
            self.phase = Phase::Closed;
            self.event = Some(ClientAction::Finished(exchange.into_report(false)));
            return;
        }
        self.output.reserve(GROUP_OCTETS);
        self.recorder.tick(now);
        self.exchange = Some(exchange);
        self.phase = Phase::Envelope;
        self.write_commands();
        let has_begun = self.exchange.as_ref().is_some_and(Exchange::is_waiting);
        if has_begun {
            self.transaction_deadline = now.checked_add(self.config.timeouts.transaction);
            self.expect_reply(now);
        } else {
            self.finish();
        }
    }

    /// A piece of the content, cut anywhere, while [`ClientAction::NeedBody`] is wanted.
    pub fn body(&mut self, piece: &[u8]) {
        if self.phase == Phase::Body {
            self.content_octets += piece.len() as u64;
            self.encoder.encode(piece, &mut self.output);
        }
    }

    /// The content is complete.
    pub fn end_of_body(&mut self, now: Instant) {
        if self.phase == Phase::Body {
            self.end_data(Phase::Final, now);
        }
    }

    /// What was said until now, since the last such call or [`Self::restart_transcript`]; empty unless the configuration
    /// has it kept. No content and no password is in it.
    pub fn take_transcript(&mut self) -> Transcript {
        self.recorder.take()
    }

    /// Something that happened on the connection, told in the transcript.
    pub fn note(&mut self, text: &str, now: Instant) {
        self.recorder.tick(now);
        self.recorder.note(format_args!("{text}"));
    }

    /// What was said until now is of no interest: the transcript, and its time, begin now.
    pub fn restart_transcript(&mut self, now: Instant) {
        self.recorder.restart(now);
    }

    /// QUIT, where the session is ready; else the connection is to be closed as it is (RFC 5321 §4.1.1.10).
    pub fn quit(&mut self, now: Instant) {
        if self.phase == Phase::Ready {
            self.send_command("QUIT", None, Phase::Quit, now);
        } else {
            self.close();
        }
    }

    /// The next commands of the transaction.
    pub(super) fn write_commands(&mut self) {
        let Some(exchange) = self.exchange.as_mut() else { return };
        let before = self.output.len();
        exchange.write_commands(self.capabilities.pipelining, &mut self.output);
        self.recorder.commands(self.output.get(before..).unwrap_or_default());
        if exchange.has_begun_chunk() {
            self.phase = Phase::Body;
            self.encoder = BodyEncoder::raw();
            // The content goes with its command.
            self.event = Some(ClientAction::NeedBody);
        }
    }

    /// The session can carry the next transaction, unless the remote has said more than it was asked.
    pub(super) fn finish(&mut self) {
        let Some(exchange) = self.exchange.take() else { return };
        self.reset_first = exchange.is_open();
        let in_step = !self.reader.has_leftover();
        self.event = Some(ClientAction::Finished(exchange.into_report(in_step)));
        if in_step { self.become_ready() } else { self.close() }
    }

    pub(super) fn become_ready(&mut self) {
        self.phase = Phase::Ready;
        self.deadline = None;
        self.transaction_deadline = None;
    }

    pub(super) fn end_data(&mut self, phase: Phase, now: Instant) {
        self.encoder.finish(&mut self.output);
        self.recorder.tick(now);
        self.recorder.note(format_args!("content of {} octets", std::mem::take(&mut self.content_octets)));
        self.phase = phase;
        if let Some(exchange) = self.exchange.as_mut() {
            exchange.end();
            if exchange.is_waiting() {
                self.phase = Phase::Envelope;
            }
        }
        self.expect_reply(now);
    }

    /// Sets the time for what is awaited now (RFC 5321 §4.5.3.2).
    pub(super) fn expect_reply(&mut self, now: Instant) {
        self.deadline = self.patience().and_then(|patience| now.checked_add(patience));
    }

    fn patience(&self) -> Option<Duration> {
        let timeouts = &self.config.timeouts;
        match (self.phase, self.stage()) {
            (Phase::Ready | Phase::Challenged | Phase::Closed, _) => None,
            (Phase::Quit, _) => Some(timeouts.quit),
            (Phase::Body, _) => Some(timeouts.block),
            (Phase::Final | Phase::FinalOfNothing, _) if !self.output().is_empty() => Some(timeouts.block),
            (_, Stage::Banner) => Some(timeouts.banner),
            (_, Stage::Mail) => Some(timeouts.mail),
            (_, Stage::Rcpt) => Some(timeouts.rcpt),
            (_, Stage::Data) => Some(timeouts.data),
            (_, Stage::Final) => Some(timeouts.end_of_data),
            _ => Some(timeouts.ehlo),
        }
    }

    pub(super) fn stage(&self) -> Stage {
        match self.phase {
            Phase::Banner => Stage::Banner,
            Phase::Ehlo | Phase::Helo | Phase::Login | Phase::Challenged => Stage::Ehlo,
            Phase::StartTls | Phase::Handshake => Stage::StartTls,
            Phase::Ready | Phase::Quit | Phase::Closed => Stage::Mail,
            Phase::Envelope => self.exchange.as_ref().map_or(Stage::Mail, Exchange::stage),
            // While content goes in one go with its envelope, replies to that are awaited.
            Phase::Body => self.exchange.as_ref().filter(|one| one.is_waiting()).map_or(Stage::Final, Exchange::stage),
            Phase::Final | Phase::FinalOfNothing => Stage::Final,
        }
    }

    /// For people: the end of a sentence that says what went wrong.
    fn waiting_for(&self) -> &'static str {
        match self.phase {
            Phase::Banner => "while waiting for the greeting",
            Phase::Ehlo | Phase::Helo => "while waiting for the reply to EHLO",
            Phase::StartTls | Phase::Handshake => "during STARTTLS",
            Phase::Login | Phase::Challenged => "while logging in",
            Phase::Envelope if self.is_waiting_for_chunk() => "while waiting for the replies to the message",
            Phase::Envelope => "while sending the envelope",
            Phase::Body => "while sending the content",
            Phase::Final | Phase::FinalOfNothing => "while waiting for the reply to the end of data",
            Phase::Ready | Phase::Quit | Phase::Closed => "between transactions",
        }
    }

    fn break_off(&mut self, kind: TroubleKind, what: &str) {
        // Replies come in order: a remote that closes without one has not even looked at MAIL. On a connection that was
        // used before that is the common end of it.
        let is_dead = kind == TroubleKind::Closed
            && self.is_waiting_for_chunk()
            && !self.exchange.as_ref().is_some_and(Exchange::is_answered);
        let text = format!("{what} {}", self.waiting_for());
        self.fail_unless_taken(self.stage(), kind, text, self.may_have_been_taken() && !is_dead);
    }

    /// Where the remote may have the message nothing else counts.
    fn fail_unless_taken(&mut self, stage: Stage, kind: TroubleKind, text: String, may_have_been_taken: bool) {
        match may_have_been_taken {
            true => self.fail_at(Stage::Final, trouble(TroubleKind::Unanswered, text)),
            false => self.fail_at(stage, trouble(kind, text)),
        }
    }

    /// The last octet of the content is out of our hands, and it ends the message for the remote (RFC 5321 §4.2.5, §6.1;
    /// RFC 1047): whether it has it, only its reply could say.
    fn may_have_been_taken(&self) -> bool {
        self.output().is_empty() && (self.phase == Phase::Final || self.is_waiting_for_chunk())
    }

    /// The content went in one go with its envelope, whose replies are awaited.
    fn is_waiting_for_chunk(&self) -> bool {
        self.phase == Phase::Envelope && self.exchange.as_ref().is_some_and(Exchange::has_begun_chunk)
    }

    pub(super) fn fail_by(&mut self, reply: Reply) {
        self.fail(Cause::Reply(bounded(reply)));
    }

    pub(super) fn fail_protocol(&mut self, text: impl Into<String>) {
        self.fail_out_of_step(self.stage(), text);
    }

    /// A reply that cannot be one to the command of this stage.
    pub(super) fn fail_out_of_step(&mut self, stage: Stage, text: impl Into<String>) {
        self.fail_unless_taken(stage, TroubleKind::Protocol, text.into(), self.may_have_been_taken());
    }

    pub(super) fn fail(&mut self, cause: Cause) {
        self.fail_at(self.stage(), cause);
    }

    /// Ends the session. Recipients that a reply has decided already keep what they have.
    pub(super) fn fail_at(&mut self, stage: Stage, cause: Cause) {
        if let Cause::Trouble(trouble) = &cause {
            self.recorder.note(format_args!("{}", trouble.text));
        }
        if let Some(mut exchange) = self.exchange.take() {
            exchange.decide(stage, &cause);
            self.event = Some(ClientAction::Finished(exchange.into_report(false)));
        } else if !matches!(self.phase, Phase::Quit | Phase::Closed) {
            self.event = Some(ClientAction::Failed(SessionFailure { stage, cause }));
        }
        self.close();
    }

    pub(super) fn close(&mut self) {
        self.phase = Phase::Closed;
        self.deadline = None;
        self.transaction_deadline = None;
        self.reader = ReplyReader::default();
        self.login = None;
        self.clear_output();
    }

    fn clear_output(&mut self) {
        self.written = 0;
        if self.output.capacity() > KEPT_OUTPUT_OCTETS {
            self.output = Vec::new();
        } else {
            self.output.clear();
        }
    }
}
