//! Walks over the table of deliveries, page by page; the next is read when the conductor has taken the last one in.

use std::sync::Arc;

use mailtier_store::{Extras, Store};
use mailtier_telemetry::Meters;
use tokio::sync::{mpsc, oneshot};

use super::Walk;
use crate::conductor::{Command, Conductor};
use crate::database::Connector;

/// Rows of one page.
const PAGE_ROWS: u32 = 5000;

/// The loop.
#[derive(Debug)]
pub(crate) struct Loader {
    /// What is to be walked.
    pub(crate) walks: mpsc::UnboundedReceiver<Walk>,
    /// The database.
    pub(crate) store: Store,
    /// Told what was found.
    pub(crate) conductor: Conductor,
    /// What is wanted beside the schedule's own.
    pub(crate) extras: Extras,
    /// Metrics.
    pub(crate) meters: Arc<Meters>,
}

impl Loader {
    /// Runs until nobody can ask for a walk any more.
    pub(crate) async fn run(mut self) {
        let mut connector = Connector::new(self.store.clone(), Arc::clone(&self.meters), "load");
        while let Some(walk) = self.walks.recv().await {
            self.walk(&mut connector, &walk).await;
            self.conductor.send(Command::Walked(walk));
        }
    }

    async fn walk(&self, connector: &mut Connector, walk: &Walk) {
        let mut after = walk.after;
        loop {
            let page = match connector.session().await {
                Ok(session) => session.load(after, &walk.shards, PAGE_ROWS, self.extras).await,
                Err(error) => Err(error),
            };
            let rows = match page {
                Ok(rows) => rows,
                Err(error) => {
                    connector.trouble(&error).await;
                    continue;
                }
            };
            connector.recovered();
            let is_last = rows.len() < usize::try_from(PAGE_ROWS).unwrap_or(usize::MAX);
            let Some(last) = rows.last() else { return };
            after = last.id.as_i64();
            let (taken, done) = oneshot::channel();
            self.conductor.send(Command::Loaded { rows, taken });
            // Resolves, with an error, when the conductor drops its end.
            let _ = done.await;
            if is_last {
                return;
            }
        }
    }
}
