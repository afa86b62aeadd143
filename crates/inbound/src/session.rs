//! One session's questions answered: whom to greet, which recipients to take, when a message may be called queued. Not
//! responsible for the dialogue, which is the engine's, nor for the socket, which is the transport's.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use mailtier_smtp::{MailParameters, Question, TlsInfo, Verdict};
use mailtier_telemetry::{Meters, spans};
use mailtier_transport::server::Handler;
use mailtier_types::{Mailbox, reply};
use tracing::Span;

use crate::peer::Peer;
use crate::record::{self, Tally};
use crate::shared::Shared;
use crate::transaction::{Content, Transaction};

/// The server's side of one session.
#[derive(Debug)]
pub(crate) struct Session {
    shared: Arc<Shared>,
    peer: Peer,
    transaction: Option<Transaction>,
    tally: Tally,
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>, peer: Peer) -> Self {
        Self { shared, peer, transaction: None, tally: Tally::default() }
    }

    /// What is said about the session when it is over.
    pub(crate) const fn summary(&self) -> (&Peer, &Tally) {
        (&self.peer, &self.tally)
    }

    /// While the queue has been away for long, clients are sent elsewhere before they begin.
    fn connect(&self) -> Verdict {
        let down_for = self.shared.submitter.endpoints.down_for(Instant::now());
        if down_for.is_some_and(|down_for| down_for > self.shared.patience) {
            self.shared.meters.inbound_sessions.add(1, &Meters::attribute("result", "shed"));
            return Verdict::RejectAndClose(reply::SHUTTING_DOWN.with_text("Queue not available, try again later"));
        }
        self.shared.meters.inbound_sessions.add(1, &Meters::attribute("result", "accepted"));
        Verdict::Accept
    }

    fn hello(&mut self, name: String, extended: bool) -> Verdict {
        self.peer.helo = name;
        self.peer.extended = extended;
        Verdict::Accept
    }

    fn mail(&mut self, parameters: MailParameters) -> Verdict {
        // RFC 1870 §6.1: better now than after the content.
        if !self.shared.budget.has_room_for(parameters.size.unwrap_or(0)) {
            return Verdict::Reject(reply::INSUFFICIENT_STORAGE);
        }
        self.transaction = Some(Transaction::new(parameters));
        Verdict::Accept
    }

    fn rcpt(&mut self, recipient: Mailbox) -> Verdict {
        let Some(transaction) = &mut self.transaction else { return Verdict::Reject(reply::BAD_SEQUENCE) };
        if let Some(reader) = self.shared.policy.reader_of(&recipient) {
            transaction.recipients.push(reader.clone());
            return Verdict::Accept;
        }
        match self.shared.policy.admit(self.peer.trusted, &recipient) {
            Ok(()) => {
                transaction.recipients.push(recipient);
                Verdict::Accept
            }
            Err(denial) => {
                self.tally.rejected += 1;
                record::recipient_rejected(&self.shared, &self.peer, transaction.sender(), &recipient, denial);
                Verdict::Reject(reply::RELAY_DENIED)
            }
        }
    }

    fn data(&mut self) -> Verdict {
        let Some(transaction) = &mut self.transaction else { return Verdict::Reject(reply::BAD_SEQUENCE) };
        // Without a lease there is no id to take: better now than after the content.
        if !self.shared.ids.are_valid(Instant::now()) {
            self.tally.deferred += 1;
            record::message_refused(&self.shared, &self.peer, transaction.sender(), &reply::QUEUE_UNAVAILABLE);
            return Verdict::Reject(reply::QUEUE_UNAVAILABLE);
        }
        let span = spans::receive(self.peer.address.ip(), &self.peer.helo);
        transaction.content = Some(Content::new(span, self.shared.budget.share()));
        Verdict::Accept
    }

    /// Only a committed message is answered with 250 (invariant 1).
    async fn end_of_data(&mut self) -> Verdict {
        let Some(transaction) = self.transaction.take() else { return Verdict::Reject(reply::BAD_SEQUENCE) };
        let sender = transaction.sender().clone();
        let span = transaction.content.as_ref().map_or_else(Span::none, |content| content.span.clone());
        let begun = Instant::now();
        let verdict = match transaction.finish(&self.peer, &self.shared) {
            Err(reply) => Err(reply),
            Ok(ready) => {
                let facts = record::Accepted::new(&ready.message);
                spans::record_message(&span, facts.id, facts.size_bytes, facts.recipients);
                let verdict = self.shared.submitter.submit(ready.message, ready.upload).await;
                drop(ready.share);
                verdict.map(|()| facts)
            }
        };
        spans::record_verdict(&span, verdict.as_ref().err().unwrap_or(&reply::QUEUED));
        match verdict {
            Ok(facts) => {
                self.tally.accepted += 1;
                record::message_accepted(&self.shared, &self.peer, &sender, &facts, begun.elapsed());
                Verdict::AcceptWith(reply::QUEUED.with_text(format!("Queued as {}", facts.id)))
            }
            Err(reply) => {
                if reply.is_permanent() {
                    self.tally.rejected += 1;
                } else {
                    self.tally.deferred += 1;
                }
                record::message_refused(&self.shared, &self.peer, &sender, &reply);
                Verdict::Reject(reply)
            }
        }
    }
}

impl Handler for Session {
    async fn ask(&mut self, question: Question) -> Verdict {
        match question {
            Question::Connect => self.connect(),
            Question::Hello { name, extended } => self.hello(name, extended),
            Question::Mail(parameters) => self.mail(parameters),
            Question::Rcpt(recipient) => self.rcpt(recipient),
            Question::Data => self.data(),
            Question::EndOfData { .. } => self.end_of_data().await,
        }
    }

    async fn body(&mut self, chunk: Bytes) {
        if let Some(transaction) = &mut self.transaction {
            transaction.take(&chunk, &self.peer, &self.shared).await;
        }
    }

    fn reset(&mut self) {
        if let Some(mut content) = self.transaction.take().and_then(|transaction| transaction.content) {
            content.drop_all(&self.shared);
        }
    }

    fn tls(&mut self, info: &TlsInfo) {
        self.peer.tls = Some(format!("{} {}", info.version, info.cipher));
        // RFC 3207 §4.2.
        self.peer.helo.clear();
        self.peer.extended = false;
    }
}
