//! Questions about users and recipients, to any queue replica that answers. Not responsible for what the answers mean.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mailtier_api::accounts::AccountsClient;
use mailtier_api::{ApiError, Credentials};
use parking_lot::Mutex;

use crate::submit::Endpoints;

/// How long one replica may take. A password is hashed meanwhile, behind others.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The way to the answers.
#[derive(Debug)]
pub(crate) struct Accounts {
    endpoints: Arc<Endpoints>,
    credentials: Credentials,
    connected: Mutex<HashMap<String, AccountsClient>>,
}

impl Accounts {
    pub(crate) fn new(endpoints: Arc<Endpoints>, credentials: Credentials) -> Self {
        Self { endpoints, credentials, connected: Mutex::default() }
    }

    /// Asks one replica after the other until one answers.
    ///
    /// # Errors
    /// None does, or the question is refused.
    pub(crate) async fn ask<T, F>(&self, question: impl Fn(AccountsClient) -> F) -> Result<T, ApiError>
    where
        F: Future<Output = Result<T, ApiError>>,
    {
        let mut last = ApiError::Unavailable("no replica is known".into());
        for url in self.endpoints.urls() {
            let asking = async { question(self.client(&url).await?).await };
            match tokio::time::timeout(ANSWER_TIMEOUT, asking).await {
                Ok(Ok(answer)) => return Ok(answer),
                // Another replica would say the same.
                Ok(Err(error @ ApiError::Invalid(_))) => return Err(error),
                Ok(Err(error)) => last = error,
                Err(_) => last = ApiError::Unavailable(format!("{url} does not answer")),
            }
            self.connected.lock().remove(&url);
        }
        tracing::warn!(error = %last, "no queue replica answers about accounts");
        Err(last)
    }

    async fn client(&self, url: &str) -> Result<AccountsClient, ApiError> {
        if let Some(client) = self.connected.lock().get(url).filter(|client| !client.renewal().is_due()) {
            return Ok(client.clone());
        }
        let client = AccountsClient::connect(url, &self.credentials).await?;
        self.connected.lock().insert(url.to_owned(), client.clone());
        Ok(client)
    }
}
