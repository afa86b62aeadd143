//! Where a message goes: routes by recipient, sender, tenant and class, and the plan of one attempt, which names the hosts
//! and addresses to try and their order (RFC 5321 §5.1).
//!
//! Pure. A [`Plan`] says what it must know next ([`Step`]) and is told; randomness is passed in. Not responsible for
//! asking name servers, for connecting, or for what a failure means to the message.
//!
//! | module | holds |
//! |---|---|
//! | [`table`] | which route some mail takes |
//! | [`way`] | what a route does with it |
//! | [`plan`] | the plan of one attempt |
//! | [`address`] | which addresses mail is sent to, and in which order |
//! | [`demand`] | what is asked of the encryption to a host |
//! | [`reporting`] | what a session is held against, for reports (RFC 8460) |
//! | [`sts`] | MTA-STS policies (RFC 8461) |

pub mod address;
pub mod demand;
mod omission;
mod pattern;
pub mod plan;
pub mod reporting;
pub mod sts;
pub mod table;
pub mod way;

pub use address::{Families, MAX_ADDRESSES_PER_HOST};
pub use demand::{Authority, Encryption, SendersWish, TlsDemand, Tlsa};
pub use omission::{Omission, Reason};
pub use plan::{
    Exchanger, Exchangers, Found, HostAnswer, HostQuestion, LookupFailure, MAX_HOSTS, MAX_TARGETS, Plan, Policy, Step,
    Target,
};
pub use reporting::{HeldAgainst, Withheld, report_destinations};
pub use sts::{StsError, StsMode, StsPolicy, policy_id};
pub use table::{Mail, MessageClass, RouteError, RouteFault, RouteRule, RouteTable};
pub use way::{Protocol, Route, TlsPolicy, Way, WayRule};
