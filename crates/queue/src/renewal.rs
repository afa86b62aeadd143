//! Takes up another configuration while the queue runs: limits, waits and lifetimes. Not responsible for reading it, nor
//! for what needs a restart.

use std::sync::Arc;

use mailtier_config::{Config, QueueConfig};

use crate::accept::AcceptLimits;
use crate::admin::Known;
use crate::conductor::{Command, Conductor, Renewed};
use crate::meanings::Meanings;
use crate::settle::{Policy, Providers, Settling};
use crate::suppression::{Listed, Rules};

/// Who keeps to what may change.
#[derive(Clone, Debug)]
pub(crate) struct Renewal {
    /// What it began with.
    pub(crate) begun: Arc<Config>,
    pub(crate) conductor: Conductor,
    pub(crate) settling: Settling,
    pub(crate) known: Known,
    pub(crate) terms: Terms,
}

/// What settlement is set to beside the configuration of `[queue]`, which stays.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) meanings: Arc<Meanings>,
    pub(crate) hostname: String,
    pub(crate) suppression: Arc<Rules>,
    pub(crate) listed: Listed,
}

impl Terms {
    /// How results are settled.
    pub(crate) fn policy(&self, config: &QueueConfig) -> Policy {
        let limits = AcceptLimits { lifetime: config.lifetime, bounce_lifetime: config.bounce_lifetime };
        let (meanings, retry) = (Arc::clone(&self.meanings), mailtier_shaping::retry_rules(config));
        Policy::new(meanings, retry, self.hostname.clone(), limits, config.delay_warning)
            .with_suppression(Arc::clone(&self.suppression), self.listed.clone())
            .with_providers(Arc::new(Providers::new(mailtier_shaping::rules(config))))
    }
}

impl Renewal {
    /// From now on. What is under way is settled by the new waits, too.
    pub(crate) fn renew(&self, config: &Config) {
        let (rules, delay_warning) = (mailtier_shaping::rules(&config.queue), config.queue.delay_warning);
        self.settling.set(self.terms.policy(&config.queue));
        // Which egress pools there are does not change.
        let begun = &self.begun.queue;
        let named =
            QueueConfig { pools: begun.pools.clone(), pool_rules: begun.pool_rules.clone(), ..config.queue.clone() };
        self.known.renew(&named);
        self.conductor.send(Command::Renewed(Box::new(Renewed { rules, delay_warning })));
    }
}
