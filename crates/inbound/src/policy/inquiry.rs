//! VRFY, EXPN and ETRN: what is told to whom. Not responsible for what the answers are made of.

use mailtier_types::{Domain, Mailbox, reply};

use super::Refusal;
use super::rcpt::judge;
use super::relay::RelayPolicy;
use crate::recipients::Found;

/// What is known when VRFY or EXPN is said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) relay: &'a RelayPolicy,
    /// The client is of a network of ours, or has logged in.
    pub(crate) is_of_ours: bool,
    /// Whom it asks about, where that is an address.
    pub(crate) recipient: Option<&'a Mailbox>,
    /// What was found of it. Nothing: nobody was asked yet.
    pub(crate) found: Option<&'a Found>,
}

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission<'a> {
    /// Neither yes nor no.
    Unsaid,
    /// That depends on what is known of this recipient.
    LookUp(&'a Mailbox),
    /// These get its mail.
    Tell(&'a [Mailbox]),
}

/// VRFY (RFC 5321 §3.5.1). Strangers learn nothing (§7.3).
///
/// # Errors
/// There is no such recipient, or nobody knows now.
pub(crate) fn verify<'a>(facts: &Facts<'a>) -> Result<Admission<'a>, Refusal> {
    if !facts.is_of_ours {
        return Ok(Admission::Unsaid);
    }
    let recipient = facts.recipient.ok_or(Refusal::new(reply::BAD_RECIPIENT, "bad_address"))?;
    match facts.relay.is_ours(recipient.domain_str()) {
        true => tell(recipient, facts.found),
        false => Ok(Admission::Unsaid),
    }
}

/// EXPN (RFC 5321 §3.5.1): who gets what is sent to an address.
///
/// # Errors
/// The client may not ask, there is no such recipient, or nobody knows now.
pub(crate) fn expand<'a>(facts: &Facts<'a>) -> Result<Admission<'a>, Refusal> {
    if !facts.is_of_ours {
        return Err(Refusal::new(reply::NOT_AUTHORISED, "not_authorised"));
    }
    match facts.recipient.filter(|recipient| facts.relay.is_ours(recipient.domain_str())) {
        Some(recipient) => tell(recipient, facts.found),
        None => Err(Refusal::new(reply::NO_SUCH_RECIPIENT, "unknown_recipient")),
    }
}

fn tell<'a>(recipient: &'a Mailbox, found: Option<&'a Found>) -> Result<Admission<'a>, Refusal> {
    found.map_or(Ok(Admission::LookUp(recipient)), |found| judge(found).map(Admission::Tell))
}

/// ETRN (RFC 1985 §5.1) for a domain, where what was said is one: whether its waiting mail is delivered now.
///
/// # Errors
/// Not for this client, or not this domain's.
pub(crate) fn start_queue<'a>(
    relay: &RelayPolicy,
    may_ask: bool,
    domain: Option<&'a Domain>,
) -> Result<&'a Domain, Refusal> {
    let not_allowed = Refusal::new(reply::NODE_NOT_ALLOWED, "node_not_allowed");
    if !may_ask {
        return Err(not_allowed);
    }
    let domain = domain.ok_or(Refusal::new(reply::SYNTAX, "bad_domain"))?;
    if relay.is_ours(domain.as_str()) { Ok(domain) } else { Err(not_allowed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay() -> RelayPolicy {
        RelayPolicy::new(&["example.org".to_owned()]).unwrap()
    }

    #[test]
    fn who_learns_what_of_a_recipient() {
        let relay = relay();
        let (ours, foreign) = (Mailbox::parse("a@example.org").unwrap(), Mailbox::parse("a@example.com").unwrap());
        let members = [Mailbox::parse("b@example.org").unwrap()];
        let found = Found::Recipients(members.to_vec());
        let of_ours = Facts { relay: &relay, is_of_ours: true, recipient: Some(&ours), found: None };
        let stranger = Facts { is_of_ours: false, ..of_ours };
        let told = Ok(Admission::Tell(&members[..]));
        for (case, facts, verified, expanded) in [
            ("a stranger", stranger, Ok(Admission::Unsaid), Err(550)),
            (
                "a stranger, whatever was found",
                Facts { found: Some(&found), ..stranger },
                Ok(Admission::Unsaid),
                Err(550),
            ),
            ("first it is looked up", of_ours, Ok(Admission::LookUp(&ours)), Ok(Admission::LookUp(&ours))),
            ("then it is told", Facts { found: Some(&found), ..of_ours }, told, told),
            ("it is not there", Facts { found: Some(&Found::Unknown), ..of_ours }, Err(550), Err(550)),
            ("nobody knows", Facts { found: Some(&Found::Unsure), ..of_ours }, Err(450), Err(450)),
            (
                "of others nothing is known",
                Facts { recipient: Some(&foreign), ..of_ours },
                Ok(Admission::Unsaid),
                Err(550),
            ),
            ("no address", Facts { recipient: None, ..of_ours }, Err(501), Err(550)),
        ] {
            assert_eq!(verify(&facts).map_err(|refusal| refusal.reply.code), verified, "VRFY: {case}");
            assert_eq!(expand(&facts).map_err(|refusal| refusal.reply.code), expanded, "EXPN: {case}");
        }
    }

    #[test]
    fn whose_waiting_mail_is_delivered_for_whom() {
        let (ours, foreign) = (Domain::parse("example.org").unwrap(), Domain::parse("example.com").unwrap());
        for (may_ask, domain, refused) in [
            (true, Some(&ours), None),
            (true, Some(&foreign), Some(459)),
            (true, None, Some(501)),
            (false, Some(&ours), Some(459)),
            (false, None, Some(459)),
        ] {
            let code = start_queue(&relay(), may_ask, domain).err().map(|refusal| refusal.reply.code);
            assert_eq!(code, refused, "{may_ask} {domain:?}");
        }
    }
}
