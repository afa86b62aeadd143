//! VRFY, EXPN and ETRN: what is looked up, and how it is said. Not responsible for what is told to whom, which is policy.

use mailtier_smtp::Verdict;
use mailtier_types::{Domain, Mailbox, reply};

use super::Session;
use crate::policy::Refusal;
use crate::policy::inquiry::{self, Admission, Facts};
use crate::recipients::Found;

/// VRFY's or EXPN's.
type Decision = for<'a> fn(&Facts<'a>) -> Result<Admission<'a>, Refusal>;

impl Session {
    pub(super) async fn verify(&self, address: &str) -> Verdict {
        self.inquire(address, inquiry::verify, |recipient, _| format!("<{recipient}>")).await
    }

    pub(super) async fn expand(&self, address: &str) -> Verdict {
        let list = |_: &Mailbox, members: &[Mailbox]| {
            members.iter().map(|member| format!("<{member}>")).collect::<Vec<_>>().join("\n")
        };
        self.inquire(address, inquiry::expand, list).await
    }

    async fn inquire(&self, address: &str, decide: Decision, say: fn(&Mailbox, &[Mailbox]) -> String) -> Verdict {
        let recipient = self.named(address);
        let found = match decide(&self.known(recipient.as_ref(), None)) {
            Ok(Admission::LookUp(recipient)) => Some(self.look_up(recipient).await),
            _ => None,
        };
        match (decide(&self.known(recipient.as_ref(), found.as_ref())), &recipient) {
            (Ok(Admission::Tell(members)), Some(recipient)) => {
                Verdict::AcceptWith(reply::VERIFIED.with_text(say(recipient, members)))
            }
            (Ok(_), _) => Verdict::AcceptWith(reply::CANNOT_VRFY),
            (Err(refusal), _) => Verdict::Reject(refusal.reply),
        }
    }

    fn known<'a>(&'a self, recipient: Option<&'a Mailbox>, found: Option<&'a Found>) -> Facts<'a> {
        Facts { relay: &self.shared.relay, is_of_ours: self.peer.is_ours(), recipient, found }
    }

    async fn look_up(&self, recipient: &Mailbox) -> Found {
        self.shared.recipients.find(recipient, &self.shared.relay, &self.shared.accounts).await
    }

    /// With or without angle brackets, and with this host's name where there is no domain (RFC 5321 §4.1.1.6).
    fn named(&self, address: &str) -> Option<Mailbox> {
        let bare = address.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).unwrap_or(address);
        let here = || Mailbox::parse(&format!("{bare}@{}", self.shared.hostname)).ok();
        Mailbox::parse(bare).ok().or_else(here)
    }

    /// ETRN (RFC 1985 §5.1): `domain`, or `@domain` for it and all below, of which each must be asked for by itself here.
    pub(super) async fn start_queue(&self, node: &str) -> Verdict {
        let may_ask = self.shared.may_start_queue(&self.peer);
        let domain = Domain::parse(node.strip_prefix('@').unwrap_or(node)).ok();
        let domain = match inquiry::start_queue(&self.shared.relay, may_ask, domain.as_ref()) {
            Ok(domain) => domain,
            Err(refusal) => return Verdict::Reject(refusal.reply),
        };
        let asked = self.shared.accounts.ask(|to| async move { to.start_queue(domain.as_str()).await });
        match asked.await {
            Ok(0) => Verdict::AcceptWith(reply::NOTHING_QUEUED),
            Ok(_) => Verdict::AcceptWith(reply::QUEUE_STARTED),
            Err(_) => Verdict::Reject(reply::QUEUE_NOT_STARTED),
        }
    }
}
