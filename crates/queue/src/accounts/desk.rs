//! One session with the database for small questions, one after the other. Each is asked in a task of its own, so that
//! one whose asker goes away is not cut in the middle.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use mailtier_api::ApiError;
use mailtier_store::{Session, Store, StoreError};
use mailtier_telemetry::Meters;
use tokio::sync::Mutex;

use crate::database::{Connector, trouble};

/// A question under way on a session.
pub(crate) type Asking<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Desk(Arc<Mutex<Connector>>);

impl Desk {
    /// For questions of this name in metrics.
    pub(crate) fn new(store: Store, meters: Arc<Meters>, name: &'static str) -> Self {
        Self(Arc::new(Mutex::new(Connector::new(store, meters, name))))
    }

    /// Asks. A connection that was lost since the last question is made anew once.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl for<'a> Fn(&'a mut Session) -> Asking<'a, T> + Send + Sync + 'static,
    ) -> Result<T, ApiError> {
        let connector = Arc::clone(&self.0);
        let asking = tokio::spawn(async move {
            let mut connector = connector.lock().await;
            let first = question(connector.session().await?).await;
            let answer = match first {
                Err(StoreError::Unavailable(_) | StoreError::SessionSpent) => {
                    question(connector.session().await?).await
                }
                answer => answer,
            };
            if answer.is_ok() {
                connector.recovered();
            }
            answer
        });
        let answer = asking.await.map_err(|error| ApiError::Internal(error.to_string()))?;
        answer.map_err(|error| trouble(&error))
    }
}
