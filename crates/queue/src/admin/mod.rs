//! Operators' questions and wishes, from the database; the conductor and the owners are told of changes. Each call works
//! in a task of its own, so that one whose asker goes away is not cut in the middle.

mod audit;
mod change;
mod counting;
mod hasten;
mod history;
mod known;
mod matching;
mod message;
mod overview;
mod search;
mod suspend;
mod views;

use mailtier_api::ApiError;
use mailtier_api::accounts::Address;
use mailtier_api::admin::{ListReply, ListRequest, ShowReply, Shown, TraceReply, TraceRequest};
use mailtier_api::audit::{AuditReply, AuditRequest};
use mailtier_api::change::{ChangeAnswer, ChangeOrder};
use mailtier_api::counts::{CountReply, CountRequest};
use mailtier_api::overview::{ShardMap, Status};
use mailtier_api::server::AdminHandler;
use mailtier_api::suppressions::{ListSuppressions, SuppressOrder, Suppression};
use mailtier_api::suspensions::{ResumeOrder, Scope, SuspendOrder, Suspension};
use mailtier_api::tokens::{NewToken, TokenOrder, TokenView};
use mailtier_api::users::{UserChange, UserView};
use mailtier_store::{Session, Store};
use mailtier_types::{MessageId, ReplicaId, TenantId};

use crate::accounts::Managed;
use crate::clock;
use crate::database::trouble;
use crate::settle::Changer;
use crate::suppression::Lists;
use crate::tokens::Tokens;
use counting::Tally;

pub(crate) use hasten::Hastening;
pub(crate) use known::Known;
pub(crate) use search::Searching;
pub(crate) use suspend::Suspending;

/// Serves operators.
#[derive(Debug, Clone)]
pub(crate) struct AdminService {
    /// This replica.
    pub(crate) me: ReplicaId,
    /// The database.
    pub(crate) store: Store,
    /// Changes deliveries.
    pub(crate) changer: Changer,
    /// Users and recipients.
    pub(crate) managed: Managed,
    /// Suspensions.
    pub(crate) suspending: Suspending,
    /// Looks for what fits a filter.
    pub(crate) searching: Searching,
    /// What hosts that have come back ask for.
    pub(crate) hastening: Hastening,
    /// Operators' tokens.
    pub(crate) tokens: Tokens,
    /// Suppression lists.
    pub(crate) lists: Lists,
}

impl AdminService {
    /// Runs a piece of work with a session of its own, to its end.
    async fn work<T, F>(&self, work: impl FnOnce(Self, Session) -> F + Send + 'static) -> Result<T, ApiError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ApiError>> + Send,
    {
        let this = self.clone();
        let working = tokio::spawn(async move {
            let session = this.store.session().await.map_err(|error| trouble(&error))?;
            work(this, session).await
        });
        working.await.map_err(|error| ApiError::Internal(error.to_string()))?
    }
}

impl AdminHandler for AdminService {
    async fn list(&self, request: ListRequest) -> Result<ListReply, ApiError> {
        self.work(move |this, mut session| async move {
            let mut search = this.searching.begin(&request.filter, request.after)?;
            let mut deliveries = Vec::new();
            let wanted = |found: usize| request.limit.saturating_sub(u32::try_from(found).unwrap_or(u32::MAX));
            while wanted(deliveries.len()) > 0 {
                let Some(page) = search.page(&mut session, wanted(deliveries.len())).await? else { break };
                deliveries.extend(page.iter().map(views::delivery));
            }
            Ok(ListReply { deliveries, next: search.next(), looked_at: search.looked_at() })
        })
        .await
    }

    async fn count(&self, request: CountRequest) -> Result<CountReply, ApiError> {
        self.work(move |this, mut session| async move {
            let mut search = this.searching.begin(&request.filter, request.after)?;
            let mut tally = Tally::new(request.by, request.at.unwrap_or_else(clock::now), this.searching.rules());
            while !tally.is_full()
                && let Some(page) = search.page(&mut session, search::ROWS_A_PAGE).await?
            {
                page.iter().for_each(|row| tally.count(row));
            }
            Ok(CountReply { groups: tally.finish(), next: search.next(), looked_at: search.looked_at() })
        })
        .await
    }

    async fn shard_map(&self) -> Result<ShardMap, ApiError> {
        self.shards().await
    }

    async fn status(&self) -> Result<Status, ApiError> {
        self.own_status().await
    }

    async fn show(&self, id: MessageId, shown: Shown) -> Result<ShowReply, ApiError> {
        self.work(move |_, mut session| async move { message::show(&mut session, id, shown).await }).await
    }

    async fn change(&self, order: ChangeOrder) -> Result<ChangeAnswer, ApiError> {
        self.change_it(order).await
    }

    async fn put_user(&self, change: UserChange) -> Result<(), ApiError> {
        self.managed.put_user(change).await
    }

    async fn list_users(&self, after: String, limit: u32) -> Result<Vec<UserView>, ApiError> {
        self.managed.list_users(after, limit).await
    }

    async fn delete_user(&self, name: String, operator: String) -> Result<bool, ApiError> {
        self.managed.delete_user(name, &operator).await
    }

    async fn put_address(&self, address: Address, operator: String) -> Result<(), ApiError> {
        self.managed.put_address(address, &operator).await
    }

    async fn list_addresses(&self, after: String, limit: u32) -> Result<Vec<Address>, ApiError> {
        self.managed.list_addresses(after, limit).await
    }

    async fn delete_address(&self, pattern: String, operator: String) -> Result<bool, ApiError> {
        self.managed.delete_address(pattern, &operator).await
    }

    async fn suspend(&self, order: SuspendOrder) -> Result<(), ApiError> {
        self.suspend_it(order).await
    }

    async fn resume(&self, order: ResumeOrder) -> Result<bool, ApiError> {
        self.resume_it(order).await
    }

    async fn list_suspensions(&self, after: Option<Scope>, limit: u32) -> Result<Vec<Suspension>, ApiError> {
        self.suspensions(after, limit).await
    }

    async fn suppress(&self, order: SuppressOrder) -> Result<u64, ApiError> {
        self.lists.suppress(order).await
    }

    async fn unsuppress(&self, tenant: TenantId, address: String, operator: String) -> Result<bool, ApiError> {
        self.lists.unsuppress(tenant, address, &operator).await
    }

    async fn list_suppressions(&self, request: ListSuppressions) -> Result<Vec<Suppression>, ApiError> {
        self.lists.list(request).await
    }

    async fn audit(&self, request: AuditRequest) -> Result<AuditReply, ApiError> {
        self.work(move |_, mut session| async move { audit::audit(&mut session, request).await }).await
    }

    async fn create_token(&self, order: TokenOrder) -> Result<NewToken, ApiError> {
        self.tokens.create(order).await
    }

    async fn list_tokens(&self, after: String, limit: u32) -> Result<Vec<TokenView>, ApiError> {
        self.tokens.list(&after, limit).await
    }

    async fn revoke_token(&self, name: String, operator: String) -> Result<bool, ApiError> {
        self.tokens.revoke(name, &operator).await
    }

    async fn trace(&self, request: TraceRequest) -> Result<TraceReply, ApiError> {
        self.work(move |_, mut session| async move { history::trace(&mut session, request).await }).await
    }
}
