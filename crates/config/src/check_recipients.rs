//! What must hold between the keys of `[inbound]` that say whose mail is taken. Not responsible for the files they name.

use std::time::Duration;

use mailtier_types::{AddressError, Domain, Mailbox};

use crate::bounds::{YEAR, duration};
use crate::check::is_host_and_port;
use crate::keys::quote;
use crate::{CallAheadConfig, ConfigError, InboundConfig};

/// What may separate a user from a detail: characters of a dot-string (RFC 5321 §4.1.2) that people know from addresses,
/// and that ask nobody to send the mail on, as `%` and `!` do.
const DELIMITERS: &str = "+-=_.#~^";
/// How long a server may be asked while a client waits for the reply to RCPT.
const ASK: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(120);

impl InboundConfig {
    /// Whether mail is taken from anyone, and nobody reads what is sent to the postmaster (RFC 5321 §4.5.1).
    #[must_use]
    pub fn lacks_postmaster(&self) -> bool {
        !self.relay_domains.is_empty() && self.postmaster.is_none()
    }

    pub(crate) fn check_recipients(&self) -> Result<(), ConfigError> {
        domains("inbound.relay_domains", &self.relay_domains)?;
        if let Some(address) = &self.postmaster {
            Mailbox::parse(address)
                .map_err(|error| ConfigError::bad("inbound.postmaster", format!("is {}: {error}", quote(address))))?;
        }
        let delimiter = &self.recipient_delimiter;
        if delimiter.chars().count() > 1 || !delimiter.chars().all(|character| DELIMITERS.contains(character)) {
            let problem = format!("is {}; give one of {DELIMITERS}, or nothing for none", quote(delimiter));
            return Err(ConfigError::bad("inbound.recipient_delimiter", problem));
        }
        self.call_ahead.iter().enumerate().try_for_each(|(index, server)| self.check_call_ahead(index, server))
    }

    fn check_call_ahead(&self, index: usize, server: &CallAheadConfig) -> Result<(), ConfigError> {
        let key = |name: &str| format!("inbound.call_ahead[{index}].{name}");
        if server.domains.is_empty() {
            let problem = "is empty; name the domains whose recipients the server knows";
            return Err(ConfigError::bad(key("domains"), problem));
        }
        domains(&key("domains"), &server.domains)?;
        if let Some(name) = server.domains.iter().find(|name| !covers(&self.relay_domains, name)) {
            let problem = format!("holds {}, which is not in `inbound.relay_domains`; add it there", quote(name));
            return Err(ConfigError::bad(key("domains"), problem));
        }
        let earlier = || self.call_ahead.iter().take(index).flat_map(|server| &server.domains);
        if let Some(name) = server.domains.iter().find(|name| earlier().any(|one| one.eq_ignore_ascii_case(name))) {
            let problem = format!("holds {}, which an earlier server has already; keep one", quote(name));
            return Err(ConfigError::bad(key("domains"), problem));
        }
        if !is_host_and_port(&server.server) {
            let problem = format!("is {}; expected host:port", quote(&server.server));
            return Err(ConfigError::bad(key("server"), problem));
        }
        duration(key("timeout"), server.timeout, ASK)?;
        duration(key("remember_known"), server.remember_known, Duration::ZERO..=YEAR)?;
        duration(key("remember_unknown"), server.remember_unknown, Duration::ZERO..=YEAR)
    }
}

/// A domain, with a dot before it where all below it are meant, in the one form that all its spellings have.
///
/// # Errors
/// It is none.
pub fn domain_pattern(name: &str) -> Result<String, AddressError> {
    let (dot, bare) = name.strip_prefix('.').map_or(("", name), |bare| (".", bare));
    Domain::parse(bare).map(|domain| format!("{dot}{domain}"))
}

pub(crate) fn domains(key: &str, names: &[String]) -> Result<(), ConfigError> {
    names.iter().try_for_each(|name| match domain_pattern(name) {
        Ok(_) => Ok(()),
        Err(error) => {
            let problem =
                format!("holds {}: {error}; expected example.com, or .example.com for all below it", quote(name));
            Err(ConfigError::bad(key, problem))
        }
    })
}

/// Whether a domain, or all below one, is among these.
fn covers(ours: &[String], name: &str) -> bool {
    let Some((name, is_below)) = canonical(name) else { return false };
    ours.iter().filter_map(|our| canonical(our)).any(|(our, is_all_below)| {
        let is_within = name.strip_suffix(&our).is_some_and(|rest| rest.ends_with('.'));
        match is_all_below {
            true => is_within || (is_below && name == our),
            false => !is_below && name == our,
        }
    })
}

/// The name in its ASCII form, and whether all below it is meant.
fn canonical(name: &str) -> Option<(String, bool)> {
    let bare = name.strip_prefix('.');
    Some((Domain::parse(bare.unwrap_or(name)).ok()?.as_str().to_owned(), bare.is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_covered_by_themselves_and_by_those_above() {
        let ours = ["Example.org".to_owned(), ".example.net".to_owned(), "bücher.example".to_owned()];
        for (name, is_covered) in [
            ("example.ORG", true),
            ("x.example.org", false),
            (".example.org", false),
            ("example.net", false),
            ("x.example.net", true),
            (".example.net", true),
            (".x.example.net", true),
            ("badexample.net", false),
            ("xn--bcher-kva.example", true),
        ] {
            assert_eq!(covers(&ours, name), is_covered, "{name}");
        }
    }
}
