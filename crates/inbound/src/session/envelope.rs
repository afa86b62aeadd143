//! MAIL and RCPT: the facts, and the transaction that comes of them. Not responsible for who may send to whom, which is
//! policy, nor for what the addresses look like.

use mailtier_config::{MessageClass, SuppressionMode};
use mailtier_smtp::{MailParameters, RcptParameters, Verdict};
use mailtier_telemetry::spans;
use mailtier_types::{Mailbox, reply};

use super::Session;
use crate::policy::{Refusal, mail, rcpt};
use crate::record;
use crate::reports::ReportClaim;
use crate::submit::MOST_HELD_OCTETS;
use crate::suppression;
use crate::transaction::Transaction;

impl Session {
    pub(super) async fn mail(&mut self, mut parameters: MailParameters) -> Verdict {
        if let Err(verdict) = self.know_again().await {
            return verdict;
        }
        // Who might have logged in since has, or is a stranger.
        if let Err(refusal) = self.judge_name(&self.peer.helo, false) {
            let name = self.peer.helo.clone();
            return self.refuse_name(&name, refusal);
        }
        let verdict = match self.judge_sender(&parameters) {
            Ok(mail::Admission::BeginWithoutPriority) => {
                parameters.priority = None;
                Verdict::AcceptWith(reply::PRIORITY_CHANGED)
            }
            Ok(_) => Verdict::Accept,
            Err(refusal) => {
                self.tally.count(&refusal.reply);
                record::sender_refused(&self.shared, &self.peer, &parameters.sender, &refusal);
                return Verdict::Reject(refusal.reply);
            }
        };
        parameters.priority = parameters.priority.or_else(|| self.class().map(MessageClass::priority));
        self.shared.meters.inbound_transactions.add(1, &[]);
        let span = spans::receive(self.peer.address.ip(), &self.peer.helo);
        self.transaction = Some(Transaction::new(parameters, span, self.shared.budget.share()));
        verdict
    }

    fn judge_sender(&self, parameters: &MailParameters) -> Result<mail::Admission, Refusal> {
        let declared_octets = parameters.size.unwrap_or(0);
        let mut facts = mail::Facts {
            sender: &parameters.sender,
            declared_octets,
            priority: parameters.priority,
            is_of_ours: self.peer.is_ours(),
            user: self.peer.user.as_deref(),
            has_memory: self.shared.budget.has_room_for(declared_octets.min(MOST_HELD_OCTETS)),
            tenant_max_octets: self.tenant_max_octets(),
            within_rate: None,
        };
        loop {
            match mail::decide(&facts)? {
                mail::Admission::AskRate => {
                    facts.within_rate = Some(self.shared.limits.allow_message(&self.account()));
                }
                admission => return Ok(admission),
            }
        }
    }

    /// What the mail is for, as far as the operator has said: of the tenant, of the client's network, of the listener.
    fn class(&self) -> Option<MessageClass> {
        let tenant = self.shared.tenants.get(&self.peer.tenant());
        tenant.and_then(|tenant| tenant.class).or(self.peer.settings.class)
    }

    /// The largest message of whose mail it is, where he has a limit of his own.
    pub(super) fn tenant_max_octets(&self) -> Option<u64> {
        let tenant = self.shared.tenants.get(&self.peer.tenant())?;
        tenant.max_message_size.map(|size| size.as_u64())
    }

    pub(super) async fn rcpt(&mut self, parameters: RcptParameters) -> Verdict {
        let claim = self.shared.reports.claim(&parameters.mailbox);
        let resolved = self.resolve(&parameters.mailbox, claim).await;
        let Some(transaction) = &mut self.transaction else { return Verdict::Reject(reply::BAD_SEQUENCE) };
        let taken = resolved.and_then(|recipients| match transaction.add(&parameters, recipients) {
            true => Ok(()),
            false => Err(Refusal::memory()),
        });
        transaction.is_report |= taken.is_ok() && claim == ReportClaim::Genuine;
        match taken {
            Ok(()) => Verdict::Accept,
            Err(refusal) => {
                self.tally.count(&refusal.reply);
                if !std::mem::replace(&mut transaction.has_refused, true) {
                    spans::record_refusal(&transaction.span, refusal.reason);
                }
                let (shared, peer, sender) = (&self.shared, &self.peer, transaction.sender());
                let say = || record::recipient_rejected(shared, peer, sender, &parameters.mailbox, &refusal);
                transaction.span.in_scope(say);
                Verdict::Reject(refusal.reply)
            }
        }
    }

    /// Who gets what is sent to this recipient.
    async fn resolve(&self, recipient: &Mailbox, claim: ReportClaim) -> Result<Vec<Mailbox>, Refusal> {
        let Self { shared, peer, .. } = self;
        let mut facts = rcpt::Facts::new(&shared.relay, peer.is_ours(), recipient);
        facts.claim = claim;
        if let Some(transaction) = &self.transaction {
            (facts.taken, facts.is_report) = (transaction.recipients.len(), transaction.is_report);
        }
        // Whom strangers write to is nobody's list.
        if peer.is_ours() && shared.suppression.mode_of(peer.tenant()) == SuppressionMode::Reject {
            facts.listing = rcpt::Listing::NotAsked;
        }
        loop {
            match rcpt::decide(&facts)? {
                rcpt::Admission::LookUp => {
                    facts.found = Some(shared.recipients.find(recipient, &shared.relay, &shared.accounts).await);
                }
                rcpt::Admission::AskList => self.ask_list(&mut facts).await,
                rcpt::Admission::AskRate => {
                    facts.within_rate = Some(shared.limits.allow_recipient(&self.account()));
                }
                rcpt::Admission::Itself | rcpt::Admission::Report => return Ok(vec![recipient.clone()]),
                rcpt::Admission::Reader(reader) => return Ok(vec![reader.clone()]),
                rcpt::Admission::Found => return facts.into_found(),
            }
        }
    }

    /// What the tenant's suppression list says of those who would get the mail. Of several, those on it do not get it.
    async fn ask_list(&self, facts: &mut rcpt::Facts<'_>) {
        let Self { shared, peer, .. } = self;
        let mut clear = Vec::new();
        for recipient in facts.recipients() {
            match shared.suppression.find(peer.tenant(), recipient, &shared.accounts).await {
                suppression::Listing::Clear => clear.push(recipient.clone()),
                suppression::Listing::Listed => {}
                suppression::Listing::Unsure => return facts.listing = rcpt::Listing::Unsure,
            }
        }
        facts.listed(clear);
    }
}
