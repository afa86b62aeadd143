//! What is answered, for each operation: from parameters to what the handler takes, and from what it gives to JSON.

use std::time::SystemTime;

use bytes::Bytes;
use mailtier_types::{DeliveryId, MessageId, TenantId, Timestamp};
use serde::Serialize;
use tonic::codegen::http::{HeaderValue, Response, StatusCode, header};

use super::ask::Ask;
use super::document::openapi_document;
use super::filter::filter;
use super::problem::Problem;
use super::table::{Op, Operation};
use crate::accounts::Address;
use crate::admin::{DeliveryView, ListRequest, MAX_ROWS, Shown, TraceBy, TraceRequest, header_message_id};
use crate::audit::AuditRequest;
use crate::change::{ChangeOrder, DeliveryChange};
use crate::convert::tenant_id;
use crate::counts::CountRequest;
use crate::filter::{Filter, MAX_MESSAGES};
use crate::json;
use crate::roles::{Caller, Role};
use crate::server::AdminHandler;
use crate::suppressions::{
    ListSuppressions, MAX_SUPPRESSIONS, NewSuppression, SuppressOrder, SuppressionFilter, suppressed_address,
};
use crate::suspensions::{ResumeOrder, Scope, SuspendOrder, Suspension, lasting, reason};
use crate::tokens::{TokenOrder, token_name};
use crate::users::UserChange;

/// Answers a caller whose role has been checked.
pub(super) async fn answer<H: AdminHandler>(
    operation: &Operation,
    ask: &Ask,
    caller: &Caller,
    handler: &H,
) -> Result<Response<Bytes>, Problem> {
    let of = Question { ask, caller, handler, status: operation.status };
    match operation.op {
        Op::Document => Ok(written(StatusCode::OK, "application/json", openapi_document())),
        Op::ListDeliveries => of.list().await,
        Op::ChangeDeliveries => of.change().await,
        Op::CountDeliveries => of.count().await,
        Op::ShowShards => of.json(&json::Shards::from(&handler.shard_map().await?)),
        Op::ShowStatus => of.json(&json::Status::from(&handler.status().await?)),
        Op::ShowMessage => {
            let shown = handler.show(message("id", ask.required("id")?)?, Shown::Headers).await?;
            of.json(&json::Message::new(&shown, &of.suspended(&shown.deliveries).await?))
        }
        Op::ShowContent => of.content().await,
        Op::Trace => of.trace().await,
        Op::Audit => of.audit().await,
        Op::ListSuspensions => of.list_suspensions().await,
        Op::PutSuspension => of.suspend().await,
        Op::DeleteSuspension => of.resume().await,
        Op::ListSuppressions => of.list_suppressions().await,
        Op::PutSuppressions => of.suppress().await,
        Op::DeleteSuppression => of.unsuppress().await,
        Op::ListUsers => {
            let users = handler.list_users(ask.owned("after").unwrap_or_default(), ask.limit()).await?;
            let next = of.next(&users, |last| last.name.clone());
            of.json(&json::Users { users: users.iter().map(Into::into).collect(), next })
        }
        Op::CreateUser => of.create_user().await,
        Op::ChangeUser => of.change_user().await,
        Op::DeleteUser => {
            let name = ask.required("name")?;
            let deleted = handler.delete_user(name.to_owned(), of.operator()?).await?;
            of.changed_one(deleted, format!("no user `{name}`"))
        }
        Op::ListAddresses => {
            let addresses = handler.list_addresses(ask.owned("after").unwrap_or_default(), ask.limit()).await?;
            let next = of.next(&addresses, |last| last.pattern.clone());
            of.json(&json::Addresses { addresses: addresses.iter().map(Into::into).collect(), next })
        }
        Op::PutAddress => {
            let targets = ask.body::<json::AddressTargets>()?.targets.unwrap_or_default();
            let address = Address { pattern: ask.required("pattern")?.to_owned(), targets };
            handler.put_address(address, of.operator()?).await?;
            of.changed(1)
        }
        Op::DeleteAddress => {
            let pattern = ask.required("pattern")?;
            let deleted = handler.delete_address(pattern.to_owned(), of.operator()?).await?;
            of.changed_one(deleted, format!("`{pattern}` is not known"))
        }
        Op::ListTokens => {
            let tokens = handler.list_tokens(ask.owned("after").unwrap_or_default(), ask.limit()).await?;
            let next = of.next(&tokens, |last| last.name.clone());
            of.json(&json::Tokens { tokens: tokens.iter().map(Into::into).collect(), next })
        }
        Op::CreateToken => of.create_token().await,
        Op::DeleteToken => {
            let name = ask.required("name")?;
            let revoked = handler.revoke_token(name.to_owned(), of.operator()?).await?;
            of.changed_one(revoked, format!("no token `{name}`"))
        }
    }
}

