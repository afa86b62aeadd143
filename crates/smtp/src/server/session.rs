//! The state of one server session, and what drives it: input and verdicts. Not responsible for single commands, nor
//! for how long a client may take (`deadline`).

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use mailtier_types::{Reply, Timestamp, reply};

use super::action::BodyType;
use super::bdat::Chunk;
use super::command::{self, Verb};
use super::config::{Connection, Protocol};
use super::content::{Content, Step};
use super::inquiry::Utf8;
use super::sequence::{self, Missing, Place};
use super::{Question, ServerAction, ServerConfig, Verdict};
use crate::TlsInfo;
use crate::syntax::line::{LineTaker, Taken};

/// What is going on.
#[derive(Debug)]
pub(super) enum Phase {
    /// Before the greeting.
    Connecting,
    /// Commands.
    Commands,
    /// Content, from 354 to the end of data.
    Content(Content),
    /// A chunk, from BDAT to its last octet.
    Chunk(Chunk),
    /// A login, between a challenge and its response.
    Authenticating,
    /// STARTTLS was answered; `told` once the driver was told to do the handshake.
    Upgrading {
        /// Whether [`ServerAction::UpgradeTls`] was given.
        told: bool,
    },
    /// Only output is left.
    Closing,
    /// Nothing is left.
    Closed,
}

/// The question whose verdict is awaited.
#[derive(Debug)]
pub(super) enum Asked {
    Connect,
    Hello {
        extended: bool,
    },
    Sasl,
    Impersonate {
        login: bool,
    },
    Forward,
    Mail(Transaction),
    Rcpt,
    /// A question whose verdict is its reply.
    Plain,
    /// The same, about an address.
    Inquiry(Utf8),
    Data,
    Chunk,
    EndOfData,
}

/// What EHLO or HELO established.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hello {
    pub(super) extended: bool,
}

/// From MAIL to the end of data.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) recipients: usize,
    pub(super) smtputf8: bool,
    pub(super) body: BodyType,
    /// What came in chunks so far.
    pub(super) content: Option<Content>,
}

impl Transaction {
    pub(super) const fn new(smtputf8: bool, body: BodyType) -> Self {
        Self { recipients: 0, smtputf8, body, content: None }
    }
}

/// What TLS gives a login to build on.
#[derive(Clone, Copy, Debug)]
pub(super) struct TlsMeans {
    pub(super) can_bind: bool,
    pub(super) has_client_certificate: bool,
}

impl TlsMeans {
    pub(super) const fn of(info: &TlsInfo) -> Self {
        Self {
            can_bind: info.bindings.exporter.is_some() || info.bindings.end_point.is_some(),
            has_client_certificate: info.client.is_some(),
        }
    }
}

/// One SMTP connection, seen from the server.
#[derive(Debug)]
pub struct ServerSession {
    pub(super) config: Arc<ServerConfig>,
    pub(super) phase: Phase,
    pub(super) refused: bool,
    pub(super) hello: Option<Hello>,
    pub(super) tls: Option<TlsMeans>,
    pub(super) connection: Connection,
    pub(super) authenticated: bool,
    pub(super) transaction: Option<Transaction>,
    /// Transactions begun.
    pub(super) transactions: usize,
    pub(super) errors: u32,
    /// Commands that led to nothing, since the last accepted message.
    pub(super) junk: u32,
    /// So many commands more may be out of sequence for no fault of their own: MAIL, before them, was refused.
    pub(super) excused: usize,
    pub(super) input: BytesMut,
    pub(super) output: Vec<u8>,
    /// The output must not wait for further commands.
    pub(super) flush: bool,
    /// The reply under way is such output (RFC 2920 §3.2).
    pub(super) at_once: bool,
    /// A transaction was abandoned and the driver does not know yet.
    pub(super) reset: bool,
    pub(super) lines: LineTaker,
    line: Vec<u8>,
    question: Option<Question>,
    pub(super) asked: Option<Asked>,
    eof: bool,
    draining: bool,
    begun: Instant,
    pub(super) now: Instant,
    pub(super) deadline: Instant,
}

