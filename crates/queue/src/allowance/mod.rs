//! What egress pools may let out today: slices of a warm-up's day, taken from the table that all replicas share. Not
//! responsible for when one is wanted, nor for counting it down: the schedule is.

use std::sync::Arc;

use mailtier_schedule::AllowanceWish;
use mailtier_store::{Store, StoreError};
use mailtier_telemetry::Meters;
use mailtier_types::Day;
use tokio::sync::mpsc;

use crate::conductor::{Command, Conductor};
use crate::database::Connector;

/// What the conductor wants.
#[derive(Debug)]
pub(crate) enum Order {
    /// A slice.
    Take {
        /// How much of which day.
        wish: AllowanceWish,
        /// The pool's name.
        name: String,
    },
    /// What was taken is not used.
    Return {
        /// The pool's name.
        name: String,
        /// Of which day.
        day: Day,
        /// How much.
        count: u32,
    },
}

/// A slice, as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Deliveries that may go out.
    pub(crate) slice: u32,
    /// What all replicas have taken of the day.
    pub(crate) taken: u64,
}

/// The loop.
#[derive(Debug)]
pub(crate) struct Purser {
    /// What is wanted, one by one: each pool has one order under way.
    pub(crate) orders: mpsc::UnboundedReceiver<Order>,
    /// The database.
    pub(crate) store: Store,
    /// Told what has come.
    pub(crate) conductor: Conductor,
    /// Metrics.
    pub(crate) meters: Arc<Meters>,
}

impl Purser {
    /// Runs until nobody can want anything any more.
    pub(crate) async fn run(mut self) {
        let mut connector = Connector::new(self.store.clone(), Arc::clone(&self.meters), "allowance");
        while let Some(order) = self.orders.recv().await {
            let carried_out = carry_out(&mut connector, &order).await;
            if let Err(error) = &carried_out {
                connector.trouble(error).await;
            } else {
                connector.recovered();
            }
            // What could not be taken is asked for again; what could not be returned is lost for its day.
            self.conductor.send(match order {
                Order::Take { wish, .. } => {
                    Command::AllowanceTaken { pool: wish.pool, day: wish.day, taken: carried_out.ok().flatten() }
                }
                Order::Return { .. } => Command::AllowanceReturned,
            });
        }
    }
}

async fn carry_out(connector: &mut Connector, order: &Order) -> Result<Option<Taken>, StoreError> {
    let session = connector.session().await?;
    match order {
        Order::Take { wish, name } => {
            let slice = session.take_allowance(name, wish.day, wish.count, wish.limit).await?;
            Ok(Some(Taken { slice: slice.granted, taken: slice.taken }))
        }
        Order::Return { name, day, count } => session.return_allowance(name, *day, *count).await.map(|()| None),
    }
}
