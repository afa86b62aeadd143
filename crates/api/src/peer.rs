//! Between queue replicas: what one committed and another owns, and limits that they keep to together. See `proto/mailtier/v1/submit.proto`.

use mailtier_config::Secret;
use mailtier_types::{DeliveryId, Group, ReplicaId, ReversePath, TenantId, Timestamp};

use crate::channel::{Authenticated, connect};
use crate::convert::{delivery_id, priority, replica_id, sender};
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

/// What a replica tells the lessor of limits that all keep to together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceReport {
    /// Who.
    pub replica: ReplicaId,
    /// Stands for the replicas that it sees.
    pub view: u64,
    /// The lessor's term, as it last said since the replica sees these; 0: not yet.
    pub term: u64,
    /// Larger than in everything it told this lessor before.
    pub sequence: u64,
    /// It names every group of this lessor's of which it has something.
    pub is_whole: bool,
    /// What it has and needs.
    pub wishes: Vec<SliceWish>,
}

impl SliceReport {
    /// The most wishes of one report.
    pub const MAX_WISHES: usize = 10_000;
}

/// What a replica has of a group's limits, and needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceWish {
    /// Which group.
    pub group: Group,
    /// Its limit of attempts at a time.
    pub concurrency: Option<u32>,
    /// Its limit of attempts in a time: microseconds between two of a steady flow.
    pub interval_us: Option<i64>,
    /// Attempts at a time to which the replica keeps.
    pub holds: u32,
    /// Attempts under way.
    pub in_use: u32,
    /// Attempts that it could begin besides.
    pub wanted: u32,
    /// Attempts leased before that it gives back.
    pub unused: u32,
}

/// What a lessor answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SliceLease {
    /// Stands for the replicas that it sees.
    pub view: u64,
    /// Counts the lessor's views.
    pub term: u64,
    /// In the order of the wishes.
    pub slices: Vec<Slice>,
}

/// What may be had of a group's limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Slice {
    /// Attempts at a time.
    pub concurrency: u32,
    /// Attempts that may be begun.
    pub attempts: u32,
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

    /// Reports to a lessor. No answer: it has heard something newer.
    ///
    /// # Errors
    /// It cannot be reached; [`ApiError::NotFound`] where it is of a version that does not lease.
    pub async fn lease(&self, report: SliceReport) -> Result<Option<SliceLease>, ApiError> {
        let reply = self.inner.clone().lease(wire::LeaseRequest::from(report)).await?.into_inner();
        let slice = |slice: wire::Slice| Slice { concurrency: slice.concurrency, attempts: slice.attempts };
        let slices = || reply.slices.iter().copied().map(slice).collect();
        Ok((!reply.outdated).then(|| SliceLease { view: reply.view, term: reply.term, slices: slices() }))
    }
}

impl From<SliceReport> for wire::LeaseRequest {
    fn from(report: SliceReport) -> Self {
        let wish = |wish: SliceWish| wire::SliceWish {
            group: Some(match wish.group {
                Group::Tenant(tenant) => wire::slice_wish::Group::Tenant(tenant.0),
                Group::Provider(name) => wire::slice_wish::Group::Provider(name),
                Group::Pool(name) => wire::slice_wish::Group::Pool(name),
            }),
            concurrency: wish.concurrency,
            interval_us: wish.interval_us,
            holds: wish.holds,
            in_use: wish.in_use,
            wanted: wish.wanted,
            unused: wish.unused,
        };
        Self {
            replica: report.replica.as_bytes().to_vec().into(),
            view: report.view,
            term: report.term,
            sequence: report.sequence,
            whole: report.is_whole,
            wishes: report.wishes.into_iter().map(wish).collect(),
        }
    }
}

impl TryFrom<wire::LeaseRequest> for SliceReport {
    type Error = ApiError;

    fn try_from(request: wire::LeaseRequest) -> Result<Self, ApiError> {
        if request.wishes.len() > Self::MAX_WISHES {
            return Err(ApiError::invalid("wishes", format!("more than {}", Self::MAX_WISHES)));
        }
        Ok(Self {
            replica: replica_id(&request.replica)?,
            view: request.view,
            term: request.term,
            sequence: request.sequence,
            is_whole: request.whole,
            wishes: request.wishes.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
        })
    }
}

impl TryFrom<wire::SliceWish> for SliceWish {
    type Error = ApiError;

    fn try_from(wish: wire::SliceWish) -> Result<Self, ApiError> {
        let group = match wish.group.ok_or_else(|| ApiError::invalid("group", "is missing"))? {
            wire::slice_wish::Group::Tenant(tenant) => Group::Tenant(TenantId(tenant)),
            wire::slice_wish::Group::Provider(name) => Group::Provider(name),
            wire::slice_wish::Group::Pool(name) => Group::Pool(name),
        };
        if wish.interval_us.is_some_and(|interval| interval < 1) {
            return Err(ApiError::invalid("interval_us", "expected 1 or more"));
        }
        Ok(Self {
            group,
            concurrency: wish.concurrency,
            interval_us: wish.interval_us,
            holds: wish.holds,
            in_use: wish.in_use,
            wanted: wish.wanted,
            unused: wish.unused,
        })
    }
}

impl From<Option<SliceLease>> for wire::LeaseReply {
    fn from(lease: Option<SliceLease>) -> Self {
        let slice = |slice: Slice| wire::Slice { concurrency: slice.concurrency, attempts: slice.attempts };
        match lease {
            Some(lease) => {
                let slices = lease.slices.into_iter().map(slice).collect();
                Self { view: lease.view, term: lease.term, slices, outdated: false }
            }
            None => Self { outdated: true, ..Self::default() },
        }
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
