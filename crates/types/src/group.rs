//! Groups of mail that keep to limits together, wherever it goes and whoever sends it, and what queue replicas say to each
//! other of these limits. Not responsible for what is leased to whom.

use crate::id::{ReplicaId, TenantId};

/// What many queues keep to together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// All mail of a tenant.
    Tenant(TenantId),
    /// All destinations of a provider, by its name.
    Provider(String),
    /// All mail through an egress pool, by its name.
    Pool(String),
}

/// A part of a group's limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// Attempts at a time; of no meaning where the group has no such limit.
    pub concurrency: u32,
    /// Attempts that may be begun; of no meaning where the group has no rate.
    pub attempts: u32,
}

/// What a replica has of a group, and what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceWish {
    /// Of which group.
    pub group: Group,
    /// The group's limit of attempts at a time, as the replica knows it.
    pub concurrency: Option<u32>,
    /// The group's limit of attempts in a time: microseconds between two of a steady flow.
    pub interval_us: Option<i64>,
    /// Attempts at a time to which it keeps from now on, until it is leased more.
    pub holds: u32,
    /// Attempts under way, which may be more.
    pub in_use: u32,
    /// Attempts that it could begin besides.
    pub wanted: u32,
    /// Of attempts leased before, those it has not begun and gives back.
    pub unused: u32,
}

/// What a replica tells a lessor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceReport {
    /// Who.
    pub replica: ReplicaId,
    /// Stands for the replicas it sees.
    pub view: u64,
    /// The lessor's term, as it last said since the replica sees these; 0: not yet.
    pub term: u64,
    /// Larger than in everything it told this lessor before.
    pub sequence: u64,
    /// It names every group of this lessor's of which the replica holds something.
    pub is_whole: bool,
    /// What it has, and needs.
    pub wishes: Vec<SliceWish>,
}

impl SliceReport {
    /// The most wishes of one report.
    pub const MAX_WISHES: usize = 10_000;
}

/// What a lessor answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SliceLease {
    /// Stands for the replicas it sees.
    pub view: u64,
    /// Counts the lessor's views. What was said in an earlier term is not known in this one.
    pub term: u64,
    /// What may be had from now on, in the order of the wishes.
    pub slices: Vec<Slice>,
}
