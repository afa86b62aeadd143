//! The explanation of a way, for people and for programs. Not responsible for finding it out.

use mailtier_config::{Config, EgressProxyConfig, OutboundConfig, PoolAddressConfig, RouteConfig};
use mailtier_route::{Encryption, Mail, Protocol, Route, StsMode, TlsDemand, TlsPolicy, Tlsa, Way};
use mailtier_types::ServerIdentity;
use serde::Serialize;

use super::lookup::Found;
use super::owner::{Limit, Owner};

/// Everything that is told.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    recipient: String,
    /// Empty: the null reverse-path.
    sender: String,
    tenant: i32,
    class: &'static str,
    route: Option<Decided>,
    /// What is done: a word of `via`.
    way: &'static str,
    tls: Option<&'static str>,
    provider: Option<String>,
    pool: String,
    /// What holds, from the destination's own to the pool's; groups without limits are left out.
    limits: Vec<Limit>,
    /// With which addresses the pool's connections leave, in their shares; none: the system or a proxy chooses.
    addresses: Vec<OwnAddress>,
    /// What they go through.
    proxy: Option<String>,
    /// The file of the certificate that hosts are shown.
    client_certificate: Option<String>,
    /// The mode of the domain's policy of MTA-STS: enforce or testing.
    mta_sts: Option<&'static str>,
    /// Why the policy that the domain has is not known; mail goes as if there were none.
    mta_sts_problem: Option<String>,
    /// DNSSEC vouches for the exchangers.
    exchangers_secure: bool,
    exchangers: Vec<Exchanger>,
    hosts: Vec<Host>,
    tries: Vec<Try>,
    left_out: Vec<LeftOut>,
    trouble: Option<Problem>,
    #[serde(skip)]
    configured: Option<RouteConfig>,
}

#[derive(Debug, Serialize)]
struct Decided {
    name: String,
    number: usize,
    user: Option<String>,
}

#[derive(Debug, Serialize)]
struct OwnAddress {
    address: String,
    weight: u32,
    ehlo_name: Option<String>,
}

#[derive(Debug, Serialize)]
struct Exchanger {
    preference: u16,
    host: String,
}

#[derive(Debug, Serialize)]
struct Host {
    name: String,
    addresses: Vec<String>,
    /// What its TLSA records come to, where they matter and there are some.
    tlsa: Option<String>,
    problem: Option<String>,
}

#[derive(Debug, Serialize)]
struct Try {
    host: String,
    address: Option<String>,
    port: Option<u16>,
    /// What is asked of the connection, where that is more than encryption if possible.
    demand: Option<String>,
}

#[derive(Debug, Serialize)]
struct LeftOut {
    host: String,
    address: Option<String>,
    reason: String,
}

#[derive(Debug, Serialize)]
struct Problem {
    text: String,
    status: String,
    is_temporary: bool,
}

impl Report {
    /// What the configuration says.
    pub(super) fn new(mail: &Mail<'_>, route: Option<&Route>, config: &Config) -> Self {
        let decided = route.map(|route| Decided {
            name: route.name.clone(),
            number: route.number,
            user: config.outbound.routes.get(route.number).and_then(|configured| configured.user.clone()),
        });
        let tls = route.and_then(|route| route.tls).unwrap_or_else(|| config.outbound.tls.into());
        let speaks = matches!(route.map(|route| &route.way), None | Some(Way::Exchangers { .. } | Way::Hosts { .. }));
        Self {
            recipient: mail.recipient.to_string(),
            sender: mail.sender.map(ToString::to_string).unwrap_or_default(),
            tenant: mail.tenant.0,
            class: mail.class.word(),
            way: route.map_or("mx", |route| route.way.word()),
            tls: speaks.then(|| word(tls)),
            tries: route.map(|route| tries(route, &config.outbound)).unwrap_or_default(),
            route: decided,
            configured: route.and_then(|route| config.outbound.routes.get(route.number)).cloned(),
            ..Self::default()
        }
    }

