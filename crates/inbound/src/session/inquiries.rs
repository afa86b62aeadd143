//! VRFY, EXPN and ETRN: what is told to whom. Not responsible for what the answers are made of.

use mailtier_smtp::Verdict;
use mailtier_types::{Domain, Mailbox, Reply, reply};

use super::Session;
use crate::listeners::holds;
use crate::recipients::Found;

impl Session {
    /// VRFY (RFC 5321 §3.5.1). Strangers learn nothing (§7.3).
    pub(super) async fn verify(&self, address: &str) -> Verdict {
        if !self.peer.is_ours() {
            return Verdict::AcceptWith(reply::CANNOT_VRFY);
        }
        let Some(recipient) = self.named(address) else { return Verdict::Reject(reply::BAD_RECIPIENT) };
        if !self.shared.relay.is_ours(recipient.domain_str()) {
            return Verdict::AcceptWith(reply::CANNOT_VRFY);
        }
        match self.find_recipient(&recipient).await {
            Ok(_) => Verdict::AcceptWith(reply::VERIFIED.with_text(format!("<{recipient}>"))),
            Err(reply) => Verdict::Reject(reply),
        }
    }

    /// EXPN (RFC 5321 §3.5.1): who gets what is sent to an address.
    pub(super) async fn expand(&self, address: &str) -> Verdict {
        if !self.peer.is_ours() {
            return Verdict::Reject(reply::NOT_AUTHORISED);
        }
        let named = self.named(address).filter(|recipient| self.shared.relay.is_ours(recipient.domain_str()));
        let Some(recipient) = named else { return Verdict::Reject(reply::NO_SUCH_RECIPIENT) };
        match self.find_recipient(&recipient).await {
            Ok(members) => {
                let lines: Vec<String> = members.iter().map(|member| format!("<{member}>")).collect();
                Verdict::AcceptWith(reply::VERIFIED.with_text(lines.join("\n")))
            }
            Err(reply) => Verdict::Reject(reply),
        }
    }

    async fn find_recipient(&self, recipient: &Mailbox) -> Result<Vec<Mailbox>, Reply> {
        match self.shared.recipients.find(recipient, &self.shared.relay, &self.shared.accounts).await {
            Found::Recipients(recipients) => Ok(recipients),
            Found::Unknown => Err(reply::NO_SUCH_RECIPIENT),
            Found::Unsure => Err(reply::RECIPIENT_UNVERIFIED),
        }
    }

    /// With or without angle brackets, and with this host's name where there is no domain (RFC 5321 §4.1.1.6).
    fn named(&self, address: &str) -> Option<Mailbox> {
        let bare = address.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).unwrap_or(address);
        let here = || Mailbox::parse(&format!("{bare}@{}", self.shared.hostname)).ok();
        Mailbox::parse(bare).ok().or_else(here)
    }

    /// ETRN (RFC 1985 §5.1): `domain`, or `@domain` for it and all below, of which each must be asked for by itself here.
    pub(super) async fn start_queue(&self, node: &str) -> Verdict {
        if !holds(&self.shared.etrn_networks, self.peer.address.ip()) {
            return Verdict::Reject(reply::NODE_NOT_ALLOWED);
        }
        let Ok(domain) = Domain::parse(node.strip_prefix('@').unwrap_or(node)) else {
            return Verdict::Reject(reply::SYNTAX);
        };
        if !self.shared.relay.is_ours(domain.as_str()) {
            return Verdict::Reject(reply::NODE_NOT_ALLOWED);
        }
        let asked = self.shared.accounts.ask(|to| {
            let domain = domain.clone();
            async move { to.start_queue(domain.as_str()).await }
        });
        match asked.await {
            Ok(0) => Verdict::AcceptWith(reply::NOTHING_QUEUED),
            Ok(_) => Verdict::AcceptWith(reply::QUEUE_STARTED),
            Err(_) => Verdict::Reject(reply::QUEUE_NOT_STARTED),
        }
    }
}
