//! Between queue replicas: what one committed and another owns, and limits that they keep to together. See
//! `proto/mailtier/v1/submit.proto`.

use mailtier_tls::Renewal;
use mailtier_types::{DeliveryId, Group, ReversePath, Slice, SliceLease, SliceReport, SliceWish, TenantId, Timestamp};

use crate::channel::{Authenticated, connect};
use crate::convert::{delivery_id, priority, replica_id, sender};
use crate::credentials::Credentials;
use crate::error::ApiError;
use crate::wire;

/// What is new about a delivery that its owner is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// It was accepted. (Replicas of earlier versions say so of what an operator has changed, too.)
    Accepted,
    /// An operator has changed it: what of it counts now is in the table.
    Changed,
    /// It is held, or over: nothing need be done by who does not have it in memory.
    Withdrawn,
    /// Its destination is said to answer again.
    Answers,
}

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
    /// Why.
    pub news: News,
}

/// A connection to another replica.
#[derive(Debug, Clone)]
pub struct PeerClient {
    inner: wire::peer_client::PeerClient<Authenticated>,
    renewal: Renewal,
}

impl PeerClient {
    /// Connects to `http://host:port`, or to `https://host:port` where the credentials have TLS.
    ///
    /// # Errors
    /// The endpoint is no URL, or nothing answers there.
    pub async fn connect(endpoint: &str, credentials: impl Into<Credentials>) -> Result<Self, ApiError> {
        let (channel, renewal) = connect(endpoint, &credentials.into()).await?;
        Ok(Self { inner: wire::peer_client::PeerClient::new(channel), renewal })
    }

    /// When the connection is better made anew.
    #[must_use]
    pub const fn renewal(&self) -> &Renewal {
        &self.renewal
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
            // Those who know no other word look at it again, and no more.
            withdrawn: matches!(hint.news, News::Withdrawn | News::Answers),
            changed: hint.news == News::Changed,
            answers: hint.news == News::Answers,
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
            news: match (hint.answers, hint.withdrawn, hint.changed) {
                (true, ..) => News::Answers,
                (_, true, _) => News::Withdrawn,
                (.., true) => News::Changed,
                _ => News::Accepted,
            },
        })
    }
}
