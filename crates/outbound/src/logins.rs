//! Logins at the hosts of routes, and which were refused a moment ago: a wrong password that is said again with every
//! message gets its user locked out. Not responsible for what is said in a login.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use mailtier_config::RouteLogin as Configured;
use mailtier_sasl::{Credentials, Password};
use mailtier_transport::client::{ConnectFailure, Connection, Login};
use mailtier_types::{Cause, Stage, Trouble, TroubleKind};
use parking_lot::Mutex;

/// For so long a host that has refused a login is not asked again. Postfix's `smtp_sasl_auth_cache_time` is days, and has
/// to be reset by hand; an operator who mends a password waits no longer than this.
const REFUSED_FOR: Duration = Duration::from_secs(60);

/// How a route logs in, and where it could not.
#[derive(Debug)]
pub(crate) struct RouteLogin {
    login: Login,
    /// By host; there are no more than the configuration names.
    refused: Mutex<HashMap<String, (Instant, String)>>,
}

impl RouteLogin {
    /// As it is configured.
    pub(crate) fn new(configured: Configured) -> Self {
        let Configured { user, password, mechanisms, in_clear } = configured;
        let credentials = Credentials { name: user, password: Password(password.expose().to_owned()) };
        Self { login: Login { credentials, mechanisms, in_clear }, refused: Mutex::default() }
    }

    /// Whether it makes sense to connect to a host.
    ///
    /// # Errors
    /// It refused the login a moment ago.
    pub(crate) fn may_try(&self, host: &str, now: Instant) -> Result<(), ConnectFailure> {
        let mut refused = self.refused.lock();
        let Some((until, said)) = refused.get(host) else { return Ok(()) };
        if *until <= now {
            refused.remove(host);
            return Ok(());
        }
        let text = format!("{said} (a moment ago; it is not asked again for {} s)", (*until - now).as_secs());
        let cause = Cause::Trouble(Trouble { kind: TroubleKind::Login, text });
        Err(ConnectFailure { stage: Stage::Ehlo, cause, tls_fault: None })
    }

    /// Logs in at a host.
    ///
    /// # Errors
    /// See [`Connection::log_in`].
    pub(crate) async fn log_in(&self, connection: &mut Connection, host: &str) -> Result<(), ConnectFailure> {
        let result = connection.log_in(&self.login).await;
        if let Err(ConnectFailure { cause: Cause::Trouble(Trouble { kind: TroubleKind::Login, text }), .. }) = &result {
            tracing::warn!(host, reason = text, "a route's login came to nothing: its mail waits");
            self.refused.lock().insert(host.to_owned(), (Instant::now() + REFUSED_FOR, text.clone()));
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use mailtier_config::Secret;

    use super::*;

    #[test]
    fn a_host_that_refused_is_left_alone_for_a_while() {
        let configured = Configured {
            user: "user".to_owned(),
            password: Secret::new("hidden".to_owned()),
            mechanisms: Vec::new(),
            in_clear: false,
        };
        let (login, now) = (RouteLogin::new(configured), Instant::now());
        assert!(login.may_try("a", now).is_ok());
        login.refused.lock().insert("a".to_owned(), (now + REFUSED_FOR, "535 no".to_owned()));
        assert!(login.may_try("b", now).is_ok(), "another host has refused nothing");
        let failure = login.may_try("a", now + REFUSED_FOR / 2).unwrap_err();
        assert_eq!(failure.cause.to_string(), "535 no (a moment ago; it is not asked again for 30 s)");
        assert!(login.may_try("a", now + REFUSED_FOR).is_ok() && login.may_try("a", now).is_ok(), "forgotten");
        assert!(!format!("{login:?}").contains("hidden"));
    }
}
