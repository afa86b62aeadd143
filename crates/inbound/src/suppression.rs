//! Suppression lists: whether a tenant's mail is held against its list here, and what the list says of a recipient. Answers
//! are remembered for a short while, and that a tenant has nobody on its list, so that such tenants' mail waits for nothing.
//! Not responsible for what follows, which is policy.

use std::time::Duration;

use mailtier_api::ApiError;
use mailtier_api::accounts::FoundSuppression;
use mailtier_config::{SuppressionConfig, SuppressionMode};
use mailtier_types::{Mailbox, TenantId};
use moka::future::Cache;

use crate::accounts::Accounts;

/// How long an answer is remembered: so long a change takes to be seen.
const REMEMBERED_FOR: Duration = Duration::from_secs(10);
/// How many are.
const REMEMBERED: u64 = 100_000;
/// For how long nobody is asked about a tenant that has nobody on its list.
const NOBODY_FOR: Duration = Duration::from_secs(3);

/// What a list says of a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listing {
    /// It is not on it.
    Clear,
    /// It is on it.
    Listed,
    /// Nobody could be asked just now.
    Unsure,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Suppression {
    config: SuppressionConfig,
    answers: Cache<(TenantId, Mailbox), Listing>,
    nobody: Cache<TenantId, ()>,
}

impl Suppression {
    pub(crate) fn new(config: &SuppressionConfig) -> Self {
        Self {
            config: config.clone(),
            answers: Cache::builder().max_capacity(REMEMBERED).time_to_live(REMEMBERED_FOR).build(),
            nobody: Cache::builder().max_capacity(REMEMBERED).time_to_live(NOBODY_FOR).build(),
        }
    }

    /// The same by another configuration.
    pub(crate) fn renewed(&self, config: &SuppressionConfig) -> Self {
        Self { config: config.clone(), answers: self.answers.clone(), nobody: self.nobody.clone() }
    }

    /// What becomes of mail of this tenant to recipients on its list.
    pub(crate) fn mode_of(&self, tenant: TenantId) -> SuppressionMode {
        self.config.mode_of(tenant)
    }

    /// What the list of a tenant says of a recipient. Several sessions that ask for the same ask once.
    pub(crate) async fn find(&self, tenant: TenantId, recipient: &Mailbox, accounts: &Accounts) -> Listing {
        if self.nobody.contains_key(&tenant) {
            return Listing::Clear;
        }
        let asked = self.answers.try_get_with((tenant, recipient.clone()), self.ask(tenant, recipient, accounts)).await;
        asked.unwrap_or(Listing::Unsure)
    }

    async fn ask(&self, tenant: TenantId, recipient: &Mailbox, accounts: &Accounts) -> Result<Listing, ApiError> {
        let address = recipient.as_str();
        match accounts.ask(|to| async move { to.find_suppression(tenant, address).await }).await {
            Ok(FoundSuppression::Listed(_)) => Ok(Listing::Listed),
            Ok(FoundSuppression::NotListed) => Ok(Listing::Clear),
            Ok(FoundSuppression::Nobody) => {
                self.nobody.insert(tenant, ()).await;
                Ok(Listing::Clear)
            }
            // Every replica is of a version that has no lists.
            Err(ApiError::NotFound(_)) => Ok(Listing::Clear),
            Err(error) => Err(error),
        }
    }
}
