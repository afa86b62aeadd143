//! Operators' tokens as they are managed, within the admin API. Not responsible for what is kept of their secrets.

use std::time::Duration;

use mailtier_config::Secret;
use mailtier_types::Timestamp;

use crate::admin::AdminClient;
use crate::error::ApiError;
use crate::roles::{Caller, Role, role};
use crate::suspensions::lasting;
use crate::wire;

/// The longest name, in octets.
const MAX_NAME_OCTETS: usize = 64;

/// A token that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenOrder {
    /// What its changes are recorded under; see [`token_name`].
    pub name: String,
    /// What it lets its bearer do.
    pub role: Role,
    /// Whether it lets its bearer read contents without being an admin.
    pub content: bool,
    /// For how long; absent: until it is revoked.
    pub lasting: Option<Duration>,
    /// Who wants it.
    pub operator: String,
}

/// What is known of a token; its secret is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenView {
    /// What its changes are recorded under.
    pub name: String,
    /// What it lets its bearer do.
    pub role: Role,
    /// Whether it lets its bearer read contents without being an admin.
    pub content: bool,
    /// Who made it.
    pub operator: String,
    /// When.
    pub created_at: Timestamp,
    /// When it was shown last, to within some minutes.
    pub last_used_at: Option<Timestamp>,
    /// From when it is refused.
    pub expires_at: Option<Timestamp>,
}

/// A token just made.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// What its bearer shows. It is told once.
    pub secret: Secret,
    /// What stays known.
    pub view: TokenView,
}

/// What the queue itself did, in the history, where it held what worker after worker was lost with.
pub const OURSELVES: &str = "mailtier";
/// What a host did, in the history, by its ETRN (RFC 1985).
pub const ETRN: &str = "ETRN";

/// Whether a token can be called so: letters, digits, `.`, `_` and `-`, as it stands in the history, in logs and in
/// paths.
///
/// # Errors
/// [`ApiError::Invalid`] says why not.
pub fn token_name(name: &str) -> Result<(), ApiError> {
    let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || b"._-".contains(&octet);
    if name.is_empty() || name.len() > MAX_NAME_OCTETS || !name.bytes().all(is_plain) {
        let form = format!("expected 1 to {MAX_NAME_OCTETS} letters, digits, `.`, `_` or `-`, such as ci-bot");
        return Err(ApiError::invalid("name", format!("`{}`: {form}", name.escape_debug())));
    }
    if name == Caller::ROOT {
        return Err(ApiError::invalid("name", "`root` is the token of the configuration (cluster.admin_secret)"));
    }
    if [OURSELVES, ETRN].iter().any(|taken| name.eq_ignore_ascii_case(taken)) {
        return Err(ApiError::invalid("name", format!("`{name}` stands for the queue itself in the history")));
    }
    Ok(())
}

impl AdminClient {
    /// Makes a token.
    ///
    /// # Errors
    /// [`ApiError::Invalid`]: it cannot be called so, or there is one of this name. Else nothing usable was made.
    pub async fn create_token(&self, order: TokenOrder) -> Result<NewToken, ApiError> {
        let reply = self.asked(self.wire().create_token(wire::CreateTokenRequest::from(order))).await?;
        let view = reply.token.ok_or_else(|| ApiError::invalid("token", "is missing"))?.try_into()?;
        Ok(NewToken { secret: Secret::new(reply.secret), view })
    }

    /// A page of tokens after a name.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn list_tokens(&self, after: &str, limit: u32) -> Result<Vec<TokenView>, ApiError> {
        let request = wire::ListTokensRequest { after: after.to_owned(), limit };
        let reply = self.asked(self.wire().list_tokens(request)).await?;
        reply.tokens.into_iter().map(TryInto::try_into).collect()
    }

    /// Revokes a token; false where there is none. Every replica refuses it within seconds.
    ///
    /// # Errors
    /// Nothing was changed.
    pub async fn revoke_token(&self, name: &str, operator: &str) -> Result<bool, ApiError> {
        let request = wire::RevokeTokenRequest { name: name.to_owned(), operator: operator.to_owned() };
        Ok(self.asked(self.wire().revoke_token(request)).await?.changed > 0)
    }
}

impl From<TokenOrder> for wire::CreateTokenRequest {
    fn from(order: TokenOrder) -> Self {
        Self {
            name: order.name,
            role: wire::Role::from(order.role).into(),
            content: order.content,
            lasting_s: order.lasting.map(|lasting| lasting.as_secs()),
            operator: order.operator,
        }
    }
}

impl TryFrom<wire::CreateTokenRequest> for TokenOrder {
    type Error = ApiError;

    fn try_from(request: wire::CreateTokenRequest) -> Result<Self, ApiError> {
        token_name(&request.name)?;
        Ok(Self {
            name: request.name,
            role: role(request.role)?,
            content: request.content,
            lasting: lasting(request.lasting_s)?,
            operator: request.operator,
        })
    }
}

impl From<NewToken> for wire::CreateTokenReply {
    fn from(new: NewToken) -> Self {
        Self { secret: new.secret.expose().to_owned(), token: Some(new.view.into()) }
    }
}

impl From<TokenView> for wire::TokenView {
    fn from(view: TokenView) -> Self {
        Self {
            name: view.name,
            role: wire::Role::from(view.role).into(),
            content: view.content,
            operator: view.operator,
            created_at_us: view.created_at.as_micros(),
            last_used_at_us: view.last_used_at.map(Timestamp::as_micros),
            expires_at_us: view.expires_at.map(Timestamp::as_micros),
        }
    }
}

impl TryFrom<wire::TokenView> for TokenView {
    type Error = ApiError;

    fn try_from(view: wire::TokenView) -> Result<Self, ApiError> {
        Ok(Self {
            name: view.name,
            role: role(view.role)?,
            content: view.content,
            operator: view.operator,
            created_at: Timestamp::from_micros(view.created_at_us),
            last_used_at: view.last_used_at_us.map(Timestamp::from_micros),
            expires_at: view.expires_at_us.map(Timestamp::from_micros),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_and_none_passes_for_another() {
        for name in ["ci-bot", "a", "Alice.Laptop_2"] {
            assert!(token_name(name).is_ok(), "{name}");
        }
        for name in
            ["", "root", "mailtier", "etrn", "two words", "ci-bot (alice)", "a/b", "übel", "a\n", &"x".repeat(65)]
        {
            let refused = token_name(name).unwrap_err().to_string();
            assert!(refused.contains("name: `"), "{refused}");
        }
    }
}
