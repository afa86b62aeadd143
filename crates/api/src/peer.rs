//! Between queue replicas: what one committed and another owns. See `proto/mailtier/v1/submit.proto`.

use mailtier_config::Secret;
use mailtier_types::{DeliveryId, ReversePath, TenantId, Timestamp};

use crate::channel::{Authenticated, connect};
use crate::convert::{delivery_id, priority, sender};
use crate::error::ApiError;
use crate::wire;

/// A delivery that its owner should look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// Which.
    pub delivery: DeliveryId,
    /// Hence which shard.
    pub destination: String,
    /// Whose.
    pub tenant: TenantId,
    /// As in its envelope.
    pub priority: i16,
    /// When it is given up.
    pub expires_at: Timestamp,
    /// The reverse-path; replicas of earlier versions don't say.
    pub sender: Option<ReversePath>,
    /// It is held, or over: nothing need be done by who does not have it in memory.
    pub withdrawn: bool,
}

/// A connection to another replica.
#[derive(Debug, Clone)]
pub struct PeerClient {
    inner: wire::peer_client::PeerClient<Authenticated>,
}

impl PeerClient {
    /// Connects to `http://host:port`.
    ///
    /// # Errors
    /// The endpoint is no URL, or nothing answers there.
    pub async fn connect(endpoint: &str, token: Option<&Secret>) -> Result<Self, ApiError> {
        Ok(Self { inner: wire::peer_client::PeerClient::new(connect(endpoint, token).await?) })
    }

    /// Tells of deliveries. Hints may be lost.
    ///
    /// # Errors
    /// They were not taken.
    pub async fn hint(&self, hints: Vec<Hint>) -> Result<(), ApiError> {
        let hint = |hint: Hint| wire::Hint {
            delivery_id: hint.delivery.as_i64(),
            destination: hint.destination,
            tenant: hint.tenant.0,
            priority: i32::from(hint.priority),
            expires_at_us: hint.expires_at.as_micros(),
            sender: hint.sender.map(|sender| sender.as_str().to_owned()),
            withdrawn: hint.withdrawn,
        };
        let request = wire::HintRequest { hints: hints.into_iter().map(hint).collect() };
        self.inner.clone().hint(request).await?;
        Ok(())
    }
}

impl TryFrom<wire::Hint> for Hint {
    type Error = ApiError;

    fn try_from(hint: wire::Hint) -> Result<Self, ApiError> {
        Ok(Self {
            delivery: delivery_id(hint.delivery_id)?,
            destination: hint.destination,
            tenant: TenantId(hint.tenant),
            priority: priority(hint.priority)?,
            expires_at: Timestamp::from_micros(hint.expires_at_us),
            sender: hint.sender.as_deref().map(sender).transpose()?,
            withdrawn: hint.withdrawn,
        })
    }
}
