//! The routes of the configuration, with what each needs beside its hosts. Not responsible for which mail takes which
//! (`mailtier-route`), nor for going there.

use std::sync::Arc;

use mailtier_api::work::Dispatch;
use mailtier_config::{ConfigError, OutboundConfig};
use mailtier_route::{Mail, MessageClass, Protocol, Route, RouteTable, Way};
use mailtier_types::Mailbox;

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
    /// We log in first.
    pub(crate) login: Option<Arc<RouteLogin>>,
    /// Whose connections carry no other mail, since they are not like others.
    pub(crate) route: Option<usize>,
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
    hooks: Vec<Option<Hook>>,
}

impl Routes {
    /// Those of the configuration.
    pub(crate) fn new(outbound: &OutboundConfig) -> Result<Self, RoutesError> {
        let logins = outbound.route_logins()?.into_iter();
        Ok(Self {
            table: outbound.route_table()?,
            logins: logins.map(|login| login.map(|login| Arc::new(RouteLogin::new(login)))).collect(),
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
        let is_like_others = !is_lmtp && login.is_none();
        Manner { is_lmtp, login, route: (!is_like_others).then_some(route.number) }
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
