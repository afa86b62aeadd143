//! mailtier-outbound: takes deliveries from the queue, brings them to their destinations over SMTP, LMTP or HTTP, and reports what
//! each attempt meant.
//!
//! Responsible for links to every queue replica, for the plan and the connections of each attempt, and for keeping
//! results until some owner has settled them. Not responsible for when anything is attempted or what an outcome leads
//! to: it has no database and decides no retry.
//!
//! | module | holds |
//! |---|---|
//! | `start` | from configuration to running tasks, and the drain |
//! | `links` | the streams to the queue replicas |
//! | `desk` | where links and attempts meet |
//! | `ledger` | what is held: deliveries, results, owners, credit |
//! | `worker` | what attempts share, and the frame of each |
//! | `attempt` | one attempt, from the plan to the outcomes |
//! | `connections` | kept for the next message |
//! | `routes` | the routes of the configuration, and which recipients take which |
//! | `logins` | how routes log in, and where that was refused |
//! | `hook` | web servers that messages are posted to |
//! | `egress` | the egress pools that are served: names, addresses, proxies |
//! | `certificates` | those that hosts are shown |
//! | `tls_reports` | sessions counted for TLS reports, and reports posted |
//! | `policies` | policies of MTA-STS that outlive the worker |

mod attempt;
mod certificates;
mod connections;
mod desk;
mod egress;
mod hook;
mod ledger;
mod links;
mod logins;
mod policies;
mod routes;
mod rules;
mod start;
mod tls_reports;
mod worker;

pub use start::{StartError, check, start};
