//! Accounts, from inbound to any queue replica: users, recipients, ETRN. See `proto/mailtier/v1/accounts.proto`.

use std::fmt;

use bytes::Bytes;
use mailtier_config::Secret;
use mailtier_tls::Renewal;
use mailtier_types::TenantId;

use crate::channel::{Authenticated, connect};
use crate::credentials::Credentials;
use crate::error::ApiError;
use crate::wire;

/// A user who may log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// What the user logs in with.
    pub name: String,
    /// Whose user it is.
    pub tenant: TenantId,
    /// Addresses the user may send from: `user@example.com`, `@example.com` or `*`.
    pub senders: Vec<String>,
}

/// What became of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// It is this user.
    User(Account),
    /// Wrong, unknown or disabled; which is not said.
    Invalid,
    /// Too many failures of late: nothing was checked.
    Limited,
}

/// What a SCRAM login begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScramSalt {
    /// Of a user, who need not exist.
    Salt {
        /// Salt.
        salt: Vec<u8>,
        /// How often the password is hashed.
        iterations: u32,
    },
    /// Too many failures of late: nothing is checked.
    Limited,
}

/// What a client proves in SCRAM.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramProof {
    /// Who it says it is.
    pub name: String,
    /// Whose failures count.
    pub client: String,
    /// What was signed.
    pub auth_message: Vec<u8>,
    /// The proof.
    pub proof: [u8; 32],
}

impl fmt::Debug for ScramProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramProof").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The verdict on a SCRAM proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScramVerdict {
    /// What became of the login.
    pub login: Login,
    /// What proves the server to the client; meaningful where the login succeeded.
    pub server_signature: [u8; 32],
}

/// A known recipient, or a domain's, and who gets its mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// `user@example.com` or `@example.com`.
    pub pattern: String,
    /// Empty: the recipient itself.
    pub targets: Vec<String>,
}

/// What a tenant's suppression list says of a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundSuppression {
    /// Nobody is on the list.
    Nobody,
    /// It is not on the list; others are.
    NotListed,
    /// It is on the list, for this reason.
    Listed(String),
}

/// A connection to a replica.
#[derive(Debug, Clone)]
pub struct AccountsClient {
    inner: wire::accounts_client::AccountsClient<Authenticated>,
    renewal: Renewal,
}

impl AccountsClient {
    /// Connects to `http://host:port`, or to `https://host:port` where the credentials have TLS.
    ///
    /// # Errors
    /// The endpoint is no URL, or nothing answers there.
    pub async fn connect(endpoint: &str, credentials: impl Into<Credentials>) -> Result<Self, ApiError> {
        let (channel, renewal) = connect(endpoint, &credentials.into()).await?;
        Ok(Self { inner: wire::accounts_client::AccountsClient::new(channel), renewal })
    }

    /// When the connection is better made anew.
    #[must_use]
    pub const fn renewal(&self) -> &Renewal {
        &self.renewal
    }

    /// Whether a password is a user's.
    ///
    /// # Errors
    /// It could not be checked.
    pub async fn check_password(&self, name: &str, password: &Secret, client: &str) -> Result<Login, ApiError> {
        let request = wire::CheckPasswordRequest {
            name: name.to_owned(),
            password: password.expose().to_owned(),
            client: client.to_owned(),
        };
        login(self.inner.clone().check_password(request).await?.into_inner())
    }

    /// What a SCRAM login of a user begins with.
    ///
    /// # Errors
    /// It could not be found out.
    pub async fn begin_scram(&self, name: &str, client: &str) -> Result<ScramSalt, ApiError> {
        let request = wire::BeginScramRequest { name: name.to_owned(), client: client.to_owned() };
        let reply = self.inner.clone().begin_scram(request).await?.into_inner();
        if reply.limited {
            return Ok(ScramSalt::Limited);
        }
        Ok(ScramSalt::Salt { salt: reply.salt.to_vec(), iterations: reply.iterations })
    }

    /// Whether a proof is a user's.
    ///
    /// # Errors
    /// It could not be checked.
    pub async fn finish_scram(&self, proof: ScramProof) -> Result<ScramVerdict, ApiError> {
        let reply = self.inner.clone().finish_scram(wire::FinishScramRequest::from(proof)).await?.into_inner();
        let server_signature = reply.server_signature.as_ref().try_into().unwrap_or([0; 32]);
        Ok(ScramVerdict { login: login(reply)?, server_signature })
    }

