//! Ids, addresses and numbers.

use mailtier_types::{
    DeliveryId, Epoch, Mailbox, MessageId, ReplicaId, ReversePath, RouteHost, ShardId, TenantId, WorkerId,
};

use crate::error::ApiError;
use crate::wire;

/// The number of a tenant.
///
/// # Errors
/// [`ApiError::Invalid`]: it is negative.
pub fn tenant_id(number: i32) -> Result<TenantId, ApiError> {
    if number < 0 {
        return Err(ApiError::invalid("tenant", format!("{number} is negative: give a number from 0 up")));
    }
    Ok(TenantId(number))
}

pub(crate) fn message_id(value: i64) -> Result<MessageId, ApiError> {
    MessageId::from_i64(value).map_err(|error| ApiError::invalid("message_id", error))
}

pub(crate) fn delivery_id(value: i64) -> Result<DeliveryId, ApiError> {
    DeliveryId::from_i64(value).map_err(|error| ApiError::invalid("delivery_id", error))
}

pub(crate) fn replica_id(octets: &[u8]) -> Result<ReplicaId, ApiError> {
    ReplicaId::from_slice(octets).map_err(|_| ApiError::invalid("replica", "expected 16 octets"))
}

pub(crate) fn worker_id(octets: &[u8]) -> Result<WorkerId, ApiError> {
    WorkerId::from_slice(octets).map_err(|_| ApiError::invalid("worker", "expected 16 octets"))
}

pub(crate) fn shard_id(value: u32) -> Result<ShardId, ApiError> {
    u8::try_from(value).map(ShardId::new).map_err(|_| ApiError::invalid("shard", "expected 0 to 255"))
}

pub(crate) const fn epoch(value: i64) -> Epoch {
    Epoch(value)
}

pub(crate) fn attempt(value: u32) -> Result<u16, ApiError> {
    u16::try_from(value).map_err(|_| ApiError::invalid("attempt", "expected 0 to 65535"))
}

pub(crate) fn priority(value: i32) -> Result<i16, ApiError> {
    i16::try_from(value).map_err(|_| ApiError::invalid("priority", "expected -32768 to 32767"))
}

pub(crate) fn sender(text: &str) -> Result<ReversePath, ApiError> {
    ReversePath::parse(text).map_err(|error| ApiError::invalid("sender", error))
}

pub(crate) fn mailboxes(texts: &[String]) -> Result<Vec<Mailbox>, ApiError> {
    texts.iter().map(|text| Mailbox::parse(text).map_err(|error| ApiError::invalid("recipients", error))).collect()
}

/// Hosts of a route that was changed for a delivery.
pub(crate) const MAX_ROUTE_HOSTS: usize = 16;

pub(crate) fn route_hosts(texts: &[String]) -> Result<Vec<RouteHost>, ApiError> {
    if texts.len() > MAX_ROUTE_HOSTS {
        return Err(ApiError::invalid("hosts", format!("{} are more than {MAX_ROUTE_HOSTS}", texts.len())));
    }
    texts.iter().map(|text| text.parse().map_err(|error| ApiError::invalid("hosts", error))).collect()
}

pub(crate) fn strings(mailboxes: Vec<Mailbox>) -> Vec<String> {
    mailboxes.into_iter().map(Mailbox::into_string).collect()
}

pub(crate) fn shard_epochs(values: &[wire::ShardEpoch]) -> Result<Vec<(ShardId, Epoch)>, ApiError> {
    values.iter().map(|value| Ok((shard_id(value.shard)?, epoch(value.epoch)))).collect()
}

pub(crate) fn wire_shard_epochs(values: &[(ShardId, Epoch)]) -> Vec<wire::ShardEpoch> {
    values.iter().map(|(shard, epoch)| wire::ShardEpoch { shard: u32::from(shard.number()), epoch: epoch.0 }).collect()
}
