//! MAIL and RCPT: who may send from which address to whom. Not responsible for what the addresses look like.

use mailtier_smtp::{MailParameters, RcptParameters, Verdict};
use mailtier_types::{Mailbox, Notify, OriginalRecipient, RecipientRequest, Reply, reply};

use super::Session;
use crate::recipients::Found;
use crate::record;
use crate::relay::Denial;
use crate::submit::MOST_HELD_OCTETS;
use crate::transaction::Transaction;

impl Session {
    pub(super) fn mail(&mut self, mut parameters: MailParameters) -> Verdict {
        // RFC 1870 §6.1: better now than after the content.
        if !self.shared.budget.has_room_for(parameters.size.unwrap_or(0).min(MOST_HELD_OCTETS)) {
            return Verdict::Reject(reply::INSUFFICIENT_STORAGE);
        }
        let tenant_limit = self.shared.tenants.get(&self.peer.tenant()).and_then(|tenant| tenant.max_message_size);
        if tenant_limit.is_some_and(|limit| parameters.size.unwrap_or(0) > limit.as_u64()) {
            return Verdict::Reject(reply::MESSAGE_TOO_BIG);
        }
        if let Err(reply) = self.may_send_from(&parameters) {
            return self.refuse_sender(&parameters, reply, "sender_not_owned");
        }
        if !self.shared.limits.allow_message(&self.account()) {
            return self.refuse_sender(&parameters, reply::RATE_LIMITED, "rate_limit");
        }
        // RFC 6710 §4.1: only who is known to us may come before others.
        let lowered = parameters.priority.filter(|priority| *priority > 0 && !self.peer.is_ours());
        if lowered.is_some() {
            parameters.priority = None;
        }
        self.transaction = Some(Transaction::new(parameters));
        match lowered {
            Some(_) => Verdict::AcceptWith(reply::PRIORITY_CHANGED),
            None => Verdict::Accept,
        }
    }

    /// RFC 6409 §6.1: who logged in sends from addresses of his own. Notifications have no sender to own.
    fn may_send_from(&self, parameters: &MailParameters) -> Result<(), Reply> {
        match (&self.peer.user, parameters.sender.mailbox()) {
            (Some(user), Some(sender)) if !user.owns(sender) => Err(reply::SENDER_NOT_OWNED),
            _ => Ok(()),
        }
    }

    fn refuse_sender(&mut self, parameters: &MailParameters, reply: Reply, reason: &'static str) -> Verdict {
        self.tally.count(&reply);
        record::sender_refused(&self.shared, &self.peer, &parameters.sender, reason);
        Verdict::Reject(reply)
    }

    pub(super) async fn rcpt(&mut self, parameters: RcptParameters) -> Verdict {
        let resolved = self.resolve(&parameters.mailbox).await;
        let allowed = resolved.and_then(|recipients| match self.shared.limits.allow_recipient(&self.account()) {
            true => Ok(recipients),
            false => Err((reply::RATE_LIMITED, "rate_limit")),
        });
        let Some(transaction) = &mut self.transaction else { return Verdict::Reject(reply::BAD_SEQUENCE) };
        match allowed {
            Ok(recipients) => {
                transaction.add(&parameters, recipients);
                Verdict::Accept
            }
            Err((reply, reason)) => {
                self.tally.count(&reply);
                let sender = transaction.sender();
                record::recipient_rejected(&self.shared, &self.peer, sender, &parameters.mailbox, reason);
                Verdict::Reject(reply)
            }
        }
    }

    /// Who gets what is sent to this recipient.
    pub(super) async fn resolve(&self, recipient: &Mailbox) -> Result<Vec<Mailbox>, (Reply, &'static str)> {
        let relay = &self.shared.relay;
        if let Some(reader) = relay.reader_of(recipient) {
            return Ok(vec![reader.clone()]);
        }
        relay.admit(self.peer.is_ours(), recipient).map_err(|denial: Denial| (reply::RELAY_DENIED, denial.name()))?;
        if !relay.is_ours(recipient.domain_str()) {
            return Ok(vec![recipient.clone()]);
        }
        match self.shared.recipients.find(recipient, relay, &self.shared.accounts).await {
            Found::Recipients(recipients) => Ok(recipients),
            // RFC 5321 §4.5.1: there is a postmaster wherever mail is taken.
            Found::Unknown if let Some(reader) = relay.reader_anywhere(recipient) => Ok(vec![reader.clone()]),
            Found::Unknown => Err((reply::NO_SUCH_RECIPIENT, "unknown_recipient")),
            Found::Unsure => Err((reply::RECIPIENT_UNVERIFIED, "unverified_recipient")),
        }
    }
}

impl Transaction {
    /// Takes what was sent to a recipient for those who get it. What was asked for it holds for each of them, and each
    /// is known to its sender by the address he wrote (RFC 3461 §5.2.7).
    fn add(&mut self, parameters: &RcptParameters, recipients: Vec<Mailbox>) {
        let was_expanded = recipients.as_slice() != [parameters.mailbox.clone()];
        let kind = if parameters.mailbox.needs_smtputf8() { "utf-8" } else { "rfc822" };
        let written = || OriginalRecipient::new(kind, parameters.mailbox.as_str()).ok();
        let original = parameters.original.clone().or_else(|| if was_expanded { written() } else { None });
        let notify: Option<Notify> = parameters.notify;
        for recipient in recipients {
            if notify.is_some() || original.is_some() {
                self.requests.push(RecipientRequest {
                    recipient: recipient.clone(),
                    notify,
                    original: original.clone(),
                });
            }
            self.recipients.push(recipient);
        }
    }
}
