//! Recipients in the queue's database, remembered for a while so that mail does not wait for each answer. Not responsible
//! for managing them: `mailtier address` is.

use std::sync::Arc;
use std::time::Duration;

use mailtier_types::Mailbox;
use moka::future::Cache;

use super::{Answer, Patterns};
use crate::accounts::Accounts;

/// How long an answer is remembered: so long a change takes to be seen.
const REMEMBERED_FOR: Duration = Duration::from_secs(30);
/// How many are.
const REMEMBERED: u64 = 100_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Database {
    answers: Cache<String, Arc<Answer>>,
}

impl Database {
    pub(super) fn new() -> Self {
        Self { answers: Cache::builder().max_capacity(REMEMBERED).time_to_live(REMEMBERED_FOR).build() }
    }

    /// Several sessions that ask for the same recipient ask once.
    pub(super) async fn look_up(&self, patterns: &Patterns, accounts: &Accounts) -> Answer {
        let asked = self.answers.try_get_with(patterns.exact.clone(), ask(patterns, accounts)).await;
        asked.map_or(Answer::Unsure, |answer| Answer::clone(&answer))
    }
}

async fn ask(patterns: &Patterns, accounts: &Accounts) -> Result<Arc<Answer>, mailtier_api::ApiError> {
    let found = accounts
        .ask(|to| {
            let wanted: Vec<String> = patterns.all().cloned().collect();
            async move { to.find_addresses(wanted).await }
        })
        .await?;
    let said = |pattern: &str| {
        let address = found.iter().find(|address| address.pattern == pattern)?;
        Some(address.targets.iter().filter_map(|target| Mailbox::parse(target).ok()).collect())
    };
    Ok(Arc::new(patterns.judge(said).unwrap_or(Answer::Unknown { decides: true })))
}
