//! Leases: one owner per shard and epoch, one holder per node number.

use std::collections::HashSet;
use std::time::Duration;

use mailtier_store::{StoreError, TakenShard};
use mailtier_types::{Epoch, ReplicaId, SHARD_COUNT, ShardId};
use uuid::Uuid;

use crate::mail::open;

const LEASE: Duration = Duration::from_secs(15);
const ALL: u16 = SHARD_COUNT;

#[tokio::test]
async fn a_shard_has_one_owner_until_it_is_released_or_its_lease_runs_out() {
    let (database, store, mut session) = open().await;
    let mut other = store.session().await.unwrap();
    let (a, b) = (ReplicaId::random(), ReplicaId::random());
    assert_eq!(session.take_shards(a, "a:1", 200, LEASE).await.unwrap().len(), 200);
    let rest = other.take_shards(b, "b:1", ALL, LEASE).await.unwrap();
    assert!(rest.len() == 56 && rest.iter().all(|taken| taken.clean && taken.epoch == Epoch(1)));
    assert!(other.take_shards(b, "b:1", ALL, LEASE).await.unwrap().is_empty());
    let mine = session.renew(a, LEASE).await.unwrap();
    assert_eq!(mine.len(), 200);
    assert!(mine.iter().all(|(_, epoch)| *epoch == Epoch(1)));

    // Released: the other has it at once, one epoch later, and learns whether anything was in flight.
    for (epoch, clean) in [(2, true), (3, false)] {
        let shard = mine[0].0;
        let (from, to) = if clean { (a, b) } else { (b, a) };
        session.release(from, &[shard], clean).await.unwrap();
        let taken = other.take_shards(to, "b:1", ALL, LEASE).await.unwrap();
        assert_eq!(taken, [TakenShard { shard, epoch: Epoch(epoch), clean }]);
    }
    session.release(b, &[mine[0].0], true).await.unwrap();
    assert_eq!(other.renew(b, LEASE).await.unwrap().len(), 56, "only the owner releases");

    // Run out and not taken: the owner goes on in the same epoch. Run out and taken: it is lost to it.
    database.sql("UPDATE shard SET lease_until = now() - interval '1 second'").await.unwrap();
    assert_eq!(session.renew(a, LEASE).await.unwrap().len(), 200);
    database.sql("UPDATE shard SET lease_until = now() - interval '1 second'").await.unwrap();
    let taken = other.take_shards(b, "b:1", ALL, LEASE).await.unwrap();
    assert!(taken.len() == usize::from(ALL) && taken.iter().all(|taken| !taken.clean));
    assert!(session.renew(a, LEASE).await.unwrap().is_empty());
    let map = session.shard_map().await.unwrap();
    assert_eq!(map.len(), usize::from(ALL));
    assert!(map.iter().all(|shard| shard.owner == Some(b) && shard.address == "b:1" && !shard.is_clean));
    assert!(map.iter().all(|shard| shard.lease_left.is_some_and(|left| !left.is_zero() && left <= LEASE)));
    database.sql("UPDATE shard SET lease_until = now() - interval '1 second'").await.unwrap();
    let map = session.shard_map().await.unwrap();
    assert!(map.iter().all(|shard| shard.owner.is_none() && shard.address.is_empty() && shard.lease_left.is_none()));
    assert!(map.iter().all(|shard| !shard.is_clean));
    assert_eq!(session.renew(b, LEASE).await.unwrap().len(), usize::from(ALL));
    session.release(b, &[ShardId::new(3)], true).await.unwrap();
    let map = session.shard_map().await.unwrap();
    let clean: Vec<_> = map.iter().filter(|shard| shard.is_clean).map(|shard| shard.shard).collect();
    assert_eq!(clean, [ShardId::new(3)]);
}

#[tokio::test]
async fn those_that_live_are_members() {
    let (_database, store, mut session) = open().await;
    let (a, b) = (ReplicaId::random(), ReplicaId::random());
    session.heartbeat(a, "a:1", 1.0, LEASE).await.unwrap();
    store.session().await.unwrap().heartbeat(b, "b:1", 2.0, Duration::from_micros(1)).await.unwrap();
    let members = session.members().await.unwrap();
    assert_eq!(members.iter().map(|live| live.member.id).collect::<Vec<_>>(), [a], "the other's time is over");
    assert_eq!((members[0].member.address.as_str(), members[0].member.weight), ("a:1", 1.0));
    assert!(!members[0].lease_left.is_zero() && members[0].lease_left <= LEASE);
}

#[tokio::test]
async fn replicas_that_take_at_once_share_without_overlap() {
    let (_database, store, _session) = open().await;
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let me = ReplicaId::random();
                let mut session = store.session().await.unwrap();
                session.take_shards(me, "x:1", 100, LEASE).await.unwrap()
            })
        })
        .collect();
    let mut taken: Vec<ShardId> = Vec::new();
    for task in tasks {
        taken.extend(task.await.unwrap().iter().map(|taken| taken.shard));
    }
    let distinct: HashSet<_> = taken.iter().collect();
    assert_eq!(distinct.len(), taken.len(), "no shard twice");
}

#[tokio::test]
async fn members_are_those_whose_heart_beats() {
    let (database, _store, mut session) = open().await;
    let (a, b) = (ReplicaId::random(), ReplicaId::random());
    assert_eq!(session.heartbeat(a, "a:1", 1.0, LEASE).await.unwrap().len(), 1);
    let members = session.heartbeat(b, "b:1", 2.0, LEASE).await.unwrap();
    assert_eq!(members.len(), 2);
    let found = members.iter().find(|member| member.id == b).unwrap();
    assert_eq!((found.address.as_str(), found.weight), ("b:1", 2.0));
    database.sql(&format!("UPDATE member SET lease_until = now() - interval '1s' WHERE owner = '{a}'")).await.unwrap();
    assert_eq!(session.heartbeat(b, "b:1", 2.0, LEASE).await.unwrap().len(), 1);
    session.leave(b).await.unwrap();
    let left = session.heartbeat(a, "a:1", 1.0, LEASE).await.unwrap();
    assert_eq!(left.iter().map(|member| member.id).collect::<Vec<_>>(), [a]);
}

#[tokio::test]
async fn a_node_number_has_one_holder_and_is_left_alone_for_long_afterwards() {
    let (database, store, mut session) = open().await;
    let (a, b) = (Uuid::new_v4(), Uuid::new_v4());
    let mine = session.lease_node(a, LEASE).await.unwrap();
    assert_eq!(session.lease_node(a, LEASE).await.unwrap(), mine, "renewed");
    assert_ne!(session.lease_node(b, LEASE).await.unwrap(), mine);
    database.sql("UPDATE node SET lease_until = now() - interval '1s' WHERE holder IS NOT NULL").await.unwrap();
    let next = session.lease_node(Uuid::new_v4(), LEASE).await.unwrap();
    assert_eq!(next.number(), 2, "numbers never used go before those that ran out");

    let many: Vec<_> = (0..30)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut session = store.session().await.unwrap();
                session.lease_node(Uuid::new_v4(), LEASE).await.unwrap()
            })
        })
        .collect();
    let mut numbers = HashSet::new();
    for lease in many {
        assert!(numbers.insert(lease.await.unwrap()), "a number twice");
    }
    database.sql("UPDATE node SET holder = gen_random_uuid(), lease_until = 'infinity'").await.unwrap();
    assert!(matches!(session.lease_node(Uuid::new_v4(), LEASE).await, Err(StoreError::NoNodeNumber)));
}
