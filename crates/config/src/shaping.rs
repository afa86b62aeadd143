//! The tables of `[queue]` that limit what is delivered to whom, for whom. Not responsible for keeping to them.

use crate::rate::RateConfig;
use crate::section::section;

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
    }
}

section! {
    /// Limits of all destinations whose mail goes to the same provider. They hold for all queue replicas together: each
    /// keeps to an equal share. Whose a destination is, is known once mail to it was attempted: the first deliveries to
    /// one that is new to a replica, up to `queue.initial_concurrency`, are beside these limits.
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
    /// Limits of the mail of one tenant, wherever it goes. They hold for all queue replicas together: each keeps to an equal
    /// share. What is beyond them waits by itself.
    TenantLimitConfig {
        /// Its number, as users and networks of `[inbound]` have it. Required.
        id: i32 = 0, "number";
        /// Deliveries at a time.
        concurrency: Option<u32> = None, "number";
        /// Deliveries in a time, such as `50000/d`.
        rate: Option<RateConfig> = None, "rate";
    }
}
