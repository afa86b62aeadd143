//! How many shards a replica should hold. Pure.

use std::cmp::Ordering;

use mailtier_types::SHARD_COUNT;

/// What to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Take up to so many that nobody owns.
    Take(u16),
    /// Give so many up.
    Release(u16),
    /// Nothing.
    Keep,
}

/// Each of `members` replicas holds an equal share; the odd ones are those of the first ranks, which is the same for all
/// that see the same members. The shares add up to all shards, so who is above its own gives up exactly what another is
/// below.
pub(super) fn change(members: usize, rank: usize, mine: usize) -> Change {
    let total = usize::from(SHARD_COUNT);
    let members = members.clamp(1, total);
    let share = total / members + usize::from(rank < total % members);
    let count = |number: usize| u16::try_from(number).unwrap_or(SHARD_COUNT);
    match mine.cmp(&share) {
        Ordering::Greater => Change::Release(count(mine - share)),
        Ordering::Less => Change::Take(count(share - mine)),
        Ordering::Equal => Change::Keep,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets replicas act in turn until nothing changes; returns their shares and how many shards moved.
    fn settle(mut held: Vec<usize>) -> (Vec<usize>, usize) {
        let mut moved = 0;
        for _ in 0..50 {
            for replica in 0..held.len() {
                let free = usize::from(SHARD_COUNT) - held.iter().sum::<usize>();
                match change(held.len(), replica, held[replica]) {
                    Change::Take(want) => {
                        let taken = usize::from(want).min(free);
                        held[replica] += taken;
                        moved += taken;
                    }
                    Change::Release(count) => held[replica] -= usize::from(count),
                    Change::Keep => {}
                }
            }
        }
        (held, moved)
    }

    #[test]
    fn every_shard_is_owned_and_shares_are_even() {
        for replicas in 1..=20 {
            let (held, _) = settle(vec![0; replicas]);
            assert_eq!(held.iter().sum::<usize>(), 256, "{held:?}");
            let (least, most) = (held.iter().min().unwrap(), held.iter().max().unwrap());
            assert!(most - least <= 1, "{held:?}");
        }
    }

    #[test]
    fn a_newcomer_takes_its_share_and_little_else_moves() {
        for newcomer in 0..3 {
            let mut held = vec![128; 3];
            held[newcomer] = 0;
            let (held, moved) = settle(held);
            assert_eq!(held, [86, 85, 85]);
            assert_eq!(moved, held[newcomer], "{held:?}");
        }
    }

    #[test]
    fn the_shares_of_one_that_left_are_taken_over() {
        let (held, moved) = settle(vec![86, 85]);
        assert_eq!((held, moved), (vec![128, 128], 85));
    }
}
