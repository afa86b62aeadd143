//! What an outcome means: the one place where a reply or trouble becomes a decision. Not responsible for carrying the
//! decision out, nor for several outcomes of one attempt: each recipient's is classified on its own.

use mailtier_types::{Cause, Outcome, Reply, Stage, Timestamp};

use crate::backoff::RetryPolicy;

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

/// What follows from the outcome of attempt number `attempts` (counted from 1, this one included). `chance` is a random
/// number from 0 to 1 for the jitter of the delay.
#[must_use]
pub fn classify(
    outcome: &Outcome,
    attempts: u16,
    policy: &RetryPolicy,
    expires_at: Timestamp,
    now: Timestamp,
    chance: f32,
) -> Next {
    if outcome.is_delivered() {
        Next::Delivered
    } else if is_permanent(outcome) {
        Next::Fail
    } else if now >= expires_at {
        Next::Expire
    } else {
        Next::Retry(now.after(policy.delay(attempts, chance)).min(expires_at))
    }
}

/// Whether no further attempt can change the outcome (RFC 5321 §4.2.1: 5yz against 4yz). A reply that is neither, where
/// it should have been, is the remote's confusion and may pass.
fn is_permanent(outcome: &Outcome) -> bool {
    match &outcome.cause {
        Cause::Trouble(trouble) => !trouble.kind.is_temporary(),
        Cause::Reply(reply) => {
            reply.is_permanent()
                && !concerns_the_host(outcome.stage)
                && !(outcome.stage == Stage::Rcpt && means_too_many(reply))
        }
    }
}

/// Before MAIL nothing was said about sender, recipient or content, so a refusal speaks of this host or this moment
/// (a block list, a misconfigured node of a cluster); another exchanger or another hour may do better. RFC 5321 §3.1
/// leaves what follows a 554 greeting to the client; Postfix has `smtp_skip_5xx_greeting = yes`.
const fn concerns_the_host(stage: Stage) -> bool {
    matches!(stage, Stage::Resolve | Stage::Connect | Stage::Banner | Stage::Ehlo | Stage::StartTls)
}

/// 552 in reply to RCPT once meant too many recipients, and "the client SHOULD treat a 552 code in this case as a
/// temporary, rather than permanent, failure" (RFC 5321 §4.5.3.1.10). A full mailbox (X.2.2), also said with 552, is
/// transient by nature (RFC 3463 §3.3). Any other enhanced code, such as X.3.4 for a message that is too large, says
/// plainly that this is not that case.
fn means_too_many(reply: &Reply) -> bool {
    reply.code == 552
        && reply.enhanced.is_none_or(|status| matches!((status.subject(), status.detail()), (0, 0) | (5, 3) | (2, 2)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mailtier_types::{Trouble, TroubleKind};

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn outcome(stage: Stage, cause: Cause) -> Outcome {
        Outcome::new(stage, cause, NOW)
    }

    fn replied(stage: Stage, code: u16, enhanced: &str) -> Next {
        let reply = Reply::received(code, enhanced.parse().ok(), "text".to_owned());
        next(&outcome(stage, Cause::Reply(reply)))
    }

    fn next(outcome: &Outcome) -> Next {
        classify(outcome, 1, &RetryPolicy::default(), NOW.after(Duration::from_secs(86_400)), NOW, 0.5)
    }

    const RETRY: Next = Next::Retry(Timestamp::from_secs(1_800_000_300));

    #[test]
    fn only_a_positive_final_reply_is_a_delivery() {
        assert_eq!(replied(Stage::Final, 250, ""), Next::Delivered);
        for stage in [Stage::Banner, Stage::Mail, Stage::Rcpt, Stage::Data] {
            assert_eq!(replied(stage, 250, ""), RETRY, "{stage:?}");
        }
    }

    #[test]
    fn replies_by_stage_and_class() {
        for stage in [Stage::Mail, Stage::Rcpt, Stage::Data, Stage::Final] {
            assert_eq!(replied(stage, 550, "5.1.1"), Next::Fail, "{stage:?}");
            assert_eq!(replied(stage, 554, ""), Next::Fail, "{stage:?}");
            assert_eq!(replied(stage, 451, "4.7.1"), RETRY, "{stage:?}");
            assert_eq!(replied(stage, 421, ""), RETRY, "{stage:?}");
            assert_eq!(replied(stage, 354, ""), RETRY, "{stage:?}");
        }
    }

    #[test]
    fn a_refusal_before_mail_is_about_the_host() {
        for stage in [Stage::Connect, Stage::Banner, Stage::Ehlo, Stage::StartTls] {
            assert_eq!(replied(stage, 554, "5.7.1"), RETRY, "{stage:?}");
        }
    }

    #[test]
    fn the_code_decides_and_not_the_enhanced_code() {
        assert_eq!(replied(Stage::Rcpt, 550, "4.2.1"), Next::Fail);
        assert_eq!(replied(Stage::Rcpt, 450, "5.2.1"), RETRY);
    }

    #[test]
    fn too_many_recipients_in_its_old_form() {
        assert_eq!(replied(Stage::Rcpt, 552, ""), RETRY);
        assert_eq!(replied(Stage::Rcpt, 552, "5.5.3"), RETRY);
        assert_eq!(replied(Stage::Rcpt, 552, "5.2.2"), RETRY);
        assert_eq!(replied(Stage::Rcpt, 552, "5.3.4"), Next::Fail);
        assert_eq!(replied(Stage::Final, 552, ""), Next::Fail);
        assert_eq!(replied(Stage::Mail, 552, "5.5.3"), Next::Fail);
    }

    #[test]
    fn trouble_by_kind() {
        use TroubleKind as Kind;
        for kind in [Kind::NoSuchDomain, Kind::NullMx, Kind::Conversion, Kind::Smtputf8, Kind::Loop] {
            let cause = Cause::Trouble(Trouble { kind, text: String::new() });
            assert_eq!(next(&outcome(Stage::Resolve, cause)), Next::Fail, "{kind:?}");
        }
        let passing =
            [Kind::DnsTemporary, Kind::Connect, Kind::Timeout, Kind::Closed, Kind::Tls, Kind::Protocol, Kind::Local];
        for kind in passing {
            let cause = Cause::Trouble(Trouble { kind, text: String::new() });
            assert_eq!(next(&outcome(Stage::Final, cause)), RETRY, "{kind:?}");
        }
    }

    #[test]
    fn no_retry_lies_past_the_expiry_and_facts_need_no_time() {
        let policy = RetryPolicy::default();
        let deferred = outcome(Stage::Rcpt, Cause::Reply(Reply::received(450, None, String::new())));
        let expires_at = NOW.after(Duration::from_secs(100));
        assert_eq!(classify(&deferred, 1, &policy, expires_at, NOW, 0.5), Next::Retry(expires_at));
        assert_eq!(classify(&deferred, 1, &policy, NOW, NOW, 0.5), Next::Expire);

        let failed = outcome(Stage::Rcpt, Cause::Reply(Reply::received(550, None, String::new())));
        assert_eq!(classify(&failed, 1, &policy, NOW, NOW, 0.5), Next::Fail);
        let delivered = outcome(Stage::Final, Cause::Reply(Reply::received(250, None, String::new())));
        assert_eq!(classify(&delivered, 1, &policy, NOW, NOW, 0.5), Next::Delivered);
    }
}
