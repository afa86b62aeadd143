//! One transaction under way: which command comes next, which reply is awaited, and what each recipient has got so far.
//! Not responsible for anything outside MAIL to end of data, nor for time.

use std::collections::VecDeque;
use std::fmt;
use std::io::Write as _;

use mailtier_types::request::{utf8_addr_xtext, xtext};
use mailtier_types::{ByMode, Cause, Mailbox, Reply, ReversePath, Stage, Trouble, TroubleKind};

use super::origin;
use super::{Capabilities, ClientConfig, RecipientReport, Transaction, TransactionReport};

/// Most commands in a group (RFC 2920 §3.1), so that neither side's unread replies can fill what lies between.
const MAX_GROUP_COMMANDS: usize = 100;

/// A command of a transaction, and the reply to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Ends what an earlier transaction left open.
    Reset,
    /// XFORWARD, with the place among its commands.
    Origin(usize),
    Mail,
    /// With the place among the recipients.
    Rcpt(usize),
    Data,
}

/// The most content that is sent before anybody is known to take it, in octets: what a remote that takes nobody costs.
pub const MAX_UNASKED_OCTETS: u64 = 64 * 1024;

/// How the content goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carriage {
    /// After DATA and its 354.
    Data,
    /// After BDAT, once somebody takes it (RFC 3030 §2).
    Chunk,
    /// After BDAT, in one go with the envelope (RFC 3030 §4.2): one round trip less.
    UnaskedChunk,
}

/// What a recipient has got so far.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Recipient {
    Undecided,
    /// RCPT was accepted: the message shares its fate with that of the content.
    Accepted,
    Decided(RecipientReport),
}

/// What a reply to a command leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// More replies are awaited, or more commands are to be written.
    Continues,
    /// 354, and somebody to send the content to.
    Content,
    /// 354, and nobody to send it to.
    NoContent,
    /// Nothing is left to do.
    Over,
    /// The reply cannot be an answer to its command.
    OutOfStep(&'static str),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Exchange {
    transaction: Transaction,
    recipients: Vec<Recipient>,
    /// What the remote offers that MAIL and RCPT have parameters for.
    offered: Capabilities,
    /// The command to be written next; nothing after DATA.
    next: Option<Step>,
    carriage: Carriage,
    /// XFORWARD as it is said.
    origin: Vec<String>,
    /// BDAT was written.
    chunk_begun: bool,
    /// A reply to any of its commands has come.
    answered: bool,
    /// Commands written, without replies yet.
    awaited: VecDeque<Step>,
    /// The remote holds a transaction that neither its refusal nor an end of data has ended.
    open: bool,
}

impl Exchange {
    /// `reset` says that an earlier transaction was left open. A recipient that the remote cannot serve at all is
    /// decided here.
    pub(super) fn new(transaction: Transaction, offered: &Capabilities, config: &ClientConfig, reset: bool) -> Self {
        let mut recipients = vec![Recipient::Undecided; transaction.recipients.len()];
        let for_all = obstacle(&transaction, offered);
        for (mailbox, recipient) in transaction.recipients.iter().zip(&mut recipients) {
            let cause = if mailbox.needs_smtputf8() && !offered.smtputf8 {
                // RFC 6531 §3.2: an address beyond ASCII is never sent to a server without the extension.
                Some(smtputf8_missing())
            } else {
                for_all.clone()
            };
            if let Some(cause) = cause {
                *recipient = Recipient::Decided(RecipientReport { stage: Stage::Mail, cause });
            }
        }
        let mut exchange = Self {
            offered: offered.clone(),
            next: None,
            carriage: carriage(&transaction, offered, config),
            origin: origin::commands(&transaction.wishes.origin, offered.origin),
            chunk_begun: false,
            answered: false,
            awaited: VecDeque::new(),
            open: reset,
            recipients,
            transaction,
        };
        exchange.next = Some(if reset { Step::Reset } else { exchange.first_step(0) });
        exchange
    }

