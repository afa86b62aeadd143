//! Which route some mail takes. Not responsible for going there, nor for resolving the hosts that routes name.
//!
//! A route has conditions, all of which must hold. Of the routes whose conditions hold for a message and one of its
//! recipients the most precise one decides, wherever it stands in the file:
//!
//! 1. by the recipient: its address, its domain, the nearest domain above, anybody;
//! 2. of these by the sender: its address (or the null one), its domain, the nearest domain above, anybody;
//! 3. of these one for the tenant before one for all;
//! 4. of these one for the class of the message before one for all.
//!
//! That is Postfix's order: `transport_maps` are asked from the address to the domain to `*`, and before
//! `sender_dependent_relayhost_maps`. No two routes have the same conditions, so there is always one answer. Exim's order,
//! the first router that fits, would have each look-up walk over every route.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use mailtier_types::{Mailbox, NotAHost, TenantId};

use crate::pattern::{Pattern, Patterns};
use crate::way::{Route, TlsPolicy, Way, WayRule};

/// What a message is for, by its priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageClass {
    /// Below 0.
    Bulk,
    /// 0.
    Normal,
    /// Above 0.
    Transactional,
}

impl MessageClass {
    /// The class of a priority (RFC 6710), which is what travels with a message.
    #[must_use]
    pub const fn of_priority(priority: i16) -> Self {
        match priority {
            ..0 => Self::Bulk,
            0 => Self::Normal,
            1.. => Self::Transactional,
        }
    }

    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Bulk => "bulk",
            Self::Normal => "normal",
            Self::Transactional => "transactional",
        }
    }
}

/// A route cannot be used as it is written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// Not a host of a route.
    #[error(transparent)]
    Host(#[from] NotAHost),
    /// There is nobody to send to.
    #[error("names no host; expected host, host:port, an IPv4 address or an IPv6 address in brackets")]
    NoHosts,
    /// Not a socket beside others.
    #[error("{text:?} is no socket, as the others are: expected unix:/path; hosts have a route of their own")]
    Socket {
        /// As it is written.
        text: String,
    },
    /// Nothing but LMTP is spoken over sockets.
    #[error("names a socket, which only LMTP is spoken over: say via = \"lmtp\"")]
    SocketWithoutLmtp,
    /// Not what a route can be for.
    #[error("{text:?} is not a domain of a route: expected example.com, .example.com for what is below it, or *")]
    Pattern {
        /// As it is written.
        text: String,
    },
    /// Not a recipient.
    #[error("{text:?} is not an address: expected user@example.com; whole domains are for `domain`")]
    Recipient {
        /// As it is written.
        text: String,
    },
    /// Not a sender.
    #[error(
        "{text:?} is not a sender: expected user@example.com, example.com, .example.com, <> for notifications, or *"
    )]
    Sender {
        /// As it is written.
        text: String,
    },
    /// Not a domain.
    #[error("{text:?} is not a domain: expected example.com")]
    Domain {
        /// As it is written.
        text: String,
    },
    /// An address says its domain already.
    #[error("is set beside `recipient`, which says its domain itself; keep one")]
    DomainBesideRecipient,
    /// Two routes for the same mail.
    #[error("there are two routes for {text}: which would count? keep one, or give one another condition")]
    Twice {
        /// What they are for.
        text: String,
    },
}

impl RouteError {
    /// The key it is about.
    #[must_use]
    pub const fn key(&self) -> &'static str {
        match self {
            Self::Host(_) | Self::NoHosts | Self::Socket { .. } | Self::SocketWithoutLmtp => "hosts",
            Self::Pattern { .. } | Self::DomainBesideRecipient => "domain",
            Self::Recipient { .. } => "recipient",
            Self::Sender { .. } => "sender",
            Self::Domain { .. } => "exchangers_of",
            Self::Twice { .. } => "",
        }
    }
}

/// Which of several routes cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("route {place}: {error}")]
pub struct RouteFault {
    /// Its place among all.
    pub place: usize,
    /// Why.
    pub error: RouteError,
}

/// A route and what it is for, as it is written. What is absent holds for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteRule {
    /// What operators call it.
    pub name: Option<String>,
    /// `example.com`, `.example.com` for all below it, or `*` for all.
    pub domain: Option<String>,
    /// `user@example.com`.
    pub recipient: Option<String>,
    /// `user@example.com`, `example.com`, `.example.com`, `<>` or `*`.
    pub sender: Option<String>,
    /// Whose mail it is.
    pub tenant: Option<TenantId>,
    /// What it is for.
    pub class: Option<MessageClass>,
    /// What is done with it.
    pub way: WayRule,
    /// The ordinary one where absent.
    pub tls: Option<TlsPolicy>,
}

