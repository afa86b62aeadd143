//! What operators may name: as the configuration has it now. Not responsible for what is done with the names.

use std::sync::Arc;

use arc_swap::ArcSwap;
use mailtier_config::QueueConfig;
use mailtier_schedule::Rules;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Known(Arc<ArcSwap<Names>>);

/// Names of the configuration.
#[derive(Debug)]
pub(super) struct Names {
    /// Whose exchangers are whose.
    pub(super) rules: Arc<Rules>,
    pub(super) providers: Vec<String>,
    pub(super) destinations: Vec<String>,
    /// Egress pools, and the default one.
    pub(super) pools: Vec<String>,
}

impl Known {
    pub(crate) fn new(config: &QueueConfig) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(Names::new(config))))
    }

    /// From now on.
    pub(crate) fn renew(&self, config: &QueueConfig) {
        self.0.store(Arc::new(Names::new(config)));
    }

    pub(super) fn now(&self) -> Arc<Names> {
        self.0.load_full()
    }
}

impl Names {
    fn new(config: &QueueConfig) -> Self {
        Self {
            rules: Arc::new(mailtier_shaping::rules(config)),
            providers: config.providers.iter().map(|one| one.name.clone()).collect(),
            destinations: config.destinations.iter().map(|one| one.domain.to_lowercase()).collect(),
            pools: config.pool_names().into_iter().map(str::to_owned).collect(),
        }
    }
}
