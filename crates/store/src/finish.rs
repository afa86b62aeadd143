//! Settlement, the fast path: everything that was dispatched was delivered, which is most of all mail.

use mailtier_crashpoint::{Point, reach_waiting};
use mailtier_types::DeliveryId;

use crate::columns::{bind_events, bind_finished};
use crate::error::StoreError;
use crate::model::{Finished, NewEvent};
use crate::session::Session;
use crate::sql;
use crate::wire::Columns as _;

impl Session {
    /// Ends deliveries all of whose dispatched recipients were delivered, in one statement: the delivery and its retry
    /// row go, its events are kept, and the body goes with the last delivery of its message. Returns those that were
    /// still there and without flags: not held, not rerouted, no warning written of them. Of the others nothing is changed
    /// and no event stored: someone has settled them before, or they are to be settled the other way. After
    /// [`StoreError::Unknown`] the same is given again: what was committed then is missing from what is returned.
    ///
    /// # Errors
    /// Nothing is changed, or, with [`StoreError::Unknown`], that is not known.
    pub async fn finish_delivered(
        &mut self,
        finished: &[Finished],
        events: &[NewEvent],
    ) -> Result<Vec<DeliveryId>, StoreError> {
        if finished.is_empty() {
            return Ok(Vec::new());
        }
        let statement = bind_events(bind_finished(sqlx::query(sql::FINISH_DELIVERED), finished), events);
        reach_waiting(Point::FinishSent, self.write(statement)).await?.iter().map(|row| row.delivery_id("id")).collect()
    }
}
