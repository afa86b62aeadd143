//! Which of several takes the next turn, by their weights, spread evenly: with 3 and 1 the first three turns of four do not
//! go to the same one. Pure; not responsible for what the turns are for.

/// Who has waited for how long, in weights; nobody gains or loses a turn in the long run.
#[derive(Debug)]
pub(super) struct Shares {
    weights: Vec<u32>,
    waited: Vec<i64>,
}

impl Shares {
    /// With these weights; who has none gets no turn.
    pub(super) fn new(weights: impl IntoIterator<Item = u32>) -> Self {
        let weights: Vec<u32> = weights.into_iter().collect();
        let waited = vec![0; weights.len()];
        Self { weights, waited }
    }

    /// The next turn, among those that may have it: each has waited by its weight, and who has waited longest pays for all
    /// (as in nginx's smooth weighted round robin).
    pub(super) fn next(&mut self, may: impl Fn(usize) -> bool) -> Option<usize> {
        let (mut sum, mut longest) = (0, None);
        for (place, (weight, waited)) in self.weights.iter().zip(&mut self.waited).enumerate() {
            if *weight == 0 || !may(place) {
                continue;
            }
            *waited += i64::from(*weight);
            sum += i64::from(*weight);
            if longest.is_none_or(|(_, most)| *waited > most) {
                longest = Some((place, *waited));
            }
        }
        let (place, _) = longest?;
        if let Some(waited) = self.waited.get_mut(place) {
            *waited -= sum;
        }
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(weights: &[u32], count: usize, may: impl Fn(usize) -> bool + Copy) -> Vec<usize> {
        let mut shares = Shares::new(weights.iter().copied());
        (0..count).map_while(|_| shares.next(may)).collect()
    }

    #[test]
    fn turns_follow_the_weights_and_are_spread() {
        for (weights, expected) in [
            (&[1, 1][..], &[0, 1, 0, 1][..]),
            (&[5, 1, 1], &[0, 0, 1, 0, 2, 0, 0]),
            (&[3, 1], &[0, 0, 1, 0]),
            (&[0, 1, 0, 1], &[1, 3, 1, 3]),
            (&[7], &[0, 0]),
            (&[0], &[]),
            (&[], &[]),
        ] {
            assert_eq!(turns(weights, expected.len().max(1), |_| true), expected, "{weights:?}");
        }
    }

    #[test]
    fn who_may_not_has_no_turn_and_the_others_keep_their_shares() {
        let of = |turns: &[usize], place| turns.iter().filter(|one| **one == place).count();
        let told = turns(&[6, 2, 1], 300, |place| place != 0);
        assert_eq!((of(&told, 0), of(&told, 1), of(&told, 2)), (0, 200, 100));
        assert_eq!(turns(&[6, 2], 1, |_| false), [0; 0]);
    }

    #[test]
    fn whoever_comes_back_does_not_make_up_for_what_it_missed() {
        let mut shares = Shares::new([1, 1]);
        (0..100).for_each(|_| assert_eq!(shares.next(|place| place == 1), Some(1)));
        let told: Vec<_> = (0..4).filter_map(|_| shares.next(|_| true)).collect();
        assert_eq!(told, [0, 1, 0, 1]);
    }
}
