//! The fourth stage: to whom mail is taken, from whom. Not responsible for which recipients there are.
//!
//! Mail is relayed (RFC 5321 §3.6.2) for clients of ours to anywhere, and for anyone to our domains. Nothing else is ever
//! relayed. Who sends it, in the words of MAIL, is no fact here: anyone can say anything there.
//!
//! What comes back about mail of ours is taken from anyone too, where its recipient is a return path that was signed here. One
//! that was not is answered as any recipient who does not exist: whoever guesses learns nothing.

use mailtier_types::id::MAX_FANOUT;
use mailtier_types::{Mailbox, reply};

use super::Refusal;
use super::relay::RelayPolicy;
use crate::recipients::Found;
use crate::reports::ReportClaim;

/// What is known of a recipient.
#[derive(Clone, Debug)]
pub(crate) struct Facts<'a> {
    relay: &'a RelayPolicy,
    /// The client is of a network of ours, or has logged in.
    is_of_ours: bool,
    recipient: &'a Mailbox,
    is_our_domain: bool,
    /// Recipients that the message has.
    pub(crate) taken: usize,
    /// What was found of a recipient of ours. Nothing: nobody was asked yet.
    pub(crate) found: Option<Found>,
    /// Whether client, user and tenant may have one more recipient. Nothing: not asked yet, and asking uses up a rate.
    pub(crate) within_rate: Option<bool>,
    /// What it is among return paths and addresses for complaints.
    pub(crate) claim: ReportClaim,
    /// The message goes to one of these already.
    pub(crate) is_report: bool,
    /// What the tenant's suppression list says.
    pub(crate) listing: Listing,
}

/// What a suppression list says of a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listing {
    /// There is none, or it does not count here.
    NoList,
    /// It was not asked yet.
    NotAsked,
    /// It has nothing against it.
    Clear,
    /// It is on it.
    Listed,
    /// Nobody could be asked just now.
    Unsure,
}

/// What becomes of the recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission<'a> {
    /// That depends on whether there is such a recipient.
    LookUp,
    /// That depends on the suppression list.
    AskList,
    /// That depends on rates.
    AskRate,
    /// It is taken as what came back, and read.
    Report,
    /// It is taken as it is.
    Itself,
    /// It is taken, and goes to whoever reads the postmaster's mail.
    Reader(&'a Mailbox),
    /// It is taken, and goes to those who were found ([`Facts::into_found`]).
    Found,
}

impl<'a> Facts<'a> {
    /// What is known without asking.
    pub(crate) fn new(relay: &'a RelayPolicy, is_of_ours: bool, recipient: &'a Mailbox) -> Self {
        let is_our_domain = relay.is_ours(recipient.domain_str());
        Self {
            relay,
            is_of_ours,
            recipient,
            is_our_domain,
            taken: 0,
            found: None,
            within_rate: None,
            claim: ReportClaim::No,
            is_report: false,
            listing: Listing::NoList,
        }
    }

    /// Those who would get the mail, as far as they are known.
    pub(crate) fn recipients(&self) -> &[Mailbox] {
        match &self.found {
            Some(Found::Recipients(recipients)) => recipients,
            _ => std::slice::from_ref(self.recipient),
        }
    }

    /// The suppression list was asked; it has nothing against these.
    pub(crate) fn listed(&mut self, clear: Vec<Mailbox>) {
        self.listing = if clear.is_empty() { Listing::Listed } else { Listing::Clear };
        if let Some(Found::Recipients(recipients)) = &mut self.found {
            *recipients = clear;
        }
    }

    /// Those who get the mail of a recipient that was found. Where nobody was, nobody may be taken.
    ///
    /// # Errors
    /// Nobody was found.
    pub(crate) fn into_found(self) -> Result<Vec<Mailbox>, Refusal> {
        match self.found {
            Some(Found::Recipients(recipients)) => Ok(recipients),
            _ => Err(unverified()),
        }
    }
}

/// Whether a recipient is taken.
///
/// # Errors
/// It is not.
pub(crate) fn decide<'a>(facts: &Facts<'a>) -> Result<Admission<'a>, Refusal> {
    let target = target(facts)?;
    if target == Admission::LookUp {
        return Ok(target);
    }
    has_room(facts)?;
    match facts.listing {
        Listing::NotAsked if matches!(target, Admission::Itself | Admission::Found) => return Ok(Admission::AskList),
        Listing::Listed => return Err(Refusal::new(reply::RECIPIENT_SUPPRESSED, "suppressed_recipient")),
        Listing::Unsure => return Err(unverified()),
        Listing::NoList | Listing::NotAsked | Listing::Clear => {}
    }
    match facts.within_rate {
        None => Ok(Admission::AskRate),
        Some(false) => Err(Refusal::rate()),
        Some(true) => Ok(target),
    }
}

