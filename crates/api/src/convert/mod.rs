//! Between generated types and domain types. What arrives is validated here and nowhere else.

mod events;
mod ids;
mod options;
mod outcome;

pub(crate) use ids::{
    attempt, delivery_id, epoch, mailboxes, message_id, priority, replica_id, sender, shard_epochs, shard_id, strings,
    wire_shard_epochs, worker_id,
};
pub(crate) use outcome::received_reply;