    /// What name servers say.
    pub(super) fn found(&mut self, found: Found) {
        self.exchangers_secure = found.secure;
        self.mta_sts_problem = found.sts_fault;
        self.mta_sts = found.sts.map(|policy| match policy.mode {
            StsMode::Enforce => "enforce",
            StsMode::Testing => "testing",
            StsMode::None => "none",
        });
        let exchangers = found.exchangers.into_iter();
        self.exchangers =
            exchangers.map(|one| Exchanger { preference: one.preference, host: one.host.to_string() }).collect();
        self.hosts = found
            .hosts
            .into_iter()
            .map(|host| Host {
                name: host.name,
                addresses: host.answer.iter().flat_map(|host| &host.addresses).map(ToString::to_string).collect(),
                tlsa: host.answer.as_ref().ok().and_then(|host| tlsa(&host.tlsa)),
                problem: host.answer.err(),
            })
            .collect();
        let one = |target: mailtier_route::Target| Try {
            address: Some(target.address.to_string()),
            port: Some(target.port),
            demand: demand(&target.tls, self.begins_in_tls(target.port)),
            host: target.host,
        };
        self.tries = found.targets.into_iter().map(one).collect();
        self.left_out = found
            .omitted
            .into_iter()
            .map(|one| LeftOut {
                host: one.host,
                address: one.address.map(|address| address.to_string()),
                reason: one.reason.to_string(),
            })
            .collect();
        self.trouble = found.trouble.map(|trouble| Problem {
            status: trouble.kind.enhanced().to_string(),
            is_temporary: trouble.kind.is_temporary(),
            text: trouble.text,
        });
    }

    fn begins_in_tls(&self, port: u16) -> bool {
        self.configured.as_ref().is_some_and(|route| route.begins_in_tls(Some(port)))
    }

    /// Whose limits and addresses it takes.
    pub(super) fn owner(&mut self, owner: Owner, config: &OutboundConfig) {
        let configured = config.pools.iter().find(|one| one.name == owner.pool);
        (self.provider, self.pool, self.limits) = (owner.provider, owner.pool, owner.limits);
        // What posts, or speaks over a socket, leaves as the system has it.
        if self.tls.is_none() {
            return;
        }
        let of_route = self.configured.as_ref().and_then(|route| route.client_certificate.as_ref());
        let shown = of_route.or(configured.and_then(|pool| pool.client_certificate.as_ref()));
        self.client_certificate = shown.map(|path| path.display().to_string());
        let Some(configured) = configured else { return };
        let own = |source: PoolAddressConfig| OwnAddress {
            address: source.address.to_string(),
            weight: source.weight,
            ehlo_name: source.ehlo_name,
        };
        self.addresses = configured.sources().into_iter().map(own).collect();
        self.proxy = configured.proxy.as_ref().map(proxy);
    }

    /// Whether there is anything to try, or nothing need be.
    pub(super) fn leads_somewhere(&self) -> bool {
        !self.tries.is_empty() || matches!(self.way, "discard" | "hold")
    }

    /// For people.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut line = |label: &str, text: String| lines.push(format!("{label:<12} {text}"));
        let Self { recipient, sender, tenant, class, .. } = self;
        let sender = if sender.is_empty() { "<>" } else { sender };
        line("to", format!("{recipient}, from {sender}, tenant {tenant}, {class}"));
        line("route", self.route_line());
        self.tls.iter().for_each(|tls| line("tls", (*tls).to_owned()));
        let first = self.tries.first().map(|first| first.host.as_str()).unwrap_or_default();
        let provider = self.provider.as_ref().map(|name| format!("{name}, by the exchanger {first}"));
        line("provider", provider.unwrap_or_else(|| "none".to_owned()));
        line("pool", self.pool.clone());
        self.addresses.iter().for_each(|own| line("address", own.line()));
        self.proxy.iter().for_each(|proxy| line("proxy", proxy.clone()));
        self.client_certificate.iter().for_each(|path| line("certificate", format!("{path}, to hosts that ask")));
        self.limits.iter().for_each(|limit| line("limit", limit.to_string()));
        self.mta_sts.iter().for_each(|mode| line("mta-sts", (*mode).to_owned()));
        self.mta_sts_problem
            .iter()
            .for_each(|why| line("mta-sts", format!("there is a policy that cannot be had: {why}")));
        if self.exchangers_secure {
            line("dnssec", "vouches for the exchangers".to_owned());
        }
        for exchanger in &self.exchangers {
            let answer = self.hosts.iter().find(|host| host.name == exchanger.host);
            let said = answer.map_or_else(|| "not asked".to_owned(), Host::said);
            line("exchanger", format!("{} {}: {said}", exchanger.preference, exchanger.host));
        }
        for host in self.hosts.iter().filter(|host| !self.exchangers.iter().any(|one| one.host == host.name)) {
            line("host", format!("{}: {}", host.name, host.said()));
        }
        for (number, one) in (1..).zip(&self.tries) {
            line(&format!("try {number}"), one.line());
        }
        for one in &self.left_out {
            let address = one.address.as_ref().map(|address| format!(" [{address}]")).unwrap_or_default();
            line("left out", format!("{}{address} {}", one.host, one.reason));
        }
        if let Some(problem) = &self.trouble {
            let label = if self.tries.is_empty() { "nowhere" } else { "besides" };
            let then = if problem.is_temporary { "is tried again" } else { "fails at once" };
            line(label, format!("{} ({}, {then})", problem.text, problem.status));
        }
        lines
    }

    fn route_line(&self) -> String {
        let Some(route) = &self.route else { return "none: by the mail exchangers of its domain".to_owned() };
        let what = match (self.way, self.tls) {
            ("mx", _) => "by mail exchangers",
            ("smtp", _) => "to hosts over SMTP",
            ("lmtp", _) => "over LMTP",
            ("http", _) => "posted over HTTP",
            ("discard", _) => "discarded, and counted as delivered",
            (_, _) => "held until an operator releases it",
        };
        let by_certificate = self.configured.as_ref().is_some_and(|route| !route.sasl_mechanisms.is_empty());
        let login = match &route.user {
            Some(user) => format!(", logging in as `{user}`"),
            None if by_certificate => ", logging in by its certificate".to_owned(),
            None => String::new(),
        };
        format!("`{}` (outbound.routes[{}]): {what}{login}", route.name, route.number)
    }
}