fn written(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

fn message(field: &str, text: &str) -> Result<MessageId, Problem> {
    text.parse().map_err(|error| Problem::bad(field, format!("`{}`: {error}", text.escape_debug())))
}

/// What is asked, by whom, and of whom.
struct Question<'a, H> {
    ask: &'a Ask,
    caller: &'a Caller,
    handler: &'a H,
    status: u16,
}

impl<H: AdminHandler> Question<'_, H> {
    fn json(&self, object: &impl Serialize) -> Result<Response<Bytes>, Problem> {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK);
        Ok(written(status, "application/json", json::line(object)))
    }

    fn changed(&self, changed: u64) -> Result<Response<Bytes>, Problem> {
        self.json(&json::Changed { changed })
    }

    /// What was named and is not there is no success.
    fn changed_one(&self, is_changed: bool, else_told: String) -> Result<Response<Bytes>, Problem> {
        if is_changed { self.changed(1) } else { Err(Problem::not_found(else_told)) }
    }

    /// Where the next page begins, if this one was full.
    fn next<T>(&self, page: &[T], key: impl FnOnce(&T) -> String) -> Option<String> {
        let is_full = page.len() >= usize::try_from(self.ask.limit()).unwrap_or(usize::MAX);
        page.last().filter(|_| is_full).map(key)
    }

    /// How a change is recorded.
    fn operator(&self) -> Result<String, Problem> {
        Ok(self.caller.signature(self.ask.text("operator").unwrap_or_default())?)
    }

    fn scope(&self) -> Result<Scope, Problem> {
        Ok(Scope::parse(self.ask.required("kind")?, self.ask.required("name")?)?)
    }

    async fn change(&self) -> Result<Response<Bytes>, Problem> {
        let ask = self.ask;
        let wanted: json::Change = ask.body()?;
        let messages = wanted.messages.unwrap_or_default();
        let messages = messages.iter().map(|id| message("messages", id)).collect::<Result<Vec<_>, _>>()?;
        if messages.len() > MAX_MESSAGES {
            return Err(Problem::bad("messages", format!("{} are more than {MAX_MESSAGES}", messages.len())));
        }
        let after = wanted.after.map(|text| {
            let id = text.parse::<DeliveryId>();
            id.map_err(|_| Problem::bad("after", "is not what a call before said is `next`"))
        });
        let order = ChangeOrder {
            filter: Filter { messages, ..filter(ask)? },
            all: wanted.all.unwrap_or(false),
            change: DeliveryChange::parse(ask.required("change")?, &wanted.hosts.unwrap_or_default())?,
            operator: self.operator()?,
            reason: wanted.reason.unwrap_or_default(),
            after: after.transpose()?.map_or(0, DeliveryId::as_i64),
            dry_run: wanted.dry_run.unwrap_or(false),
            show: wanted.show.unwrap_or(0),
        };
        let answer = self.handler.change(order.judged()?).await?;
        self.json(&json::ChangedDeliveries::new(&answer, &self.suspended(&answer.first).await?))
    }

    /// After which delivery to go on; 0 from the beginning.
    fn after(&self) -> Result<i64, Problem> {
        let after = self.ask.text("after").map(|text| {
            let id = text.parse::<DeliveryId>();
            id.map_err(|_| Problem::bad("after", "is not what a page before said is `next`"))
        });
        Ok(after.transpose()?.map_or(0, DeliveryId::as_i64))
    }

    async fn count(&self) -> Result<Response<Bytes>, Problem> {
        let ask = self.ask;
        let request = CountRequest {
            filter: filter(ask)?,
            by: ask.text("by").map(str::parse).transpose()?.unwrap_or_default(),
            after: self.after()?,
            at: ask.time("at"),
        };
        self.json(&json::Count::from(&self.handler.count(request).await?))
    }

    async fn list(&self) -> Result<Response<Bytes>, Problem> {
        let ask = self.ask;
        let request = ListRequest { after: self.after()?, limit: ask.limit(), filter: filter(ask)? };
        let page = self.handler.list(request).await?;
        self.json(&json::Deliveries::new(&page, &self.suspended(&page.deliveries).await?))
    }

    /// What is suspended, where some delivery may wait for that.
    async fn suspended(&self, deliveries: &[DeliveryView]) -> Result<Vec<Suspension>, Problem> {
        let mut suspended: Vec<Suspension> = Vec::new();
        while !deliveries.is_empty() {
            let after = suspended.last().map(|last| last.scope.clone());
            let page = self.handler.list_suspensions(after, MAX_ROWS).await?;
            let is_last = page.len() < MAX_ROWS as usize;
            suspended.extend(page);
            if is_last {
                break;
            }
        }
        Ok(suspended)
    }

    async fn content(&self) -> Result<Response<Bytes>, Problem> {
        self.caller.check_content()?;
        let id = self.ask.required("id")?;
        let shown = self.handler.show(message("id", id)?, Shown::Content).await?;
        if shown.content.is_empty() {
            let told = format!("the content of {id} is gone: it is kept until the last delivery is over");
            return Err(Problem::not_found(told));
        }
        Ok(written(StatusCode::OK, "message/rfc822", shown.content))
    }

    async fn trace(&self) -> Result<Response<Bytes>, Problem> {
        let ask = self.ask;
        let by = match (ask.text("message"), ask.text("address"), ask.owned("message_id_field")) {
            (Some(id), None, None) => TraceBy::Message(message("message", id)?),
            (None, Some(address), None) => TraceBy::Address(address.to_owned()),
            (None, None, Some(value)) => TraceBy::HeaderMessageId(header_message_id(value)?),
            _ => return Err(Problem::bad("message, address, message_id_field", "give exactly one of them")),
        };
        let (since, until) = (ask.time("since"), ask.time("until"));
        let reply = self.handler.trace(TraceRequest { by, limit: ask.limit(), since, until }).await?;
        self.json(&json::Events::from(&reply))
    }

    async fn audit(&self) -> Result<Response<Bytes>, Problem> {
        let ask = self.ask;
        let after = ask.text("after").map(|id| message("after", id)).transpose()?;
        let until = ask.time("until").unwrap_or_else(|| Timestamp::from_system(SystemTime::now()));
        let from = ask.time("since").unwrap_or(Timestamp::EPOCH);
        if until <= from {
            return Err(Problem::bad("until", "is not after `since`"));
        }
        self.json(&json::Audit::from(&self.handler.audit(AuditRequest { from, until, after }).await?))
    }

    async fn list_suspensions(&self) -> Result<Response<Bytes>, Problem> {
        let after = self.ask.text("after").map(|text| {
            let scope = text.split_once(':').and_then(|(kind, name)| Scope::parse(kind, name).ok());
            scope.ok_or_else(|| Problem::bad("after", "is not what a page before said is `next`"))
        });
        let page = self.handler.list_suspensions(after.transpose()?, self.ask.limit()).await?;
        let next = self.next(&page, |last| format!("{}:{}", last.scope.kind(), last.scope.name()));
        self.json(&json::Suspensions { suspensions: page.iter().map(Into::into).collect(), next })
    }

    async fn suspend(&self) -> Result<Response<Bytes>, Problem> {
        let json::Suspend { reason: why, lasting_s } = self.ask.body()?;
        let order = SuspendOrder {
            scope: self.scope()?,
            reason: reason(why.unwrap_or_default())?,
            lasting: lasting(lasting_s)?,
            operator: self.operator()?,
        };
        self.handler.suspend(order).await?;
        self.changed(1)
    }

    fn tenant(&self) -> Result<TenantId, Problem> {
        let number = self.ask.number("tenant")?.ok_or_else(|| Problem::bad("tenant", "is missing"))?;
        Ok(tenant_id(number)?)
    }

    async fn list_suppressions(&self) -> Result<Response<Bytes>, Problem> {
        let after = self.ask.text("after").map(|text| {
            let place =
                text.split_once(':').and_then(|(tenant, of)| Some((TenantId(tenant.parse().ok()?), of.to_owned())));
            place.ok_or_else(|| Problem::bad("after", "is not what a page before said is `next`"))
        });
        let filter = SuppressionFilter {
            tenant: self.ask.text("tenant").map(|_| self.tenant()).transpose()?,
            address: self.ask.text("address").map(suppressed_address).transpose()?,
        };
        let request = ListSuppressions { filter, after: after.transpose()?, limit: self.ask.limit() };
        let page = self.handler.list_suppressions(request).await?;
        let next = self.next(&page, |last| format!("{}:{}", last.tenant.0, last.address));
        self.json(&json::Suppressions { suppressions: page.iter().map(Into::into).collect(), next })
    }

    async fn suppress(&self) -> Result<Response<Bytes>, Problem> {
        let json::Suppress { addresses, reason: why, lasting_s } = self.ask.body()?;
        let now = Timestamp::from_system(SystemTime::now());
        let until = lasting(lasting_s)?.map(|lasting| now.after(lasting));
        let why = why.unwrap_or_default();
        let one = |address: &String| NewSuppression::new(address, why.clone(), until);
        // Too many are not looked at.
        let suppressions = addresses.iter().take(MAX_SUPPRESSIONS + 1).map(one).collect::<Result<_, _>>()?;
        let order = SuppressOrder { tenant: self.tenant()?, suppressions, operator: self.operator()? };
        let changed = self.handler.suppress(order.judged()?).await?;
        self.changed(changed)
    }

    async fn unsuppress(&self) -> Result<Response<Bytes>, Problem> {
        let (tenant, address) = (self.tenant()?, suppressed_address(self.ask.required("address")?)?);
        let told = format!("`{address}` is not on the list of tenant {}", tenant.0);
        self.changed_one(self.handler.unsuppress(tenant, address, self.operator()?).await?, told)
    }

    async fn resume(&self) -> Result<Response<Bytes>, Problem> {
        let order = ResumeOrder { scope: self.scope()?, operator: self.operator()? };
        let told = format!("{} is not suspended", order.scope);
        self.changed_one(self.handler.resume(order).await?, told)
    }

    async fn create_user(&self) -> Result<Response<Bytes>, Problem> {
        let user: json::NewUser = self.ask.body()?;
        let change = UserChange {
            name: user.name,
            exists: false,
            password: Some(user.password),
            tenant: Some(TenantId(user.tenant.unwrap_or_default())),
            enabled: Some(user.enabled.unwrap_or(true)),
            senders: Some(user.senders.unwrap_or_default()),
            operator: self.operator()?,
        };
        self.handler.put_user(change).await?;
        self.changed(1)
    }

    async fn change_user(&self) -> Result<Response<Bytes>, Problem> {
        let changes: json::UserChanges = self.ask.body()?;
        let change = UserChange {
            name: self.ask.required("name")?.to_owned(),
            exists: true,
            password: changes.password,
            tenant: changes.tenant.map(TenantId),
            enabled: changes.enabled,
            senders: changes.senders,
            operator: self.operator()?,
        };
        self.handler.put_user(change).await?;
        self.changed(1)
    }

    async fn create_token(&self) -> Result<Response<Bytes>, Problem> {
        let wanted: json::NewToken = self.ask.body()?;
        token_name(&wanted.name)?;
        let order = TokenOrder {
            name: wanted.name,
            role: Role::parse(&wanted.role)?,
            content: wanted.content.unwrap_or(false),
            lasting: lasting(wanted.lasting_s)?,
            operator: self.operator()?,
        };
        self.json(&json::MadeToken::from(&self.handler.create_token(order).await?))
    }
}
