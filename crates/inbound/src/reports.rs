//! What comes back: which recipients are signed return paths of ours, or addresses for complaints. Not responsible for what
//! becomes of mail to them: the queue reads it.

use std::time::SystemTime;

use mailtier_config::{Config, ConfigError, FeedbackConfig};
use mailtier_message::{Claim, ReturnPaths};
use mailtier_types::{Mailbox, Timestamp};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    paths: Option<ReturnPaths>,
    addresses: Vec<Mailbox>,
}

/// What a recipient is among those.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReportClaim {
    /// None of them.
    No,
    /// A return path that was signed here, or an address for complaints.
    Genuine,
    /// A return path that was not, or whose time is over.
    Forged,
    /// Another at the domain of return paths.
    AtDomain,
}

impl Reports {
    /// # Errors
    /// The keys cannot be used.
    pub(crate) fn new(config: &Config) -> Result<Self, ConfigError> {
        let paths = config.feedback.return_paths()?.map(|settings| {
            let paths = ReturnPaths::new(settings.domain, settings.keys.expose(), settings.lifetime);
            paths.map_err(|error| ConfigError::bad(FeedbackConfig::KEYS_FILE, error.to_string()))
        });
        Ok(Self { paths: paths.transpose()?, addresses: config.feedback.report_mailboxes()? })
    }

    /// What a recipient is. Where nothing can come back it costs nothing.
    pub(crate) fn claim(&self, recipient: &Mailbox) -> ReportClaim {
        if self.addresses.iter().any(|known| known.as_str().eq_ignore_ascii_case(recipient.as_str())) {
            return ReportClaim::Genuine;
        }
        let Some(paths) = &self.paths else { return ReportClaim::No };
        if paths.domain().as_str() != recipient.domain_str() {
            return ReportClaim::No;
        }
        match paths.judge(recipient, Timestamp::from_system(SystemTime::now())) {
            Claim::Genuine(_) => ReportClaim::Genuine,
            Claim::Forged | Claim::Expired => ReportClaim::Forged,
            Claim::None => ReportClaim::AtDomain,
        }
    }
}