    /// The user of a login that was proved otherwise.
    ///
    /// # Errors
    /// It could not be found out.
    pub async fn find_account(&self, name: &str) -> Result<Login, ApiError> {
        let request = wire::FindAccountRequest { name: name.to_owned() };
        login(self.inner.clone().find_account(request).await?.into_inner())
    }

    /// Which of these patterns are known.
    ///
    /// # Errors
    /// It could not be found out.
    pub async fn find_addresses(&self, patterns: Vec<String>) -> Result<Vec<Address>, ApiError> {
        let reply = self.inner.clone().find_addresses(wire::FindAddressesRequest { patterns }).await?.into_inner();
        Ok(reply.addresses.into_iter().map(Into::into).collect())
    }

    /// Attempts what waits for a destination now, and says how much that is.
    ///
    /// # Errors
    /// It could not be done.
    pub async fn start_queue(&self, destination: &str) -> Result<u64, ApiError> {
        let request = wire::StartQueueRequest { destination: destination.to_owned() };
        Ok(self.inner.clone().start_queue(request).await?.into_inner().started)
    }

    /// Whether a recipient is on a tenant's suppression list.
    ///
    /// # Errors
    /// [`ApiError::NotFound`]: the replica has no such lists, for it is of an earlier version. Others: it could not be found
    /// out.
    pub async fn find_suppression(&self, tenant: TenantId, recipient: &str) -> Result<FoundSuppression, ApiError> {
        let request = wire::FindSuppressionRequest { tenant: tenant.0, recipient: recipient.to_owned() };
        let reply = self.inner.clone().find_suppression(request).await?.into_inner();
        Ok(match (reply.has_any, reply.suppressed) {
            (_, true) => FoundSuppression::Listed(reply.reason),
            (true, false) => FoundSuppression::NotListed,
            (false, false) => FoundSuppression::Nobody,
        })
    }
}

fn login(reply: wire::LoginReply) -> Result<Login, ApiError> {
    match reply.result {
        Some(wire::login_reply::Result::Account(account)) => {
            Ok(Login::User(Account { name: account.name, tenant: TenantId(account.tenant), senders: account.senders }))
        }
        Some(wire::login_reply::Result::Refusal(refusal)) => match wire::LoginRefusal::try_from(refusal) {
            Ok(wire::LoginRefusal::Limited) => Ok(Login::Limited),
            // What is not known lets nobody in.
            _ => Ok(Login::Invalid),
        },
        None => Err(ApiError::invalid("result", "is missing")),
    }
}

impl From<Login> for wire::LoginReply {
    fn from(login: Login) -> Self {
        let result = match login {
            Login::User(account) => wire::login_reply::Result::Account(wire::Account {
                name: account.name,
                tenant: account.tenant.0,
                senders: account.senders,
            }),
            Login::Invalid => wire::login_reply::Result::Refusal(wire::LoginRefusal::Invalid.into()),
            Login::Limited => wire::login_reply::Result::Refusal(wire::LoginRefusal::Limited.into()),
        };
        Self { result: Some(result), server_signature: Bytes::new() }
    }
}

impl From<FoundSuppression> for wire::FindSuppressionReply {
    fn from(found: FoundSuppression) -> Self {
        let has_any = found != FoundSuppression::Nobody;
        match found {
            FoundSuppression::Listed(reason) => Self { has_any, suppressed: true, reason },
            FoundSuppression::NotListed | FoundSuppression::Nobody => Self { has_any, ..Self::default() },
        }
    }
}

impl From<ScramProof> for wire::FinishScramRequest {
    fn from(proof: ScramProof) -> Self {
        Self {
            name: proof.name,
            client: proof.client,
            auth_message: proof.auth_message.into(),
            proof: Bytes::copy_from_slice(&proof.proof),
        }
    }
}

impl TryFrom<wire::FinishScramRequest> for ScramProof {
    type Error = ApiError;

    fn try_from(request: wire::FinishScramRequest) -> Result<Self, ApiError> {
        Ok(Self {
            name: request.name,
            client: request.client,
            auth_message: request.auth_message.to_vec(),
            proof: request.proof.as_ref().try_into().map_err(|_| ApiError::invalid("proof", "expected 32 octets"))?,
        })
    }
}

impl From<wire::Address> for Address {
    fn from(address: wire::Address) -> Self {
        Self { pattern: address.pattern, targets: address.targets }
    }
}

impl From<Address> for wire::Address {
    fn from(address: Address) -> Self {
        Self { pattern: address.pattern, targets: address.targets }
    }
}