impl ServerSession {
    /// A session on a connection that was just opened. Its first action is to ask [`Question::Connect`].
    #[must_use]
    pub fn new(config: Arc<ServerConfig>, connection: Connection, now: Instant) -> Self {
        let deadline = now + config.timeouts.command;
        let lines = LineTaker::new(config.limits.command_line_octets);
        let mut session = Self {
            config,
            phase: Phase::Connecting,
            refused: false,
            hello: None,
            tls: None,
            connection,
            authenticated: false,
            transaction: None,
            transactions: 0,
            errors: 0,
            junk: 0,
            excused: 0,
            input: BytesMut::new(),
            output: Vec::new(),
            flush: false,
            at_once: true,
            reset: false,
            lines,
            line: Vec::new(),
            question: Some(Question::Connect),
            asked: Some(Asked::Connect),
            eof: false,
            draining: false,
            begun: now,
            now,
            deadline,
        };
        session.adjust_line_limit();
        session
    }

    /// The same where TLS was active before the first octet (RFC 8314 §3.3).
    #[must_use]
    pub fn within_tls(mut self, info: &TlsInfo) -> Self {
        self.tls = Some(TlsMeans::of(info));
        self.adjust_line_limit();
        self
    }

    /// The time of day.
    pub(super) fn wall_clock(&self) -> Timestamp {
        self.connection.opened_at.after(self.now.saturating_duration_since(self.begun))
    }

    /// Octets from the client.
    pub fn handle_input(&mut self, data: &[u8], now: Instant) {
        self.now = now;
        match self.phase {
            Phase::Connecting => {
                // RFC 5321 §4.3.1: the client waits for the greeting.
                self.asked = None;
                self.question = None;
                self.close_with(reply::EARLY_TALKER);
            }
            // RFC 3207 §4.2: what follows STARTTLS in the clear must not be taken for anything. The handshake reads the
            // socket itself, so a driver that gets here has read too far.
            Phase::Upgrading { .. } => self.phase = Phase::Closed,
            Phase::Closing | Phase::Closed => {}
            Phase::Commands | Phase::Content(_) | Phase::Chunk(_) | Phase::Authenticating => {
                self.credit(data.len());
                self.input.extend_from_slice(data);
            }
        }
    }

    /// The client closed its side, or the connection broke. What it had said is still answered.
    pub fn handle_eof(&mut self) {
        self.eof = true;
    }

    /// The verdict on the open question.
    pub fn answer(&mut self, verdict: Verdict, now: Instant) {
        self.now = now;
        self.renew_deadline();
        match self.asked.take() {
            Some(Asked::Connect) => self.connect_answered(verdict),
            Some(Asked::Hello { extended }) => self.hello_answered(extended, verdict),
            Some(Asked::Sasl) => self.sasl_answered(verdict),
            Some(Asked::Impersonate { login }) => self.impersonated(login, verdict),
            Some(Asked::Forward | Asked::Plain) => self.plainly_answered(verdict),
            Some(Asked::Inquiry(utf8)) => self.inquired(utf8, verdict),
            Some(Asked::Mail(transaction)) => self.mail_answered(transaction, verdict),
            Some(Asked::Rcpt) => self.rcpt_answered(verdict),
            Some(Asked::Data) => self.data_answered(verdict),
            Some(Asked::Chunk) => self.chunk_answered(verdict),
            Some(Asked::EndOfData) => self.end_of_data_answered(verdict),
            None => {}
        }
    }

    /// The handshake is done: everything said before is forgotten (RFC 3207 §4.2).
    pub fn handle_tls(&mut self, info: &TlsInfo, now: Instant) {
        self.now = now;
        self.renew_deadline();
        self.upgraded(info);
    }

    /// Drain: the session ends with 421 as soon as no transaction is open, at once where none is.
    pub fn shut_down(&mut self, now: Instant) {
        self.now = now;
        self.draining = true;
    }

    /// What to do next.
    pub fn poll(&mut self) -> ServerAction {
        loop {
            if let Some(action) = self.due() {
                return action;
            }
            let waiting = match self.phase {
                Phase::Content(_) => self.poll_content(),
                Phase::Chunk(_) => self.poll_chunk(),
                _ => self.poll_commands(),
            };
            if let Some(action) = waiting {
                return action;
            }
        }
    }

