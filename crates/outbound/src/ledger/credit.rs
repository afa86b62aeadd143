//! How many deliveries of each egress pool each queue replica may send: the worker's capacity, dealt out over the lanes of
//! its links. Pure.
//!
//! Credit once granted cannot be taken back, and nobody knows which replica has work for which pool. So every lane holds
//! a small share and is topped up as it uses it: an idle one ties up little, and a busy one can use nearly everything.

use std::collections::BTreeMap;

/// A link to one queue replica, from its connection to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LinkId(pub(crate) u64);

/// A link, as far as it carries deliveries of one egress pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Lane {
    pub(crate) link: LinkId,
    /// The pool's place among those that the worker serves.
    pub(crate) pool: usize,
}

/// Each lane holds at most this fraction of a fair share without using it.
const IDLE_FRACTION: u32 = 4;

/// What one lane has.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    /// Granted and not used yet.
    granted: u32,
    /// Deliveries that came over it and are not finished.
    held: u32,
}

/// Deliveries a worker can take.
#[derive(Debug)]
pub(crate) struct Credit {
    capacity: u32,
    /// Deliveries taken and not finished, over lanes of links that are up and of links that are gone.
    held: u32,
    lanes: BTreeMap<Lane, Share>,
    stopped: bool,
}

impl Credit {
    /// `capacity` is how many deliveries may be held at a time.
    pub(crate) const fn new(capacity: u32) -> Self {
        Self { capacity, held: 0, lanes: BTreeMap::new(), stopped: false }
    }

    /// A lane of a link that came up.
    pub(crate) fn add(&mut self, lane: Lane) {
        self.lanes.insert(lane, Share::default());
    }

    /// A lane of a link that is gone, and what it was granted with it.
    pub(crate) fn remove(&mut self, lane: Lane) {
        self.lanes.remove(&lane);
    }

    /// A delivery came over a lane.
    pub(crate) fn take(&mut self, lane: Lane) {
        if let Some(share) = self.lanes.get_mut(&lane) {
            share.granted = share.granted.saturating_sub(1);
            share.held += 1;
        }
        self.held += 1;
    }

    /// A delivery that came over a lane is finished.
    pub(crate) fn release(&mut self, lane: Lane) {
        if let Some(share) = self.lanes.get_mut(&lane) {
            share.held = share.held.saturating_sub(1);
        }
        self.held = self.held.saturating_sub(1);
    }

    /// From now on nothing is granted.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
    }

    /// What to grant a lane now. Nothing until half of its share is used, so that grants come in batches. A lane that
    /// has nothing at all gets one even when there is none: none starves because others hold what they do not
    /// use. So never more than the capacity and one for each lane can be in hand.
    pub(crate) fn grant(&mut self, lane: Lane) -> u32 {
        let share_of_each = self.share_of_each();
        let granted = self.lanes.values().map(|share| share.granted).sum();
        let free = self.capacity.saturating_sub(self.held).saturating_sub(granted);
        let Some(share) = self.lanes.get_mut(&lane).filter(|_| !self.stopped) else { return 0 };
        if share.granted > share_of_each / 2 {
            return 0;
        }
        let least = u32::from(share.granted == 0 && share.held == 0);
        let more = share_of_each.saturating_sub(share.granted).min(free).max(least);
        share.granted += more;
        more
    }

    fn share_of_each(&self) -> u32 {
        let lanes = u32::try_from(self.lanes.len()).unwrap_or(u32::MAX).max(1);
        (self.capacity / lanes.saturating_mul(IDLE_FRACTION)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Lane = lane(1);
    const B: Lane = lane(2);
    const C: Lane = lane(3);

    const fn lane(link: u64) -> Lane {
        Lane { link: LinkId(link), pool: 0 }
    }

    fn with(lanes: &[Lane]) -> Credit {
        let mut credit = Credit::new(200);
        lanes.iter().for_each(|&lane| credit.add(lane));
        credit
    }

    /// Uses everything one link is granted until it is granted nothing more.
    fn exhaust(credit: &mut Credit, lane: Lane) -> u32 {
        let mut taken = 0;
        loop {
            let granted = credit.grant(lane);
            if granted == 0 {
                return taken;
            }
            (0..granted).for_each(|_| credit.take(lane));
            taken += granted;
        }
    }

    #[test]
    fn one_replica_alone_can_use_all() {
        let mut credit = with(&[A]);
        assert_eq!(exhaust(&mut credit, A), 200);
    }

    #[test]
    fn one_busy_replica_among_three_can_use_most_and_the_others_still_have_their_share() {
        let mut credit = with(&[A, B, C]);
        let (b, c) = (credit.grant(B), credit.grant(C));
        assert!(b >= 10 && c >= 10, "an idle replica can begin at once: {b}, {c}");
        let busy = exhaust(&mut credit, A);
        assert!(busy >= 150, "{busy}");
        assert!(busy + b + c <= 200);
    }

    #[test]
    fn what_is_finished_can_be_granted_again_to_anyone() {
        let mut credit = with(&[A, B]);
        let taken = exhaust(&mut credit, A);
        (0..taken).for_each(|_| credit.release(A));
        assert_eq!(exhaust(&mut credit, B), 200);
    }

    #[test]
    fn a_link_that_breaks_gives_its_credit_back() {
        let mut credit = with(&[A, B]);
        credit.grant(A);
        credit.remove(A);
        assert_eq!(exhaust(&mut credit, B), 200);
        assert_eq!(credit.grant(A), 0, "a link that is gone gets nothing");
    }

    #[test]
    fn a_replica_that_comes_later_is_not_starved_by_credit_that_lies_idle() {
        let mut credit = with(&[A]);
        credit.grant(A);
        for late in 2..60 {
            credit.add(lane(late));
            assert!(credit.grant(lane(late)) >= 1, "link {late}");
        }
    }

    #[test]
    fn no_more_is_ever_held_than_capacity_and_one_for_each_time_a_link_comes_up() {
        let mut credit = with(&[A, B, C]);
        let mut held = 0;
        for late in 4..50 {
            held += [A, B, C].map(|link| exhaust(&mut credit, link)).iter().sum::<u32>();
            credit.add(lane(late));
            credit.remove(A);
            credit.add(A);
            assert!(u64::from(held) <= 200 + late, "{held}");
        }
    }

    #[test]
    fn a_pool_whose_mail_does_not_come_takes_little_from_another() {
        let lane = |pool| Lane { link: LinkId(1), pool };
        let mut credit = with(&[lane(0), lane(1), lane(2), lane(3)]);
        let idle: u32 = (1..4).map(|pool| credit.grant(lane(pool))).sum();
        let busy = exhaust(&mut credit, lane(0));
        assert!(idle >= 30 && busy >= 150 && idle + busy <= 200, "{idle} {busy}");
        credit.remove(lane(3));
        assert!(exhaust(&mut credit, lane(0)) > 0, "a lane that is gone gives its credit back");
    }

    #[test]
    fn a_worker_that_leaves_grants_nothing() {
        let mut credit = with(&[A]);
        credit.stop();
        assert_eq!(exhaust(&mut credit, A), 0);
    }
}
