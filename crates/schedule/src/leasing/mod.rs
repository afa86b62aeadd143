//! Limits that several replicas keep to together. Of each limited group one replica is the *lessor*, the same for all that
//! see the same replicas; it leases slices of the group's limits to those that need them, itself included, and never more
//! than there is. A replica does with a slice what a lone one does with the whole.
//!
//! Exact as long as replicas live: a slice that was leased counts as used until its holder has said that it keeps less,
//! or its lease is over for both. What a killed replica had under way is over for the lessor when its membership is, which
//! the workers may outlive.
//!
//! Pure: time is given, and it is a clock's that nobody sets. Not responsible for the way between replicas, nor for who
//! lives.

mod lessee;
mod lessor;
mod share;

use mailtier_types::{Group, ReplicaId};

pub use lessee::{Answer, Lessee};
pub use lessor::Lessor;

/// Octets that no other group has.
fn octets(group: &Group) -> Vec<u8> {
    let (kind, name) = match group {
        Group::Tenant(tenant) => (b't', tenant.0.to_be_bytes().to_vec()),
        Group::Provider(name) => (b'p', name.as_bytes().to_vec()),
        Group::Pool(name) => (b'e', name.as_bytes().to_vec()),
    };
    std::iter::once(kind).chain(name).collect()
}

/// The replicas that one of them sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// In their order.
    members: Vec<ReplicaId>,
    number: u64,
}

impl View {
    /// Of these, in any order.
    #[must_use]
    pub fn of(mut members: Vec<ReplicaId>) -> Self {
        members.sort_unstable();
        members.dedup();
        let octets: Vec<u8> = members.iter().flat_map(|member| *member.uuid().as_bytes()).collect();
        Self { number: hash(&octets), members }
    }

    /// Stands for who is in it: the same number, the same replicas.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Who is in it.
    #[must_use]
    pub fn members(&self) -> &[ReplicaId] {
        &self.members
    }

    /// Who leases a group's limits: of whom the group and the replica together have the highest hash, so that one that
    /// comes or goes takes or leaves its own groups and moves no other.
    #[must_use]
    pub fn lessor_of(&self, group: &Group) -> Option<ReplicaId> {
        let group = octets(group);
        let score = |member: &ReplicaId| hash(&[member.uuid().as_bytes().as_slice(), &group].concat());
        self.members.iter().copied().max_by_key(score)
    }
}

/// FNV-1a, with its bits mixed (the finalizer of splitmix64). Replicas of several versions must agree on it.
fn hash(octets: &[u8]) -> u64 {
    let folded = octets
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3));
    let mixed = (folded ^ (folded >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use mailtier_types::TenantId;

    use super::*;

    fn groups() -> impl Iterator<Item = Group> {
        (0..1000).map(|number| Group::Provider(format!("provider{number}")))
    }

    #[test]
    fn groups_are_spread_and_who_comes_takes_only_its_own() {
        let members: Vec<ReplicaId> = (0..5).map(|_| ReplicaId::random()).collect();
        let (four, five) = (View::of(members[..4].to_vec()), View::of(members.clone()));
        assert_ne!(four.number(), five.number());
        assert_eq!(five, View::of(members.iter().rev().copied().collect()));
        let mut count: HashMap<ReplicaId, usize> = HashMap::new();
        for group in groups() {
            let (before, after) = (four.lessor_of(&group).unwrap(), five.lessor_of(&group).unwrap());
            assert!(after == before || after == members[4]);
            *count.entry(after).or_default() += 1;
        }
        assert!(count.len() == 5 && count.values().all(|count| (120..280).contains(count)), "{count:?}");
        assert_eq!(View::default().lessor_of(&Group::Tenant(TenantId(1))), None);
    }

    /// Were it another in the next version, neighbours of two versions would have two lessors for a group.
    #[test]
    fn the_hash_stays_what_it_is() {
        assert_eq!((hash(b""), hash(b"mailtier")), (0xf52a_15e9_a9b5_e89b, 0xb0a1_9e89_8d9c_5d14));
    }
}
