//! How what there is is shared among those that want some. Pure.

/// Who wants less than an equal part gets it, and the others equal parts of the rest; what cannot be divided goes to one
/// after the other, by `turn`.
pub(super) fn share(total: u32, wanted: &[u32], turn: usize) -> Vec<u32> {
    let mut shares = vec![0; wanted.len()];
    let mut left = total;
    let mut open: Vec<usize> =
        (0..wanted.len()).filter(|&place| wanted.get(place).is_some_and(|some| *some > 0)).collect();
    if !open.is_empty() {
        let by = turn % open.len();
        open.rotate_left(by);
    }
    while left > 0 && !open.is_empty() {
        let each = (left / u32::try_from(open.len()).unwrap_or(u32::MAX)).max(1);
        open.retain(|&place| {
            let (Some(share), Some(&wanted)) = (shares.get_mut(place), wanted.get(place)) else { return false };
            let more = each.min(wanted - *share).min(left);
            *share += more;
            left -= more;
            *share < wanted
        });
    }
    shares
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn who_wants_little_gets_it_and_the_rest_is_even() {
        for (total, wanted, turn, shares) in [
            (10, vec![1, 20, 20], 0, vec![1, 5, 4]),
            (10, vec![1, 20, 20], 1, vec![1, 5, 4]),
            (10, vec![1, 20, 20], 2, vec![1, 4, 5]),
            (1, vec![5, 0, 5], 0, vec![1, 0, 0]),
            (1, vec![5, 0, 5], 1, vec![0, 0, 1]),
            (0, vec![5, 5], 0, vec![0, 0]),
            (7, vec![], 3, vec![]),
            (u32::MAX, vec![3, 4], 0, vec![3, 4]),
        ] {
            assert_eq!(share(total, &wanted, turn), shares, "{total} {wanted:?} {turn}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_left_while_somebody_wants_more(total in 0..1000_u32, wanted in prop::collection::vec(0..400_u32, 0..20), turn in 0..100_usize) {
            let shares = share(total, &wanted, turn);
            prop_assert!(shares.iter().zip(&wanted).all(|(share, wanted)| share <= wanted));
            prop_assert_eq!(shares.iter().sum::<u32>(), total.min(wanted.iter().sum()));
            let least_of_the_unmet = shares.iter().zip(&wanted).filter(|(share, wanted)| share < wanted).map(|(share, _)| *share).min();
            if let Some(least) = least_of_the_unmet {
                prop_assert!(shares.iter().all(|share| *share <= least + 1));
            }
        }
    }
}
