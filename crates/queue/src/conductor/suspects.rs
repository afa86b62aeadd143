//! Deliveries that workers were lost with: one of them may be what ends workers. Pure.
//!
//! A worker that is lost had many deliveries in its hands, nearly all of them innocent. So the first loss changes nothing.
//! Whatever was lost twice is attempted alone: of those under suspicion a worker has one at a time, so that the next loss
//! tells which one it was, while the others end well and are forgotten. One that was lost too often is quarantined: workers live on,
//! and an operator looks at it. A worker that ends as it should, or comes back, counts for nothing.

use std::collections::{HashMap, HashSet};

use mailtier_types::DeliveryId;

/// Lost so often, a delivery is under suspicion.
const SUSPICIOUS: u16 = 2;

/// See the module.
#[derive(Debug)]
pub(super) struct Suspects {
    /// Lost so often, a delivery is quarantined; 0: none ever is.
    limit: u16,
    losses: HashMap<DeliveryId, u16>,
    /// Those under suspicion that are being attempted.
    on_trial: HashSet<DeliveryId>,
}

impl Suspects {
    pub(super) fn new(limit: u16) -> Self {
        Self { limit, losses: HashMap::new(), on_trial: HashSet::new() }
    }

    /// A worker is gone with it. Says how many have gone so when it is to be quarantined.
    pub(super) fn lost(&mut self, id: DeliveryId) -> Option<u16> {
        self.set_down(id);
        if self.limit == 0 {
            return None;
        }
        let losses = self.losses.entry(id).or_default();
        *losses = losses.saturating_add(1);
        Some(*losses).filter(|losses| *losses >= self.limit)
    }

    /// Whether it may be attempted now, where so many under suspicion may at a time; it counts as being attempted from then
    /// on.
    pub(super) fn may_begin(&mut self, id: DeliveryId, at_a_time: usize) -> bool {
        // Nearly always nothing was ever lost.
        if self.losses.is_empty() || self.losses.get(&id).is_none_or(|losses| *losses < SUSPICIOUS) {
            return true;
        }
        let may = self.on_trial.contains(&id) || self.on_trial.len() < at_a_time;
        if may {
            self.on_trial.insert(id);
        }
        may
    }

    /// The others under suspicion that are being attempted, where this one is under suspicion.
    pub(super) fn others_on_trial(&self, id: DeliveryId) -> impl Iterator<Item = DeliveryId> + '_ {
        let is_on_trial = self.on_trial.contains(&id);
        self.on_trial.iter().copied().filter(move |other| is_on_trial && *other != id)
    }

    /// It is not attempted after all, or the attempt is over without a word about it.
    pub(super) fn set_down(&mut self, id: DeliveryId) {
        self.on_trial.remove(&id);
    }

    /// An attempt came to a result, or the delivery is over: it has ended no worker.
    pub(super) fn cleared(&mut self, id: DeliveryId) {
        if !self.losses.is_empty() {
            self.losses.remove(&id);
            self.set_down(id);
        }
    }

    /// Forgets those that are another replica's now.
    pub(super) fn retain(&mut self, is_ours: impl Fn(DeliveryId) -> bool) {
        self.losses.retain(|id, _| is_ours(*id));
        self.on_trial.retain(|id| is_ours(*id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: i64) -> DeliveryId {
        DeliveryId::from_i64(number).unwrap()
    }

    #[test]
    fn the_one_that_ends_workers_is_found_among_the_innocent() {
        let mut suspects = Suspects::new(4);
        let poison = id(7);
        let mut crowd: Vec<DeliveryId> = (1..=200).map(id).collect();
        // Two workers go with all of them in hand.
        for _ in 0..2 {
            assert!(crowd.iter().all(|id| suspects.may_begin(*id, 1)));
            assert!(crowd.iter().all(|id| suspects.lost(*id).is_none()));
        }
        // From then on each has a worker for itself, as far as those under suspicion go.
        let (mut workers_lost, mut rounds) = (2, 0);
        let quarantined = loop {
            rounds += 1;
            assert!(rounds < 1000, "the poison was not found");
            let begun: Vec<DeliveryId> = crowd.iter().copied().filter(|id| suspects.may_begin(*id, 1)).collect();
            assert_eq!(begun.len(), 1, "one at a time");
            if begun[0] != poison {
                suspects.cleared(begun[0]);
                crowd.retain(|id| *id != begun[0]);
                continue;
            }
            workers_lost += 1;
            if let Some(losses) = suspects.lost(poison) {
                break (poison, losses);
            }
        };
        assert_eq!((quarantined, workers_lost), ((poison, 4), 4));
    }

    #[test]
    fn one_loss_is_nobodys_fault_and_a_result_clears() {
        let mut suspects = Suspects::new(3);
        for number in 1..=2 {
            assert_eq!(suspects.lost(id(number)), None);
            assert!(suspects.may_begin(id(number), 1));
        }
        suspects.cleared(id(1));
        assert_eq!(suspects.lost(id(1)), None);
        assert_eq!(suspects.lost(id(1)), None, "only the second since");
        assert_eq!(suspects.lost(id(1)), Some(3));
        assert_eq!(Suspects::new(0).lost(id(1)), None, "where nothing is to be quarantined");
    }

    #[test]
    fn what_was_set_down_makes_room_for_the_next() {
        let mut suspects = Suspects::new(9);
        for number in [1, 1, 2, 2, 3, 3] {
            suspects.lost(id(number));
        }
        assert!(suspects.may_begin(id(1), 1) && suspects.may_begin(id(1), 1) && !suspects.may_begin(id(2), 1));
        suspects.set_down(id(2));
        assert!(!suspects.may_begin(id(2), 1), "it was not the one");
        suspects.set_down(id(1));
        assert!(suspects.may_begin(id(2), 1) && !suspects.may_begin(id(1), 1));
        assert!(suspects.may_begin(id(1), 2) && !suspects.may_begin(id(3), 2), "one for each of two workers");
        assert_eq!(suspects.others_on_trial(id(2)).collect::<Vec<_>>(), [id(1)]);
        assert_eq!(suspects.others_on_trial(id(3)).count(), 0, "it is not on trial");
        suspects.set_down(id(1));
        suspects.retain(|id| id.as_i64() != 2);
        assert!(suspects.may_begin(id(3), 1) && suspects.may_begin(id(2), 1), "nothing is known of it any more");
    }
}
