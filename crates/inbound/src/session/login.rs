//! Logins: the exchange of a mechanism and what is asked about it. Not responsible for what a mechanism says (`sasl`),
//! nor for whether a password is right (the queue), nor for how many sessions a user may have (policy).

use std::sync::Arc;
use std::time::{Duration, Instant};

use mailtier_api::accounts::{Login, ScramProof, ScramSalt};
use mailtier_config::Secret;
use mailtier_sasl::{Bindings, Check, Exchange, ExchangeError, Step};
use mailtier_smtp::{SaslData, Verdict};
use mailtier_types::{Reply, SaslMechanism, reply};

use super::Session;
use crate::limits::ClientKey;
use crate::peer::{SenderPattern, User};
use crate::policy::login;
use crate::record;

/// The wait before a failed login is answered: whoever guesses, guesses slowly.
const FAILURE_DELAY: Duration = Duration::from_secs(1);
/// Names of one certificate that are looked up.
const CERTIFICATE_NAMES: usize = 8;

/// A login under way.
#[derive(Debug)]
pub(super) struct Attempt {
    mechanism: SaslMechanism,
    exchange: Exchange,
    /// Who it is, once that is known, until the client has heard it.
    user: Option<Arc<User>>,
    /// Who it is said to be, for logs.
    name: String,
}

impl Session {
    pub(super) async fn sasl_start(&mut self, mechanism: SaslMechanism, initial: Option<SaslData>) -> Verdict {
        let exchange = Exchange::new(mechanism, self.bindings(), nonce());
        let mut attempt = Attempt { mechanism, exchange, user: None, name: String::new() };
        let step = attempt.exchange.begin(initial.as_ref().map(|data| data.0.as_slice()));
        self.go_on(attempt, step).await
    }

    pub(super) async fn sasl_response(&mut self, response: SaslData) -> Verdict {
        let Some(mut attempt) = self.attempt.take() else { return Verdict::Reject(reply::LOGIN_FAILED) };
        let step = attempt.exchange.respond(&response.0);
        self.go_on(attempt, step).await
    }

    fn bindings(&self) -> Bindings {
        let bindings = self.peer.tls.as_ref().map(|tls| tls.bindings.clone()).unwrap_or_default();
        let mechanisms =
            self.peer.settings.smtp.sasl.as_ref().map(|offer| offer.mechanisms.as_slice()).unwrap_or_default();
        let has_binding = bindings.exporter.is_some() || bindings.end_point.is_some();
        let offered = has_binding && mechanisms.contains(&SaslMechanism::ScramSha256Plus);
        Bindings { exporter: bindings.exporter, end_point: bindings.end_point, offered }
    }

    /// Carries out steps until the client has to say something, or it is over.
    async fn go_on(&mut self, mut attempt: Attempt, step: Result<Step, ExchangeError>) -> Verdict {
        let mut step = match step {
            Ok(step) => step,
            Err(ExchangeError::Malformed) => return Verdict::Reject(reply::BAD_SASL_RESPONSE),
            Err(error) => {
                tracing::info!(client = %self.peer.address.ip(), %error, "login refused");
                Step::Failed
            }
        };
        loop {
            step = match step {
                Step::Challenge(challenge) => {
                    self.attempt = Some(attempt);
                    return Verdict::Challenge(challenge);
                }
                Step::Check(check) => match self.check(&mut attempt, check).await {
                    Ok(step) => step,
                    Err(reply) => {
                        record::login(&self.shared, &self.peer, attempt.mechanism, &attempt.name, "deferred");
                        // It costs the queue as much as one that failed.
                        tokio::time::sleep(FAILURE_DELAY).await;
                        return Verdict::Reject(reply);
                    }
                },
                Step::Done => return self.logged_in(attempt),
                Step::Failed => {
                    record::login(&self.shared, &self.peer, attempt.mechanism, &attempt.name, "failed");
                    tokio::time::sleep(FAILURE_DELAY).await;
                    return Verdict::Reject(reply::LOGIN_FAILED);
                }
            };
        }
    }

    fn logged_in(&mut self, attempt: Attempt) -> Verdict {
        let Some(user) = attempt.user else { return Verdict::Reject(reply::LOGIN_FAILED) };
        let limits = &self.shared.limits;
        let user_slot = limits.user_session(&user.name);
        // A session that is the tenant's already is not counted twice.
        let is_the_tenants = self.tenant_slot.as_ref().is_some_and(|slot| *slot.holder() == user.tenant);
        let tenant_slot = if is_the_tenants { None } else { limits.tenant_session(user.tenant) };
        let facts = login::Facts {
            user_has_room: user_slot.is_some(),
            tenant_has_room: is_the_tenants || tenant_slot.is_some(),
        };
        if let Err(refusal) = login::decide(&facts) {
            record::login(&self.shared, &self.peer, attempt.mechanism, &user.name, "deferred");
            return Verdict::Reject(refusal.reply);
        }
        record::login(&self.shared, &self.peer, attempt.mechanism, &user.name, "succeeded");
        self.user_slot = user_slot;
        self.tenant_slot = tenant_slot.or_else(|| self.tenant_slot.take());
        self.know(user);
        Verdict::Accept
    }

    /// From now on this is the user.
    pub(super) fn know(&mut self, user: Arc<User>) {
        self.peer.user = Some(user);
        self.user_known_at = Instant::now();
    }