/// Where its mail goes, as far as that is known.
fn target<'a>(facts: &Facts<'a>) -> Result<Admission<'a>, Refusal> {
    let (relay, recipient) = (facts.relay, facts.recipient);
    match facts.claim {
        ReportClaim::Forged => return Err(Refusal::new(reply::NO_SUCH_RECIPIENT, "forged_return_path")),
        ReportClaim::Genuine if facts.taken == 0 => return Ok(Admission::Report),
        // Each is read for itself: what goes there has no other recipient.
        ReportClaim::Genuine => return Err(too_many()),
        ReportClaim::AtDomain | ReportClaim::No if facts.is_report => return Err(too_many()),
        ReportClaim::AtDomain | ReportClaim::No => {}
    }
    // RFC 5321 §4.5.1: anyone may write to the postmaster of this host.
    if let Some(reader) = relay.reader_of(recipient) {
        return Ok(Admission::Reader(reader));
    }
    if facts.claim == ReportClaim::AtDomain && !facts.is_our_domain {
        let reader = relay.reader_anywhere(recipient).map(Admission::Reader);
        return reader.ok_or(Refusal::new(reply::NO_SUCH_RECIPIENT, "unknown_recipient"));
    }
    may_relay(facts)?;
    if !facts.is_our_domain {
        return Ok(Admission::Itself);
    }
    match (&facts.found, relay.reader_anywhere(recipient)) {
        (None, _) => Ok(Admission::LookUp),
        // RFC 5321 §4.5.1: there is a postmaster wherever mail is taken.
        (Some(Found::Unknown), Some(reader)) => Ok(Admission::Reader(reader)),
        (Some(found), _) => judge(found).map(|_| Admission::Found),
    }
}

/// One that was written may be many: what is more than a message can have goes with another one.
fn has_room(facts: &Facts<'_>) -> Result<(), Refusal> {
    let more = facts.found.as_ref().and_then(|found| judge(found).ok()).map_or(1, <[Mailbox]>::len);
    match facts.taken.saturating_add(more) <= usize::from(MAX_FANOUT) {
        true => Ok(()),
        false => Err(too_many()),
    }
}

/// RFC 5321 §4.5.3.1.10: the client sends the rest in another transaction.
const fn too_many() -> Refusal {
    Refusal::new(reply::TOO_MANY_RECIPIENTS, "too_many_recipients")
}

fn may_relay(facts: &Facts<'_>) -> Result<(), Refusal> {
    if facts.is_of_ours {
        return Ok(());
    }
    // Neither the client nor the recipient's domain is ours.
    if !facts.is_our_domain {
        return Err(Refusal::new(reply::RELAY_DENIED, "relaying_denied"));
    }
    // The domain is ours, but the local part asks whoever is behind us to send the mail on to somebody else:
    // `user%elsewhere@ours`, `elsewhere!user@ours`, `"user@elsewhere"@ours` (RFC 5321 §3.6.1, appendix F.2).
    match facts.recipient.local_part().contains(['%', '!', '@']) {
        true => Err(Refusal::new(reply::RELAY_DENIED, "source_routed")),
        false => Ok(()),
    }
}

/// Those who get a recipient's mail, by what was found.
///
/// # Errors
/// There is no such recipient, or nobody knows now.
pub(super) fn judge(found: &Found) -> Result<&[Mailbox], Refusal> {
    match found {
        Found::Recipients(recipients) => Ok(recipients),
        Found::Unknown => Err(Refusal::new(reply::NO_SUCH_RECIPIENT, "unknown_recipient")),
        Found::Unsure => Err(unverified()),
    }
}

