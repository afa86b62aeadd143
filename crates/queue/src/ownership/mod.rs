//! Ownership: which shards this replica holds, by lease. Responsible for an even share, for stopping in time when the
//! lease cannot be renewed, and for giving everything up at the end. Not responsible for what is done with a shard.

mod keeper;
mod shares;

pub(crate) use keeper::{KeeperParts, ShardKeeper};
