//! What a stored delivery says that is no column of its own. Pure. Not responsible for what is concluded from it.

use mailtier_store::StoredDelivery;
use mailtier_types::Outcome;

/// What the last attempt met, where there was one and it can be read.
pub(crate) fn last_outcome(row: &StoredDelivery) -> Option<Outcome> {
    let last = Some(&row.last_outcome).filter(|last| !last.is_empty())?;
    mailtier_api::decode_outcome(last).ok()
}

/// Of its message, where that can be read.
pub(crate) fn size_bytes(row: &StoredDelivery) -> Option<u64> {
    Some(mailtier_api::decode_options(&row.options).ok()?.size_bytes)
}

/// A delivery of one message to `x@b.example` that was never attempted, for tests to change.
#[cfg(test)]
pub(crate) fn example() -> StoredDelivery {
    use mailtier_types::{DeliveryId, MessageId, Options, ShardId, TenantId, Timestamp};
    StoredDelivery {
        id: DeliveryId::from_i64(1000).unwrap(),
        message: MessageId::from_i64(1000).unwrap(),
        shard: ShardId::of("b.example"),
        tenant: TenantId(0),
        priority: 0,
        expires_at: Timestamp::EPOCH,
        destination: "b.example".to_owned(),
        sender: String::new(),
        recipients: vec!["x@b.example".to_owned()],
        options: mailtier_api::encode_options(&Options { size_bytes: 1000, ..Options::default() }),
        attempts: 0,
        next_attempt_at: None,
        last_outcome: bytes::Bytes::new(),
        told_at: None,
        hosts: Vec::new(),
        held: None,
    }
}