    /// MAIL, and before it what is said of where it comes from, from the place on.
    const fn first_step(&self, place: usize) -> Step {
        if place < self.origin.len() { Step::Origin(place) } else { Step::Mail }
    }

    /// How far it has come, while commands are answered.
    pub(super) fn stage(&self) -> Stage {
        match self.awaited.front() {
            Some(Step::Reset | Step::Origin(_) | Step::Mail) | None => Stage::Mail,
            Some(Step::Rcpt(_)) => Stage::Rcpt,
            Some(Step::Data) if self.carriage == Carriage::UnaskedChunk => Stage::Final,
            Some(Step::Data) => Stage::Data,
        }
    }

    /// Whether a reply to a command is awaited.
    pub(super) fn is_waiting(&self) -> bool {
        !self.awaited.is_empty()
    }

    /// Whether the remote must be told to forget a transaction before the next one.
    pub(super) const fn is_open(&self) -> bool {
        self.open
    }

    /// Writes the next commands: a group with PIPELINING (RFC 2920 §3.1), else one. Nothing is written when nothing is
    /// left to gain.
    pub(super) fn write_commands(&mut self, pipelining: bool, wire: &mut Vec<u8>) {
        let most = if pipelining { MAX_GROUP_COMMANDS } else { 1 };
        while self.awaited.len() < most {
            let Some(step) = self.next else { return };
            // RFC 3030 §2: what follows BDAT is content, so it is known before whether somebody takes it.
            if step == Step::Data && self.carriage == Carriage::Chunk && self.is_waiting() {
                return;
            }
            let is_worthwhile = match step {
                Step::Reset | Step::Origin(_) | Step::Mail => self.recipients.contains(&Recipient::Undecided),
                Step::Rcpt(place) => self.recipients.get(place) == Some(&Recipient::Undecided),
                Step::Data => self.may_have_accepted(),
            };
            self.next = self.step_after(step, is_worthwhile);
            if is_worthwhile {
                self.write_command(step, wire);
                // RFC 3030 §2: nothing is said between BDAT and its content.
                self.chunk_begun = step == Step::Data && self.carriage != Carriage::Data;
                if self.chunk_begun && self.carriage == Carriage::Chunk {
                    return;
                }
                self.awaited.push_back(step);
            }
        }
    }

    /// Whether BDAT was written: the content comes next, as it is.
    pub(super) const fn has_begun_chunk(&self) -> bool {
        self.chunk_begun
    }

    /// Whether the remote has answered any command.
    pub(super) const fn is_answered(&self) -> bool {
        self.answered
    }

    fn step_after(&self, step: Step, was_written: bool) -> Option<Step> {
        let rcpt = |place| if place < self.recipients.len() { Step::Rcpt(place) } else { Step::Data };
        match step {
            Step::Reset | Step::Origin(_) | Step::Mail if !was_written => None,
            Step::Reset => Some(self.first_step(0)),
            Step::Origin(place) => Some(self.first_step(place + 1)),
            Step::Mail => Some(rcpt(0)),
            Step::Rcpt(place) => Some(rcpt(place + 1)),
            Step::Data => None,
        }
    }

    /// Whether a recipient is accepted, or may yet be by a reply that is awaited.
    fn may_have_accepted(&self) -> bool {
        // A probe's recipients are all decided by their own replies, and the transaction is still to be given up.
        self.transaction.wishes.probe && self.open
            || self.recipients.iter().any(|recipient| !matches!(recipient, Recipient::Decided(_)))
    }

