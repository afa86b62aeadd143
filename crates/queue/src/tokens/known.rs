//! What was read of the table of tokens, and what follows from it for a token that is shown. Pure: times are given.

use std::collections::HashMap;
use std::time::Duration;

use mailtier_store::StoredToken;
use mailtier_types::Timestamp;
use tokio::time::Instant;

use super::FRESH;
use super::secret::Digest;

/// How exactly it is known when a token was used.
const USE_NOTED_EVERY: Duration = Duration::from_secs(300);

/// What is known; bounded by `MAX_TOKENS`.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Found by what is kept of their secrets: how long that takes says nothing about a secret.
    tokens: HashMap<Digest, StoredToken>,
    /// When reading them began; absent: they must be read.
    read_at: Option<Instant>,
}

/// What is to be said to whoever shows a token.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is this one.
    Good(Box<StoredToken>),
    /// It was this one.
    Expired(String),
    /// It is nobody's.
    Unknown,
    /// The table must be read first.
    ReadFirst,
}

impl Known {
    /// `asked` is when the token was shown: it is refused by what was read since, and by nothing older.
    pub(super) fn judge(&self, shown: &Digest, now: Timestamp, at: Instant, asked: Instant) -> Verdict {
        let Some(read_at) = self.read_at else { return Verdict::ReadFirst };
        let age = at.saturating_duration_since(read_at);
        match self.tokens.get(shown) {
            _ if age >= FRESH && read_at < asked => Verdict::ReadFirst,
            Some(token) if token.expires_at.is_some_and(|expires_at| expires_at <= now) => {
                Verdict::Expired(token.name.clone())
            }
            Some(token) => Verdict::Good(Box::new(token.clone())),
            // It may be a new one.
            None if read_at < asked => Verdict::ReadFirst,
            None => Verdict::Unknown,
        }
    }

    /// When the table was read last.
    pub(super) const fn read_at(&self) -> Option<Instant> {
        self.read_at
    }

    /// Whether reading began since then.
    pub(super) fn is_from(&self, asked: Instant) -> bool {
        self.read_at.is_some_and(|read_at| read_at >= asked)
    }

    /// The table says this now. A use that is being noted is kept.
    pub(super) fn replace(&mut self, tokens: Vec<StoredToken>, read_at: Instant) {
        let before = std::mem::take(&mut self.tokens);
        for mut token in tokens {
            let noted = before.get(&token.digest).and_then(|known| known.last_used_at);
            token.last_used_at = token.last_used_at.max(noted);
            self.tokens.insert(token.digest, token);
        }
        self.read_at = Some(read_at);
    }

    /// The table has changed.
    pub(super) fn forget(&mut self) {
        self.read_at = None;
    }

    /// Whether the last use that is known of is old; then it is this one.
    pub(super) fn is_use_to_be_noted(&mut self, name: &str, now: Timestamp) -> bool {
        let Some(token) = self.tokens.values_mut().find(|token| token.name == name) else { return false };
        let is_old = token.last_used_at.is_none_or(|last| now.since(last) >= USE_NOTED_EVERY);
        if is_old {
            token.last_used_at = Some(now);
        }
        is_old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(name: &str, digest: u8, expires_at: Option<Timestamp>) -> StoredToken {
        StoredToken {
            name: name.into(),
            role: "viewer".into(),
            content: false,
            digest: [digest; 32],
            created_by: "root".into(),
            created_at: Timestamp::EPOCH,
            last_used_at: None,
            expires_at,
        }
    }

    #[test]
    fn what_is_known_is_believed_for_a_while_and_what_is_not_is_looked_up() {
        let (begin, now) = (Instant::now(), Timestamp::from_secs(1000));
        let mut known = Known::default();
        let judge =
            |known: &Known, digest: u8, age: Duration| known.judge(&[digest; 32], now, begin + age, begin + age);
        assert_eq!(judge(&known, 1, Duration::ZERO), Verdict::ReadFirst, "nothing was read");
        let tokens = vec![token("good", 1, Some(now.after(FRESH))), token("old", 2, Some(now))];
        known.replace(tokens.clone(), begin);
        let short = Duration::from_millis(999);
        assert_eq!(judge(&known, 1, short), Verdict::Good(Box::new(tokens[0].clone())));
        assert_eq!(judge(&known, 1, FRESH - Duration::from_millis(1)), Verdict::Good(Box::new(tokens[0].clone())));
        assert_eq!(judge(&known, 2, short), Verdict::Expired("old".into()));
        assert_eq!(judge(&known, 3, Duration::ZERO), Verdict::Unknown);
        assert_eq!(judge(&known, 3, short), Verdict::ReadFirst, "it may be new");
        assert_eq!(judge(&known, 1, FRESH), Verdict::ReadFirst, "it may be gone");
        // However long reading took: what was read since the question answers it.
        let slow = known.judge(&[3; 32], now, begin + FRESH * 2, begin);
        assert_eq!(slow, Verdict::Unknown);
        known.forget();
        assert_eq!(judge(&known, 1, Duration::ZERO), Verdict::ReadFirst);
    }

    #[test]
    fn a_use_is_noted_seldom() {
        let mut known = Known::default();
        known.replace(vec![token("bot", 1, None)], Instant::now());
        let now = Timestamp::from_secs(10_000);
        assert!(known.is_use_to_be_noted("bot", now));
        assert!(!known.is_use_to_be_noted("bot", now.after(USE_NOTED_EVERY - Duration::from_secs(1))));
        known.replace(vec![token("bot", 1, None)], Instant::now());
        assert!(!known.is_use_to_be_noted("bot", now), "it is being written");
        assert!(known.is_use_to_be_noted("bot", now.after(USE_NOTED_EVERY)));
        assert!(!known.is_use_to_be_noted("nobody", now));
    }
}
