//! From where users have logged in of late: whoever guesses passwords from elsewhere must not be able to shut them out.
//! Known to this replica only, which is relief and not protection: what it forgets, it learns again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long a place stays familiar.
const REMEMBERED_FOR: Duration = Duration::from_secs(30 * 86_400);
/// Pairs of users and clients that are remembered.
const REMEMBERED: usize = 100_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Familiar(Mutex<HashMap<Place, Instant>>);

/// A user and a client.
type Place = (Box<str>, Box<str>);

impl Familiar {
    pub(super) fn knows(&self, name: &str, client: &str) -> bool {
        let known = self.0.lock();
        known.get(&(name.into(), client.into())).is_some_and(|since| since.elapsed() < REMEMBERED_FOR)
    }

    pub(super) fn remember(&self, name: &str, client: &str) {
        let mut known = self.0.lock();
        if known.len() >= REMEMBERED {
            known.retain(|_, since| since.elapsed() < REMEMBERED_FOR);
        }
        if known.len() < REMEMBERED {
            known.insert((name.into(), client.into()), Instant::now());
        }
    }
}