    fn write_command(&self, step: Step, wire: &mut Vec<u8>) {
        match step {
            Step::Reset => wire.extend_from_slice(b"RSET"),
            Step::Origin(place) => {
                wire.extend_from_slice(self.origin.get(place).map_or("", String::as_str).as_bytes());
            }
            Step::Mail => self.write_mail(&self.transaction.sender, wire),
            Step::Rcpt(place) => {
                let mailbox = self.transaction.recipients.get(place).map_or("", Mailbox::as_str);
                for part in ["RCPT TO:<", mailbox, ">"] {
                    wire.extend_from_slice(part.as_bytes());
                }
                self.write_requests(place, wire);
            }
            // A probe ends where its transaction would begin to deliver.
            Step::Data if self.transaction.wishes.probe => wire.extend_from_slice(b"RSET"),
            Step::Data if self.carriage != Carriage::Data => {
                push(wire, format_args!("BDAT {} LAST", self.transaction.size_bytes));
            }
            Step::Data => wire.extend_from_slice(b"DATA"),
        }
        wire.extend_from_slice(b"\r\n");
    }

    /// RFC 5321 §4.1.1.2, with parameters only of extensions that were offered (RFC 5321 §2.2.1).
    fn write_mail(&self, sender: &ReversePath, wire: &mut Vec<u8>) {
        for part in ["MAIL FROM:<", sender.as_str(), ">"] {
            wire.extend_from_slice(part.as_bytes());
        }
        let (offered, transaction) = (&self.offered, &self.transaction);
        let wishes = &transaction.wishes;
        let mut add = |text: fmt::Arguments<'_>| push(wire, text);
        if offered.size.is_some() {
            add(format_args!(" SIZE={}", transaction.size_bytes));
        }
        if wishes.binary {
            add(format_args!(" BODY=BINARYMIME"));
        } else if offered.eight_bit && transaction.eight_bit {
            add(format_args!(" BODY=8BITMIME"));
        }
        if offered.smtputf8 && transaction.needs_smtputf8() {
            add(format_args!(" SMTPUTF8"));
        }
        if wishes.require_tls {
            add(format_args!(" REQUIRETLS"));
        }
        if offered.dsn {
            if let Some(ret) = wishes.ret {
                add(format_args!(" RET={}", ret.keyword()));
            }
            if let Some(id) = &wishes.envelope_id {
                add(format_args!(" ENVID={}", xtext(id.as_str())));
            }
        }
        if let Some(by) = wishes.deliver_by.filter(|_| offered.deliver_by) {
            let trace = if by.trace { "T" } else { "" };
            // RFC 2852 §4: nine digits.
            add(format_args!(" BY={};{}{trace}", by.seconds.clamp(-999_999_999, 999_999_999), by.mode.letter()));
        }
        if offered.priority && wishes.priority != 0 {
            add(format_args!(" MT-PRIORITY={}", wishes.priority));
        }
    }

    /// NOTIFY and ORCPT (RFC 3461 §4.1, §4.2; RFC 6533 §3).
    fn write_requests(&self, place: usize, wire: &mut Vec<u8>) {
        let Some(mailbox) = self.transaction.recipients.get(place).filter(|_| self.offered.dsn) else { return };
        let requests = &self.transaction.wishes.requests;
        let Some(request) = requests.iter().find(|request| request.recipient == *mailbox) else { return };
        if let Some(notify) = request.notify {
            push(wire, format_args!(" NOTIFY={notify}"));
        }
        if let Some(original) = &request.original {
            let address = original.address();
            let encoded = match original.kind().eq_ignore_ascii_case("utf-8") {
                true if self.offered.smtputf8 && self.transaction.needs_smtputf8() => address.to_owned(),
                true => utf8_addr_xtext(address),
                false => xtext(address),
            };
            push(wire, format_args!(" ORCPT={};{encoded}", original.kind()));
        }
    }

