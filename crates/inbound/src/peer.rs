//! What is known about the client of a session. Not responsible for believing it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use mailtier_smtp::{ClientAttribute, TlsInfo};
use mailtier_types::{Mailbox, TenantId};

use crate::listeners::{Listener, Settings};

/// Where a connection comes from and goes to, as the client sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) client: SocketAddr,
    pub(crate) server: Option<IpAddr>,
    /// The client's address is its own, and not that of a proxy that does not say who is behind it: such a client is a
    /// stranger, however much the proxy is trusted.
    pub(crate) is_named: bool,
}

/// The client.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Which of ours it connected to.
    pub(crate) listener: Arc<Listener>,
    /// What holds for it.
    pub(crate) settings: Arc<Settings>,
    /// Where it connected from.
    pub(crate) address: SocketAddr,
    /// That is its own address. Else it is a proxy's that does not say who the client is: a stranger, of no network,
    /// whatever else is said of it later.
    pub(crate) is_named: bool,
    /// Where it connected to, as it sees that.
    pub(crate) server: Option<IpAddr>,
    /// Its host name, where a trusted proxy knows it.
    pub(crate) name: Option<String>,
    /// It may send to any recipient.
    pub(crate) trusted: bool,
    /// What it said in EHLO or HELO; empty before.
    pub(crate) helo: String,
    /// It said EHLO or LHLO.
    pub(crate) extended: bool,
    /// The facts of TLS.
    pub(crate) tls: Option<Arc<TlsInfo>>,
    /// Who logged in.
    pub(crate) user: Option<Arc<User>>,
    /// Where the mail was before, as a trusted filter says, for logs.
    pub(crate) origin: Option<Arc<Origin>>,
}

/// Somebody who logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: Arc<str>,
    pub(crate) tenant: TenantId,
    /// The addresses the user may send from.
    pub(crate) senders: Vec<SenderPattern>,
}

/// Which addresses a user may send from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SenderPattern {
    /// Any.
    Any,
    /// All of a domain.
    Domain(String),
    /// This one.
    Mailbox(Mailbox),
}

impl SenderPattern {
    /// `*`, `@example.com` or `user@example.com`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "*" => Some(Self::Any),
            _ => match text.strip_prefix('@') {
                Some(domain) => {
                    mailtier_types::Domain::parse(domain).ok().map(|domain| Self::Domain(domain.to_string()))
                }
                None => Mailbox::parse(text).ok().map(Self::Mailbox),
            },
        }
    }

    /// Local parts are compared in any case: whoever owns one owns the other.
    fn covers(&self, sender: &Mailbox) -> bool {
        match self {
            Self::Any => true,
            Self::Domain(domain) => domain == sender.domain_str(),
            Self::Mailbox(own) => own.as_str().eq_ignore_ascii_case(sender.as_str()),
        }
    }
}

impl User {
    /// Whether the user may send from this address.
    pub(crate) fn owns(&self, sender: &Mailbox) -> bool {
        self.senders.iter().any(|pattern| pattern.covers(sender))
    }
}

/// Where mail was before it came to a filter that passed it on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) name: Option<String>,
    pub(crate) address: Option<IpAddr>,
    pub(crate) helo: Option<String>,
    pub(crate) ident: Option<String>,
}

impl Origin {
    /// With what XFORWARD said beside what it said before.
    pub(crate) fn with(mut self, attributes: Vec<ClientAttribute>) -> Self {
        for attribute in attributes {
            match attribute {
                ClientAttribute::Name(name) => self.name = name,
                ClientAttribute::Address(address) => self.address = address,
                ClientAttribute::Hello(helo) => self.helo = helo,
                ClientAttribute::Ident(ident) => self.ident = ident,
                _ => {}
            }
        }
        self
    }
}

impl Peer {
    /// A client that has just connected.
    pub(crate) fn new(listener: Arc<Listener>, ends: Ends, tls: Option<TlsInfo>) -> Self {
        let Ends { client, server, is_named } = ends;
        Self {
            settings: listener.settings(client.ip()),
            trusted: is_named && listener.trusts(client.ip()),
            listener,
            address: client,
            is_named,
            server,
            name: None,
            helo: String::new(),
            extended: false,
            tls: tls.map(Arc::new),
            user: None,
            origin: None,
        }
    }

    /// As XCLIENT says: another client, about which nothing else is known yet. A login is not among this: it is looked
    /// up.
    pub(crate) fn impersonated(&self, attributes: &[ClientAttribute]) -> Self {
        let mut ends = Ends { client: self.address, server: self.server, is_named: self.is_named };
        for attribute in attributes {
            match attribute {
                ClientAttribute::Address(ip) => {
                    ends.is_named = ip.is_some();
                    ends.client.set_ip(ip.unwrap_or(self.address.ip()));
                }
                ClientAttribute::Port(Some(port)) => ends.client.set_port(*port),
                ClientAttribute::ServerAddress(server) => ends.server = *server,
                _ => {}
            }
        }
        let mut peer = Self::new(Arc::clone(&self.listener), ends, None);
        peer.tls.clone_from(&self.tls);
        peer.name.clone_from(&self.name);
        for attribute in attributes {
            match attribute {
                ClientAttribute::Name(name) => peer.name.clone_from(name),
                // It is said again in EHLO, but for a proxy that does not say it.
                ClientAttribute::Hello(helo) => peer.helo = helo.clone().unwrap_or_default(),
                _ => {}
            }
        }
        peer
    }

    /// Whose mail it is.
    pub(crate) fn tenant(&self) -> TenantId {
        self.user.as_ref().map_or(self.settings.tenant, |user| user.tenant)
    }

    /// Whether it is somebody of ours.
    pub(crate) const fn is_ours(&self) -> bool {
        self.trusted || self.user.is_some()
    }

    /// The version of TLS, or that there is none.
    pub(crate) fn tls_version(&self) -> String {
        self.tls.as_ref().map_or_else(|| "none".to_owned(), |tls| tls.version.to_string())
    }

    /// Version and cipher, with TLS.
    pub(crate) fn tls_text(&self) -> Option<String> {
        self.tls.as_ref().map(|tls| format!("{} {}", tls.version, tls.cipher))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_own_what_their_patterns_cover() {
        let user = |patterns: &[&str]| User {
            name: "u".into(),
            tenant: TenantId(1),
            senders: patterns.iter().filter_map(|text| SenderPattern::parse(text)).collect(),
        };
        let owns = |patterns: &[&str], sender: &str| user(patterns).owns(&Mailbox::parse(sender).unwrap());
        assert!(owns(&["u@example.org"], "U@EXAMPLE.org") && !owns(&["u@example.org"], "v@example.org"));
        assert!(owns(&["@example.org"], "any@example.org") && !owns(&["@example.org"], "any@sub.example.org"));
        assert!(owns(&["*"], "any@where.example") && !owns(&[], "u@example.org"));
        assert_eq!(SenderPattern::parse("nonsense"), None);
    }
}
