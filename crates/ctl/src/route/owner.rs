//! Whose a destination is, and through which egress pool its mail goes, by the configuration alone. Not responsible for
//! what is suspended or full just now: a queue replica knows.

use mailtier_config::{DEFAULT_POOL, QueueConfig, domain_pattern};
use mailtier_route::Mail;
use mailtier_schedule::{GroupLimits, PoolId, PoolRule, Pools, Provider, Rules};
use mailtier_types::TenantId;

/// See the module.
pub(super) struct Owner(Rules);

impl Owner {
    /// As the queue has it.
    pub(super) fn new(queue: &QueueConfig) -> Self {
        let pattern = |name: &String| domain_pattern(name).unwrap_or_else(|_| name.clone());
        let mut rules = Rules::plain(1);
        rules.providers = queue
            .providers
            .iter()
            .map(|one| Provider {
                name: one.name.clone(),
                exchangers: one.exchangers.iter().map(|name| name.trim_start_matches('.').to_lowercase()).collect(),
                limits: GroupLimits::default(),
            })
            .collect();
        for site in &queue.sites {
            rules.sites.extend(site.exchangers.iter().map(|name| (pattern(name), site.provider.clone())));
        }
        let mut pools = Pools::new(DEFAULT_POOL, Vec::new());
        for pool in &queue.pools {
            pools.add(&pool.name);
        }
        let pool_rules = queue.pool_rules.iter().map(|one| PoolRule {
            pool: pools.find(&one.pool).unwrap_or(PoolId::DEFAULT),
            tenant: one.tenant.map(TenantId),
            sender_domain: one.sender_domain.as_ref().map(pattern),
            destination: one.destination.as_ref().map(pattern),
            provider: one.provider.clone(),
        });
        let pool_rules = pool_rules.collect();
        pools.set_rules(pool_rules);
        rules.pools = pools;
        Self(rules)
    }

    /// The provider, if there is one, and the pool.
    pub(super) fn of(&self, mail: &Mail<'_>, exchanger: Option<&str>) -> (Option<String>, String) {
        let provider = exchanger.and_then(|exchanger| self.0.provider_of(exchanger));
        let sender_domain = mail.sender.map_or("", |sender| sender.domain_str());
        let id = self.0.pools.of_mail(mail.tenant, sender_domain, mail.recipient.domain_str(), provider);
        let pool = self.0.pools.get(id).map_or_else(|| DEFAULT_POOL.to_owned(), |pool| pool.name.clone());
        (provider.map(str::to_owned), pool)
    }
}