    /// Takes the reply to the oldest command without one.
    pub(super) fn take_reply(&mut self, reply: Reply) -> Progress {
        self.answered = true;
        match self.awaited.pop_front() {
            None => Progress::OutOfStep("the remote replied to nothing"),
            Some(Step::Reset) if !reply.is_positive() => Progress::OutOfStep("the remote refused RSET"),
            Some(Step::Data) if self.transaction.wishes.probe => {
                self.open = !reply.is_positive();
                Progress::Over
            }
            Some(Step::Data) if self.carriage == Carriage::UnaskedChunk => self.take_chunk_reply(reply),
            Some(Step::Data) => self.take_data_reply(reply),
            Some(_) if reply.is_intermediate() => Progress::OutOfStep("the remote answered MAIL or RCPT with 3xx"),
            Some(Step::Reset) => {
                self.open = false;
                Progress::Continues
            }
            // As Postfix has it: who asks and then does not want to know gets the message all the same.
            Some(Step::Origin(_)) => Progress::Continues,
            Some(Step::Mail) => {
                self.take_mail_reply(reply);
                self.continue_or_end()
            }
            Some(Step::Rcpt(place)) => {
                self.take_rcpt_reply(place, reply);
                self.continue_or_end()
            }
        }
    }

    fn take_mail_reply(&mut self, reply: Reply) {
        self.open = reply.is_positive();
        if !self.open {
            self.decide(Stage::Mail, &Cause::Reply(reply));
        }
    }

    /// A refusal of MAIL has decided already: what RCPT gets after it says nothing of its own.
    fn take_rcpt_reply(&mut self, place: usize, reply: Reply) {
        let Some(recipient @ Recipient::Undecided) = self.recipients.get_mut(place) else { return };
        // RFC 5321 §3.4, §3.5.3: 251 and 252 accept as 250 does.
        *recipient = if reply.is_positive() && !self.transaction.wishes.probe {
            Recipient::Accepted
        } else {
            Recipient::Decided(RecipientReport { stage: Stage::Rcpt, cause: Cause::Reply(reply) })
        };
    }

    fn take_data_reply(&mut self, reply: Reply) -> Progress {
        let has_accepted = self.recipients.contains(&Recipient::Accepted);
        if reply.is_positive() {
            return Progress::OutOfStep("the remote answered DATA with 2xx");
        }
        if reply.is_intermediate() {
            // RFC 2920 §3.1: 354 may come although every recipient was refused.
            return if has_accepted { Progress::Content } else { Progress::NoContent };
        }
        self.decide(Stage::Data, &Cause::Reply(reply));
        Progress::Over
    }

    /// The reply to the content that went with its envelope. It says nothing new where nobody was to have it.
    fn take_chunk_reply(&mut self, reply: Reply) -> Progress {
        if reply.is_intermediate() {
            return Progress::OutOfStep("the remote answered BDAT with 3xx");
        }
        self.open = !reply.is_positive();
        self.decide(Stage::Final, &Cause::Reply(reply));
        Progress::Over
    }

    /// Without a recipient to gain, only replies to what was written already are worth waiting for.
    fn continue_or_end(&self) -> Progress {
        if self.awaited.is_empty() && !self.may_have_accepted() { Progress::Over } else { Progress::Continues }
    }

    /// The end of data was written: the remote ends the transaction by itself.
    pub(super) const fn end(&mut self) {
        self.open = false;
    }

    /// RFC 3030 §2: after a chunk that was refused nothing is certain without RSET.
    pub(super) fn note_refusal(&mut self) {
        self.open |= self.carriage == Carriage::Chunk;
    }

    /// The reply to the end of data: for all recipients, or in LMTP for the next that was accepted (RFC 2033 §4.2).
    /// Whether it was the last.
    pub(super) fn take_final_reply(&mut self, cause: &Cause, lmtp: bool) -> bool {
        if !lmtp {
            self.decide(Stage::Final, cause);
            return true;
        }
        if let Some(next) = self.recipients.iter_mut().find(|recipient| **recipient == Recipient::Accepted) {
            *next = Recipient::Decided(RecipientReport { stage: Stage::Final, cause: cause.clone() });
        }
        !self.recipients.contains(&Recipient::Accepted)
    }

