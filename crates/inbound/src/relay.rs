//! Who may send what to whom: pure decisions. Not responsible for anything that needs a lookup.

use mailtier_types::{AddressError, Domain, Mailbox};
use std::collections::HashSet;

/// For whom mail is relayed (RFC 5321 §3.6.2): for clients of our networks to anywhere, for anyone to our domains.
/// Nothing else is ever relayed.
#[derive(Debug)]
pub(crate) struct RelayPolicy {
    exact: HashSet<Box<str>>,
    /// Names below which every domain is ours, without their leading dot.
    below: HashSet<Box<str>>,
    /// Postmaster of this host, and who reads that.
    postmaster: Option<(Mailbox, Mailbox)>,
}

/// Why a recipient is not relayed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    /// Neither the client nor the recipient's domain is ours.
    NotOurs,
    /// The domain is ours, but the local part asks whoever is behind us to send the mail on to somebody else:
    /// `user%elsewhere@ours`, `elsewhere!user@ours`, `"user@elsewhere"@ours` (RFC 5321 §3.6.1, appendix F.2).
    Routed,
}

impl Denial {
    /// The reason in metrics and logs.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::NotOurs => "relaying_denied",
            Self::Routed => "source_routed",
        }
    }
}

impl RelayPolicy {
    /// From the configuration. A domain with a dot in front means all below it.
    ///
    /// # Errors
    /// A domain that is none, with what is wrong.
    pub(crate) fn new(domains: &[String]) -> Result<Self, (String, AddressError)> {
        let (mut exact, mut below) = (HashSet::new(), HashSet::new());
        for name in domains {
            let (set, bare) = match name.strip_prefix('.') {
                Some(bare) => (&mut below, bare),
                None => (&mut exact, name.as_str()),
            };
            let domain = Domain::parse(bare).map_err(|error| (name.clone(), error))?;
            set.insert(domain.as_str().into());
        }
        Ok(Self { exact, below, postmaster: None })
    }

    /// With somebody who reads what is sent to the postmaster of this host (RFC 5321 §4.5.1). What is no address means
    /// nobody: the configuration was checked.
    pub(crate) fn with_postmaster(mut self, hostname: &str, reader: Option<&str>) -> Self {
        let here = Mailbox::parse(&format!("postmaster@{hostname}")).ok();
        self.postmaster = here.zip(reader.and_then(|reader| Mailbox::parse(reader).ok()));
        self
    }

    /// Who gets what is sent to the postmaster of this host, when that is the recipient; anyone may write to them.
    pub(crate) fn reader_of(&self, recipient: &Mailbox) -> Option<&Mailbox> {
        let (here, reader) = self.postmaster.as_ref()?;
        (recipient.domain_str() == here.domain_str() && is_postmaster(recipient)).then_some(reader)
    }

    /// The same for the postmaster of any domain of ours that has none of its own.
    pub(crate) fn reader_anywhere(&self, recipient: &Mailbox) -> Option<&Mailbox> {
        self.postmaster.as_ref().filter(|_| is_postmaster(recipient)).map(|(_, reader)| reader)
    }

    /// Whether mail from the client (of ours or not) to the recipient is taken.
    pub(crate) fn admit(&self, is_of_ours: bool, recipient: &Mailbox) -> Result<(), Denial> {
        if is_of_ours {
            return Ok(());
        }
        if !self.is_ours(recipient.domain_str()) {
            return Err(Denial::NotOurs);
        }
        if recipient.local_part().contains(['%', '!', '@']) { Err(Denial::Routed) } else { Ok(()) }
    }

    /// Whether mail for the domain is taken from anyone.
    pub(crate) fn is_ours(&self, domain: &str) -> bool {
        self.exact.contains(domain)
            || domain.match_indices('.').any(|(dot, _)| domain.get(dot + 1..).is_some_and(|up| self.below.contains(up)))
    }
}

/// In any case (RFC 5321 §4.5.1).
fn is_postmaster(recipient: &Mailbox) -> bool {
    recipient.local_part().eq_ignore_ascii_case("postmaster")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> RelayPolicy {
        let domains = ["Example.ORG".to_owned(), ".example.net".to_owned(), "bücher.example".to_owned()];
        RelayPolicy::new(&domains).unwrap()
    }

    fn admit(recipient: &str) -> Result<(), Denial> {
        policy().admit(false, &Mailbox::parse(recipient).unwrap())
    }

    #[test]
    fn strangers_reach_our_domains_and_no_others() {
        for ours in
            ["a@example.org", "a@EXAMPLE.org", "a@x.example.net", "a@x.y.example.net", "a@xn--bcher-kva.example"]
        {
            assert_eq!(admit(ours), Ok(()), "{ours}");
        }
        for foreign in [
            "a@example.com",
            "a@example.net",
            "a@sub.example.org",
            "a@notexample.org",
            "a@xexample.net",
            "a@example.org.evil.example",
            "a@[10.0.0.1]",
            "a@org",
        ] {
            assert_eq!(admit(foreign), Err(Denial::NotOurs), "{foreign}");
        }
    }

    #[test]
    fn strangers_cannot_route_through_our_domains() {
        for routed in ["a%evil.example@example.org", "evil.example!a@example.org", "\"a@evil.example\"@example.org"] {
            assert_eq!(admit(routed), Err(Denial::Routed), "{routed}");
        }
    }

    #[test]
    fn clients_of_ours_reach_everyone() {
        assert_eq!(policy().admit(true, &Mailbox::parse("a@anywhere.example").unwrap()), Ok(()));
    }

    #[test]
    fn the_postmaster_of_this_host_is_read_by_somebody() {
        let policy = policy().with_postmaster("MX.example.com", Some("admin@example.org"));
        let reader = |text: &str| policy.reader_of(&Mailbox::parse(text).unwrap()).map(Mailbox::as_str);
        assert_eq!(reader("Postmaster@mx.example.com"), Some("admin@example.org"));
        assert_eq!(reader("postmaster@example.com"), None);
        assert_eq!(reader("root@mx.example.com"), None);
        let nobody = RelayPolicy::new(&[]).unwrap().with_postmaster("mx.example.com", None);
        assert_eq!(nobody.reader_of(&Mailbox::parse("postmaster@mx.example.com").unwrap()), None);
    }

    #[test]
    fn nothing_is_ours_unless_said() {
        let closed = RelayPolicy::new(&[]).unwrap();
        assert_eq!(closed.admit(false, &Mailbox::parse("a@example.org").unwrap()), Err(Denial::NotOurs));
        assert!(RelayPolicy::new(&["*".to_owned()]).is_err(), "there is no way to write an open relay");
        assert!(RelayPolicy::new(&[".".to_owned()]).is_err());
    }
}
