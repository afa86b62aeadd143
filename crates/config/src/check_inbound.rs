//! What must hold between the values of `[inbound]`. Not responsible for listeners and recipients: see
//! `check_listeners` and `check_recipients`.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use mailtier_types::SaslMechanism;

use crate::bounds::{ANY, DAY, MOST_MEMORY, MOST_THREADS, SECOND, count, duration, size, twice};
use crate::check::host_name;
use crate::check_cluster::replicas;
use crate::inbound::{InboundConfig, OauthConfig};
use crate::keys::quote;
use crate::sections::LEAST_MEMORY;
use crate::words::expected;
use crate::{Config, ConfigError};

/// Extensions that need not be offered, by their EHLO keyword.
pub const EHLO_KEYWORDS: [&str; 21] = [
    "PIPELINING",
    "SIZE",
    "8BITMIME",
    "CHUNKING",
    "BINARYMIME",
    "SMTPUTF8",
    "ENHANCEDSTATUSCODES",
    "DSN",
    "STARTTLS",
    "AUTH",
    "REQUIRETLS",
    "DELIVERBY",
    "FUTURERELEASE",
    "MT-PRIORITY",
    "LIMITS",
    "ETRN",
    "VRFY",
    "EXPN",
    "HELP",
    "XCLIENT",
    "XFORWARD",
];

/// Recipients of one transaction: RFC 5321 §4.5.3.1.8, and what one commit of the queue can hold.
pub(crate) const RECIPIENTS: std::ops::RangeInclusive<u64> = 100..=4096;
/// RFC 5321 §4.5.3.1.7.
const LEAST_MESSAGE: ByteSize = ByteSize::kib(64);
/// What is larger is no mail: nobody takes it.
const MOST_MESSAGE: ByteSize = ByteSize::gib(1);
/// Received fields a message may have before it is a loop: no honest way has more hops than RFC 5321 §6.3's 100 by far,
/// and practice (Postfix's `hopcount_limit`) takes 50.
const HOPS: std::ops::RangeInclusive<u64> = 10..=1000;
/// RFC 4865 §4: nine digits of seconds.
const MAX_HOLD: Duration = Duration::from_secs(999_999_999);
/// Less is no time for people, nor for a slow line; RFC 5321 §4.5.3.2.7 asks for five minutes.
const LEAST_COMMAND_TIMEOUT: Duration = Duration::from_secs(10);
/// Clients wait ten minutes for the reply to their data (RFC 5321 §4.5.3.2.6).
const MOST_SUBMIT_TIMEOUT: Duration = Duration::from_secs(300);
/// Longer, and clients that are no spammers give up too.
const MOST_GREETING_DELAY: Duration = Duration::from_secs(30);

impl InboundConfig {
    /// Certificate chains and their keys; the first is shown to clients that name no host.
    #[must_use]
    pub fn certificates(&self) -> Vec<(PathBuf, PathBuf)> {
        let first = self.tls_certificate.clone().zip(self.tls_key.clone());
        let pairs = self.tls_certificates.iter().filter_map(|pair| pair.split_once(':'));
        first.into_iter().chain(pairs.map(|(chain, key)| (chain.into(), key.into()))).collect()
    }
}

impl Config {
    pub(crate) fn check_inbound(&self) -> Result<(), ConfigError> {
        let inbound = &self.inbound;
        host_name("inbound.hostname", inbound.hostname.as_deref())?;
        replicas("inbound.queue", &inbound.queue)?;
        inbound.check_recipients()?;
        check_limits(inbound)?;
        check_memory(inbound)?;
        check_times(inbound)?;
        check_tls(inbound)?;
        check_logins(inbound)?;
        check_extensions(inbound)?;
        inbound.check_listeners()?;
        inbound.oauth.as_ref().map_or(Ok(()), check_oauth)
    }
}

fn check_limits(inbound: &InboundConfig) -> Result<(), ConfigError> {
    count("inbound.max_recipients", inbound.max_recipients, RECIPIENTS)?;
    count("inbound.max_sessions", inbound.max_sessions, 1..=ANY)?;
    count("inbound.max_errors", inbound.max_errors, 1..=ANY)?;
    count("inbound.max_received_hops", inbound.max_received_hops, HOPS)?;
    count("inbound.threads", inbound.threads, 0..=MOST_THREADS)?;
    message_size("inbound.max_message_size", Some(inbound.max_message_size))
}

/// The largest message someone may send.
pub(crate) fn message_size(key: impl Into<String>, largest: Option<ByteSize>) -> Result<(), ConfigError> {
    largest.map_or(Ok(()), |largest| size(key, largest, LEAST_MESSAGE..=MOST_MESSAGE))
}

/// The wait before a greeting.
pub(crate) fn greeting_delay(key: impl Into<String>, delay: Option<Duration>) -> Result<(), ConfigError> {
    delay.map_or(Ok(()), |delay| duration(key, delay, Duration::ZERO..=MOST_GREETING_DELAY))
}

