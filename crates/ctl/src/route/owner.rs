//! Whose a destination is, and through which egress pool its mail goes, by the configuration alone. Not responsible for
//! what is suspended or full just now: a queue replica knows.

use mailtier_config::{DEFAULT_POOL, QueueConfig};
use mailtier_route::Mail;
use mailtier_schedule::Rules;

/// See the module.
pub(super) struct Owner(Rules);

impl Owner {
    /// As the queue has it.
    pub(super) fn new(queue: &QueueConfig) -> Self {
        Self(mailtier_shaping::rules(queue))
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
