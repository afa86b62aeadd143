//! How many shards a replica should hold. Pure.

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

/// Each of `members` replicas holds an equal share, the odd ones going to whoever is first to take them. A replica above
/// the share rounded up gives up what is above it; one at or above the share rounded down takes only while some have no
/// owner, so that shares never swing.
pub(super) fn change(members: usize, mine: usize) -> Change {
    let members = members.max(1);
    let total = usize::from(SHARD_COUNT);
    let most = total.div_ceil(members);
    let count = |number: usize| u16::try_from(number).unwrap_or(SHARD_COUNT);
    if mine > most {
        Change::Release(count(mine - most))
    } else if mine < most {
        Change::Take(count(most - mine))
    } else {
        Change::Keep
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
                match change(held.len(), held[replica]) {
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
            let most = 256_usize.div_ceil(replicas);
            assert!(held.iter().all(|share| *share <= most), "{held:?}");
        }
    }

    #[test]
    fn a_newcomer_takes_its_share_and_little_else_moves() {
        let (held, moved) = settle(vec![128, 128, 0]);
        assert_eq!(held.iter().sum::<usize>(), 256);
        assert!(held[2] >= 84 && moved <= 86, "{held:?}, {moved} moved");
    }

    #[test]
    fn the_shares_of_one_that_left_are_taken_over() {
        let (held, moved) = settle(vec![86, 86]);
        assert_eq!(held, [128, 128]);
        assert_eq!(moved, 84);
    }
}