const fn unverified() -> Refusal {
    Refusal::new(reply::RECIPIENT_UNVERIFIED, "unverified_recipient")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay() -> RelayPolicy {
        let domains = ["Example.ORG".to_owned(), ".example.net".to_owned(), "bücher.example".to_owned()];
        RelayPolicy::new(&domains).unwrap().with_postmaster("mx.example.com", Some("admin@example.com"))
    }

    fn mailbox(text: &str) -> Mailbox {
        Mailbox::parse(text).unwrap()
    }

    /// What a stranger hears of a recipient before anybody is asked: the reason, where it is refused.
    fn to_strangers(recipient: &str) -> Result<(), &'static str> {
        let (relay, recipient) = (relay(), mailbox(recipient));
        decide(&Facts::new(&relay, false, &recipient)).map(|_| ()).map_err(|refusal| refusal.reason)
    }

    #[test]
    fn strangers_reach_our_domains() {
        for ours in [
            "a@example.org",
            "a@EXAMPLE.org",
            "\"a b\"@example.org",
            "a+detail@example.org",
            "a@x.example.net",
            "a@x.y.example.net",
            "a@bücher.example",
            "a@BÜCHER.example",
            "a@xn--bcher-kva.example",
            // Nobody but ourselves is behind our own names.
            "postmaster@mx.example.com",
            "POSTMASTER@MX.example.com",
        ] {
            assert_eq!(to_strangers(ours), Ok(()), "{ours}");
        }
    }

    #[test]
    fn strangers_reach_nobody_else() {
        for (foreign, why) in [
            ("a@example.com", "another domain"),
            ("a@sub.example.org", "below a domain that is ours alone"),
            ("a@example.net", "above those that are ours"),
            ("a@notexample.org", "the same end without a dot"),
            ("a@xexample.net", "the same end without a dot"),
            ("a@example.org.evil.example", "the same beginning"),
            ("a@org", "part of ours"),
            ("a@localhost", "this host, some say"),
            ("a@mx.example.com", "this host, but nobody who reads"),
            ("postmaster@example.com", "another's postmaster"),
            ("\"a@example.org\"@evil.example", "ours in quotes"),
            ("a%example.org@evil.example", "ours before a percent sign"),
            ("example.org!a@evil.example", "ours before a bang"),
            ("a@[127.0.0.1]", "an address literal"),
            ("a@[192.0.2.1]", "an address literal"),
            ("a@[IPv6:::1]", "an address literal"),
            ("a@[IPv6:::ffff:127.0.0.1]", "an address literal"),
            ("a@127.0.0.1", "an address without brackets is a name"),
            ("a@ехample.org", "Cyrillic е and х"),
            ("a@bucher.example", "no umlaut"),
            ("a@bü\u{301}cher.example", "one accent more"),
        ] {
            assert_eq!(to_strangers(foreign), Err("relaying_denied"), "{foreign}: {why}");
        }
    }

    #[test]
    fn strangers_cannot_route_through_our_domains() {
        for (routed, way) in [
            ("a%evil.example@example.org", "percent hack"),
            ("a%b%evil.example@example.org", "twice"),
            ("\"a%evil.example\"@example.org", "in quotes"),
            ("evil.example!a@example.org", "bang path"),
            ("evil.example!other.example!a@x.example.net", "a longer one"),
            ("\"a@evil.example\"@example.org", "quoted @"),
            ("\"a\\@evil.example\"@example.org", "quoted twice"),
            ("\"@evil.example:a\"@example.org", "a source route in quotes"),
            ("\"<a@evil.example>\"@example.org", "a path in quotes"),
        ] {
            assert_eq!(to_strangers(routed), Err("source_routed"), "{routed}: {way}");
        }
        // What the engine does not take off the way (RFC 5321 appendix C) is no mailbox, and comes to no decision.
        for none in [
            "@example.org:a@evil.example",
            "@example.org,@evil.example:a@example.org",
            "a@evil.example@example.org",
            "a@example.org@evil.example",
            "a@example.org:25",
            "a@example.org.",
            "a@example.org,b@evil.example",
            "a@example.org b@evil.example",
            "a@example。org@evil.example",
            "a@example.org\0.evil.example",
            "|/bin/sh",
        ] {
            assert!(Mailbox::parse(none).is_err(), "{none}");
        }
        // A dot of another script means a dot (UTS-46), and then the domain is ours.
        assert_eq!(to_strangers("a@example。org"), Ok(()));
        assert_eq!(to_strangers("a@ＥＸＡＭＰＬＥ.org"), Ok(()), "full width letters mean the same");
    }

    #[test]
    fn clients_of_ours_reach_everyone() {
        let relay = relay();
        for (recipient, expected) in [
            ("a@anywhere.example", Admission::Itself),
            ("a%elsewhere.example@anywhere.example", Admission::Itself),
            ("a@[192.0.2.1]", Admission::Itself),
            // Of our own domains we know who there is, whoever asks.
            ("a@example.org", Admission::LookUp),
            ("a%elsewhere.example@example.org", Admission::LookUp),
        ] {
            let recipient = mailbox(recipient);
            let facts = Facts { within_rate: Some(true), ..Facts::new(&relay, true, &recipient) };
            assert_eq!(decide(&facts), Ok(expected), "{recipient}");
        }
    }

    #[test]
    fn without_domains_nobody_reaches_anyone() {
        let (closed, recipient) = (RelayPolicy::new(&[]).unwrap(), mailbox("a@example.org"));
        let refusal = decide(&Facts::new(&closed, false, &recipient)).unwrap_err();
        assert_eq!(refusal, Refusal::new(reply::RELAY_DENIED, "relaying_denied"));
    }

    #[test]
    fn what_is_found_decides_about_recipients_of_ours() {
        let (relay, reader) = (relay(), mailbox("admin@example.com"));
        let members = Found::Recipients(vec![mailbox("b@example.org"), mailbox("c@example.com")]);
        for (recipient, found, expected) in [
            ("a@example.org", None, Ok(Admission::LookUp)),
            ("a@example.org", Some(members.clone()), Ok(Admission::Found)),
            ("a@example.org", Some(Found::Unknown), Err("unknown_recipient")),
            ("a@example.org", Some(Found::Unsure), Err("unverified_recipient")),
            ("postmaster@example.org", None, Ok(Admission::LookUp)),
            ("postmaster@example.org", Some(members), Ok(Admission::Found)),
            ("Postmaster@example.org", Some(Found::Unknown), Ok(Admission::Reader(&reader))),
            ("postmaster@example.org", Some(Found::Unsure), Err("unverified_recipient")),
            // This host's is not looked up.
            ("postmaster@mx.example.com", None, Ok(Admission::Reader(&reader))),
        ] {
            let mailbox = mailbox(recipient);
            let facts = Facts { found: found.clone(), within_rate: Some(true), ..Facts::new(&relay, false, &mailbox) };
            let decided = decide(&facts).map_err(|refusal| refusal.reason);
            assert_eq!(decided, expected, "{recipient} {found:?}");
        }
    }

    #[test]
    fn a_message_has_so_many_recipients_however_few_were_written() {
        let (relay, recipient) = (relay(), mailbox("a@example.org"));
        let most = usize::from(MAX_FANOUT);
        let facts = |taken, members: usize| {
            let found = Some(Found::Recipients(vec![mailbox("b@example.org"); members]));
            Facts { taken, found, within_rate: Some(true), ..Facts::new(&relay, false, &recipient) }
        };
        let decided = |facts: &Facts<'_>| decide(facts).map(|_| ()).map_err(|refusal| refusal.reason);
        assert_eq!(decided(&facts(most - 2, 2)), Ok(()));
        assert_eq!(decided(&facts(most - 1, 2)), Err("too_many_recipients"));
        let foreign = mailbox("a@example.com");
        let foreign = |taken| Facts { taken, within_rate: Some(true), ..Facts::new(&relay, true, &foreign) };
        assert_eq!((decided(&foreign(most - 1)), decided(&foreign(most))), (Ok(()), Err("too_many_recipients")));
    }

    #[test]
    fn what_is_refused_anyway_is_looked_up_nowhere_and_uses_up_no_rate() {
        let relay = relay();
        let recipient = |text: &str, is_of_ours, found: Option<Found>, within_rate| {
            let mailbox = mailbox(text);
            let facts = Facts { found, within_rate, ..Facts::new(&relay, is_of_ours, &mailbox) };
            decide(&facts).map(|admission| format!("{admission:?}")).map_err(|refusal| refusal.reason)
        };
        let known = Some(Found::Recipients(vec![mailbox("a@example.org")]));
        let text = |text: &str| Ok(text.to_owned());
        for (case, decided, expected) in [
            ("no lookup", recipient("a@example.com", false, None, None), Err("relaying_denied")),
            ("nor here", recipient("a%b@example.org", false, None, None), Err("source_routed")),
            ("lookup first", recipient("a@example.org", false, None, None), text("LookUp")),
            ("even for ours", recipient("a@example.org", true, None, None), text("LookUp")),
            ("no rate", recipient("a@example.org", false, Some(Found::Unknown), None), Err("unknown_recipient")),
            ("nor now", recipient("a@example.org", false, Some(Found::Unsure), None), Err("unverified_recipient")),
            ("then the rate", recipient("a@example.org", false, known.clone(), None), text("AskRate")),
            ("of others at once", recipient("a@example.com", true, None, None), text("AskRate")),
            ("also to the postmaster", recipient("postmaster@mx.example.com", false, None, None), text("AskRate")),
            ("too many", recipient("a@example.org", false, known.clone(), Some(false)), Err("rate_limit")),
            ("taken", recipient("a@example.org", false, known, Some(true)), text("Found")),
        ] {
            assert_eq!(decided, expected, "{case}");
        }
    }

    #[test]
    fn nobody_found_is_nobody_taken() {
        let (relay, recipient) = (relay(), mailbox("a@example.org"));
        let with = |found| Facts { found, ..Facts::new(&relay, false, &recipient) };
        let members = vec![mailbox("b@example.org")];
        assert_eq!(with(Some(Found::Recipients(members.clone()))).into_found(), Ok(members));
        assert_eq!(with(None).into_found(), Err(unverified()));
        assert_eq!(with(Some(Found::Unknown)).into_found(), Err(unverified()));
    }

    #[test]
    fn what_comes_back_is_taken_from_anyone_and_forgeries_are_nobody() {
        let (relay, reader) = (relay(), mailbox("admin@example.com"));
        let of = |text: &str, claim, is_of_ours, taken, is_report| {
            let recipient = mailbox(text);
            let within_rate = Some(true);
            let facts = Facts { claim, taken, is_report, within_rate, ..Facts::new(&relay, is_of_ours, &recipient) };
            decide(&facts)
                .map(|admission| format!("{admission:?}"))
                .map_err(|refusal| (refusal.reply.code, refusal.reason))
        };
        let path = "bounces+x@bounces.example.com";
        let forged = Err((550, "forged_return_path"));
        assert_eq!(of(path, ReportClaim::Genuine, false, 0, false), Ok("Report".to_owned()));
        for is_of_ours in [false, true] {
            assert_eq!(of(path, ReportClaim::Forged, is_of_ours, 0, false), forged);
            let nobody = of("a@bounces.example.com", ReportClaim::AtDomain, is_of_ours, 0, false);
            assert_eq!(nobody, Err((550, "unknown_recipient")));
        }
        let postmaster = of("postmaster@bounces.example.com", ReportClaim::AtDomain, false, 0, false);
        assert_eq!(postmaster, Ok(format!("{:?}", Admission::Reader(&reader))));
        // Where the domain has other recipients too, it is one of ours.
        assert_eq!(of("a@example.org", ReportClaim::AtDomain, false, 0, false), Ok("LookUp".to_owned()));
        // Each report comes alone; the client sends the rest in another transaction.
        assert_eq!(of(path, ReportClaim::Genuine, false, 1, false), Err((452, "too_many_recipients")));
        assert_eq!(of("a@example.org", ReportClaim::No, false, 1, true), Err((452, "too_many_recipients")));
    }

    #[test]
    fn the_list_is_asked_once_and_before_a_rate_is_used_up() {
        let relay = relay();
        let of = |text: &str, listing, found: Option<Found>| {
            let recipient = mailbox(text);
            let facts = Facts { listing, found, ..Facts::new(&relay, true, &recipient) };
            decide(&facts).map(|admission| format!("{admission:?}")).map_err(|refusal| refusal.reason)
        };
        let text = |text: &str| Ok(text.to_owned());
        assert_eq!(of("a@anywhere.example", Listing::NotAsked, None), text("AskList"));
        assert_eq!(of("a@anywhere.example", Listing::Clear, None), text("AskRate"));
        assert_eq!(of("a@anywhere.example", Listing::NoList, None), text("AskRate"));
        assert_eq!(of("a@anywhere.example", Listing::Listed, None), Err("suppressed_recipient"));
        assert_eq!(of("a@anywhere.example", Listing::Unsure, None), Err("unverified_recipient"));
        assert_eq!(of("a@example.org", Listing::NotAsked, None), text("LookUp"), "who gets it is found out first");
        assert_eq!(of("a@example.org", Listing::NotAsked, Some(Found::Unknown)), Err("unknown_recipient"));
        // Of several those on the list do not get it.
        let (both, recipient) = (vec![mailbox("b@example.org"), mailbox("c@example.org")], mailbox("a@example.org"));
        let mut facts = Facts::new(&relay, true, &recipient);
        facts.found = Some(Found::Recipients(both.clone()));
        assert_eq!(facts.recipients(), both);
        facts.listed(vec![mailbox("c@example.org")]);
        assert_eq!(facts.listing, Listing::Clear);
        assert_eq!(facts.into_found(), Ok(vec![mailbox("c@example.org")]));
    }
}
