//! Sessions for hot loops: made anew after trouble, with a growing, jittered wait. Not responsible for what is done with
//! them.

use std::sync::Arc;
use std::time::Duration;

use mailtier_api::ApiError;
use mailtier_store::{Session, Store, StoreError};
use mailtier_telemetry::Meters;
use mailtier_types::text::Chain;

/// The first and the longest wait before connecting again.
const WAITS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(3));

/// What whoever asked is told of trouble with the database.
pub(crate) fn trouble(error: &StoreError) -> ApiError {
    if error.is_bad_value() {
        // Its own words name places in our statements.
        return ApiError::Invalid(
            "a zero octet in a text, or a number beyond what is stored, stands for nothing".into(),
        );
    }
    ApiError::Unavailable(Chain(error).to_string())
}

/// One loop's way to the database.
#[derive(Debug)]
pub(crate) struct Connector {
    store: Store,
    meters: Arc<Meters>,
    name: &'static str,
    session: Option<Session>,
    wait: Duration,
}

impl Connector {
    /// For the loop of this name.
    pub(crate) const fn new(store: Store, meters: Arc<Meters>, name: &'static str) -> Self {
        Self { store, meters, name, session: None, wait: WAITS.0 }
    }

    /// A usable session: the one at hand, else a new one, tried once.
    pub(crate) async fn session(&mut self) -> Result<&mut Session, StoreError> {
        self.measure();
        let usable = self.session.take().filter(Session::is_usable);
        let session = match usable {
            Some(session) => session,
            None => {
                let session = self.store.session().await;
                session.inspect_err(|error| self.count(error))?
            }
        };
        Ok(self.session.insert(session))
    }

    /// Says what went wrong and waits a little, longer each time.
    pub(crate) async fn trouble(&mut self, error: &StoreError) {
        // Of what failed it says nothing how long it took.
        self.session.as_mut().map(Session::take_spent);
        self.count(error);
        tracing::warn!(loop_name = self.name, error = %Chain(error), "database trouble");
        tokio::time::sleep(self.wait.mul_f64(0.5 + rand::random::<f64>())).await;
        self.wait = (self.wait * 2).min(WAITS.1);
    }

    /// All is well again.
    pub(crate) fn recovered(&mut self) {
        self.measure();
        self.wait = WAITS.0;
    }

    /// What was asked since the last time is over.
    fn measure(&mut self) {
        let spent = self.session.as_mut().map(Session::take_spent).filter(|spent| !spent.is_zero());
        if let Some(spent) = spent {
            let operation = Meters::attribute("operation", self.name);
            self.meters.queue_database_duration.record(spent.as_secs_f64(), &operation);
        }
    }

    fn count(&self, error: &StoreError) {
        if !matches!(error, StoreError::SessionSpent) {
            self.meters.queue_database_errors.add(1, &Meters::attribute("operation", self.name));
        }
    }
}
