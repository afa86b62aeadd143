//! The table of routes (`[[outbound.routes]]`), and what it says to the planner (`mailtier-route`). Not responsible for
//! what must hold between its keys (`check_routes`).

use std::path::PathBuf;
use std::time::Duration;

use mailtier_route::{MessageClass as RoutedClass, Protocol, RouteRule, TlsPolicy as RoutedTls, WayRule};
use mailtier_types::{RouteHost, TenantId};

use crate::inbound::MessageClass;
use crate::secret::Secret;
use crate::section::section;
use crate::sections::TlsPolicy;
use crate::words::words;

/// RFC 8314 §7.3: message submission over TLS from the first octet.
pub const IMPLICIT_TLS_PORT: u16 = 465;

words! {
    /// What a route does with its mail.
    #[derive(Default)]
    RouteVia {
        /// It goes to the domain's own mail exchangers.
        #[default]
        Mx = "mx",
        /// It goes to hosts over SMTP.
        Smtp = "smtp",
        /// It goes to hosts or sockets over LMTP.
        Lmtp = "lmtp",
        /// It is posted to a web server.
        Http = "http",
        /// It is gone, and counts as delivered.
        Discard = "discard",
        /// It is held until an operator releases it.
        Hold = "hold",
    }
}

section! {
    /// A way for some mail. Of the conditions `domain` or `recipient`, `sender`, `tenant` and `class` all that are given must
    /// hold. The most precise route counts, wherever it stands: first by the recipient, then by the sender, then by tenant,
    /// then by class. docs/delivery.md has examples.
    RouteConfig {
        /// What it is called in logs, events and answers; what it is for when not set.
        name: Option<String> = None, "text";
        /// Mail to this domain: `example.com`, `.example.com` for all below it, or `*`.
        domain: Option<String> = None, "text";
        /// Mail to this address.
        recipient: Option<String> = None, "mail address";
        /// Mail from this address or domain: `user@example.com`, `example.com`, `.example.com` for all below it, or `<>` for
        /// notifications.
        sender: Option<String> = None, "text";
        /// Mail of this tenant.
        tenant: Option<i32> = None, "number";
        /// Mail of this class: `bulk` (its priority is below 0), `normal` (0) or `transactional` (above 0).
        class: Option<MessageClass> = None, "word";
        /// What is done: `mx` (the domain’s own mail exchangers), `smtp` or `lmtp` (to `hosts`), `http` (a POST to `url`),
        /// `discard` (it counts as delivered, and is gone) or `hold` (it is held until an operator releases it). When not
        /// set: `http` with `url`, `smtp` with `hosts`, else `mx`.
        via: Option<RouteVia> = None, "word";
        /// `host`, `host:port`, `[address]:port`, tried in this order; those of one rank, in any order, are written as one,
        /// `"a.example | b.example"`. With `lmtp` also sockets, `unix:/path`, but not beside hosts.
        hosts: Vec<String> = Vec::new(), "list of `host`, `host:port`, `[address]:port`, `unix:/path`";
        /// With `mx`: the mail exchangers of this domain instead.
        exchangers_of: Option<String> = None, "domain";
        /// TLS towards these hosts: `opportunistic`, `required`, `verified`, `dane` or `off`. When not set `outbound.tls`, and with a
        /// login or `implicit_tls` `verified`.
        tls: Option<TlsPolicy> = None, "word";
        /// TLS from the first octet (RFC 8314), instead of STARTTLS. When not set, at port 465 alone.
        implicit_tls: Option<bool> = None, "boolean";
        /// A certificate, with its issuers (PEM), that is shown to hosts that ask who we are.
        client_certificate: Option<PathBuf> = None, "path";
        /// Its key (PEM).
        client_key: Option<PathBuf> = None, "path";
        /// Logs in at `hosts` as this user.
        user: Option<String> = None, "text";
        /// Its password.
        password: Option<Secret> = None, "text";
        /// The file with its password.
        password_file: Option<PathBuf> = None, "path";
        /// Mechanisms that may be used, the strongest that is offered is: `SCRAM-SHA-256`, `PLAIN`, `LOGIN`; all these when
        /// empty. `EXTERNAL` shows `client_certificate` (RFC 4422), as `user` where that is set.
        sasl_mechanisms: Vec<String> = Vec::new(), "list of words";
        /// Logs in without TLS, too, where `tls` lets it: with `PLAIN` and `LOGIN` everybody on the way reads the password.
        sasl_in_clear: bool = false, "boolean";
        /// Tells `hosts` that ask for it, such as a filter that hands mail back, where messages came from (Postfix's XFORWARD).
        xforward: bool = false, "boolean";
        /// Where messages are posted: `https://host/path`.
        url: Option<String> = None, "URL";
        /// A token for it, sent as `Authorization: Bearer`.
        token: Option<Secret> = None, "text";
        /// The file with that token.
        token_file: Option<PathBuf> = None, "path";
        /// A key to sign posted messages with (HMAC-SHA-256), in the field `Mailtier-Signature`.
        signing_key: Option<Secret> = None, "text";
        /// The file with that key.
        signing_key_file: Option<PathBuf> = None, "path";
        /// How long a post may take, 1s to 10m.
        #[serde(with = "humantime_serde")]
        timeout: Duration = Duration::from_secs(60), "duration";
    }
}

