//! The service Admin: its calls in generated types on one side, its handler in domain types on the other. Not responsible
//! for who may call what (`access`), nor for the other services (`server`).

use tonic::{Request, Response, Status};

use crate::access::caller;
use crate::accounts::Address;
use crate::admin::{MAX_ROWS, Shown};
use crate::change::ChangeOrder;
use crate::convert::{message_id, tenant_id};
use crate::server::{Adaptor, AdminHandler};
use crate::suppressions::{SuppressOrder, suppressed_address};
use crate::suspensions::{ResumeOrder, SuspendOrder, page_after};
use crate::tokens::TokenOrder;
use crate::users::UserChange;
use crate::wire;

#[tonic::async_trait]
impl<H: AdminHandler> wire::admin_server::Admin for Adaptor<H> {
    async fn list_deliveries(
        &self,
        request: Request<wire::ListDeliveriesRequest>,
    ) -> Result<Response<wire::ListDeliveriesReply>, Status> {
        Ok(Response::new(self.0.list(request.into_inner().try_into()?).await?.into()))
    }

    async fn count_deliveries(
        &self,
        request: Request<wire::CountDeliveriesRequest>,
    ) -> Result<Response<wire::CountDeliveriesReply>, Status> {
        Ok(Response::new(self.0.count(request.into_inner().try_into()?).await?.into()))
    }

    async fn show_shards(
        &self,
        _: Request<wire::ShowShardsRequest>,
    ) -> Result<Response<wire::ShowShardsReply>, Status> {
        Ok(Response::new(self.0.shard_map().await?.into()))
    }

    async fn show_status(
        &self,
        _: Request<wire::ShowStatusRequest>,
    ) -> Result<Response<wire::ShowStatusReply>, Status> {
        Ok(Response::new(self.0.status().await?.into()))
    }

