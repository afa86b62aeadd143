//! Operators' questions and wishes, from the database; the conductor and the owners are told of changes. Each call works
//! in a task of its own, so that one whose asker goes away is not cut in the middle.

mod audit;
mod change;
mod matching;
mod search;
mod suspend;
mod views;

use bytes::Bytes;
use mailtier_api::ApiError;
use mailtier_api::accounts::Address;
use mailtier_api::admin::{ListReply, ListRequest, MAX_ROWS, ShowReply, TraceBy, TraceRequest};
use mailtier_api::audit::{AuditReply, AuditRequest};
use mailtier_api::change::{ChangeAnswer, ChangeOrder};
use mailtier_api::server::AdminHandler;
use mailtier_api::suspensions::{ResumeOrder, Scope, SuspendOrder, Suspension};
use mailtier_api::tokens::{NewToken, TokenOrder, TokenView};
use mailtier_api::users::{UserChange, UserView};
use mailtier_store::{Session, Store, StoreError};
use mailtier_types::{BodyEncoding, Event, EventKind, MessageId, Timestamp};

use crate::accounts::Managed;
use crate::clock;
use crate::database::Chain;
use crate::settle::Changer;
use crate::tokens::Tokens;

pub(crate) use search::Searching;
pub(crate) use suspend::Suspending;

/// The largest content that is shown, decompressed.
const SHOWN_CONTENT_BYTES: usize = 64 << 20;
/// Without a `since`, the history of an address reaches back so far.
const DEFAULT_REACH: std::time::Duration = std::time::Duration::from_secs(2 * 86_400);

/// Serves operators.
#[derive(Debug, Clone)]
pub(crate) struct AdminService {
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
    /// Operators' tokens.
    pub(crate) tokens: Tokens,
}

fn trouble(error: &StoreError) -> ApiError {
    ApiError::Unavailable(Chain(error).to_string())
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
                for row in &page {
                    deliveries.push(views::delivery(row)?);
                }
            }
            Ok(ListReply { deliveries, next: search.next(), looked_at: search.looked_at() })
        })
        .await
    }

    async fn show(&self, id: MessageId, with_content: bool) -> Result<ShowReply, ApiError> {
        self.work(move |_, mut session| async move { show(&mut session, id, with_content).await }).await
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

    async fn trace(&self, request: TraceRequest) -> Result<Vec<Event>, ApiError> {
        self.work(move |_, mut session| async move {
            let now = clock::now();
            let (by, reach) = match request.by {
                TraceBy::Message(id) => (mailtier_store::TraceBy::Message(id), Timestamp::EPOCH),
                TraceBy::Address(address) => (mailtier_store::TraceBy::Address(address), now.before(DEFAULT_REACH)),
            };
            let since = request.since.unwrap_or(reach);
            let events = session.trace(&by, since, now, request.limit).await.map_err(|error| trouble(&error))?;
            events.iter().map(views::event).collect()
        })
        .await
    }
}

async fn show(session: &mut Session, id: MessageId, with_content: bool) -> Result<ShowReply, ApiError> {
    let stored = session.show(id).await.map_err(|error| trouble(&error))?;
    let by = mailtier_store::TraceBy::Message(id);
    let events = session.trace(&by, Timestamp::EPOCH, clock::now(), MAX_ROWS).await.map_err(|error| trouble(&error))?;
    let events: Vec<Event> = events.iter().map(views::event).collect::<Result<_, _>>()?;
    if stored.is_empty() && events.is_empty() {
        return Err(ApiError::NotFound(format!("no message {id} is queued, and none in the history")));
    }
    let of_row = stored.first().map(|row| mailtier_api::decode_options(&row.options)).transpose()?;
    let accepted = events.iter().find(|event| event.kind == EventKind::MessageAccepted);
    let options = of_row.or_else(|| accepted.and_then(|event| event.detail.options.clone()));
    let encoding = options.as_ref().map_or(BodyEncoding::Identity, |options| options.encoding);
    let content = if with_content { content(session, id, encoding).await? } else { Bytes::new() };
    Ok(ShowReply {
        deliveries: stored.iter().map(views::delivery).collect::<Result<_, _>>()?,
        events,
        options,
        content,
    })
}

async fn content(session: &mut Session, id: MessageId, encoding: BodyEncoding) -> Result<Bytes, ApiError> {
    let mut content = Vec::new();
    for seq in 0.. {
        let Some(chunk) = session.body_chunk(id, seq).await.map_err(|error| trouble(&error))? else { break };
        let left = SHOWN_CONTENT_BYTES.saturating_sub(content.len());
        match encoding {
            BodyEncoding::Identity => content.extend_from_slice(chunk.get(..left.min(chunk.len())).unwrap_or_default()),
            BodyEncoding::Zstd => {
                let decoded = zstd::bulk::decompress(&chunk, left)
                    .map_err(|error| ApiError::Internal(format!("the stored body cannot be read: {error}")))?;
                content.extend_from_slice(&decoded);
            }
        }
    }
    Ok(content.into())
}
