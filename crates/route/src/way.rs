//! A route: where some mail goes, and how. As operators write it and as it is used. Not responsible for which mail that
//! is (`table`), nor for going there.

use std::path::PathBuf;
use std::sync::Arc;

use mailtier_types::{Domain, NotAHost, RouteHost};

use crate::table::RouteError;

/// What an operator asks of the encryption of connections (RFC 3207, RFC 7435). What owners of domains ask for with DANE
/// and MTA-STS comes on top, but for [`TlsPolicy::Off`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TlsPolicy {
    /// STARTTLS is not used even where it is offered.
    Off,
    /// STARTTLS where it is offered, with any certificate; without it where it fails.
    #[default]
    Opportunistic,
    /// Never a message in clear.
    Required,
    /// Only to a host that shows a certificate for its name, by a root that the system trusts, or as its TLSA records
    /// say.
    Verified,
    /// Only to a host that shows a certificate as its TLSA records say (RFC 7672).
    Dane,
}

/// What is spoken with configured hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// RFC 5321.
    #[default]
    Smtp,
    /// RFC 2033: each recipient has a reply of its own to the end of data.
    Lmtp,
}

impl Protocol {
    /// The port where none is named; `smtp` is that of SMTP. LMTP has none of its own (RFC 2033 §5 forbids 25), and 24 is
    /// what RFC 1700 keeps for private mail systems and servers of LMTP use.
    #[must_use]
    pub const fn port(self, smtp: u16) -> u16 {
        match self {
            Self::Smtp => smtp,
            Self::Lmtp => 24,
        }
    }
}

/// What is done with mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// It goes to the mail exchangers of its own domain, or of another.
    Exchangers {
        /// That other one.
        of: Option<Domain>,
    },
    /// It goes to configured hosts.
    Hosts {
        /// Of equal rank in any order, one rank after the other.
        ranks: Vec<Vec<RouteHost>>,
        /// What is spoken there.
        protocol: Protocol,
    },
    /// It goes to a server on this machine over LMTP, the first of these sockets that answers.
    Sockets(Vec<Arc<PathBuf>>),
    /// It is posted to a web server.
    Post,
    /// It counts as delivered, and is gone.
    Discard,
    /// It is held in the queue until an operator releases it.
    Hold,
}

impl Way {
    /// The word for it.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Exchangers { .. } => "mx",
            Self::Hosts { protocol: Protocol::Smtp, .. } => "smtp",
            Self::Hosts { protocol: Protocol::Lmtp, .. } | Self::Sockets(_) => "lmtp",
            Self::Post => "http",
            Self::Discard => "discard",
            Self::Hold => "hold",
        }
    }
}

/// Where some mail goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// As operators call it, else what it is for.
    pub name: String,
    /// Its place among all: what else is known of it is kept by this.
    pub number: usize,
    /// What is done.
    pub way: Way,
    /// The ordinary one where absent.
    pub tls: Option<TlsPolicy>,
    /// It takes all mail of the domains it is for, whoever sends it: what happens to it says something of the domain.
    pub is_for_all: bool,
}

impl Route {
    /// An operator's order for one delivery, which is no route of the configuration.
    #[must_use]
    pub fn ordered(hosts: &[RouteHost], tls: Option<TlsPolicy>) -> Self {
        let ranks = hosts.iter().map(|host| vec![host.clone()]).collect();
        Self {
            name: "an operator's order".to_owned(),
            number: usize::MAX,
            way: Way::Hosts { ranks, protocol: Protocol::Smtp },
            tls,
            is_for_all: true,
        }
    }

    /// Whether the operator names where it goes, so that no name server has a say in it.
    #[must_use]
    pub const fn names_hosts(&self) -> bool {
        !matches!(self.way, Way::Exchangers { .. })
    }
}

/// What is done with mail, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WayRule {
    /// See [`Way::Exchangers`].
    Exchangers {
        /// Of another domain than the mail's.
        of: Option<String>,
    },
    /// Hosts as [`RouteHost`] reads them, those of one rank with `|` between them; with LMTP also `unix:/path`.
    Hosts {
        /// One rank after the other.
        hosts: Vec<String>,
        /// What is spoken there.
        protocol: Protocol,
    },
    /// See [`Way::Post`].
    Post,
    /// See [`Way::Discard`].
    Discard,
    /// See [`Way::Hold`].
    Hold,
}

/// Before the path of a socket.
const UNIX: &str = "unix:";

impl WayRule {
    /// What it means.
    pub(crate) fn read(self) -> Result<Way, RouteError> {
        Ok(match self {
            Self::Exchangers { of } => Way::Exchangers {
                of: of.map(|text| Domain::parse(&text).map_err(|_| RouteError::Domain { text })).transpose()?,
            },
            Self::Hosts { hosts, .. } if hosts.is_empty() => return Err(RouteError::NoHosts),
            Self::Hosts { hosts, protocol } if hosts.iter().any(|host| host.starts_with(UNIX)) => {
                sockets(&hosts, protocol)?
            }
            Self::Hosts { hosts, protocol } => {
                let ranks = hosts.iter().map(|rank| rank.split('|').map(|host| host.trim().parse()).collect());
                Way::Hosts { ranks: ranks.collect::<Result<_, NotAHost>>()?, protocol }
            }
            Self::Post => Way::Post,
            Self::Discard => Way::Discard,
            Self::Hold => Way::Hold,
        })
    }
}

fn sockets(hosts: &[String], protocol: Protocol) -> Result<Way, RouteError> {
    if protocol != Protocol::Lmtp {
        return Err(RouteError::SocketWithoutLmtp);
    }
    let path = |host: &String| match host.strip_prefix(UNIX) {
        Some(path) if path.starts_with('/') => Ok(Arc::new(PathBuf::from(path))),
        _ => Err(RouteError::Socket { text: host.clone() }),
    };
    hosts.iter().map(path).collect::<Result<_, _>>().map(Way::Sockets)
}