    /// What is to be written.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        &self.output
    }

    /// So many octets of the output were written.
    pub fn sent(&mut self, octets: usize) {
        self.output.drain(..octets.min(self.output.len()));
        if self.output.is_empty() {
            self.output.shrink_to(KEPT_OUTPUT_OCTETS);
            self.flush = false;
        }
    }

    /// Whether the driver may read from the connection now.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        self.asked.is_none() && self.input.len() < self.config.limits.input_octets && self.takes_input()
    }

    pub(super) const fn takes_input(&self) -> bool {
        matches!(self.phase, Phase::Commands | Phase::Content(_) | Phase::Chunk(_) | Phase::Authenticating)
    }

    /// How far the session has come, for [`sequence`].
    fn place(&self) -> Place {
        match (&self.transaction, self.hello) {
            _ if self.refused => Place::Refused,
            (Some(transaction), _) if transaction.content.is_some() => Place::Chunks,
            (Some(transaction), _) if transaction.recipients > 0 => Place::Rcpt,
            (Some(_), _) => Place::Mail,
            (None, Some(_)) => Place::Greeted,
            (None, None) => Place::Start,
        }
    }

    /// Opens a question. Its verdict goes to the file of the command that asked.
    pub(super) fn ask(&mut self, question: Question, asked: Asked) {
        self.question = Some(question);
        self.asked = Some(asked);
    }

    /// What the listener asks for before it takes mail.
    fn missing(&self) -> Missing {
        let login_required = self.config.sasl.as_ref().is_some_and(|offer| offer.required);
        match () {
            () if self.config.tls_required && self.tls.is_none() => Missing::Tls,
            () if login_required && !self.authenticated => Missing::Login,
            () => Missing::Nothing,
        }
    }

    /// The action that comes before any further input is looked at.
    fn due(&mut self) -> Option<ServerAction> {
        if std::mem::take(&mut self.reset) {
            return Some(ServerAction::Reset);
        }
        let unsent = !self.output.is_empty();
        if unsent && self.flush {
            return Some(ServerAction::Send);
        }
        if let Some(question) = self.question.take() {
            return Some(ServerAction::Ask(question));
        }
        match (&mut self.phase, unsent) {
            (Phase::Closing | Phase::Upgrading { told: false }, true) => Some(ServerAction::Send),
            (Phase::Upgrading { told }, _) if !*told => {
                *told = true;
                Some(ServerAction::UpgradeTls)
            }
            (Phase::Upgrading { .. }, _) if !self.eof => Some(ServerAction::NeedInput),
            (Phase::Closing | Phase::Closed | Phase::Upgrading { .. }, _) => {
                self.phase = Phase::Closed;
                Some(ServerAction::Close)
            }
            // The open question's verdict is awaited.
            _ if self.asked.is_some() => Some(if unsent { ServerAction::Send } else { ServerAction::NeedInput }),
            _ => None,
        }
    }

    /// The next command, or the action when there is none.
    fn poll_commands(&mut self) -> Option<ServerAction> {
        if self.draining && self.transaction.is_none() {
            self.close_with(reply::SHUTTING_DOWN);
            return None;
        }
        let mut line = std::mem::take(&mut self.line);
        let taken = self.lines.take(&mut self.input, &mut line);
        if taken != Taken::Nothing {
            self.renew_deadline();
        }
        let waiting = match taken {
            Taken::Nothing => Some(self.out_of_input()),
            Taken::Line => {
                self.obey(&line);
                None
            }
            Taken::TooLong => {
                self.refuse_illegible(&line, reply::LINE_TOO_LONG);
                None
            }
            Taken::Endless => {
                self.close_with(reply::LINE_TOO_LONG);
                None
            }
            Taken::BareLineFeed => {
                // Whoever sends this waits for a reply now, and what follows may be meant for other ears.
                self.close_with(reply::BARE_LINE_END);
                None
            }
        };
        self.line = line;
        waiting
    }

    /// One line, without its CRLF.
    fn obey(&mut self, line: &[u8]) {
        if line.iter().any(u8::is_ascii_control) {
            let bare = line.contains(&b'\r');
            return self.refuse_illegible(line, if bare { reply::BARE_LINE_END } else { reply::CONTROL_OCTET });
        }
        if matches!(self.phase, Phase::Authenticating) {
            return self.sasl_line(line);
        }
        // RFC 6531 §3.3: beyond ASCII there is only UTF-8.
        let illegible = line;
        let Ok(line) = std::str::from_utf8(line) else { return self.refuse_illegible(illegible, reply::SYNTAX) };
        let (verb, arguments) = command::split(line);
        let is_login = verb == Verb::Auth;
        if !is_login && line.len() + 2 > self.config.limits.command_line_octets {
            return self.refuse_illegible(line.as_bytes(), reply::LINE_TOO_LONG);
        }
        self.at_once = verb.is_answered_at_once();
        let is_of_transaction = matches!(verb, Verb::Rcpt | Verb::Data | Verb::Bdat);
        let admitted =
            sequence::admit(self.place(), self.missing(), verb).map_err(|reply| match self.config.protocol {
                // RFC 2033 §4.2.
                Protocol::Lmtp if reply == reply::NO_VALID_RECIPIENTS => {
                    reply::BAD_SEQUENCE.with_text("No valid recipients")
                }
                _ => reply,
            });
        match admitted {
            // What follows BDAT is not commands, whatever is said of it.
            _ if verb == Verb::Bdat => return self.bdat(arguments, admitted),
            Err(reply) if is_of_transaction => return self.refuse_or_excuse(reply),
            Err(reply) => return self.refuse(reply),
            Ok(()) => {}
        }
        if !is_of_transaction {
            self.excused = 0;
        }
        if verb.is_junk() && self.junk_ends_session() {
            return;
        }
        self.carry_out(verb, arguments);
    }

    /// A command that fits here.
    fn carry_out(&mut self, verb: Verb, arguments: &str) {
        let is_lmtp = self.config.protocol == Protocol::Lmtp;
        match verb {
            // RFC 2033 §4.1: LHLO in LMTP and only there.
            Verb::Ehlo | Verb::Helo if is_lmtp => self.refuse(reply::UNKNOWN_COMMAND),
            Verb::Lhlo if !is_lmtp => self.refuse(reply::UNKNOWN_COMMAND),
            Verb::Ehlo | Verb::Lhlo => self.hello(arguments, true),
            Verb::Helo => self.hello(arguments, false),
            Verb::Mail => self.mail(arguments),
            Verb::Rcpt => self.rcpt(arguments),
            Verb::Data => self.data(arguments),
            Verb::Bdat => self.bdat(arguments, Ok(())),
            Verb::StartTls => self.starttls(arguments),
            Verb::Auth => self.auth(arguments),
            Verb::Rset => self.rset(arguments),
            Verb::Noop => self.noop(),
            Verb::Quit => self.quit(arguments),
            Verb::Vrfy => self.vrfy(arguments),
            Verb::Expn => self.expn(arguments),
            Verb::Etrn => self.etrn(arguments),
            Verb::Xclient => self.xclient(arguments),
            Verb::Xforward => self.xforward(arguments),
            Verb::Help => self.help(),
            Verb::NotOffered => self.refuse(reply::NOT_IMPLEMENTED),
            Verb::Foreign => self.close_with(reply::UNKNOWN_COMMAND),
            Verb::Unknown => self.refuse(reply::UNKNOWN_COMMAND),
        }
    }

    /// A line with octets that no command has, or too many. What follows a BDAT without its size cannot be told from commands.
    fn refuse_illegible(&mut self, line: &[u8], reply: Reply) {
        if matches!(self.phase, Phase::Commands) && command::begins_chunk(line) {
            return self.close_with(reply);
        }
        self.leave_login();
        self.refuse(reply);
    }

    /// A line that is no response ends a login.
    fn leave_login(&mut self) {
        if matches!(self.phase, Phase::Authenticating) {
            self.phase = Phase::Commands;
        }
    }

    /// The next piece of content, or the action when there is none.
    fn poll_content(&mut self) -> Option<ServerAction> {
        let Phase::Content(content) = &mut self.phase else { return None };
        match content.step(&mut self.input) {
            Step::Chunk(chunk) => Some(ServerAction::Body(chunk)),
            Step::Faulted => Some(ServerAction::Reset),
            Step::NeedInput => Some(self.out_of_input()),
            Step::Flooded(fault) => {
                self.close_with(fault.reply());
                None
            }
            Step::End => {
                let (fault, size_bytes) = (content.fault(), content.size_bytes());
                self.end_of_data(fault, size_bytes);
                None
            }
        }
    }

    /// Everything the client said so far was looked at.
    pub(super) fn out_of_input(&mut self) -> ServerAction {
        if !self.output.is_empty() {
            return ServerAction::Send;
        }
        if self.eof {
            self.abandon();
            self.phase = Phase::Closed;
            return if std::mem::take(&mut self.reset) { ServerAction::Reset } else { ServerAction::Close };
        }
        if self.input.is_empty() {
            // An idle session keeps no buffer, and chunks that are still in use keep theirs.
            self.input = BytesMut::new();
        }
        ServerAction::NeedInput
    }
}

/// What an idle session keeps for its next reply, in octets.
const KEPT_OUTPUT_OCTETS: usize = 512;
