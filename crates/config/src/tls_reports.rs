//! The section about reports of TLS (RFC 8460) to other domains. mailtier-queue and mailtier-outbound read it, and must read
//! the same; the key alone is mailtier-queue's. Not responsible for reading or sending them.

use std::path::PathBuf;

use mailtier_types::{Domain, Mailbox};

use crate::bounds::line;
use crate::keys::quote;
use crate::load::secret;
use crate::section::section;
use crate::{Config, ConfigError, Secret};

section! {
    /// Reports to domains that ask for them, of how encryption towards their hosts went (RFC 8460). mailtier-queue and
    /// mailtier-outbound both read this; give both the same. Without a sender nothing is counted and nobody is asked.
    /// docs/tls.md shows how.
    TlsReportsConfig {
        /// Who sends the reports, such as `tls-reports@example.com`. Setting it turns reports on.
        sender: Option<String> = None, "mail address";
        /// The name of your organisation, as reports give it. Required with a sender.
        organization: Option<String> = None, "text";
        /// Whom their readers may ask: a mail address, or whatever else is of use; the sender when not set.
        contact: Option<String> = None, "text";
        /// The domain that signs them with DKIM: the sender's, or one that it is below; the sender's when not set.
        dkim_domain: Option<String> = None, "domain";
        /// The name of the key in DNS: its public half stands at `<selector>._domainkey.<domain>`. Required with a sender.
        dkim_selector: Option<String> = None, "text";
        /// The private key, RSA or Ed25519, in PEM. Read by mailtier-queue alone.
        dkim_key: Option<Secret> = None, "text";
        /// The file with it. Read again when it changes.
        dkim_key_file: Option<PathBuf> = None, "path";
    }
}

/// What reports are made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsReportSettings {
    /// Who sends them.
    pub sender: Mailbox,
    /// Whose they are.
    pub organization: String,
    /// Whom to ask.
    pub contact: String,
    /// Who signs them.
    pub dkim_domain: Domain,
    /// With which key.
    pub dkim_selector: String,
}

impl TlsReportsConfig {
    /// The key that most name the private key by, for what is wrong with it.
    pub const DKIM_KEY_FILE: &'static str = "tls_reports.dkim_key_file";

    /// Whether sessions are counted and reports sent.
    #[must_use]
    pub const fn is_used(&self) -> bool {
        self.sender.is_some()
    }

    /// What reports are made with, where there are any.
    ///
    /// # Errors
    /// Something is missing or wrong.
    pub fn settings(&self) -> Result<Option<TlsReportSettings>, ConfigError> {
        let Some(sender) = &self.sender else { return self.nothing_is_set() };
        let missing = |key| ConfigError::bad(key, "is not set, and `tls_reports.sender` is; give it");
        let bad = |key, text: &String, error: &dyn std::fmt::Display| {
            ConfigError::bad(key, format!("is {}: {error}", quote(text)))
        };
        let mailbox = Mailbox::parse(sender).map_err(|error| bad("tls_reports.sender", sender, &error))?;
        let organization = self.organization.clone().ok_or_else(|| missing("tls_reports.organization"))?;
        let contact = self.contact.clone().unwrap_or_else(|| sender.clone());
        line("tls_reports.organization", &organization)?;
        line("tls_reports.contact", &contact)?;
        let selector = self.dkim_selector.clone().ok_or_else(|| missing("tls_reports.dkim_selector"))?;
        Domain::parse(&selector).map_err(|error| bad("tls_reports.dkim_selector", &selector, &error))?;
        let dkim_domain = match &self.dkim_domain {
            None => mailbox.domain(),
            Some(text) => Domain::parse(text).map_err(|error| bad("tls_reports.dkim_domain", text, &error))?,
        };
        let own = mailbox.domain();
        if own != dkim_domain && !own.as_str().ends_with(&format!(".{dkim_domain}")) {
            let problem = format!("is `{dkim_domain}`, and the sender's domain `{own}` is neither that nor below it");
            return Err(ConfigError::bad("tls_reports.dkim_domain", problem));
        }
        Ok(Some(TlsReportSettings { sender: mailbox, organization, contact, dkim_domain, dkim_selector: selector }))
    }

    /// The private key, for whoever signs.
    ///
    /// # Errors
    /// It is not there.
    pub fn signing_key(&self) -> Result<Secret, ConfigError> {
        let key = "tls_reports.dkim_key";
        secret(key, self.dkim_key.as_ref(), Self::DKIM_KEY_FILE, self.dkim_key_file.as_ref())?.ok_or_else(|| {
            ConfigError::bad(
                key,
                format!("is not set, and `tls_reports.sender` is; name its file in `{}`", Self::DKIM_KEY_FILE),
            )
        })
    }

    fn nothing_is_set(&self) -> Result<Option<TlsReportSettings>, ConfigError> {
        let is_set = [
            self.organization.is_some(),
            self.contact.is_some(),
            self.dkim_domain.is_some(),
            self.dkim_selector.is_some(),
            self.dkim_key.is_some(),
            self.dkim_key_file.is_some(),
        ];
        if is_set.contains(&true) {
            let problem = "is not set, and other keys of `[tls_reports]` are; give it, or take them out";
            return Err(ConfigError::bad("tls_reports.sender", problem));
        }
        Ok(None)
    }
}

impl Config {
    pub(crate) fn check_tls_reports(&self) -> Result<(), ConfigError> {
        self.tls_reports.settings().map(|_| ())
    }
}
