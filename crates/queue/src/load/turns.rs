//! Which walk over the table reads its next page. Pure.

use std::collections::VecDeque;

use super::{Purpose, Walk};

/// Walks under way, in the order in which they come. The mail of shards that have just become ours stands still until it
/// is read, so takeovers go first; the others take turns, a page each. One whose page could not be read is the last, so
/// that it stops no other.
#[derive(Debug, Default)]
pub(super) struct Turns {
    takeovers: VecDeque<Walk>,
    others: VecDeque<Walk>,
}

impl Turns {
    /// One that is new, or has read a page.
    pub(super) fn add(&mut self, walk: Walk) {
        match walk.purpose {
            Purpose::Takeover => self.takeovers.push_back(walk),
            Purpose::CatchUp | Purpose::Reconcile | Purpose::Refill => self.others.push_back(walk),
        }
    }

    /// One whose page could not be read: its next try comes after a page of each other.
    pub(super) fn add_stuck(&mut self, walk: Walk) {
        self.others.push_back(walk);
    }

    /// The next.
    pub(super) fn take(&mut self) -> Option<Walk> {
        self.takeovers.pop_front().or_else(|| self.others.pop_front())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(purpose: Purpose, after: i64) -> Walk {
        Walk { purpose, shards: Vec::new(), after }
    }

    /// Who reads the next pages, each of which is not the last of its walk.
    fn next(turns: &mut Turns, pages: usize) -> Vec<Purpose> {
        let mut read = |_| {
            let walk = turns.take().unwrap();
            let purpose = walk.purpose;
            turns.add(walk);
            purpose
        };
        (0..pages).map(&mut read).collect()
    }

    #[test]
    fn walks_take_turns_and_a_takeover_waits_for_one_page_at_the_most() {
        use Purpose::{CatchUp, Reconcile, Refill, Takeover};
        let mut turns = Turns::default();
        [Refill, Reconcile, CatchUp].into_iter().for_each(|purpose| turns.add(walk(purpose, 0)));
        assert_eq!(next(&mut turns, 5), [Refill, Reconcile, CatchUp, Refill, Reconcile]);
        turns.add(walk(Takeover, 0));
        assert_eq!(next(&mut turns, 3), [Takeover; 3]);
        assert_eq!(turns.take(), Some(walk(Takeover, 0)), "which is over now");
        assert_eq!(next(&mut turns, 2), [CatchUp, Refill]);
    }

    #[test]
    fn a_walk_that_is_stuck_stops_no_other() {
        let mut turns = Turns::default();
        turns.add(walk(Purpose::Refill, 0));
        turns.add(walk(Purpose::Takeover, 7));
        let stuck = turns.take().unwrap();
        assert_eq!(stuck.after, 7);
        turns.add_stuck(stuck);
        turns.add(walk(Purpose::Takeover, 8));
        assert_eq!(turns.take().map(|walk| walk.after), Some(8), "another takeover");
        assert_eq!(turns.take(), Some(walk(Purpose::Refill, 0)));
        assert_eq!(turns.take(), Some(walk(Purpose::Takeover, 7)));
        assert_eq!(turns.take(), None);
    }
}
