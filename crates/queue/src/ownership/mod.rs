//! Ownership: which shards this replica holds, by lease. Responsible for an even share, for stopping in time when the
//! lease cannot be renewed, for giving everything up at the end, and for reading what operators have ordered before anything
//! is dispatched and with each renewal. Not responsible for what is done with a shard.

mod keeper;
mod rules;
mod shares;

pub(crate) use keeper::{KeeperParts, Peers, ShardKeeper};
