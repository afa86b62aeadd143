//! Which domains are ours, and who reads what is sent to the postmaster. Not responsible for who may send to them: see
//! `rcpt`.

use std::collections::HashSet;

use mailtier_types::{AddressError, Domain, Mailbox};

/// For whom mail is taken from anyone (RFC 5321 §3.6.2).
#[derive(Debug)]
pub(crate) struct RelayPolicy {
    exact: HashSet<Box<str>>,
    /// Names below which every domain is ours, without their leading dot.
    below: HashSet<Box<str>>,
    /// Postmaster of this host, and who reads that.
    postmaster: Option<(Mailbox, Mailbox)>,
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

    #[test]
    fn domains_are_ours_by_name_or_by_what_is_above() {
        let domains = ["Example.ORG".to_owned(), ".example.net".to_owned(), "bücher.example".to_owned()];
        let policy = RelayPolicy::new(&domains).unwrap();
        for ours in ["example.org", "x.example.net", "x.y.example.net", "xn--bcher-kva.example"] {
            assert!(policy.is_ours(ours), "{ours}");
        }
        for foreign in ["example.net", "sub.example.org", "notexample.org", "xexample.net", "org", "net", ""] {
            assert!(!policy.is_ours(foreign), "{foreign}");
        }
    }

    #[test]
    fn the_postmaster_of_this_host_is_read_by_somebody() {
        let policy = RelayPolicy::new(&[]).unwrap().with_postmaster("MX.example.com", Some("admin@example.org"));
        let reader = |text: &str| policy.reader_of(&Mailbox::parse(text).unwrap()).map(Mailbox::as_str);
        assert_eq!(reader("Postmaster@mx.example.com"), Some("admin@example.org"));
        assert_eq!(reader("postmaster@example.com"), None);
        assert_eq!(reader("root@mx.example.com"), None);
        let nobody = RelayPolicy::new(&[]).unwrap().with_postmaster("mx.example.com", None);
        assert_eq!(nobody.reader_of(&Mailbox::parse("postmaster@mx.example.com").unwrap()), None);
    }

    #[test]
    fn nothing_is_ours_unless_said() {
        assert!(!RelayPolicy::new(&[]).unwrap().is_ours("example.org"));
        assert!(RelayPolicy::new(&["*".to_owned()]).is_err(), "there is no way to write an open relay");
        assert!(RelayPolicy::new(&[".".to_owned()]).is_err());
    }
}
