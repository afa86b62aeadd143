//! Whether this process is close to what its control group or machine lets it have of memory: then new sessions are sent
//! elsewhere, before the system ends all of them. Not responsible for the octets of messages: they have their budget.

use std::sync::atomic::{AtomicBool, Ordering};

/// New sessions are shed while more than this share of the limit is in use.
const HIGH_PERCENT: u64 = 90;

/// The state of the moment.
#[derive(Debug)]
pub(crate) struct Pressure {
    limit_octets: u64,
    page_octets: u64,
    high: AtomicBool,
}

impl Pressure {
    /// Against what this process can have.
    pub(crate) fn new(limit_octets: u64) -> Self {
        Self { limit_octets, page_octets: 4096, high: AtomicBool::new(false) }
    }

    pub(crate) fn is_high(&self) -> bool {
        self.high.load(Ordering::Relaxed)
    }

    /// Reads what is resident now. What the kernel caches of files is not counted: it can be given back.
    pub(crate) fn look(&self) {
        let resident = std::fs::read_to_string("/proc/self/statm").ok().as_deref().and_then(resident_pages);
        self.judge(resident.unwrap_or(0).saturating_mul(self.page_octets));
    }

    fn judge(&self, resident_octets: u64) {
        let high = resident_octets > self.limit_octets / 100 * HIGH_PERCENT;
        if self.high.swap(high, Ordering::Relaxed) != high {
            tracing::warn!(
                resident_octets,
                limit_octets = self.limit_octets,
                high,
                "memory is short: new sessions are shed"
            );
        }
    }
}

/// The second number of `statm` (proc(5)).
fn resident_pages(statm: &str) -> Option<u64> {
    statm.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_shed_while_memory_is_short() {
        let pressure = Pressure::new(1000);
        pressure.judge(900);
        assert!(!pressure.is_high());
        pressure.judge(901);
        assert!(pressure.is_high());
        pressure.judge(100);
        assert!(!pressure.is_high());
        assert_eq!(resident_pages("100 42 7 1 0 9 0"), Some(42));
    }
}
