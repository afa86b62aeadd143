//! What must hold between the keys of routes, and the secrets that they name. Not responsible for which mail takes which
//! route (`mailtier-route`).

use std::net::IpAddr;
use std::time::Duration;

use mailtier_route::{Families, Policy, RouteTable};
use mailtier_types::{Domain, SaslMechanism};

use crate::bounds::{SECOND, duration, line};
use crate::keys::quote;
use crate::load::secret;
use crate::routes::RouteVia;
use crate::sections::{IpPreference, TlsPolicy};
use crate::{ClientCertificate, Config, ConfigError, OutboundConfig, RouteConfig, Secret};

/// Mechanisms that a client of ours speaks, the strongest first.
const CLIENT_MECHANISMS: [SaslMechanism; 4] =
    [SaslMechanism::External, SaslMechanism::ScramSha256, SaslMechanism::Plain, SaslMechanism::Login];

/// A worker that waits longer holds up too much else.
const MOST_TIMEOUT: Duration = Duration::from_secs(600);

/// How a route logs in at its hosts.
#[derive(Debug, Clone)]
pub struct RouteLogin {
    /// As whom; empty where a certificate tells.
    pub user: String,
    /// With what; empty where a certificate tells.
    pub password: Secret,
    /// Which may be used, the strongest first.
    pub mechanisms: Vec<SaslMechanism>,
    /// Also without TLS.
    pub in_clear: bool,
}

/// Where a route posts its messages.
#[derive(Debug, Clone)]
pub struct RouteHook {
    /// Where.
    pub url: String,
    /// Shows who we are.
    pub token: Option<Secret>,
    /// Signs what is posted.
    pub signing_key: Option<Secret>,
    /// How long it may take.
    pub timeout: Duration,
}

impl Config {
    /// What all plans keep to, whose mail is sent with this name in EHLO.
    ///
    /// # Errors
    /// [`ConfigError`] names the name that is none.
    pub fn route_policy(&self, ehlo_name: &str) -> Result<Policy, ConfigError> {
        let outbound = &self.outbound;
        let of_addresses = outbound.pools.iter().flat_map(|pool| &pool.addresses).map(|one| one.ehlo_name.as_ref());
        let of_pools = outbound.pools.iter().map(|pool| pool.ehlo_name.as_ref()).chain(of_addresses).flatten();
        let own_names = outbound.own_names.iter().chain(&self.inbound.hostname).chain(of_pools).map(String::as_str);
        let own_name = |name| {
            let wrong = |_| ConfigError::bad("outbound.own_names", format!("cannot be used: {name:?} is no host name"));
            Domain::parse(name).map_err(wrong)
        };
        Ok(Policy {
            own_names: own_names.chain([ehlo_name]).map(own_name).collect::<Result<_, _>>()?,
            own_addresses: outbound.own_addresses.iter().map(IpAddr::to_canonical).collect(),
            families: match outbound.ip_preference {
                IpPreference::Both => Families::Both,
                IpPreference::Ipv4 => Families::Ipv4,
                IpPreference::Ipv6 => Families::Ipv6,
            },
            allow_private: outbound.allow_private_addresses,
            port: outbound.smtp_port,
            tls: outbound.tls.into(),
            dane: outbound.dane,
        })
    }
}

impl OutboundConfig {
    /// All routes; each is numbered by its place.
    ///
    /// # Errors
    /// [`ConfigError`] names the key of the first that cannot be used.
    pub fn route_table(&self) -> Result<RouteTable, ConfigError> {
        RouteTable::new(self.routes.iter().map(RouteConfig::rule)).map_err(|fault| {
            let key = match fault.error.key() {
                "" => format!("outbound.routes[{}]", fault.place),
                key => format!("outbound.routes[{}].{key}", fault.place),
            };
            ConfigError::bad(key, format!("cannot be used: {}", fault.error))
        })
    }

    /// The logins of routes, by number. Only workers have use for them: nobody else need be able to read their files.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn route_logins(&self) -> Result<Vec<Option<RouteLogin>>, ConfigError> {
        self.routes.iter().enumerate().map(|(place, route)| route.login(place)).collect()
    }

    /// The certificates that routes show, by number.
    #[must_use]
    pub fn route_certificates(&self) -> Vec<Option<ClientCertificate>> {
        let files = |(place, route): (usize, &RouteConfig)| {
            let key = format!("outbound.routes[{place}].client_certificate");
            ClientCertificate::of(route.client_certificate.as_ref(), route.client_key.as_ref(), key)
        };
        self.routes.iter().enumerate().map(files).collect()
    }

    /// Where routes post, by number; only workers have use for it.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn route_hooks(&self) -> Result<Vec<Option<RouteHook>>, ConfigError> {
        self.routes.iter().enumerate().map(|(place, route)| route.hook(place)).collect()
    }

    pub(crate) fn check_routes(&self) -> Result<(), ConfigError> {
        for (place, route) in self.routes.iter().enumerate() {
            route.check(place)?;
        }
        self.route_table().map(|_| ())
    }
}

