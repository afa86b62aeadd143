//! What the conditions of routes are written as, and tables of them: an address, a domain, all below one, or anybody. Not
//! responsible for what is found.

use std::borrow::Cow;
use std::collections::HashMap;

use mailtier_types::{Domain, Mailbox};

/// Whose address a condition is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// One address, in lower case: no two people share one but for its case.
    Address(Box<str>),
    /// All of a domain.
    Domain(Box<str>),
    /// All below a domain, which stands without its dot.
    Below(Box<str>),
    /// The null reverse-path (RFC 5321 §4.5.5).
    Null,
    /// Anybody.
    All,
}

impl Pattern {
    /// `user@example.com`, `example.com`, `.example.com`, `<>` or `*`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "*" => return Some(Self::All),
            "<>" => return Some(Self::Null),
            _ => {}
        }
        if text.contains('@') {
            return Mailbox::parse(text).ok().map(|mailbox| Self::Address(folded(&mailbox).into()));
        }
        let domain = |text: &str| Domain::parse(text).ok().map(|domain| domain.as_str().into());
        match text.strip_prefix('.') {
            Some(suffix) => domain(suffix).map(Self::Below),
            None => domain(text).map(Self::Domain),
        }
    }
}

/// Addresses are compared without regard to case.
fn folded(mailbox: &Mailbox) -> Cow<'_, str> {
    let text = mailbox.as_str();
    if text.is_ascii() && !text.bytes().any(|octet| octet.is_ascii_uppercase()) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.to_lowercase())
    }
}

/// What there is for each pattern. Looking one up costs the same however many there are.
#[derive(Clone, Debug)]
pub(crate) struct Patterns<T> {
    addresses: HashMap<Box<str>, T>,
    domains: HashMap<Box<str>, T>,
    below: HashMap<Box<str>, T>,
    null: Option<Box<T>>,
    all: Option<Box<T>>,
}

impl<T> Default for Patterns<T> {
    fn default() -> Self {
        Self { addresses: HashMap::new(), domains: HashMap::new(), below: HashMap::new(), null: None, all: None }
    }
}

impl<T: Default> Patterns<T> {
    /// What there is for a pattern; made where there is nothing.
    pub(crate) fn entry(&mut self, pattern: Pattern) -> &mut T {
        match pattern {
            Pattern::Address(address) => self.addresses.entry(address).or_default(),
            Pattern::Domain(domain) => self.domains.entry(domain).or_default(),
            Pattern::Below(domain) => self.below.entry(domain).or_default(),
            Pattern::Null => self.null.get_or_insert_default(),
            Pattern::All => self.all.get_or_insert_default(),
        }
    }
}

impl<T> Patterns<T> {
    /// Whether some pattern is of a single address.
    pub(crate) fn have_addresses(&self) -> bool {
        !self.addresses.is_empty()
    }

    /// Looks through what there is for an address, or for the null one, the most precise first, until something is found.
    pub(crate) fn find<'a, R>(
        &'a self,
        address: Option<&Mailbox>,
        mut look: impl FnMut(&'a T) -> Option<R>,
    ) -> Option<R> {
        let precise = match address {
            Some(mailbox) => self.find_precise(mailbox, &mut look),
            None => self.null.as_deref().and_then(&mut look),
        };
        precise.or_else(|| self.all.as_deref().and_then(look))
    }

    fn find_precise<'a, R>(&'a self, mailbox: &Mailbox, look: &mut impl FnMut(&'a T) -> Option<R>) -> Option<R> {
        if !self.addresses.is_empty()
            && let Some(found) = self.addresses.get(&*folded(mailbox)).and_then(&mut *look)
        {
            return Some(found);
        }
        let name = mailbox.domain_str();
        if let Some(found) = self.domains.get(name).and_then(&mut *look) {
            return Some(found);
        }
        if self.below.is_empty() || name.starts_with('[') {
            return None;
        }
        let parents = name.match_indices('.').filter_map(|(dot, _)| name.get(dot + 1..));
        parents.filter_map(|parent| self.below.get(parent)).find_map(look)
    }
}
