//! Reports of TLS to other domains (RFC 8460), and policies of MTA-STS that outlive a worker. Workers count sessions and find
//! out who wants reports; here counters are added up over all workers, and a report of each day is made by one replica: as
//! mail it goes through our own queue, for HTTPS a worker gets it. Not responsible for the form of a report (`message`), nor for
//! posting one.
//!
//! Reports are made here and not by a worker since a worker may not submit mail, and since only here one transaction holds that
//! a report is made and that it is sent.

mod report;
mod reporter;
mod service;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use mailtier_config::{Config, ConfigError, TlsReportSettings, TlsReportsConfig};
use mailtier_mailauth::Signer;

pub(crate) use reporter::Reporter;
pub(crate) use service::TlsService;

/// What reports are made with now; nothing where there are none.
pub(crate) type ReportingNow = Arc<ArcSwapOption<Reporting>>;

/// What reports are made and signed with.
#[derive(Debug)]
pub(crate) struct Reporting {
    settings: TlsReportSettings,
    signer: Signer,
}

impl Reporting {
    /// Where reports are configured.
    ///
    /// # Errors
    /// A setting or the key cannot be used.
    pub(crate) fn new(config: &Config) -> Result<Option<Self>, ConfigError> {
        let Some(settings) = config.tls_reports.settings()? else { return Ok(None) };
        let key = config.tls_reports.signing_key()?;
        let signer = Signer::new(&settings.dkim_domain, &settings.dkim_selector, key.expose())
            .map_err(|error| ConfigError::bad(TlsReportsConfig::DKIM_KEY_FILE, error.to_string()))?;
        Ok(Some(Self { settings, signer }))
    }
}
