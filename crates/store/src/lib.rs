//! The queue in PostgreSQL.
//!
//! Responsible for every SQL statement (the files in `crates/store/sql/`), the schema (`migrations/`), and for saying
//! truthfully what became of a write. Not responsible for when anything happens, for retrying, or for what encoded
//! columns mean.
//!
//! A [`Session`] is one connection with its prepared statements. It belongs to one owner task, which awaits every call to
//! its end, and it is dropped after any error. Dropping it closes the connection, and the server then rolls back what was
//! open: so neither an error nor a cancelled call can leave a transaction behind for someone else to work in. A session
//! whose last call was cancelled refuses further work. Work for others (a gRPC handler, which is cancelled when its
//! client goes away) is handed to the owner task, not done in the handler.
//!
//! Clocks: leases ([`ownership`], node numbers) are compared with the database's clock, the only one that all replicas
//! share. Everything else takes `now` from the caller.

pub mod model;
pub mod ownership;

mod accept;
mod accounts;
mod admin;
mod aside;
mod audit;
mod body;
mod census;
mod columns;
mod error;
mod finish;
mod history;
mod idle;
mod load;
mod maintenance;
mod pools;
mod rules;
mod schema;
mod session;
mod settle;
mod sql;
mod store;
mod sts_policies;
mod suppressions;
mod tls_counts;
mod tls_posts;
mod tokens;
mod wire;

pub use accounts::{AccountRow, AddressRow, LoginFacts, StoredAccount};
pub use admin::{DeliveryFilter, DeliveryPage, PageBounds};
pub use aside::{AsidePlan, AsideTx, Original};
pub use audit::{AuditPage, Unaccounted};
pub use census::Census;
pub use error::StoreError;
pub use history::{HistoryPage, HistoryStretch, Sought};
pub use load::LoadedPage;
pub use model::{
    Accepted, Extras, Finished, Held, Hold, Loaded, NewDelivery, NewEvent, NewMessage, Refusal, Reroute, Retry,
    SettlePlan, StoredDelivery, StoredEvent,
};
pub use ownership::{LiveMember, Member, OwnedShard, ShardOwner, TakenShard};
pub use pools::Slice;
pub use rules::{MAX_RULES, RuleAction, RuleKey, StoredRule};
pub use session::Session;
pub use settle::SettleTx;
pub use store::{Migrated, SESSION_SETTINGS, Store, Usage};
pub use sts_policies::{MAX_STS_POLICIES, StoredStsPolicy};
pub use suppressions::{NewSuppression, StoredSuppression, Suppressed, SuppressionPage, SuppressionSource};
pub use tls_counts::{ClaimedTlsReport, MAX_TLS_FAILURES, MAX_TLS_POLICIES};
pub use tls_posts::{PostFailed, TlsPost};
pub use tokens::{MAX_TOKENS, StoredToken, TokenMade};
