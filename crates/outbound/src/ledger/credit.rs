//! How many deliveries each queue replica may send: the worker's capacity, dealt out over its links. Pure.
//!
//! Credit once granted cannot be taken back, and nobody knows which replica has work. So every link holds a small share
//! and is topped up as it uses it: an idle replica ties up little, and a busy one can use nearly everything.

use std::collections::BTreeMap;

/// A link to one queue replica, from its connection to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LinkId(pub(crate) u64);

/// Each link holds at most this fraction of a fair share without using it.
const IDLE_FRACTION: u32 = 4;

/// What one link has.
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
    /// Deliveries taken and not finished, over links that are up and links that are gone.
    held: u32,
    links: BTreeMap<LinkId, Share>,
    stopped: bool,
}

impl Credit {
    /// `capacity` is how many deliveries may be held at a time.
    pub(crate) const fn new(capacity: u32) -> Self {
        Self { capacity, held: 0, links: BTreeMap::new(), stopped: false }
    }

    /// A link came up.
    pub(crate) fn add(&mut self, link: LinkId) {
        self.links.insert(link, Share::default());
    }

    /// A link is gone, and what it was granted with it.
    pub(crate) fn remove(&mut self, link: LinkId) {
        self.links.remove(&link);
    }

    /// A delivery came over a link.
    pub(crate) fn take(&mut self, link: LinkId) {
        if let Some(share) = self.links.get_mut(&link) {
            share.granted = share.granted.saturating_sub(1);
            share.held += 1;
        }
        self.held += 1;
    }

    /// A delivery that came over a link is finished.
    pub(crate) fn release(&mut self, link: LinkId) {
        if let Some(share) = self.links.get_mut(&link) {
            share.held = share.held.saturating_sub(1);
        }
        self.held = self.held.saturating_sub(1);
    }

    /// From now on nothing is granted.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
    }

    /// What to grant a link now. Nothing until half of its share is used, so that grants come in batches. A link that
    /// has nothing at all gets one even when there is none: no replica starves because others hold what they do not
    /// use. So never more than the capacity and one for each link can be in hand.
    pub(crate) fn grant(&mut self, link: LinkId) -> u32 {
        let share_of_each = self.share_of_each();
        let granted = self.links.values().map(|share| share.granted).sum();
        let free = self.capacity.saturating_sub(self.held).saturating_sub(granted);
        let Some(share) = self.links.get_mut(&link).filter(|_| !self.stopped) else { return 0 };
        if share.granted > share_of_each / 2 {
            return 0;
        }
        let least = u32::from(share.granted == 0 && share.held == 0);
        let more = share_of_each.saturating_sub(share.granted).min(free).max(least);
        share.granted += more;
        more
    }

    fn share_of_each(&self) -> u32 {
        let links = u32::try_from(self.links.len()).unwrap_or(u32::MAX).max(1);
        (self.capacity / links.saturating_mul(IDLE_FRACTION)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: LinkId = LinkId(1);
    const B: LinkId = LinkId(2);
    const C: LinkId = LinkId(3);

    fn with(links: &[LinkId]) -> Credit {
        let mut credit = Credit::new(200);
        links.iter().for_each(|&link| credit.add(link));
        credit
    }

    /// Uses everything one link is granted until it is granted nothing more.
    fn exhaust(credit: &mut Credit, link: LinkId) -> u32 {
        let mut taken = 0;
        loop {
            let granted = credit.grant(link);
            if granted == 0 {
                return taken;
            }
            (0..granted).for_each(|_| credit.take(link));
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
            credit.add(LinkId(late));
            assert!(credit.grant(LinkId(late)) >= 1, "link {late}");
        }
    }

    #[test]
    fn no_more_is_ever_held_than_capacity_and_one_for_each_time_a_link_comes_up() {
        let mut credit = with(&[A, B, C]);
        let mut held = 0;
        for late in 4..50 {
            held += [A, B, C].map(|link| exhaust(&mut credit, link)).iter().sum::<u32>();
            credit.add(LinkId(late));
            credit.remove(A);
            credit.add(A);
            assert!(u64::from(held) <= 200 + late, "{held}");
        }
    }

    #[test]
    fn a_worker_that_leaves_grants_nothing() {
        let mut credit = with(&[A]);
        credit.stop();
        assert_eq!(exhaust(&mut credit, A), 0);
    }
}
