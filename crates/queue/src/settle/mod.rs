//! Settlement: results become state, events and notifications, all of a batch in one transaction. Responsible for what is
//! written and that it is written once. Not responsible for what an outcome means: that is `schedule::Classification`.

mod aside;
mod bounce;
mod changer;
mod line;
mod measures;
mod orders;
mod pace;
mod plan;
mod routed;
mod settler;
mod suppressed;

use std::sync::Arc;

use mailtier_types::{DeliveryId, Mailbox, Outcome, TenantId, Timestamp, WorkerId};

pub(crate) use changer::Changer;
pub(crate) use measures::Providers;
pub(crate) use orders::{Order, would_change};
pub(crate) use plan::Policy;
pub(crate) use settler::{Settler, SettlerParts, Settling, first_chunk_text};
pub(crate) use suppressed::{Reasons, Refused, Suppressed};

use crate::conductor::Content;

/// Something to be settled.
#[derive(Debug)]
pub(crate) struct Report {
    /// Which delivery.
    pub(crate) delivery: DeliveryId,
    /// Which attempt.
    pub(crate) attempt: u16,
    /// Whose mail, where that is known.
    pub(crate) tenant: TenantId,
    /// What happened.
    pub(crate) what: What,
    /// Who reported it and waits to hear that it is durable.
    pub(crate) worker: Option<WorkerId>,
    /// What was dispatched, where this replica dispatched it.
    pub(crate) content: Option<Arc<Content>>,
}

/// What happened to a delivery.
#[derive(Debug, Clone)]
pub(crate) enum What {
    /// An attempt ended.
    Outcomes(Vec<(Vec<Mailbox>, Outcome)>),
    /// Its time is up.
    Expired,
    /// It is late, and its sender may have to be told.
    Late,
    /// Worker after worker was lost with it.
    Quarantined {
        /// How many.
        losses: u16,
    },
    /// An operator has ordered something.
    Ordered(Arc<Order>),
}

/// What a durable settlement means for the schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Disposition {
    /// Which delivery.
    pub(crate) delivery: DeliveryId,
    /// Which attempt.
    pub(crate) attempt: u16,
    /// Who waits to hear of it.
    pub(crate) worker: Option<WorkerId>,
    /// Whether the conductor reported it, and counts it.
    pub(crate) was_reported: bool,
    /// What comes after.
    pub(crate) after: After,
}

/// What comes after a settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// Nothing: the delivery is over.
    Over,
    /// Another attempt.
    Later {
        /// Attempts that are over.
        attempts: u16,
        /// When it is due.
        due: Timestamp,
        /// When its time is up.
        expires_at: Timestamp,
    },
    /// As before: only its sender was told that it is late.
    Told {
        /// It is not late before then.
        not_before: Option<Timestamp>,
    },
    /// Nothing until it is released.
    Held,
    /// It is not settled: the database refuses it for now.
    Aside,
}
