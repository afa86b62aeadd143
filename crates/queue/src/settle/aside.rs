//! What the database refuses to settle, and when it is tried again: in small parts, so that however much it is, it takes
//! little of the settling loop's time. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::Report;

/// Reports of one part.
const PART_REPORTS: usize = 20;
/// Each is tried again about so often.
const ROUND: Duration = Duration::from_secs(30);
/// Between a part of which something was refused and the next, at least.
const PAUSE: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Aside {
    reports: VecDeque<Report>,
    next_part: Option<Instant>,
}

impl Aside {
    /// Refused, or left for later.
    pub(super) fn add(&mut self, reports: Vec<Report>, now: Instant) {
        let planned = self.next_part();
        self.reports.extend(reports);
        let next = now + self.pause();
        self.next_part = Some(planned.map_or(next, |planned| planned.min(next)));
    }

    pub(super) fn len(&self) -> usize {
        self.reports.len()
    }

    /// When the next part is to be tried; nothing where nothing is aside.
    pub(super) fn next_part(&self) -> Option<Instant> {
        self.next_part.filter(|_| !self.reports.is_empty())
    }

    /// Those that have waited for longest. [`Aside::add`] or [`Aside::go_on`] says when the next part is tried.
    pub(super) fn take_part(&mut self) -> Vec<Report> {
        self.next_part = None;
        self.reports.drain(..PART_REPORTS.min(self.reports.len())).collect()
    }

    /// All of a part could be settled: what stood in the way may be gone.
    pub(super) fn go_on(&mut self, now: Instant) {
        self.next_part = Some(now);
    }

    fn pause(&self) -> Duration {
        let parts = u32::try_from(self.reports.len().div_ceil(PART_REPORTS)).unwrap_or(u32::MAX).max(1);
        (ROUND / parts).max(PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use mailtier_types::{DeliveryId, TenantId};

    use super::super::What;
    use super::*;

    fn reports(numbers: std::ops::Range<i64>) -> Vec<Report> {
        let report = |number| Report {
            delivery: DeliveryId::from_i64(number).unwrap(),
            attempt: 1,
            tenant: TenantId(0),
            what: What::Expired,
            worker: None,
            content: None,
        };
        numbers.map(report).collect()
    }

    fn numbers(reports: &[Report]) -> Vec<i64> {
        reports.iter().map(|report| report.delivery.as_i64()).collect()
    }

    #[test]
    fn a_few_are_tried_again_after_the_whole_pause() {
        let (mut aside, now) = (Aside::default(), Instant::now());
        assert_eq!(aside.next_part(), None);
        aside.add(reports(1..2), now);
        aside.add(reports(2..3), now + PAUSE);
        assert_eq!(aside.next_part(), Some(now + ROUND));
        let part = aside.take_part();
        assert_eq!((numbers(&part), aside.next_part()), (vec![1, 2], None));
        aside.add(part, now + ROUND);
        assert_eq!(aside.next_part(), Some(now + 2 * ROUND), "refused again");
    }

    #[test]
    fn many_are_tried_part_by_part_in_turn_and_never_all_at_once() {
        let (mut aside, mut now) = (Aside::default(), Instant::now());
        aside.add(reports(1..1001), now);
        for part in 0..60 {
            assert_eq!(aside.next_part(), Some(now + PAUSE));
            now += PAUSE;
            let tried = aside.take_part();
            let first = 1 + part * 20 % 1000;
            assert_eq!(numbers(&tried), (first..first + 20).collect::<Vec<_>>());
            aside.add(tried, now);
        }
    }

    #[test]
    fn what_can_be_settled_again_goes_on_at_once() {
        let (mut aside, now) = (Aside::default(), Instant::now());
        aside.add(reports(1..41), now);
        for left in [20, 0] {
            aside.take_part();
            aside.go_on(now);
            assert_eq!((aside.len(), aside.next_part()), (left, Some(now).filter(|_| left > 0)));
        }
        aside.add(reports(1..2), now + PAUSE);
        assert_eq!(aside.next_part(), Some(now + PAUSE + ROUND), "a later one waits as any other");
    }
}