impl RouteRule {
    /// A route for all mail.
    #[must_use]
    pub const fn new(way: WayRule) -> Self {
        Self { name: None, domain: None, recipient: None, sender: None, tenant: None, class: None, way, tls: None }
    }

    /// What it is for, for people.
    fn conditions(&self) -> String {
        let texts = [("domain", &self.domain), ("recipient", &self.recipient), ("sender", &self.sender)];
        let mut all: Vec<String> =
            texts.iter().filter_map(|(key, text)| text.as_ref().map(|text| format!("{key} {text}"))).collect();
        all.extend(self.tenant.map(|tenant| format!("tenant {}", tenant.0)));
        all.extend(self.class.map(|class| format!("class {}", class.word())));
        if all.is_empty() { "all mail".to_owned() } else { all.join(", ") }
    }

    fn recipient_pattern(&self) -> Result<Pattern, RouteError> {
        let is_domain = |pattern: &Pattern| !matches!(pattern, Pattern::Address(_) | Pattern::Null);
        match (&self.domain, &self.recipient) {
            (Some(_), Some(_)) => Err(RouteError::DomainBesideRecipient),
            (Some(text), None) => {
                let wrong = || RouteError::Pattern { text: text.clone() };
                Pattern::parse(text).filter(is_domain).ok_or_else(wrong)
            }
            (None, Some(text)) => {
                let wrong = || RouteError::Recipient { text: text.clone() };
                Pattern::parse(text).filter(|pattern| matches!(pattern, Pattern::Address(_))).ok_or_else(wrong)
            }
            (None, None) => Ok(Pattern::All),
        }
    }

    fn sender_pattern(&self) -> Result<Pattern, RouteError> {
        let Some(text) = &self.sender else { return Ok(Pattern::All) };
        Pattern::parse(text).ok_or_else(|| RouteError::Sender { text: text.clone() })
    }
}

/// The mail that a route is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Mail<'a> {
    /// To whom.
    pub recipient: &'a Mailbox,
    /// From whom; absent: the null reverse-path.
    pub sender: Option<&'a Mailbox>,
    /// Whose.
    pub tenant: TenantId,
    /// What for.
    pub class: MessageClass,
    /// A route has held it, and an operator has let it go: none holds it again.
    pub was_held: bool,
}

/// Routes by tenant and class.
type Owners = HashMap<(Option<TenantId>, Option<MessageClass>), Arc<Route>>;

/// All routes. See the module for which one counts.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    by_recipient: Patterns<Patterns<Owners>>,
    routes: usize,
}

impl RouteTable {
    /// Reads the routes. Each is numbered by its place.
    ///
    /// # Errors
    /// [`RouteFault`] names the first that cannot be used.
    pub fn new(rules: impl IntoIterator<Item = RouteRule>) -> Result<Self, RouteFault> {
        let mut table = Self::default();
        for (place, rule) in rules.into_iter().enumerate() {
            table.add(place, rule).map_err(|error| RouteFault { place, error })?;
        }
        Ok(table)
    }

    fn add(&mut self, number: usize, rule: RouteRule) -> Result<(), RouteError> {
        let (recipient, sender) = (rule.recipient_pattern()?, rule.sender_pattern()?);
        let owner = (rule.tenant, rule.class);
        let is_for_all = sender == Pattern::All && owner == (None, None) && !matches!(recipient, Pattern::Address(_));
        let text = rule.conditions();
        let name = rule.name.unwrap_or_else(|| text.clone());
        let route = Route { name, number, way: rule.way.read()?, tls: rule.tls, is_for_all };
        match self.by_recipient.entry(recipient).entry(sender).entry(owner) {
            Entry::Occupied(_) => return Err(RouteError::Twice { text }),
            Entry::Vacant(place) => place.insert(Arc::new(route)),
        };
        self.routes += 1;
        Ok(())
    }

    /// The route for a message and one of its recipients, if there is one.
    #[must_use]
    pub fn find(&self, mail: &Mail<'_>) -> Option<&Arc<Route>> {
        if self.routes == 0 {
            return None;
        }
        let takes = |route: &&Arc<Route>| !(mail.was_held && route.way == Way::Hold);
        let (tenant, class) = (Some(mail.tenant), Some(mail.class));
        let owners = [(tenant, class), (tenant, None), (None, class), (None, None)];
        self.by_recipient.find(Some(mail.recipient), |senders| {
            senders.find(mail.sender, |routes| owners.iter().filter_map(|owner| routes.get(owner)).find(takes))
        })
    }

    /// Whether recipients of one domain may take different routes.
    #[must_use]
    pub fn tells_recipients_apart(&self) -> bool {
        self.by_recipient.have_addresses()
    }
}
