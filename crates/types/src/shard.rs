//! Shards: the unit of ownership. A destination hashes to one of [`SHARD_COUNT`] shards; one queue replica owns a
//! shard at a time, and each change of owner raises its epoch. Not responsible for who owns what.

use std::fmt;

/// How many shards there are. Part of the schema: it never changes.
pub const SHARD_COUNT: u16 = 256;

/// One of the [`SHARD_COUNT`] shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(u8);

impl ShardId {
    /// The shard with this number.
    #[must_use]
    pub const fn new(number: u8) -> Self {
        Self(number)
    }

    /// The shard a destination belongs to: FNV-1a over its octets, folded to eight bits. The function is part of the
    /// schema, because deliveries are stored with their shard.
    #[must_use]
    pub fn of(destination: &str) -> Self {
        let hash = destination
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let [a, b, c, d, e, f, g, h] = hash.to_le_bytes();
        Self(a ^ b ^ c ^ d ^ e ^ f ^ g ^ h)
    }

    /// Its number, 0 to 255.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// As an index into a table of all shards.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Every shard.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..=u8::MAX).map(Self)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How often a shard has changed its owner. A worker refuses work of an epoch lower than one it has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub i64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_part_of_the_schema() {
        assert_eq!(ShardId::of("").number(), ShardId::of("").number());
        let pinned: Vec<u8> = ["example.com", "gmail.com", "xn--bcher-kva.example"]
            .iter()
            .map(|name| ShardId::of(name).number())
            .collect();
        insta::assert_debug_snapshot!(pinned);
    }

    #[test]
    fn destinations_spread_over_all_shards() {
        let mut seen = [0_u32; SHARD_COUNT as usize];
        for n in 0..25_600 {
            seen[ShardId::of(&format!("mx{n}.example")).index()] += 1;
        }
        assert!(seen.iter().all(|&count| (40..=200).contains(&count)), "{seen:?}");
    }
}
