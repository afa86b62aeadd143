//! From where users have logged in of late: whoever guesses passwords from elsewhere must not be able to shut them out.
//! Known to this replica only, which is relief and not protection: what it forgets, it learns again.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::generations::Generations;

/// How long a place stays familiar.
const REMEMBERED_FOR: Duration = Duration::from_secs(30 * 86_400);
/// Pairs of users and clients of one generation.
const REMEMBERED: usize = 50_000;
/// Of one user, so that none makes others' forgotten.
const REMEMBERED_OF_USER: usize = 30;

/// See the module.
#[derive(Debug)]
pub(super) struct Familiar(Mutex<Generations<Box<str>, Vec<Place>>>);

/// A client from which a user has logged in, and when that was.
#[derive(Debug)]
struct Place {
    client: Box<str>,
    since: Instant,
}

impl Default for Familiar {
    fn default() -> Self {
        Self(Mutex::new(Generations::new(REMEMBERED)))
    }
}

impl Familiar {
    pub(super) fn knows(&self, name: &str, client: &str) -> bool {
        let known = self.0.lock();
        let mut places = known.get(name).flatten();
        places.any(|place| *place.client == *client && place.since.elapsed() < REMEMBERED_FOR)
    }

    /// A user who has logged in from many places is known at the latest.
    pub(super) fn remember(&self, name: &str, client: &str) {
        self.0.lock().change(name.into(), |places| {
            let before = places.len();
            places.retain(|place| *place.client != *client);
            if places.len() >= REMEMBERED_OF_USER {
                places.remove(0);
            }
            places.push(Place { client: client.into(), since: Instant::now() });
            places.len() - before
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_with_many_places_makes_nobody_elses_forgotten() {
        let familiar = Familiar::default();
        familiar.remember("alice", "192.0.2.1");
        for number in 0..4 * REMEMBERED {
            familiar.remember("mallory", &number.to_string());
        }
        assert!(familiar.knows("alice", "192.0.2.1"));
        let of_mallory = |number: usize| familiar.knows("mallory", &number.to_string());
        let last = 4 * REMEMBERED - 1;
        assert!(of_mallory(last) && of_mallory(last + 1 - REMEMBERED_OF_USER));
        assert!(!of_mallory(last - REMEMBERED_OF_USER) && !familiar.knows("alice", "192.0.2.2"));
    }

    #[test]
    fn however_many_are_known_the_latest_is() {
        let familiar = Familiar::default();
        for number in 0..4 * REMEMBERED {
            familiar.remember(&number.to_string(), "192.0.2.1");
        }
        assert!(familiar.knows(&(4 * REMEMBERED - 1).to_string(), "192.0.2.1"));
    }
}
