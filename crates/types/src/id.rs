//! Typed ids, and the source of message ids.
//!
//! A message id is 63 bits: 41 of milliseconds since 2025-01-01 (69 years), 10 of node number, 12 of sequence. Ids of
//! one node only grow, so rows arrive at the right edge of their index and age can be read off an id. A message that
//! becomes several deliveries takes as many consecutive ids: its own is that of its first delivery. The same
//! submission may therefore be sent again, to any replica, and finds its rows already there.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::timestamp::Timestamp;

/// 2025-01-01T00:00:00Z in milliseconds since 1970.
const EPOCH_MS: i64 = 1_735_689_600_000;
const NODE_BITS: u32 = 10;
const SEQUENCE_BITS: u32 = 12;

/// How many node numbers there are: processes that make ids at the same time.
pub const NODE_COUNT: u16 = 1 << NODE_BITS;

/// The most consecutive ids one message can take, hence the most destinations of one message.
pub const MAX_FANOUT: u16 = 1 << SEQUENCE_BITS;

/// Crockford's base 32 in lower case: no i, l, o or u, so that a name can be read out and typed in.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The characters of a printed id: 13 × 5 bits hold 63.
const PRINTED_LEN: usize = 13;

/// A message. Printed as 13 characters of Crockford's base 32, which sort as the ids do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(i64);

/// A delivery: one message to one destination.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId(i64);

/// No message or delivery has such an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id: expected 13 characters of 0-9 a-z without i, l, o, u")]
pub struct InvalidId;

macro_rules! id {
    ($name:ident) => {
        impl $name {
            /// From its stored form.
            ///
            /// # Errors
            /// Negative numbers and zero are no ids.
            pub const fn from_i64(value: i64) -> Result<Self, InvalidId> {
                if value > 0 { Ok(Self(value)) } else { Err(InvalidId) }
            }

            /// Its stored form, above zero.
            #[must_use]
            pub const fn as_i64(self) -> i64 {
                self.0
            }

            /// When it was made, to the millisecond.
            #[must_use]
            pub const fn made_at(self) -> Timestamp {
                Timestamp::from_millis((self.0 >> (NODE_BITS + SEQUENCE_BITS)) + EPOCH_MS)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut printed = [0_u8; PRINTED_LEN];
                for (place, slot) in printed.iter_mut().rev().enumerate() {
                    let digit = (self.0 >> (5 * place)) & 31;
                    *slot = usize::try_from(digit).ok().and_then(|digit| ALPHABET.get(digit)).copied().unwrap_or(b'0');
                }
                f.pad(std::str::from_utf8(&printed).unwrap_or_default())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                if text.len() != PRINTED_LEN {
                    return Err(InvalidId);
                }
                let mut value = 0_i64;
                for byte in text.bytes() {
                    let byte = byte.to_ascii_lowercase();
                    let digit = ALPHABET.iter().position(|&known| known == byte).ok_or(InvalidId)?;
                    let digit = i64::try_from(digit).map_err(|_| InvalidId)?;
                    value = value.checked_mul(32).and_then(|value| value.checked_add(digit)).ok_or(InvalidId)?;
                }
                Self::from_i64(value)
            }
        }
    };
}

id!(MessageId);
id!(DeliveryId);

impl MessageId {
    /// The least number that an id made at this time can have: ids at or above it are as young or younger.
    #[must_use]
    pub const fn first_at(at: Timestamp) -> i64 {
        let ms = at.as_millis().saturating_sub(EPOCH_MS);
        if ms <= 0 { 1 } else { ms.saturating_mul(1 << (NODE_BITS + SEQUENCE_BITS)) }
    }

    /// The id of the message's delivery number `ordinal`, counted from 0.
    #[must_use]
    pub const fn delivery(self, ordinal: u16) -> DeliveryId {
        DeliveryId(self.0.saturating_add(ordinal as i64))
    }
}

/// A number that one live process at a time makes ids with, 0 to 1023.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeNumber(u16);

impl NodeNumber {
    /// # Errors
    /// Numbers from [`NODE_COUNT`] up do not fit into an id.
    pub const fn new(number: u16) -> Result<Self, InvalidId> {
        if number < NODE_COUNT { Ok(Self(number)) } else { Err(InvalidId) }
    }

    /// 0 to 1023.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}

/// Makes the ids of one process. When more are asked for than a millisecond holds it runs ahead of the clock, and when
/// the clock goes back it stays where it was, so its ids always grow.
#[derive(Debug)]
pub struct IdSource {
    node: NodeNumber,
    /// Milliseconds since [`EPOCH_MS`] and sequence of the next id.
    next_ms: i64,
    next_sequence: i64,
}

impl IdSource {
    /// A source for the holder of `node`.
    #[must_use]
    pub const fn new(node: NodeNumber) -> Self {
        Self { node, next_ms: 0, next_sequence: 0 }
    }

