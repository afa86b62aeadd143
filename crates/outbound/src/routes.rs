//! The routes of the configuration, with what each needs beside its hosts. Not responsible for which mail takes which
//! (`mailtier-route`), nor for going there.

use std::sync::Arc;

use mailtier_api::work::Dispatch;
use mailtier_config::{ConfigError, IMPLICIT_TLS_PORT, OutboundConfig};
use mailtier_route::{Mail, MessageClass, Protocol, Route, RouteTable, Way};
use mailtier_tls::ClientTls;
use mailtier_types::Mailbox;

use crate::certificates::read;
use crate::hook::{Hook, HookError};
use crate::logins::RouteLogin;

/// Recipients of a delivery that take the same way.
#[derive(Debug)]
pub(crate) struct Part {
    /// Absent: by the exchangers of their domain.
    pub(crate) route: Option<Arc<Route>>,
    pub(crate) recipients: Vec<Mailbox>,
}

/// How hosts of a route are spoken with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manner {
    /// LMTP.
    pub(crate) is_lmtp: bool,
    /// TLS from the first octet (RFC 8314).
    pub(crate) implicit_tls: Implicit,
    /// What handshakes need where the route shows a certificate.
    pub(crate) tls: Option<Arc<ClientTls>>,
    /// Hosts that ask for it are told where messages came from.
    pub(crate) tells_origin: bool,
    /// We log in first.
    pub(crate) login: Option<Arc<RouteLogin>>,
    /// Whose connections carry no other mail, since they are not like others.
    pub(crate) route: Option<usize>,
}

/// Which hosts have TLS from the first octet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Implicit {
    /// None.
    #[default]
    Never,
    /// Those whose port says so.
    ByPort,
    /// All of the route.
    Always,
}

impl Implicit {
    /// Whether a host has, on this port.
    pub(crate) const fn is_on(self, port: u16) -> bool {
        match self {
            Self::Never => false,
            Self::ByPort => port == IMPLICIT_TLS_PORT,
            Self::Always => true,
        }
    }
}