impl RouteConfig {
    /// A way for a domain to hosts, and nothing else said.
    #[must_use]
    pub fn to_hosts(domain: &str, hosts: Vec<String>) -> Self {
        Self { domain: Some(domain.to_owned()), hosts, ..Self::default() }
    }

    /// What is done.
    #[must_use]
    pub fn way(&self) -> RouteVia {
        self.via.unwrap_or(match (&self.url, self.hosts.is_empty()) {
            (Some(_), _) => RouteVia::Http,
            (None, false) => RouteVia::Smtp,
            (None, true) => RouteVia::Mx,
        })
    }

    /// TLS towards the hosts; a password goes to nobody but whom it is for, unless the operator says otherwise. Who takes mail
    /// on a port for TLS has a certificate (RFC 8314 §5.4).
    #[must_use]
    pub fn tls(&self) -> Option<TlsPolicy> {
        let logs_in = (self.user.is_some() || !self.sasl_mechanisms.is_empty()) && !self.sasl_in_clear;
        let is_proved = logs_in || self.has_implicit_tls();
        self.tls.or(is_proved.then_some(TlsPolicy::Verified))
    }

    /// Whether a host has TLS from the first octet, on this port.
    #[must_use]
    pub fn begins_in_tls(&self, port: Option<u16>) -> bool {
        self.way() == RouteVia::Smtp && self.implicit_tls.unwrap_or(port == Some(IMPLICIT_TLS_PORT))
    }

    /// Whether any of its hosts has.
    fn has_implicit_tls(&self) -> bool {
        let mut hosts = self.hosts.iter().flat_map(|rank| rank.split('|'));
        let port = |host: &str| host.trim().parse::<RouteHost>().ok().and_then(|host| host.port);
        hosts.any(|host| self.begins_in_tls(port(host)))
    }

    /// As the planner has it.
    #[must_use]
    pub fn rule(&self) -> RouteRule {
        RouteRule {
            name: self.name.clone(),
            domain: self.domain.clone(),
            recipient: self.recipient.clone(),
            sender: self.sender.clone(),
            tenant: self.tenant.map(TenantId),
            class: self.class.map(|class| match class {
                MessageClass::Bulk => RoutedClass::Bulk,
                MessageClass::Normal => RoutedClass::Normal,
                MessageClass::Transactional => RoutedClass::Transactional,
            }),
            way: match self.way() {
                RouteVia::Mx => WayRule::Exchangers { of: self.exchangers_of.clone() },
                RouteVia::Smtp => WayRule::Hosts { hosts: self.hosts.clone(), protocol: Protocol::Smtp },
                RouteVia::Lmtp => WayRule::Hosts { hosts: self.hosts.clone(), protocol: Protocol::Lmtp },
                RouteVia::Http => WayRule::Post,
                RouteVia::Discard => WayRule::Discard,
                RouteVia::Hold => WayRule::Hold,
            },
            tls: self.tls().map(RoutedTls::from),
        }
    }
}

impl From<TlsPolicy> for RoutedTls {
    fn from(policy: TlsPolicy) -> Self {
        match policy {
            TlsPolicy::Opportunistic => Self::Opportunistic,
            TlsPolicy::Required => Self::Required,
            TlsPolicy::Verified => Self::Verified,
            TlsPolicy::Dane => Self::Dane,
            TlsPolicy::Off => Self::Off,
        }
    }
}