    /// Whether the user of a session that goes on may still send: somebody may have been deleted, or have other
    /// addresses, since.
    pub(super) async fn know_again(&mut self) -> Result<(), Verdict> {
        let Some(user_of_session) = &self.peer.user else { return Ok(()) };
        if self.user_known_at.elapsed() <= self.shared.user_recheck {
            return Ok(());
        }
        let name = Arc::clone(&user_of_session.name);
        match self.find(&name).await {
            Ok(Login::User(account)) => {
                self.know(Arc::new(user(account)));
                Ok(())
            }
            Ok(_) => Err(Verdict::RejectAndClose(reply::LOGIN_REVOKED)),
            Err(_) => Err(Verdict::Reject(reply::QUEUE_UNAVAILABLE)),
        }
    }

    /// Finds out what the exchange wants to know. An error is the reply of a login that could not be judged.
    async fn check(&self, attempt: &mut Attempt, check: Check) -> Result<Step, Reply> {
        let (accounts, client) = (&self.shared.accounts, self.client_subject());
        let unavailable = |_| reply::LOGIN_UNAVAILABLE;
        Ok(match check {
            Check::Password { name, password } => {
                attempt.name.clone_from(&name);
                let password = Secret::new(password.0);
                let asked = accounts.ask(|to| {
                    let (name, password, client) = (name.clone(), password.clone(), client.clone());
                    async move { to.check_password(&name, &password, &client).await }
                });
                let good = attempt.take_user(asked.await.map_err(unavailable)?)?;
                attempt.exchange.settled(good)
            }
            Check::ScramSalt { name } => {
                attempt.name.clone_from(&name);
                let asked = accounts.ask(|to| {
                    let (name, client) = (name.clone(), client.clone());
                    async move { to.begin_scram(&name, &client).await }
                });
                match asked.await.map_err(unavailable)? {
                    ScramSalt::Salt { salt, iterations } => attempt.exchange.salted(&salt, iterations),
                    ScramSalt::Limited => return Err(reply::LOGINS_LIMITED),
                }
            }
            Check::ScramProof { name, auth_message, proof } => {
                let proof = ScramProof { name, client, auth_message, proof };
                let asked = accounts.ask(|to| {
                    let proof = proof.clone();
                    async move { to.finish_scram(proof).await }
                });
                let verdict = asked.await.map_err(unavailable)?;
                let good = attempt.take_user(verdict.login)?;
                attempt.exchange.proved(good.then_some(verdict.server_signature))
            }
            Check::Token { name, token } => {
                let user = match &self.shared.tokens {
                    Some(judge) => judge.user_of(&token.0, name.as_deref()).await,
                    None => None,
                };
                let good = match user {
                    Some(user) => attempt.take_user(self.find(&user).await?)?,
                    None => false,
                };
                attempt.exchange.settled(good)
            }
            Check::Certificate { name } => {
                let good = self.holder_of_certificate(attempt, name.as_deref()).await?;
                attempt.exchange.settled(good)
            }
        })
    }

    /// The first user among those the certificate names; where the client says whom it wants to be, only that one.
    async fn holder_of_certificate(&self, attempt: &mut Attempt, wanted: Option<&str>) -> Result<bool, Reply> {
        let Some(certificate) = self.peer.tls.as_ref().and_then(|tls| tls.client.as_ref()) else { return Ok(false) };
        let names = certificate.addresses.iter().chain(&certificate.names).chain(&certificate.common_name);
        for name in
            names.filter(|name| wanted.is_none_or(|wanted| wanted.eq_ignore_ascii_case(name))).take(CERTIFICATE_NAMES)
        {
            if attempt.take_user(self.find(name).await?)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The user of this name, whose login was proved otherwise.
    pub(super) async fn find(&self, name: &str) -> Result<Login, Reply> {
        let asked = self.shared.accounts.ask(|to| {
            let name = name.to_owned();
            async move { to.find_account(&name).await }
        });
        asked.await.map_err(|_| reply::LOGIN_UNAVAILABLE)
    }

    /// Whose failures count with the queue; nobody's where it is a host of ours, before which many users may sit.
    fn client_subject(&self) -> String {
        match self.peer.trusted {
            true => String::new(),
            false => ClientKey::of(self.peer.address.ip()).to_string(),
        }
    }
}

impl Attempt {
    /// Keeps who it is. Too many failures are no verdict on this login.
    fn take_user(&mut self, login: Login) -> Result<bool, Reply> {
        match login {
            Login::User(account) => {
                self.name.clone_from(&account.name);
                self.user = Some(Arc::new(user(account)));
                Ok(true)
            }
            Login::Invalid => Ok(false),
            Login::Limited => Err(reply::LOGINS_LIMITED),
        }
    }
}

/// As the queue knows it. Patterns that are none cover nothing.
pub(super) fn user(account: mailtier_api::accounts::Account) -> User {
    User {
        name: account.name.into(),
        tenant: account.tenant,
        senders: account.senders.iter().filter_map(|pattern| SenderPattern::parse(pattern)).collect(),
    }
}

/// Our share of a SCRAM nonce: 144 random bits.
fn nonce() -> String {
    use base64::Engine as _;
    let mut octets = [0; 18];
    rand::fill(&mut octets);
    base64::engine::general_purpose::STANDARD_NO_PAD.encode(octets)
}