/// Why routes cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RoutesError {
    /// As they are configured.
    #[error(transparent)]
    Configuration(#[from] ConfigError),
    /// What posts cannot be set up.
    #[error(transparent)]
    Hook(#[from] HookError),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Routes {
    table: RouteTable,
    /// By the number of a route.
    logins: Vec<Option<Arc<RouteLogin>>>,
    certificates: Vec<Option<Arc<ClientTls>>>,
    implicit_tls: Vec<Option<bool>>,
    tell_origin: Vec<bool>,
    hooks: Vec<Option<Hook>>,
}

impl Routes {
    /// Those of the configuration.
    pub(crate) fn new(outbound: &OutboundConfig) -> Result<Self, RoutesError> {
        let logins = outbound.route_logins()?.into_iter();
        let certificates = outbound.route_certificates();
        Ok(Self {
            table: outbound.route_table()?,
            logins: logins.map(|login| login.map(|login| Arc::new(RouteLogin::new(login)))).collect(),
            certificates: certificates
                .iter()
                .map(|one| one.as_ref().map(read).transpose())
                .collect::<Result<_, _>>()?,
            implicit_tls: outbound.routes.iter().map(|route| route.implicit_tls).collect(),
            tell_origin: outbound.routes.iter().map(|route| route.xforward).collect(),
            hooks: Hook::all(outbound.route_hooks()?)?,
        })
    }

    /// Which ways the recipients of a delivery take: the first, and others where there are any. A way that an operator
    /// has ordered goes before all; what the configuration asks of the connection for its mail still holds.
    pub(crate) fn parts(&self, dispatch: &Dispatch) -> (Part, Vec<Part>) {
        let class = MessageClass::of_priority(dispatch.priority);
        let find = |recipient: Option<&Mailbox>| {
            let (sender, tenant, was_held) = (dispatch.sender.mailbox(), dispatch.tenant, dispatch.was_held);
            self.table.find(&Mail { recipient: recipient?, sender, tenant, class, was_held })
        };
        let one = |route| (Part { route, recipients: dispatch.recipients.clone() }, Vec::new());
        let first = find(dispatch.recipients.first());
        if !dispatch.hosts.is_empty() {
            let tls = first.and_then(|route| route.tls);
            return one(Some(Arc::new(Route::ordered(&dispatch.hosts, tls))));
        }
        if !self.table.tells_recipients_apart() {
            return one(first.cloned());
        }
        let mut parts: Vec<Part> = Vec::new();
        for recipient in &dispatch.recipients {
            let route = find(Some(recipient));
            let is_same = |part: &&mut Part| part.route.as_ref().map(|one| one.number) == route.map(|one| one.number);
            match parts.iter_mut().find(is_same) {
                Some(part) => part.recipients.push(recipient.clone()),
                None => parts.push(Part { route: route.cloned(), recipients: vec![recipient.clone()] }),
            }
        }
        // Whose exchanger it is shall be found out before anything is done.
        parts.sort_by_key(|part| dispatch.resolve_first && !part.is_planned());
        let mut parts = parts.into_iter();
        match parts.next() {
            Some(first) => (first, parts.collect()),
            None => one(None),
        }
    }

    /// How the hosts of a route are spoken with.
    pub(crate) fn manner(&self, route: Option<&Route>) -> Manner {
        let Some(route) = route else { return Manner::default() };
        let is_lmtp = matches!(&route.way, Way::Hosts { protocol: Protocol::Lmtp, .. } | Way::Sockets(_));
        let login = self.logins.get(route.number).cloned().flatten();
        let tls = self.certificates.get(route.number).cloned().flatten();
        let implicit_tls = match (&route.way, self.implicit_tls.get(route.number).copied().flatten()) {
            (Way::Hosts { protocol: Protocol::Smtp, .. }, None) => Implicit::ByPort,
            (Way::Hosts { protocol: Protocol::Smtp, .. }, Some(true)) => Implicit::Always,
            _ => Implicit::Never,
        };
        let is_like_others = !is_lmtp && login.is_none() && tls.is_none() && implicit_tls != Implicit::Always;
        let tells_origin = self.tell_origin.get(route.number).copied().unwrap_or_default();
        Manner { is_lmtp, implicit_tls, tls, tells_origin, login, route: (!is_like_others).then_some(route.number) }
    }

    /// Where a route posts.
    pub(crate) fn hook(&self, route: &Route) -> Option<&Hook> {
        self.hooks.get(route.number)?.as_ref()
    }
}

impl Part {
    /// Whether hosts are looked up for it.
    fn is_planned(&self) -> bool {
        let way = self.route.as_ref().map(|route| &route.way);
        matches!(way, None | Some(Way::Exchangers { .. } | Way::Hosts { .. }))
    }

    /// Whether what happens to it says something of its destination.
    pub(crate) fn is_for_all(&self) -> bool {
        self.route.as_ref().is_none_or(|route| route.is_for_all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_comes_first_where_the_port_or_the_operator_says_so() {
        for (implicit, at_465, at_587) in
            [(Implicit::Never, false, false), (Implicit::ByPort, true, false), (Implicit::Always, true, true)]
        {
            assert_eq!((implicit.is_on(465), implicit.is_on(587)), (at_465, at_587), "{implicit:?}");
        }
    }

    #[test]
    fn whose_connections_are_like_no_others() {
        let route = |config: mailtier_config::RouteConfig| {
            let outbound = OutboundConfig { routes: vec![config], ..OutboundConfig::default() };
            let routes = Routes::new(&outbound).unwrap();
            let recipient = Mailbox::parse("a@b.example").unwrap();
            let (tenant, class) = (mailtier_types::TenantId(0), MessageClass::Normal);
            let mail = Mail { recipient: &recipient, sender: None, tenant, class, was_held: false };
            let manner = routes.manner(routes.table.find(&mail).map(AsRef::as_ref));
            (manner.implicit_tls, manner.route)
        };
        let to = |host: &str| mailtier_config::RouteConfig::to_hosts("*", vec![host.to_owned()]);
        assert_eq!(route(to("a:465")), (Implicit::ByPort, None));
        let always = mailtier_config::RouteConfig { implicit_tls: Some(true), ..to("a:2465") };
        assert_eq!(route(always), (Implicit::Always, Some(0)));
        let never = mailtier_config::RouteConfig { implicit_tls: Some(false), ..to("a:465") };
        assert_eq!(route(never), (Implicit::Never, None));
    }
}