/// 0 means that the program sees for itself.
fn check_memory(inbound: &InboundConfig) -> Result<(), ConfigError> {
    match inbound.memory_budget.as_u64() {
        0 => Ok(()),
        _ => size("inbound.memory_budget", inbound.memory_budget, LEAST_MEMORY..=MOST_MEMORY),
    }
}

fn check_times(inbound: &InboundConfig) -> Result<(), ConfigError> {
    duration("inbound.submit_timeout", inbound.submit_timeout, SECOND..=MOST_SUBMIT_TIMEOUT)?;
    duration("inbound.drain_timeout", inbound.drain_timeout, Duration::ZERO..=DAY)?;
    duration("inbound.user_recheck", inbound.user_recheck, Duration::ZERO..=DAY)?;
    duration("inbound.command_timeout", inbound.command_timeout, LEAST_COMMAND_TIMEOUT..=DAY)?;
    greeting_delay("inbound.greeting_delay", Some(inbound.greeting_delay))?;
    // RFC 4865 §4.
    duration("inbound.max_hold", inbound.max_hold, Duration::ZERO..=MAX_HOLD)
}

fn check_tls(inbound: &InboundConfig) -> Result<(), ConfigError> {
    let (certificate, key) = (inbound.tls_certificate.is_some(), inbound.tls_key.is_some());
    let missing = |key, other| Err(ConfigError::bad(key, format!("is missing for `{other}`; set both")));
    match (certificate, key) {
        (true, false) => return missing("inbound.tls_key", "inbound.tls_certificate"),
        (false, true) => return missing("inbound.tls_certificate", "inbound.tls_key"),
        (false, false) if !inbound.tls_certificates.is_empty() => {
            return missing("inbound.tls_certificate", "inbound.tls_certificates");
        }
        (false, false) if inbound.tls_client_ca.is_some() => {
            return missing("inbound.tls_certificate", "inbound.tls_client_ca");
        }
        _ => {}
    }
    let is_pair = |pair: &&String| {
        pair.split_once(':').is_some_and(|(chain, key)| !chain.trim().is_empty() && !key.trim().is_empty())
    };
    match inbound.tls_certificates.iter().find(|pair| !is_pair(pair)) {
        Some(pair) => {
            let problem = format!("holds {}; expected chain.pem:key.pem", quote(pair));
            Err(ConfigError::bad("inbound.tls_certificates", problem))
        }
        None => Ok(()),
    }
}

fn check_logins(inbound: &InboundConfig) -> Result<(), ConfigError> {
    let key = "inbound.sasl_mechanisms";
    let bad = |name: &str, problem: String| Err(ConfigError::bad(key, format!("holds {}{problem}", quote(name))));
    twice(key, &inbound.sasl_mechanisms)?;
    for name in &inbound.sasl_mechanisms {
        let Ok(mechanism) = name.parse::<SaslMechanism>() else {
            return bad(name, format!("; {}", expected(name, &SaslMechanism::ALL.map(SaslMechanism::name))));
        };
        let is_token = matches!(mechanism, SaslMechanism::OAuthBearer | SaslMechanism::XOAuth2);
        if is_token && inbound.oauth.is_none() {
            return bad(name, ", which needs `[inbound.oauth]`".to_owned());
        }
        if mechanism == SaslMechanism::External && inbound.tls_client_ca.is_none() {
            return bad(name, ", which needs `inbound.tls_client_ca`".to_owned());
        }
    }
    Ok(())
}

fn check_extensions(inbound: &InboundConfig) -> Result<(), ConfigError> {
    let is_known = |word: &&String| EHLO_KEYWORDS.iter().any(|known| known.eq_ignore_ascii_case(word));
    match inbound.discard_ehlo_keywords.iter().find(|word| !is_known(word)) {
        Some(word) => Err(ConfigError::bad(
            "inbound.discard_ehlo_keywords",
            format!("holds {}; {}", quote(word), expected(word, &EHLO_KEYWORDS)),
        )),
        None => Ok(()),
    }
}

fn check_oauth(config: &OauthConfig) -> Result<(), ConfigError> {
    for (key, value) in [("inbound.oauth.issuer", &config.issuer), ("inbound.oauth.audience", &config.audience)] {
        if value.is_empty() {
            return Err(ConfigError::bad(key, "is empty: tokens for anybody, by anybody, would be taken; give it"));
        }
    }
    if config.user_claim.is_empty() {
        return Err(ConfigError::bad("inbound.oauth.user_claim", "is empty; name the claim, such as email"));
    }
    match (&config.jwks_file, &config.jwks_url) {
        (None, None) => Err(ConfigError::bad("inbound.oauth.jwks_url", "is not set; give it or `jwks_file`")),
        (Some(_), Some(_)) => Err(ConfigError::bad("inbound.oauth.jwks_url", "and `jwks_file` are both set; keep one")),
        (None, Some(url)) if url.strip_prefix("https://").is_none_or(str::is_empty) => {
            Err(ConfigError::bad("inbound.oauth.jwks_url", format!("is {}; expected https://…", quote(url))))
        }
        _ => Ok(()),
    }
}