    /// Gives every recipient that has nothing yet this for its report.
    pub(super) fn decide(&mut self, stage: Stage, cause: &Cause) {
        for recipient in &mut self.recipients {
            if !matches!(recipient, Recipient::Decided(_)) {
                *recipient = Recipient::Decided(RecipientReport { stage, cause: cause.clone() });
            }
        }
    }

    /// The end. Everybody is decided by now.
    pub(super) fn into_report(self, reusable: bool) -> TransactionReport {
        let recipients = self.recipients.into_iter().map(|recipient| match recipient {
            Recipient::Decided(report) => report,
            Recipient::Undecided | Recipient::Accepted => RecipientReport {
                stage: Stage::Data,
                cause: trouble(TroubleKind::Local, "the transaction ended without a decision"),
            },
        });
        TransactionReport { recipients: recipients.collect(), reusable }
    }
}

fn push(wire: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    // Writing to a vector cannot fail.
    let _ = wire.write_fmt(text);
}

/// RFC 3030 §2: what is declared binary has to go by BDAT. Other content may where its lines are proper: nothing makes them so
/// on the way, as dot-stuffing does. It is worth it where it saves a round trip.
fn carriage(transaction: &Transaction, offered: &Capabilities, config: &ClientConfig) -> Carriage {
    let fits = transaction.size_bytes <= MAX_UNASKED_OCTETS
        && offered.size.flatten().is_none_or(|limit| transaction.size_bytes <= limit);
    let may_pipeline = config.chunking && offered.chunking && offered.pipelining && !config.lmtp;
    if transaction.wishes.binary {
        Carriage::Chunk
    } else if may_pipeline && fits && transaction.proper_lines && !transaction.wishes.probe {
        Carriage::UnaskedChunk
    } else {
        Carriage::Data
    }
}

/// What keeps the transaction from this remote, whoever the recipient.
fn obstacle(transaction: &Transaction, offered: &Capabilities) -> Option<Cause> {
    let wishes = &transaction.wishes;
    if wishes.require_tls && !offered.require_tls {
        // RFC 8689 §4.2.1: only a server that will ask the same of the next may have it.
        return Some(trouble(TroubleKind::RequireTls, "REQUIRETLS is asked for and the remote does not offer it"));
    }
    if wishes.deliver_by.is_some_and(|by| by.mode == ByMode::Return) && !offered.deliver_by {
        // RFC 2852 §4.1: nobody else could say when the time is over.
        return Some(trouble(TroubleKind::NotCapable, "a time limit is set and the remote does not offer DELIVERBY"));
    }
    if wishes.binary && !(offered.binary && offered.chunking) {
        // RFC 3030 §3: it is converted, which nothing here does, or returned.
        return Some(trouble(
            TroubleKind::Conversion,
            "the content is binary and the remote does not offer BINARYMIME",
        ));
    }
    if transaction.eight_bit && !wishes.binary && !offered.eight_bit {
        // RFC 6152 §3: content with octets above 127 needs the extension, or a conversion first.
        return Some(trouble(TroubleKind::Conversion, "the content is 8-bit and the remote does not offer 8BITMIME"));
    }
    let needs_utf8 = transaction.smtputf8 || needs_smtputf8(transaction.sender.mailbox());
    (!offered.smtputf8 && needs_utf8).then(smtputf8_missing)
}

fn needs_smtputf8(sender: Option<&Mailbox>) -> bool {
    sender.is_some_and(Mailbox::needs_smtputf8)
}

fn smtputf8_missing() -> Cause {
    trouble(TroubleKind::Smtputf8, "SMTPUTF8 is needed and the remote does not offer it")
}

/// Trouble as a cause.
pub(super) fn trouble(kind: TroubleKind, text: impl Into<String>) -> Cause {
    Cause::Trouble(Trouble { kind, text: text.into() })
}