impl OwnAddress {
    fn line(&self) -> String {
        let share = if self.weight == 0 { "drained".to_owned() } else { format!("weight {}", self.weight) };
        let name = self.ehlo_name.as_ref().map(|name| format!(", as {name}")).unwrap_or_default();
        format!("{}, {share}{name}", self.address)
    }
}

/// Without its password.
fn proxy(proxy: &EgressProxyConfig) -> String {
    let login = proxy.user.as_ref().map(|user| format!(", logging in as `{user}`")).unwrap_or_default();
    format!("{} at {}{login}", proxy.protocol.word(), proxy.server)
}

impl Host {
    fn said(&self) -> String {
        let tlsa = self.tlsa.as_ref().map(|tlsa| format!(", {tlsa}")).unwrap_or_default();
        self.problem.clone().unwrap_or_else(|| format!("{}{tlsa}", self.addresses.join(" ")))
    }
}

impl Try {
    fn line(&self) -> String {
        match (&self.address, self.port) {
            (Some(address), Some(port)) => {
                let demand = self.demand.as_ref().map(|demand| format!(", {demand}")).unwrap_or_default();
                format!("{} [{address}]:{port}{demand}", self.host)
            }
            _ => self.host.clone(),
        }
    }
}

fn tlsa(known: &Tlsa) -> Option<String> {
    match known {
        Tlsa::None => None,
        Tlsa::Records { base, usable } => Some(format!("{} usable TLSA records at {base}", usable.len())),
        Tlsa::Unknown(reason) => Some(format!("TLSA records unknown: {reason}")),
    }
}

/// In words, where it is more than encryption if possible.
fn demand(tls: &TlsDemand, begins_in_tls: bool) -> Option<String> {
    let identity = match tls.identity.as_deref() {
        Some(ServerIdentity::Pkix { name }) if !tls.enforced => {
            format!(", with a certificate for {name} by a trusted authority if possible")
        }
        Some(ServerIdentity::Pkix { name }) => format!(", with a certificate for {name} by a trusted authority"),
        Some(ServerIdentity::Dane { .. }) => ", with a certificate as its TLSA records say".to_owned(),
        None => String::new(),
    };
    match tls.encryption {
        Encryption::Off => None,
        Encryption::Opportunistic | Encryption::Required if begins_in_tls => {
            Some(format!("encrypted from the first octet{identity} ({})", tls.authority))
        }
        Encryption::Opportunistic if tls.identity.is_none() => None,
        Encryption::Opportunistic => Some(format!("encrypted if possible{identity} ({})", tls.authority)),
        Encryption::Required => Some(format!("encrypted{identity} ({})", tls.authority)),
    }
}

/// Where a route goes that asks no name server; what may be secret of a URL is left out.
fn tries(route: &Route, outbound: &OutboundConfig) -> Vec<Try> {
    let one = |host: String| Try { host, address: None, port: None, demand: None };
    match &route.way {
        Way::Sockets(paths) => paths.iter().map(|path| one(format!("unix:{}", path.display()))).collect(),
        Way::Post => {
            let url = outbound.routes.get(route.number).and_then(|configured| configured.url.as_ref());
            url.and_then(|url| url.split(['?', '#']).next()).map(|url| one(url.to_owned())).into_iter().collect()
        }
        Way::Hosts { protocol: Protocol::Smtp | Protocol::Lmtp, .. }
        | Way::Exchangers { .. }
        | Way::Discard
        | Way::Hold => Vec::new(),
    }
}

const fn word(tls: TlsPolicy) -> &'static str {
    match tls {
        TlsPolicy::Off => "off",
        TlsPolicy::Opportunistic => "opportunistic",
        TlsPolicy::Required => "required",
        TlsPolicy::Verified => "verified",
        TlsPolicy::Dane => "dane",
    }
}
