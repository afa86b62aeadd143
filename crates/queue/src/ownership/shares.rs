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

/// Whether a replica is one of the members, which share the shards. One that has just started does not know yet which
/// workers live: what it took, unless it was given up clean, would wait until it does. Other members go on at once, so it
/// leaves everything to them until then. Of several that find no member at the same moment those stay that took something.
pub(super) const fn is_member(knows_workers: bool, others: usize, mine: usize) -> bool {
    knows_workers || others == 0 || mine > 0
}

/// Each of `members` replicas holds an equal share; the odd ones are those of the first ranks, which is the same for all
/// that see the same members. The shares add up to all shards, so who is above its own gives up exactly what another is
/// below. Who is no member, and so has no rank, changes nothing; who does not know the workers gives nothing up, for
/// another that is a member meanwhile has started as late.
pub(super) fn change(members: usize, rank: Option<usize>, mine: usize, knows_workers: bool) -> Change {
    let Some(rank) = rank else { return Change::Keep };
    let total = usize::from(SHARD_COUNT);
    let members = members.clamp(1, total);
    let share = total / members + usize::from(rank < total % members);
    let count = |number: usize| u16::try_from(number).unwrap_or(SHARD_COUNT);
    match mine.cmp(&share) {
        Ordering::Greater if knows_workers => Change::Release(count(mine - share)),
        Ordering::Less => Change::Take(count(share - mine)),
        Ordering::Greater | Ordering::Equal => Change::Keep,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A replica, as the table would have it.
    #[derive(Clone, Copy, Debug, Default)]
    struct Replica {
        is_gone: bool,
        is_member: bool,
        knows_workers: bool,
        held: usize,
    }

    const MEMBER: Replica = Replica { is_gone: false, is_member: true, knows_workers: true, held: 0 };
    const NEWCOMER: Replica = Replica { is_member: false, knows_workers: false, ..MEMBER };

    fn holding<const N: usize>(held: [usize; N]) -> Vec<Replica> {
        held.map(|held| Replica { held, ..MEMBER }).to_vec()
    }

    fn held(replicas: &[Replica]) -> Vec<usize> {
        replicas.iter().map(|replica| replica.held).collect()
    }

    /// One replica's round; how many shards it took.
    fn round(replicas: &mut [Replica], me: usize) -> usize {
        let members = |replicas: &[Replica]| replicas.iter().filter(|replica| replica.is_member).count();
        let mine = replicas[me];
        let others = members(replicas) - usize::from(mine.is_member);
        replicas[me].is_member = is_member(mine.knows_workers, others, mine.held);
        let rank = replicas[me].is_member.then(|| members(&replicas[..me]));
        let free = usize::from(SHARD_COUNT) - held(replicas).iter().sum::<usize>();
        match change(members(replicas), rank, mine.held, mine.knows_workers) {
            Change::Take(want) => {
                let taken = usize::from(want).min(free);
                replicas[me].held += taken;
                return taken;
            }
            Change::Release(count) => replicas[me].held -= usize::from(count),
            Change::Keep => {}
        }
        0
    }

    /// Lets replicas act in turn until nothing changes; returns how many shards moved.
    fn settle(replicas: &mut [Replica]) -> usize {
        let mut moved = 0;
        for _ in 0..50 {
            for me in 0..replicas.len() {
                if !replicas[me].is_gone {
                    moved += round(replicas, me);
                }
            }
        }
        moved
    }

    fn leave(replica: &mut Replica) {
        *replica = Replica { is_gone: true, ..Replica::default() };
    }

    #[test]
    fn every_shard_is_owned_and_shares_are_even() {
        for replicas in 1..=20 {
            for newcomers in 0..replicas {
                let mut all = vec![MEMBER; replicas];
                all[..newcomers].fill(NEWCOMER);
                settle(&mut all);
                let shares = held(&all[newcomers..]);
                assert_eq!(shares.iter().sum::<usize>(), 256, "{all:?}");
                assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1, "{all:?}");
            }
        }
    }

    #[test]
    fn a_newcomer_takes_its_share_when_it_knows_the_workers_and_little_else_moves() {
        for newcomer in 0..3 {
            let mut all = holding([128; 3]);
            all[newcomer] = NEWCOMER;
            assert_eq!(settle(&mut all), 0, "{all:?}");
            all[newcomer].knows_workers = true;
            let moved = settle(&mut all);
            assert_eq!(held(&all), [86, 85, 85]);
            assert_eq!(moved, all[newcomer].held, "{all:?}");
        }
    }

    #[test]
    fn the_shares_of_one_that_left_are_taken_over_by_those_that_know_the_workers() {
        for newcomer in 0..4 {
            let mut all = holding([86, 85, 85]);
            leave(&mut all[2]);
            all.insert(newcomer, NEWCOMER);
            assert_eq!(settle(&mut all), 85);
            all.remove(newcomer);
            assert_eq!(held(&all), [128, 128, 0]);
        }
    }

    /// Nothing would move for as long as they wait for each other.
    #[test]
    fn where_no_member_is_left_newcomers_do_not_wait() {
        let mut all = vec![NEWCOMER, Replica { held: 256, ..MEMBER }, NEWCOMER];
        settle(&mut all);
        assert_eq!(held(&all), [0, 256, 0]);
        leave(&mut all[1]);
        assert_eq!(settle(&mut all), 256);
        assert_eq!(held(&all), [256, 0, 0], "who was first keeps them until the other knows the workers");
        all[2].knows_workers = true;
        assert_eq!(settle(&mut all), 0, "who is first gives nothing up before it knows them, too");
        all[0].knows_workers = true;
        assert_eq!(settle(&mut all), 128);
        assert_eq!(held(&all), [128, 0, 128]);
    }

    #[test]
    fn newcomers_that_find_no_member_at_the_same_moment_take_nothing_from_each_other() {
        let racing = Replica { is_member: true, ..NEWCOMER };
        let mut all = vec![Replica { held: 256, ..racing }, racing, racing];
        for (knowing, shares) in [([false; 3], [256, 0, 0]), ([true, false, false], [256, 0, 0])] {
            (0..3).for_each(|one| all[one].knows_workers = knowing[one]);
            assert_eq!((settle(&mut all), held(&all)), (0, shares.to_vec()));
        }
        all.iter_mut().for_each(|one| one.knows_workers = true);
        settle(&mut all);
        assert_eq!(held(&all), [86, 85, 85]);
    }

    /// One of the version before joins at once, and does not tell newcomers from nobody: it does not see them.
    #[test]
    fn a_replica_of_the_version_before_gives_nothing_up_for_a_newcomer() {
        let mut all = vec![Replica { held: 256, ..MEMBER }, MEMBER, NEWCOMER];
        settle(&mut all);
        assert_eq!(held(&all), [128, 128, 0]);
    }
}
