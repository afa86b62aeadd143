//! What egress pools may let out today: slices of a warm-up's day, taken from the table that all replicas share. Not
//! responsible for when one is wanted, nor for counting it down: the schedule is.

use std::sync::Arc;

use mailtier_schedule::AllowanceWish;
use mailtier_store::{Slice, Store};
use mailtier_telemetry::Meters;
use mailtier_types::Day;
use tokio::sync::mpsc;

use crate::conductor::{Command, Conductor};
use crate::database::Connector;

/// How often what is not used is tried to be given back: for about ten seconds.
const RETURN_TRIES: u32 = 8;

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
            self.conductor.send(match order {
                Order::Take { wish, name } => {
                    let taken = take(&mut connector, &name, wish).await;
                    Command::AllowanceTaken { pool: wish.pool, day: wish.day, taken }
                }
                Order::Return { name, day, count } => {
                    give_back(&mut connector, &name, day, count).await;
                    Command::AllowanceReturned
                }
            });
        }
    }
}

/// Tried once: what could not be taken is asked for again.
async fn take(connector: &mut Connector, pool: &str, wish: AllowanceWish) -> Option<Taken> {
    let taken = match connector.session().await {
        Ok(session) => session.take_allowance(pool, wish.day, wish.count, wish.limit).await,
        Err(error) => Err(error),
    };
    match taken {
        Ok(Slice { granted, taken }) => {
            connector.recovered();
            Some(Taken { slice: granted, taken })
        }
        Err(error) => {
            connector.trouble(&error).await;
            None
        }
    }
}

/// Tried again only where it is known not to be back: given back twice, a day would have more than it is allowed.
async fn give_back(connector: &mut Connector, pool: &str, day: Day, count: u32) {
    for tries in 1.. {
        let returned = match connector.session().await {
            Ok(session) => session.return_allowance(pool, day, count).await,
            Err(error) => Err(error),
        };
        let Err(error) = returned else { return connector.recovered() };
        connector.trouble(&error).await;
        if tries >= RETURN_TRIES || error.is_unknown() || !error.is_transient() {
            tracing::warn!(pool, %day, count, "what a warm-up's day has left here cannot be given back: it is lost for the day");
            return;
        }
    }
}
