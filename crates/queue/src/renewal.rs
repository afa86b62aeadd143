//! Takes up another configuration while the queue runs: limits, waits and lifetimes, what comes back, who is put on
//! suppression lists, and reports of TLS. Not responsible for reading it, nor for what needs a restart.

use std::sync::Arc;

use mailtier_config::{Config, ConfigError, QueueConfig};

use crate::accept::AcceptLimits;
use crate::admin::Known;
use crate::conductor::{Command, Conductor, Renewed};
use crate::feedback::{Feedback, Ways};
use crate::meanings::Meanings;
use crate::settle::{Policy, Providers, Settling};
use crate::suppression::{Listed, Rules};
use crate::tls_reports::{Reporting, ReportingNow};

/// Who keeps to what may change.
#[derive(Clone, Debug)]
pub(crate) struct Renewal {
    /// What it began with.
    pub(crate) begun: Arc<Config>,
    pub(crate) conductor: Conductor,
    pub(crate) settling: Settling,
    pub(crate) known: Known,
    pub(crate) feedback: Arc<Feedback>,
    pub(crate) reporting: ReportingNow,
    pub(crate) terms: Terms,
}

/// What settlement goes by beside the configuration, which stays.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) meanings: Arc<Meanings>,
    pub(crate) hostname: String,
    pub(crate) listed: Listed,
}

impl Terms {
    /// How results are settled.
    ///
    /// # Errors
    /// [`ConfigError`] names the key.
    pub(crate) fn policy(&self, config: &Config) -> Result<Policy, ConfigError> {
        let suppression = Arc::new(Rules::new(config)?);
        let config = &config.queue;
        let limits = AcceptLimits { lifetime: config.lifetime, bounce_lifetime: config.bounce_lifetime };
        let (meanings, retry) = (Arc::clone(&self.meanings), mailtier_shaping::retry_rules(config));
        Ok(Policy::new(meanings, retry, self.hostname.clone(), limits, config.delay_warning)
            .with_suppression(suppression, self.listed.clone())
            .with_providers(Arc::new(Providers::new(mailtier_shaping::rules(config)))))
    }
}

impl Renewal {
    /// From now on. What is under way is settled by the new waits, too.
    ///
    /// # Errors
    /// [`ConfigError`] names the key, and nothing is changed.
    pub(crate) fn renew(&self, config: &Config) -> Result<(), ConfigError> {
        let (policy, ways, reporting) = (self.terms.policy(config)?, Ways::new(config)?, Reporting::new(config)?);
        let (rules, delay_warning) = (mailtier_shaping::rules(&config.queue), config.queue.delay_warning);
        self.terms.listed.set_used(policy.suppression.are_used());
        self.settling.set(policy);
        self.feedback.set(ways);
        self.reporting.store(reporting.map(Arc::new));
        // Which egress pools there are does not change.
        let begun = &self.begun.queue;
        let named =
            QueueConfig { pools: begun.pools.clone(), pool_rules: begun.pool_rules.clone(), ..config.queue.clone() };
        self.known.renew(&named);
        self.conductor.send(Command::Renewed(Box::new(Renewed { rules, delay_warning })));
        Ok(())
    }
}
