//! What a stored delivery says that is no column of its own. Pure. Not responsible for what is concluded from it.

use mailtier_store::StoredDelivery;
use mailtier_types::{DeliveryId, Outcome, Timestamp};

/// When a delivery is due: at the time that is set for it, or from its beginning. One that was made by a clock ahead of
/// this one does not wait until it is caught up with.
pub(crate) fn due(id: DeliveryId, set: Option<Timestamp>, now: Timestamp) -> Timestamp {
    set.unwrap_or_else(|| id.made_at().min(now))
}

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
    use mailtier_types::{MessageId, Options, ShardId, TenantId};
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
        options: mailtier_api::encode_options(Options { size_bytes: 1000, ..Options::default() }),
        attempts: 0,
        next_attempt_at: None,
        last_outcome: bytes::Bytes::new(),
        told_at: None,
        hosts: Vec::new(),
        held: None,
        was_held: false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mailtier_types::{IdSource, NodeNumber};

    use super::*;

    #[test]
    fn what_has_no_time_set_is_due_now_whatever_the_clock_of_its_maker_says() {
        let (made, hour) = (Timestamp::from_secs(1_800_000_000), Duration::from_secs(3600));
        let id = IdSource::new(NodeNumber::new(3).unwrap()).take(1, made).delivery(0);
        assert_eq!(due(id, None, made.after(hour)), made);
        assert_eq!(due(id, None, made.before(hour)), made.before(hour));
        assert_eq!(due(id, Some(made.after(hour)), made), made.after(hour));
    }
}
