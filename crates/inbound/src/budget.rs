//! The memory that messages on their way may use, all sessions together. Not responsible for what is done when it is
//! used up: sessions answer 452.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Octets of messages held in memory.
#[derive(Debug)]
pub(crate) struct Budget {
    limit_octets: usize,
    used_octets: AtomicUsize,
}

impl Budget {
    /// So many octets; 0: a quarter of what the machine or the control group has.
    pub(crate) fn new(limit_octets: u64) -> Arc<Self> {
        let limit_octets = if limit_octets == 0 { memory_octets() / 4 } else { limit_octets };
        Arc::new(Self {
            limit_octets: usize::try_from(limit_octets).unwrap_or(usize::MAX),
            used_octets: AtomicUsize::new(0),
        })
    }

    /// Now in use.
    pub(crate) fn used_octets(&self) -> usize {
        self.used_octets.load(Ordering::Relaxed)
    }

    /// Whether a message of this size could be taken now.
    pub(crate) fn has_room_for(&self, octets: u64) -> bool {
        usize::try_from(octets).is_ok_and(|octets| octets <= self.limit_octets.saturating_sub(self.used_octets()))
    }

    /// A share of nothing yet.
    pub(crate) fn share(self: &Arc<Self>) -> Share {
        Share { budget: Arc::clone(self), octets: 0 }
    }
}

/// What one message uses. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    octets: usize,
}

impl Share {
    /// Takes more; false where that is more than there is, and then nothing was taken.
    pub(crate) fn grow(&mut self, octets: usize) -> bool {
        let used = &self.budget.used_octets;
        let within = |now: usize| now.checked_add(octets).filter(|sum| *sum <= self.budget.limit_octets);
        let grown = used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_ok();
        if grown {
            self.octets += octets;
        }
        grown
    }

    /// Gives back what is used beyond `octets`.
    pub(crate) fn shrink_to(&mut self, octets: usize) {
        let given = self.octets.saturating_sub(octets);
        self.octets -= given;
        self.budget.used_octets.fetch_sub(given, Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

/// What this process can have: the control group's limit where there is one, else the machine's memory.
pub(crate) fn memory_octets() -> u64 {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let group = read("/sys/fs/cgroup/memory.max").trim().parse().ok();
    let machine = total_octets(&read("/proc/meminfo")).unwrap_or(FALLBACK_OCTETS);
    group.map_or(machine, |group: u64| group.min(machine))
}

/// Where neither says anything.
const FALLBACK_OCTETS: u64 = 1 << 30;

fn total_octets(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_come_out_of_one_budget_and_return_to_it() {
        let budget = Budget::new(100);
        let (mut a, mut b) = (budget.share(), budget.share());
        assert!(a.grow(60) && !b.grow(41) && b.grow(40));
        assert!(!budget.has_room_for(1));
        a.shrink_to(10);
        assert_eq!(budget.used_octets(), 50);
        drop(a);
        drop(b);
        assert!(budget.has_room_for(100) && !budget.has_room_for(101));
    }

    #[test]
    fn the_machines_memory_is_found() {
        assert_eq!(total_octets("MemFree: 1 kB\nMemTotal:       2048 kB\n"), Some(2048 * 1024));
        assert!(memory_octets() > 1 << 20);
    }
}
