//! The tables of `[queue]` that limit what is delivered to whom, for whom. Not responsible for keeping to them.

use std::time::Duration;

use crate::rate::RateConfig;
use crate::section::section;
use crate::words::words;

section! {
    /// Limits of one destination, or of many.
    DestinationConfig {
        /// The domain that mail is for; `.example.com` means all below it. Required.
        domain: String = String::new(), "domain";
        /// Deliveries at a time; `queue.destination_concurrency` when not set.
        concurrency: Option<u32> = None, "number";
        /// Deliveries at a time to begin with; `queue.initial_concurrency` when not set.
        initial_concurrency: Option<u32> = None, "number";
        /// Deliveries in a time, such as `10/s`.
        rate: Option<RateConfig> = None, "rate";
        /// The wait after the first failed attempt, whatever the failure; `queue.retry_first`, or that of its class in
        /// `queue.retries`, when neither this nor `retry_max` is set.
        #[serde(with = "humantime_serde")]
        retry_first: Option<Duration> = None, "duration";
        /// The longest wait between attempts, likewise.
        #[serde(with = "humantime_serde")]
        retry_max: Option<Duration> = None, "duration";
        /// What becomes of a message that the host was sent all of and that it did not answer; `queue.unanswered` when not
        /// set.
        unanswered: Option<Unanswered> = None, "word";
    }
}

words! {
    /// What becomes of a message that a host was sent all of, and that it may have or not.
    #[derive(Default)]
    Unanswered {
        /// It is sent again: the recipient may have it twice.
        #[default]
        Retry = "retry",
        /// It is returned to its sender: the recipient may have it nevertheless.
        Fail = "fail",
    }
}

words! {
    /// What kind of failure an attempt ended with.
    #[derive(Default)]
    RetryClass {
        /// The host takes the message a little later (RFC 6647).
        Greylisted = "greylisted",
        /// The host wants fewer connections or messages.
        Throttled = "throttled",
        /// The mailbox is full.
        MailboxFull = "mailbox_full",
        /// Name servers or hosts cannot be reached.
        Unreachable = "unreachable",
        /// TLS, or a policy about who we are.
        Security = "security",
        /// Anything else.
        #[default]
        Other = "other",
    }
}

section! {
    /// How long is waited after failures of one class. What is not set is as in `[queue]`; but after `greylisted` it is 5m to
    /// 30m, and after `mailbox_full` 1h to 6h, where nothing else is said here.
    RetryConfig {
        /// `greylisted`, `throttled`, `mailbox_full`, `unreachable`, `security` or `other`. Required.
        class: RetryClass = RetryClass::Other, "word";
        /// The wait after the first failed attempt; it doubles with each.
        #[serde(with = "humantime_serde")]
        first: Option<Duration> = None, "duration";
        /// The longest wait between attempts.
        #[serde(with = "humantime_serde")]
        max: Option<Duration> = None, "duration";
    }
}

section! {
    /// Limits of all destinations whose mail goes to the same provider. They hold for all queue replicas together, which
    /// lease slices of them. Whose a destination is, a worker finds out by DNS before the first delivery to it is
    /// attempted, and again when nothing was attempted for six hours.
    ProviderConfig {
        /// Its name in logs, metrics and commands. Required.
        name: String = String::new(), "text";
        /// Domains of its mail exchangers, themselves and all below. Required.
        exchangers: Vec<String> = Vec::new(), "list of domains";
        /// Deliveries at a time.
        concurrency: Option<u32> = None, "number";
        /// Deliveries in a time, such as `1000/h`.
        rate: Option<RateConfig> = None, "rate";
    }
}

section! {
    /// Mail exchangers whose names do not say whose they are, such as those under a customer's own name: they count as a
    /// provider's. The most precise name goes first, and before `exchangers` of `[[queue.providers]]`.
    SiteConfig {
        /// Their names; `.example.com` means all below it. Required.
        exchangers: Vec<String> = Vec::new(), "list of domains";
        /// Whose they are, by its name in `[[queue.providers]]`. Required.
        provider: String = String::new(), "text";
    }
}

section! {
    /// Limits of the mail of one tenant, wherever it goes. They hold for all queue replicas together, which lease slices
    /// of them. What is beyond them waits by itself.
    TenantLimitConfig {
        /// Its number, as users and networks of `[inbound]` have it. Required.
        id: i32 = 0, "number";
        /// Deliveries at a time.
        concurrency: Option<u32> = None, "number";
        /// Deliveries in a time, such as `50000/d`.
        rate: Option<RateConfig> = None, "rate";
    }
}