impl RouteConfig {
    fn check(&self, place: usize) -> Result<(), ConfigError> {
        let key = |name: &str| format!("outbound.routes[{place}].{name}");
        self.name.as_deref().map_or(Ok(()), |name| line(key("name"), name))?;
        let way = self.way();
        let speaks = matches!(way, RouteVia::Smtp | RouteVia::Lmtp);
        let sockets = self.hosts.iter().any(|host| host.starts_with("unix:"));
        let has_login = self.user.is_some() || self.password.is_some() || self.password_file.is_some();
        // What is said and would have no meaning is a slip.
        for (name, is_set, has_meaning, only) in [
            ("hosts", !self.hosts.is_empty(), speaks, "`smtp` and `lmtp`"),
            ("exchangers_of", self.exchangers_of.is_some(), way == RouteVia::Mx, "`mx`"),
            (
                "tls",
                self.tls.is_some(),
                (speaks && !sockets) || way == RouteVia::Mx,
                "`mx`, and hosts of `smtp` and `lmtp`",
            ),
            ("implicit_tls", self.implicit_tls.is_some(), way == RouteVia::Smtp, "`smtp`"),
            (
                "client_certificate",
                self.client_certificate.is_some() || self.client_key.is_some(),
                (speaks && !sockets) || way == RouteVia::Mx,
                "`mx`, and hosts of `smtp` and `lmtp`",
            ),
            ("user", has_login, speaks && !sockets, "hosts of `smtp` and `lmtp`"),
            ("xforward", self.xforward, speaks, "hosts of `smtp` and `lmtp`"),
            ("url", self.url.is_some(), way == RouteVia::Http, "`http`"),
            ("token", self.token.is_some() || self.token_file.is_some(), way == RouteVia::Http, "`http`"),
            (
                "signing_key",
                self.signing_key.is_some() || self.signing_key_file.is_some(),
                way == RouteVia::Http,
                "`http`",
            ),
        ] {
            if is_set && !has_meaning {
                let problem = format!("is for {only} alone, and this route is `{}`; leave it out", way.word());
                return Err(ConfigError::bad(key(name), problem));
            }
        }
        if way == RouteVia::Http && self.url.is_none() {
            return Err(ConfigError::bad(key("url"), "is not set; say where messages are posted: https://host/path"));
        }
        let in_clear = matches!(self.tls, Some(TlsPolicy::Off | TlsPolicy::Opportunistic));
        if self.user.is_some() && in_clear && !self.sasl_in_clear {
            let problem = "lets messages go without TLS, and the password with them: use `verified` or `required`, or \
                           set `sasl_in_clear = true` where nobody else is on the way";
            return Err(ConfigError::bad(key("tls"), problem));
        }
        if self.implicit_tls == Some(true) && in_clear {
            let problem =
                "is set, and `tls` lets messages go in clear, which they never do so: use `verified` or `required`";
            return Err(ConfigError::bad(key("implicit_tls"), problem));
        }
        if self.client_certificate.is_some() && self.tls == Some(TlsPolicy::Off) {
            let problem = "is set, and `tls` is `off`: nobody would be shown it; leave one out";
            return Err(ConfigError::bad(key("client_certificate"), problem));
        }
        ClientCertificate::check(self.client_certificate.as_ref(), self.client_key.as_ref(), key)?;
        self.check_login(place)?;
        self.url
            .as_ref()
            .map_or(Ok(()), |url| check_url(&key("url"), url, self.token.is_some() || self.token_file.is_some()))?;
        duration(key("timeout"), self.timeout, SECOND..=MOST_TIMEOUT)
    }