    async fn show_message(
        &self,
        request: Request<wire::ShowMessageRequest>,
    ) -> Result<Response<wire::ShowMessageReply>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        if request.with_content {
            caller.check_content()?;
        }
        let shown = match (request.with_content, request.with_headers) {
            (true, _) => Shown::Content,
            (false, true) => Shown::Headers,
            (false, false) => Shown::Nothing,
        };
        let reply = self.0.show(message_id(request.message_id)?, shown).await?;
        Ok(Response::new(reply.into()))
    }

    async fn change_deliveries(
        &self,
        request: Request<wire::ChangeDeliveriesRequest>,
    ) -> Result<Response<wire::ChangeDeliveriesReply>, Status> {
        let (caller, mut order) = (caller(&request)?, ChangeOrder::try_from(request.into_inner())?);
        order.operator = caller.signature(&order.operator)?;
        Ok(Response::new(self.0.change(order).await?.into()))
    }

    async fn put_user(&self, request: Request<wire::PutUserRequest>) -> Result<Response<wire::ChangeReply>, Status> {
        let (caller, mut change) = (caller(&request)?, UserChange::from(request.into_inner()));
        change.operator = caller.signature(&change.operator)?;
        self.0.put_user(change).await?;
        Ok(Response::new(wire::ChangeReply { changed: 1 }))
    }

    async fn list_users(
        &self,
        request: Request<wire::ListUsersRequest>,
    ) -> Result<Response<wire::ListUsersReply>, Status> {
        let request = request.into_inner();
        let users = self.0.list_users(request.after, request.limit.clamp(1, MAX_ROWS)).await?;
        Ok(Response::new(wire::ListUsersReply { users: users.into_iter().map(Into::into).collect() }))
    }

    async fn delete_user(
        &self,
        request: Request<wire::DeleteUserRequest>,
    ) -> Result<Response<wire::ChangeReply>, Status> {
        let (caller, request) = (caller(&request)?, request.into_inner());
        let operator = caller.signature(&request.operator)?;
        let changed = u64::from(self.0.delete_user(request.name, operator).await?);
        Ok(Response::new(wire::ChangeReply { changed }))
    }

    async fn put_address(
        &self,
        request: Request<wire::PutAddressRequest>,
    ) -> Result<Response<wire::ChangeReply>, Status> {
        let (caller, request) = (caller(&request)?, request.into_inner());
        let operator = caller.signature(&request.operator)?;
        self.0.put_address(Address { pattern: request.pattern, targets: request.targets }, operator).await?;
        Ok(Response::new(wire::ChangeReply { changed: 1 }))
    }

    async fn list_addresses(
        &self,
        request: Request<wire::ListAddressesRequest>,
    ) -> Result<Response<wire::ListAddressesReply>, Status> {
        let request = request.into_inner();
        let addresses = self.0.list_addresses(request.after, request.limit.clamp(1, MAX_ROWS)).await?;
        Ok(Response::new(wire::ListAddressesReply { addresses: addresses.into_iter().map(Into::into).collect() }))
    }

    async fn delete_address(
        &self,
        request: Request<wire::DeleteAddressRequest>,
    ) -> Result<Response<wire::ChangeReply>, Status> {
        let (caller, request) = (caller(&request)?, request.into_inner());
        let operator = caller.signature(&request.operator)?;
        let changed = u64::from(self.0.delete_address(request.pattern, operator).await?);
        Ok(Response::new(wire::ChangeReply { changed }))
    }

    async fn suspend(&self, request: Request<wire::SuspendRequest>) -> Result<Response<wire::ChangeReply>, Status> {
        let (caller, mut order) = (caller(&request)?, SuspendOrder::try_from(request.into_inner())?);
        order.operator = caller.signature(&order.operator)?;
        self.0.suspend(order).await?;
        Ok(Response::new(wire::ChangeReply { changed: 1 }))
    }

    async fn resume(&self, request: Request<wire::ResumeRequest>) -> Result<Response<wire::ChangeReply>, Status> {
        let (caller, mut order) = (caller(&request)?, ResumeOrder::try_from(request.into_inner())?);
        order.operator = caller.signature(&order.operator)?;
        let changed = u64::from(self.0.resume(order).await?);
        Ok(Response::new(wire::ChangeReply { changed }))
    }

    async fn list_suspensions(
        &self,
        request: Request<wire::ListSuspensionsRequest>,
    ) -> Result<Response<wire::ListSuspensionsReply>, Status> {
        let request = request.into_inner();
        let after = page_after(request.after)?;
        let suspensions = self.0.list_suspensions(after, request.limit.clamp(1, MAX_ROWS)).await?;
        let suspensions = suspensions.into_iter().map(Into::into).collect();
        Ok(Response::new(wire::ListSuspensionsReply { suspensions }))
    }

    async fn audit(&self, request: Request<wire::AuditRequest>) -> Result<Response<wire::AuditReply>, Status> {
        Ok(Response::new(self.0.audit(request.into_inner().try_into()?).await?.into()))
    }

    async fn create_token(
        &self,
        request: Request<wire::CreateTokenRequest>,
    ) -> Result<Response<wire::CreateTokenReply>, Status> {
        let (caller, mut order) = (caller(&request)?, TokenOrder::try_from(request.into_inner())?);
        order.operator = caller.signature(&order.operator)?;
        Ok(Response::new(self.0.create_token(order).await?.into()))
    }

    async fn list_tokens(
        &self,
        request: Request<wire::ListTokensRequest>,
    ) -> Result<Response<wire::ListTokensReply>, Status> {
        let request = request.into_inner();
        let tokens = self.0.list_tokens(request.after, request.limit.clamp(1, MAX_ROWS)).await?;
        Ok(Response::new(wire::ListTokensReply { tokens: tokens.into_iter().map(Into::into).collect() }))
    }

    async fn revoke_token(
        &self,
        request: Request<wire::RevokeTokenRequest>,
    ) -> Result<Response<wire::ChangeReply>, Status> {
        let (caller, request) = (caller(&request)?, request.into_inner());
        let operator = caller.signature(&request.operator)?;
        let changed = u64::from(self.0.revoke_token(request.name, operator).await?);
        Ok(Response::new(wire::ChangeReply { changed }))
    }

    async fn trace(&self, request: Request<wire::TraceRequest>) -> Result<Response<wire::TraceReply>, Status> {
        Ok(Response::new(self.0.trace(request.into_inner().try_into()?).await?.into()))
    }

    async fn list_suppressions(
        &self,
        request: Request<wire::ListSuppressionsRequest>,
    ) -> Result<Response<wire::ListSuppressionsReply>, Status> {
        let page = self.0.list_suppressions(request.into_inner().try_into()?).await?;
        Ok(Response::new(wire::ListSuppressionsReply { suppressions: page.into_iter().map(Into::into).collect() }))
    }

    async fn put_suppressions(
        &self,
        request: Request<wire::PutSuppressionsRequest>,
    ) -> Result<Response<wire::ChangeReply>, Status> {
        let (caller, mut order) = (caller(&request)?, SuppressOrder::try_from(request.into_inner())?);
        order.operator = caller.signature(&order.operator)?;
        Ok(Response::new(wire::ChangeReply { changed: self.0.suppress(order).await? }))
    }

    async fn delete_suppression(
        &self,
        request: Request<wire::DeleteSuppressionRequest>,
    ) -> Result<Response<wire::ChangeReply>, Status> {
        let (caller, request) = (caller(&request)?, request.into_inner());
        let (operator, address) = (caller.signature(&request.operator)?, suppressed_address(&request.address)?);
        let changed = u64::from(self.0.unsuppress(tenant_id(request.tenant)?, address, operator).await?);
        Ok(Response::new(wire::ChangeReply { changed }))
    }
}
