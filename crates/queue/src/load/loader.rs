//! Walks over the table of deliveries, page by page; the next is read when the conductor has taken the last one in. Not
//! responsible for whose turn it is (`turns`).

use std::sync::Arc;

use mailtier_store::{Extras, Loaded, LoadedPage, PageBounds, Store, StoreError};
use mailtier_telemetry::Meters;
use tokio::sync::{mpsc, oneshot};

use super::Walk;
use super::turns::Turns;
use crate::conductor::{Command, Conductor};
use crate::database::Connector;

/// Deliveries that one page, which is one statement, looks at.
const PAGE_LOOKS: u32 = 20_000;
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
        let mut turns = Turns::default();
        loop {
            while let Ok(walk) = self.walks.try_recv() {
                turns.add(walk);
            }
            let Some(mut walk) = turns.take() else {
                let Some(walk) = self.walks.recv().await else { return };
                turns.add(walk);
                continue;
            };
            match self.page(&mut connector, &walk).await {
                Ok(LoadedPage { deliveries, next }) => {
                    connector.recovered();
                    self.tell(deliveries).await;
                    match next {
                        Some(last) => {
                            walk.after = last.as_i64();
                            turns.add(walk);
                        }
                        None => self.conductor.send(Command::Walked(walk)),
                    }
                }
                Err(error) => {
                    connector.trouble(&error).await;
                    turns.add_stuck(walk);
                }
            }
        }
    }

    async fn page(&self, connector: &mut Connector, walk: &Walk) -> Result<LoadedPage, StoreError> {
        let bounds = PageBounds { after: walk.after, before: i64::MAX, rows: PAGE_LOOKS, limit: PAGE_ROWS };
        connector.session().await?.load(bounds, &walk.shards, self.extras).await
    }

    /// Until the conductor has taken them in.
    async fn tell(&self, rows: Vec<Loaded>) {
        if rows.is_empty() {
            return;
        }
        let (taken, done) = oneshot::channel();
        self.conductor.send(Command::Loaded { rows, taken });
        // Resolves, with an error, when the conductor drops its end.
        let _ = done.await;
    }
}
