//! Between generated types and domain types. What arrives is validated here and nowhere else.

mod events;
mod ids;
mod options;
mod outcome;
mod tls;

pub use ids::tenant_id;
pub(crate) use ids::{
    MAX_ROUTE_HOSTS, attempt, delivery_id, epoch, mailboxes, message_id, priority, replica_id, route_hosts, sender,
    shard_epochs, shard_id, strings, wire_shard_epochs, worker_id,
};
pub(crate) use outcome::{address_of, received_reply};
