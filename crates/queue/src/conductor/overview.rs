//! How this replica stands, for operators who ask. Answered between two rounds by the task that alone knows, so that no
//! lock is shared with it. Not responsible for what is in the database.

use std::cmp::Reverse;

use mailtier_api::overview::{BlockView, DeadView, Overview, PoolView, WorkerView};
use mailtier_schedule::{Blocked, Blocker, DeadDestination, PoolStanding};

use super::task::ConductorTask;
use crate::clock;

impl ConductorTask {
    /// What is in memory, and who is connected. Costs in proportion to the queues and to what is in flight.
    pub(super) fn overview(&self) -> Overview {
        let counts = self.scheduler.counts();
        let suspensions = self.scheduler.suspended().count();
        let in_flight = self.flights.by_worker();
        let of_worker = |worker| in_flight.get(&worker).copied().unwrap_or_default();
        let mut workers: Vec<WorkerView> = self
            .workers
            .views()
            .map(|(id, name, credit)| WorkerView { id, name: name.to_owned(), credit, in_flight: of_worker(id) })
            .collect();
        workers.sort_unstable_by(|one, other| one.name.cmp(&other.name).then_with(|| one.id.cmp(&other.id)));
        let pool = |pool: PoolStanding<'_>| PoolView {
            name: pool.name.to_owned(),
            ready: pool.ready as u64,
            in_flight: u64::from(pool.in_flight),
            allowance_left: pool.allowance_left,
            is_suspended: pool.is_suspended,
            is_unserved: pool.is_unserved,
        };
        let (dead_destinations, dead) = self.dead();
        let blocks = self.avoidance.all(clock::now());
        let block = |(blocker, (address, until)): (Blocker, Blocked)| match blocker {
            Blocker::Destination(by) => BlockView { address, by, is_provider: false, until },
            Blocker::Provider(by) => BlockView { address, by, is_provider: true, until },
        };
        Overview {
            shards: count(self.shards.len()),
            taking_over: count(self.shards.unknown().len()),
            spilled: count(self.scheduler.spilled_shards().count()),
            waiting: counts.waiting as u64,
            ready: counts.ready as u64,
            in_flight: counts.in_flight as u64,
            oldest_ready: self.scheduler.oldest_ready(),
            is_draining: self.draining.is_some() || self.has_drained,
            is_dispatching: self.fence.is_open(),
            workers,
            suspensions: count(suspensions),
            pools: self.scheduler.pools().map(pool).collect(),
            dead_destinations,
            dead,
            blocks: blocks.len() as u64,
            blocked: blocks.into_iter().take(Overview::BLOCKS_SHOWN).map(block).collect(),
        }
    }

    /// How many do not answer, and those of them with the most mail.
    fn dead(&self) -> (u64, Vec<DeadView>) {
        let mut dead: Vec<DeadDestination<'_>> = self.scheduler.dead().collect();
        dead.sort_unstable_by_key(|dead| Reverse(dead.deliveries));
        let view = |dead: &DeadDestination<'_>| DeadView {
            destination: dead.destination.to_owned(),
            hosts: dead.hosts.clone().map(str::to_owned).collect(),
            deliveries: u64::from(dead.deliveries),
            until: dead.until,
        };
        (dead.len() as u64, dead.iter().take(Overview::DEAD_SHOWN).map(view).collect())
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
