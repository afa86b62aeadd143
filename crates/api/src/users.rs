//! Users and recipients as operators manage them, within the admin API.

use mailtier_config::Secret;
use mailtier_types::{TenantId, Timestamp};

use crate::accounts::Address;
use crate::admin::AdminClient;
use crate::error::ApiError;
use crate::wire;

/// What is to hold for a user. What is absent stays as it was, or as it is for new ones.
#[derive(Debug, Clone, Default)]
pub struct UserChange {
    /// What the user logs in with.
    pub name: String,
    /// The user exists and is changed; else it is made, and must not exist.
    pub exists: bool,
    /// The new password.
    pub password: Option<Secret>,
    /// Whose user it is.
    pub tenant: Option<TenantId>,
    /// Whether the user may log in.
    pub enabled: Option<bool>,
    /// Addresses the user may send from: `user@example.com`, `@example.com` or `*`.
    pub senders: Option<Vec<String>>,
    /// Who wants it.
    pub operator: String,
}

/// A user, without what it logs in with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserView {
    /// What the user logs in with.
    pub name: String,
    /// Whose user it is.
    pub tenant: TenantId,
    /// Addresses the user may send from.
    pub senders: Vec<String>,
    /// Whether the user may log in.
    pub enabled: bool,
    /// When any of this was changed last.
    pub changed_at: Timestamp,
}

impl AdminClient {
    /// Makes or changes a user.
    ///
    /// # Errors
    /// A value cannot be used, or nothing was changed.
    pub async fn put_user(&self, change: UserChange) -> Result<(), ApiError> {
        self.asked(self.wire().put_user(wire::PutUserRequest::from(change))).await?;
        Ok(())
    }

    /// A page of users after a name.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn list_users(&self, after: &str, limit: u32) -> Result<Vec<UserView>, ApiError> {
        let request = wire::ListUsersRequest { after: after.to_owned(), limit };
        let reply = self.asked(self.wire().list_users(request)).await?;
        Ok(reply.users.into_iter().map(Into::into).collect())
    }

    /// Removes a user; false where there is none.
    ///
    /// # Errors
    /// Nothing was changed.
    pub async fn delete_user(&self, name: &str, operator: &str) -> Result<bool, ApiError> {
        let request = wire::DeleteUserRequest { name: name.to_owned(), operator: operator.to_owned() };
        Ok(self.asked(self.wire().delete_user(request)).await?.changed > 0)
    }

    /// Makes a recipient known, or changes who gets its mail.
    ///
    /// # Errors
    /// A value cannot be used, or nothing was changed.
    pub async fn put_address(&self, address: Address, operator: &str) -> Result<(), ApiError> {
        let (Address { pattern, targets }, operator) = (address, operator.to_owned());
        self.asked(self.wire().put_address(wire::PutAddressRequest { pattern, targets, operator })).await?;
        Ok(())
    }

    /// A page of recipients after a pattern.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn list_addresses(&self, after: &str, limit: u32) -> Result<Vec<Address>, ApiError> {
        let request = wire::ListAddressesRequest { after: after.to_owned(), limit };
        let reply = self.asked(self.wire().list_addresses(request)).await?;
        Ok(reply.addresses.into_iter().map(Into::into).collect())
    }

    /// Forgets a recipient; false where there is none.
    ///
    /// # Errors
    /// Nothing was changed.
    pub async fn delete_address(&self, pattern: &str, operator: &str) -> Result<bool, ApiError> {
        let request = wire::DeleteAddressRequest { pattern: pattern.to_owned(), operator: operator.to_owned() };
        Ok(self.asked(self.wire().delete_address(request)).await?.changed > 0)
    }
}

impl From<UserChange> for wire::PutUserRequest {
    fn from(change: UserChange) -> Self {
        Self {
            name: change.name,
            exists: change.exists,
            password: change.password.map(|password| password.expose().to_owned()),
            tenant: change.tenant.map(|tenant| tenant.0),
            enabled: change.enabled,
            senders: change.senders.map(|patterns| wire::SenderList { patterns }),
            operator: change.operator,
        }
    }
}

impl From<wire::PutUserRequest> for UserChange {
    fn from(request: wire::PutUserRequest) -> Self {
        Self {
            name: request.name,
            exists: request.exists,
            password: request.password.map(Secret::new),
            tenant: request.tenant.map(TenantId),
            enabled: request.enabled,
            senders: request.senders.map(|list| list.patterns),
            operator: request.operator,
        }
    }
}

impl From<wire::UserView> for UserView {
    fn from(user: wire::UserView) -> Self {
        Self {
            name: user.name,
            tenant: TenantId(user.tenant),
            senders: user.senders,
            enabled: user.enabled,
            changed_at: Timestamp::from_micros(user.changed_at_us),
        }
    }
}

impl From<UserView> for wire::UserView {
    fn from(user: UserView) -> Self {
        Self {
            name: user.name,
            tenant: user.tenant.0,
            senders: user.senders,
            enabled: user.enabled,
            changed_at_us: user.changed_at.as_micros(),
        }
    }
}
