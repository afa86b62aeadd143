//! Policies of MTA-STS that outlive this worker: the queue keeps them. Not responsible for fetching one.

use std::sync::Arc;

use mailtier_api::tls::KeptStsPolicy;
use mailtier_directory::{KeptPolicy, PolicyKeeper, Recalling};
use mailtier_types::Domain;

use crate::desk::Desk;

/// See the module.
pub(crate) struct QueueKeeper {
    desk: Arc<Desk>,
}

impl QueueKeeper {
    pub(crate) const fn new(desk: Arc<Desk>) -> Self {
        Self { desk }
    }
}

impl PolicyKeeper for QueueKeeper {
    fn recall<'a>(&'a self, domain: &'a Domain) -> Recalling<'a> {
        Box::pin(async move {
            let found = self.desk.ask_tls(|client| async move { client.find_sts_policy(domain).await }).await;
            let found = found.map_err(|error| error.to_string())?;
            Ok(found.map(|KeptStsPolicy { domain, id, text, fetched_at, expires_at }| KeptPolicy {
                domain,
                id,
                text,
                fetched_at,
                expires_at,
            }))
        })
    }

    fn keep(&self, policy: KeptPolicy) {
        let desk = Arc::clone(&self.desk);
        tokio::spawn(async move {
            let KeptPolicy { domain, id, text, fetched_at, expires_at } = policy;
            let kept = KeptStsPolicy { domain, id, text, fetched_at, expires_at };
            let told = desk.ask_tls(|client| {
                let kept = kept.clone();
                async move { client.keep_sts_policy(kept).await }
            });
            if let Err(error) = told.await {
                tracing::warn!(domain = %kept.domain, %error, "an MTA-STS policy cannot be kept beyond this process");
            }
        });
    }
}