    /// What can be said of a login without its password.
    fn check_login(&self, place: usize) -> Result<(), ConfigError> {
        let key = |name: &str| format!("outbound.routes[{place}].{name}");
        let bad = |name: &str, problem: &str| Err(ConfigError::bad(key(name), problem));
        let has_password = self.password.is_some() || self.password_file.is_some();
        for (name, value, file) in [
            ("password", &self.password, &self.password_file),
            ("token", &self.token, &self.token_file),
            ("signing_key", &self.signing_key, &self.signing_key_file),
        ] {
            if value.is_some() && file.is_some() {
                return bad(name, &format!("and `{}` are both set; keep one", key(&format!("{name}_file"))));
            }
        }
        let mechanisms = self.mechanisms(&key("sasl_mechanisms"))?;
        if mechanisms.contains(&SaslMechanism::External) && self.client_certificate.is_none() {
            return bad("sasl_mechanisms", "holds `EXTERNAL`, which needs a certificate; set `client_certificate`");
        }
        let by_certificate = mechanisms == [SaslMechanism::External];
        match &self.user {
            _ if by_certificate && has_password => {
                bad("password", "is of no use with `EXTERNAL` alone; leave it out, or allow another mechanism")
            }
            None if by_certificate => Ok(()),
            None if has_password => bad("user", "is not set, beside a password; say whose it is"),
            None if !self.sasl_mechanisms.is_empty() => {
                bad("sasl_mechanisms", "is for logins, and there is no `user`; leave it out")
            }
            None => Ok(()),
            Some(_) if !has_password && !by_certificate => {
                bad("password", "is not set, beside `user`; give it or `password_file`")
            }
            Some(user) if user.is_empty() || user.contains('\0') => {
                bad("user", "is empty, or has a null character; nobody logs in so")
            }
            Some(_) => Ok(()),
        }
    }

    fn login(&self, place: usize) -> Result<Option<RouteLogin>, ConfigError> {
        let key = |name: &str| format!("outbound.routes[{place}].{name}");
        let (value, file) = (self.password.as_ref(), self.password_file.as_ref());
        let password = secret(&key("password"), value, &key("password_file"), file)?;
        let mechanisms = self.mechanisms(&key("sasl_mechanisms"))?;
        let (user, password) = match (&self.user, password) {
            (user, None) if mechanisms == [SaslMechanism::External] => {
                (user.clone().unwrap_or_default(), Secret::new(String::new()))
            }
            (Some(user), Some(password)) => (user.clone(), password),
            _ => return Ok(None),
        };
        if password.expose().contains('\0') {
            return Err(ConfigError::bad(key("password"), "has a null character; nobody logs in so"));
        }
        Ok(Some(RouteLogin { user, password, mechanisms, in_clear: self.sasl_in_clear }))
    }

    fn mechanisms(&self, key: &str) -> Result<Vec<SaslMechanism>, ConfigError> {
        let known = |text: &String| CLIENT_MECHANISMS.into_iter().find(|known| known.name().eq_ignore_ascii_case(text));
        if let Some(other) = self.sasl_mechanisms.iter().find(|text| known(text).is_none()) {
            let problem = format!("holds {}; expected `SCRAM-SHA-256`, `PLAIN`, `LOGIN` or `EXTERNAL`", quote(other));
            return Err(ConfigError::bad(key, problem));
        }
        let wanted: Vec<SaslMechanism> = self.sasl_mechanisms.iter().filter_map(known).collect();
        // A certificate may be for TLS alone: it is a login only where that is said.
        let is_wanted = |one: &SaslMechanism| match wanted.as_slice() {
            [] => *one != SaslMechanism::External,
            wanted => wanted.contains(one),
        };
        Ok(CLIENT_MECHANISMS.into_iter().filter(is_wanted).collect())
    }

    fn hook(&self, place: usize) -> Result<Option<RouteHook>, ConfigError> {
        let key = |name: &str| format!("outbound.routes[{place}].{name}");
        let Some(url) = &self.url else { return Ok(None) };
        let read = |name: &str, value, file| secret(&key(name), value, &key(&format!("{name}_file")), file);
        let token = read("token", self.token.as_ref(), self.token_file.as_ref())?;
        let signing_key = read("signing_key", self.signing_key.as_ref(), self.signing_key_file.as_ref())?;
        let is_sendable = |token: &Secret| token.expose().bytes().all(|octet| matches!(octet, b'!'..=b'~'));
        if token.as_ref().is_some_and(|token| !is_sendable(token)) {
            return Err(ConfigError::bad(key("token"), "has characters that cannot be sent (RFC 6750 section 2.1)"));
        }
        Ok(Some(RouteHook { url: url.clone(), token, signing_key, timeout: self.timeout }))
    }
}

/// A web server; in clear, a token goes to this machine alone.
fn check_url(key: &str, url: &str, has_token: bool) -> Result<(), ConfigError> {
    let (is_clear, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (false, rest),
        (None, Some(rest)) => (true, rest),
        (None, None) => return Err(not_a_url(key, url)),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).map_or(authority, |(host, _)| host);
    if host.is_empty() || authority.contains('@') || rest.contains(char::is_whitespace) {
        return Err(not_a_url(key, url));
    }
    let bare = host.trim_matches(['[', ']']);
    let is_here = bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if is_clear && has_token && !is_here {
        let problem = format!("is {}, and the token would go there in clear: use https://", quote(url));
        return Err(ConfigError::bad(key, problem));
    }
    Ok(())
}

fn not_a_url(key: &str, url: &str) -> ConfigError {
    ConfigError::bad(key, format!("is {}; expected https://host/path, without a password in it", quote(url)))
}
