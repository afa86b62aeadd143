//! The content: announced, and what becomes of it. Not responsible for looking at it, nor for whether it may come, which
//! is policy.

use std::time::Instant;

use mailtier_crashpoint::{Point, reach};
use mailtier_smtp::Verdict;
use mailtier_telemetry::spans;
use mailtier_types::reply;

use super::Session;
use crate::policy::content;
use crate::record;
use crate::transaction::Content;

impl Session {
    pub(super) async fn data(&mut self) -> Verdict {
        if let Err(verdict) = self.know_again().await {
            return verdict;
        }
        let max_octets = self.tenant_max_octets().unwrap_or(u64::MAX);
        let Some(transaction) = &mut self.transaction else { return Verdict::Reject(reply::BAD_SEQUENCE) };
        let has_id = self.shared.ids.are_valid(Instant::now());
        if let Err(refusal) = content::decide(&content::Facts::announced(has_id)) {
            self.tally.count(&refusal.reply);
            let sender = transaction.sender();
            spans::record_verdict(&transaction.span, &refusal.reply);
            transaction.span.in_scope(|| record::message_refused(&self.shared, &self.peer, sender, &refusal.reply));
            return Verdict::Reject(refusal.reply);
        }
        let content = Content::new(self.shared.budget.share(), max_octets);
        transaction.content = Some(content);
        Verdict::Accept
    }

    /// Only a committed message is answered with 250 (invariant 1).
    pub(super) async fn end_of_data(&mut self) -> Verdict {
        let Some(transaction) = self.transaction.take() else { return Verdict::Reject(reply::BAD_SEQUENCE) };
        let sender = transaction.sender().clone();
        let span = transaction.span.clone();
        let begun = Instant::now();
        let verdict = match transaction.finish(&self.peer, &self.shared) {
            Err(reply) => Err(reply),
            Ok(ready) => {
                let facts = record::Accepted::new(&ready.message, ready.stored_octets);
                spans::record_message(&span, facts.id, facts.size_bytes, facts.recipients);
                reach(Point::ContentReceived);
                let verdict = self.shared.submitter.submit(ready.message, ready.route).await;
                drop(ready.shares);
                verdict.map(|()| facts)
            }
        };
        spans::record_verdict(&span, verdict.as_ref().err().unwrap_or(&reply::QUEUED));
        let verdict = match verdict {
            Ok(facts) => {
                reach(Point::ReplyOwed);
                self.tally.accepted += 1;
                let (shared, peer) = (&self.shared, &self.peer);
                span.in_scope(|| record::message_accepted(shared, peer, &sender, &facts, begun.elapsed()));
                Verdict::AcceptWith(reply::QUEUED.with_text(format!("Queued as {}", facts.id)))
            }
            Err(reply) => {
                self.tally.count(&reply);
                span.in_scope(|| record::message_refused(&self.shared, &self.peer, &sender, &reply));
                Verdict::Reject(reply)
            }
        };
        // XFORWARD_README: what was said of the origin holds for one message.
        self.peer.origin = None;
        verdict
    }
}
