//! What has been said already: trouble that comes back with every call or connection is logged now and then. Not responsible
//! for logging.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Before the same is said again.
const AGAIN_AFTER: Duration = Duration::from_secs(600);
/// What is remembered; with more, everything is forgotten.
const MOST: usize = 256;

/// What was said when.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<HashMap<String, Instant>>);

impl Told {
    /// Whether this is to be said now.
    pub(crate) fn is_news(&self, what: &str, now: Instant) -> bool {
        let mut told = self.0.lock();
        if told.get(what).is_some_and(|said| now.saturating_duration_since(*said) < AGAIN_AFTER) {
            return false;
        }
        if told.len() >= MOST {
            told.clear();
        }
        told.insert(what.to_owned(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_now_and_then() {
        let (told, start) = (Told::default(), Instant::now());
        assert!(told.is_news("a", start));
        assert!(!told.is_news("a", start + AGAIN_AFTER / 2));
        assert!(told.is_news("b", start));
        assert!(told.is_news("a", start + AGAIN_AFTER));
        for number in 0..2 * MOST {
            told.is_news(&number.to_string(), start);
        }
        assert!(told.0.lock().len() <= MOST);
    }
}