    /// The id of a new message with room for `fanout` deliveries (at least 1, at most [`MAX_FANOUT`]; numbers outside
    /// are taken as the nearest).
    pub fn take(&mut self, fanout: u16, now: Timestamp) -> MessageId {
        let fanout = i64::from(fanout.clamp(1, MAX_FANOUT));
        let now_ms = now.as_millis().saturating_sub(EPOCH_MS).max(1);
        if now_ms > self.next_ms {
            self.next_ms = now_ms;
            self.next_sequence = 0;
        } else if self.next_sequence + fanout > i64::from(MAX_FANOUT) {
            self.next_ms += 1;
            self.next_sequence = 0;
        }
        let id = (self.next_ms << (NODE_BITS + SEQUENCE_BITS))
            | (i64::from(self.node.0) << SEQUENCE_BITS)
            | self.next_sequence;
        self.next_sequence += fanout;
        MessageId(id)
    }
}

/// A paying customer, department or list: what mail is accounted to. 0 is the only one until tenants are configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(pub i32);

macro_rules! process_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// A new one, random.
            #[must_use]
            pub fn random() -> Self {
                Self(Uuid::new_v4())
            }

            /// From its 16 octets.
            ///
            /// # Errors
            /// Any other length is no id.
            pub fn from_slice(octets: &[u8]) -> Result<Self, InvalidId> {
                Uuid::from_slice(octets).map(Self).map_err(|_| InvalidId)
            }

            /// From its stored form.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// Its stored form.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }

            /// Its 16 octets.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

process_id! {
    /// A process of mailtier-queue, from its start to its end.
    ReplicaId
}
process_id! {
    /// A process of mailtier-outbound, from its start to its end.
    WorkerId
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(node: u16) -> IdSource {
        IdSource::new(NodeNumber::new(node).unwrap())
    }

    #[test]
    fn ids_grow_even_when_the_clock_goes_back() {
        let mut ids = source(7);
        let now = Timestamp::from_secs(1_800_000_000);
        let mut last = ids.take(1, now);
        for step in 0..20_000_i64 {
            let clock = Timestamp::from_micros(now.as_micros() + (step % 7 - 3) * 100_000);
            let next = ids.take(3, clock);
            assert!(next > last, "{last} then {next}");
            last = next;
        }
    }

    #[test]
    fn ids_of_a_message_never_overlap_the_next() {
        let mut ids = source(1023);
        let now = Timestamp::from_secs(1_800_000_000);
        let mut free_from = 0;
        for fanout in [1, 4096, 1, 4095, 2, 100, 9999, 1] {
            let id = ids.take(fanout, now).as_i64();
            assert!(id >= free_from);
            free_from = id + i64::from(fanout.min(MAX_FANOUT));
            assert_eq!(id >> 12 & 1023, 1023, "the node number survives");
        }
    }

    #[test]
    fn two_nodes_never_make_the_same_id() {
        let now = Timestamp::from_secs(1_800_000_000);
        let (mut a, mut b) = (source(1), source(2));
        let left: std::collections::HashSet<_> = (0..10_000).map(|_| a.take(1, now)).collect();
        assert!((0..10_000).all(|_| !left.contains(&b.take(1, now))));
    }

    #[test]
    fn the_age_of_a_message_can_be_read_off_its_id() {
        let now = Timestamp::from_millis(1_800_000_000_123);
        let id = source(0).take(1, now);
        assert_eq!(id.made_at(), now);
        assert!(
            MessageId::first_at(now) <= id.as_i64()
                && id.as_i64() < MessageId::first_at(Timestamp::from_millis(1_800_000_000_124))
        );
        assert_eq!(MessageId::first_at(Timestamp::EPOCH), 1);
        assert_eq!(MessageId::first_at(Timestamp::from_micros(i64::MAX)), i64::MAX);
    }

    proptest::proptest! {
        #[test]
        fn printed_ids_read_back_and_sort(a in 1_i64.., b in 1_i64..) {
            let (a, b) = (MessageId::from_i64(a).unwrap(), MessageId::from_i64(b).unwrap());
            proptest::prop_assert_eq!(a.to_string().parse::<MessageId>().unwrap(), a);
            proptest::prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in ["", "0000000000000", "zzzzzzzzzzzzz", "000000000001", "00000000000001", "000000000000!"] {
            assert!(text.parse::<MessageId>().is_err(), "{text}");
        }
    }
}
