//! What follows from an outcome for its recipients: whether and when they are attempted again. Not responsible for what the
//! outcome means (`classification`), for carrying the decision out, nor for several outcomes of one attempt: each
//! recipient's is decided on its own.

use mailtier_types::Timestamp;

use crate::backoff::RetryPolicy;
use crate::classification::Verdict;

/// What follows from an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The remote took the message.
    Delivered,
    /// Try again then, at the latest when the delivery expires.
    Retry(Timestamp),
    /// Trying again cannot help.
    Fail,
    /// Trying again might help, but the time is up.
    Expire,
}

/// What follows from the outcome of attempt number `attempts` (counted from 1, this one included): from its verdict,
/// absent where the remote took the message. `chance` is a random number from 0 to 1 for the jitter of the delay.
#[must_use]
pub fn classify(
    verdict: Option<Verdict>,
    attempts: u16,
    policy: &RetryPolicy,
    expires_at: Timestamp,
    now: Timestamp,
    chance: f32,
) -> Next {
    match verdict {
        None => Next::Delivered,
        Some(Verdict::Permanent) => Next::Fail,
        Some(Verdict::Temporary) if now >= expires_at => Next::Expire,
        Some(Verdict::Temporary) => Next::Retry(now.after(policy.delay(attempts, chance)).min(expires_at)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    #[test]
    fn no_retry_lies_past_the_expiry_and_facts_need_no_time() {
        let next = |verdict, expires_at| classify(verdict, 1, &RetryPolicy::default(), expires_at, NOW, 0.5);
        let temporary = Some(Verdict::Temporary);
        let (soon, late) = (NOW.after(Duration::from_secs(100)), NOW.after(Duration::from_secs(86_400)));
        assert_eq!(next(temporary, late), Next::Retry(NOW.after(Duration::from_secs(300))));
        assert_eq!(next(temporary, soon), Next::Retry(soon));
        assert_eq!(next(temporary, NOW), Next::Expire);
        assert_eq!(next(Some(Verdict::Permanent), NOW), Next::Fail);
        assert_eq!(next(None, NOW), Next::Delivered);
    }
}
