//! Suppression lists within the admin API: recipients that a tenant's mail is not sent to any more, until their time is over
//! or an operator takes them off. Not responsible for who is put on one by rule, nor for what becomes of mail to them.

use mailtier_types::{Mailbox, MessageId, TenantId, Timestamp};

use crate::admin::{AdminClient, MAX_ROWS};
use crate::convert::{message_id, tenant_id};
use crate::error::ApiError;
use crate::suspensions::reason;
use crate::wire;

/// The most recipients of one order.
pub const MAX_SUPPRESSIONS: usize = 1000;

/// A recipient as lists have it: the same however it is written. Nobody has two mailboxes that differ in case alone, and
/// who is suppressed as `User@example.com` does not want mail as `user@example.com` either.
///
/// # Errors
/// [`ApiError::Invalid`]: it is no address.
pub fn suppressed_address(text: &str) -> Result<String, ApiError> {
    let mailbox = Mailbox::parse(text)
        .map_err(|error| ApiError::invalid("address", format!("`{}`: {error}", text.escape_debug())))?;
    Ok(listed(&mailbox))
}

/// The same of an address.
#[must_use]
pub fn listed(mailbox: &Mailbox) -> String {
    mailbox.as_str().to_lowercase()
}

/// A recipient on a list, and what is known of that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suppression {
    /// Whose list.
    pub tenant: TenantId,
    /// In lower case.
    pub address: String,
    /// `failure`, `bounce`, `complaint` or `operator`; a newer version may know more.
    pub source: String,
    /// Why; may be empty.
    pub reason: String,
    /// Who put it there.
    pub operator: String,
    /// When.
    pub since: Timestamp,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
    /// What it follows from.
    pub message: Option<MessageId>,
}

/// A recipient to be put on a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSuppression {
    /// In lower case.
    pub address: String,
    /// Why; may be empty.
    pub reason: String,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
}

impl NewSuppression {
    /// Of an address as somebody writes it.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] says what is wrong.
    pub fn new(address: &str, why: String, until: Option<Timestamp>) -> Result<Self, ApiError> {
        Ok(Self { address: suppressed_address(address)?, reason: reason(why)?, until })
    }
}

/// Whom an operator wants on a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuppressOrder {
    /// Whose list.
    pub tenant: TenantId,
    /// At least one, at most [`MAX_SUPPRESSIONS`], each once.
    pub suppressions: Vec<NewSuppression>,
    /// Who wants it.
    pub operator: String,
}

impl SuppressOrder {
    /// The last that is said of a recipient counts.
    ///
    /// # Errors
    /// [`ApiError::Invalid`]: nobody is named, or too many.
    pub fn judged(mut self) -> Result<Self, ApiError> {
        match self.suppressions.len() {
            0 => return Err(ApiError::invalid("addresses", "are missing")),
            count if count > MAX_SUPPRESSIONS => {
                return Err(ApiError::invalid(
                    "addresses",
                    format!("{count} are more than {MAX_SUPPRESSIONS} at a time"),
                ));
            }
            _ => {}
        }
        self.suppressions.reverse();
        self.suppressions.sort_by(|one, other| one.address.cmp(&other.address));
        self.suppressions.dedup_by(|later, kept| later.address == kept.address);
        Ok(self)
    }
}

/// Which recipients are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SuppressionFilter {
    /// Of this tenant alone.
    pub tenant: Option<TenantId>,
    /// This one alone, in lower case.
    pub address: Option<String>,
}

/// A page of lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListSuppressions {
    /// Which.
    pub filter: SuppressionFilter,
    /// After this one.
    pub after: Option<(TenantId, String)>,
    /// At the most.
    pub limit: u32,
}

impl AdminClient {
    /// Puts recipients on a list, or replaces what was said of them; how many. It counts within seconds.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] says what cannot be, or nothing was changed.
    pub async fn suppress(&self, order: SuppressOrder) -> Result<u64, ApiError> {
        Ok(self.asked(self.wire().put_suppressions(wire::PutSuppressionsRequest::from(order))).await?.changed)
    }

    /// Takes a recipient off a list; false where it was not there.
    ///
    /// # Errors
    /// Nothing was changed.
    pub async fn unsuppress(&self, tenant: TenantId, address: String, operator: String) -> Result<bool, ApiError> {
        let request = wire::DeleteSuppressionRequest { tenant: tenant.0, address, operator };
        Ok(self.asked(self.wire().delete_suppression(request)).await?.changed > 0)
    }

    /// A page of who is on lists.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn list_suppressions(
        &self,
        filter: &SuppressionFilter,
        after: Option<(TenantId, String)>,
    ) -> Result<Vec<Suppression>, ApiError> {
        let (after_tenant, after_address) = after.map_or((None, String::new()), |(tenant, of)| (Some(tenant.0), of));
        let request = wire::ListSuppressionsRequest {
            tenant: filter.tenant.map(|tenant| tenant.0),
            address: filter.address.clone().unwrap_or_default(),
            after_tenant,
            after_address,
            limit: MAX_ROWS,
        };
        let page = self.asked(self.wire().list_suppressions(request)).await?.suppressions;
        page.into_iter().map(TryInto::try_into).collect()
    }
}

impl TryFrom<wire::ListSuppressionsRequest> for ListSuppressions {
    type Error = ApiError;

    fn try_from(request: wire::ListSuppressionsRequest) -> Result<Self, ApiError> {
        let address = Some(request.address).filter(|address| !address.is_empty());
        let after = request.after_tenant.map(tenant_id).transpose()?.map(|tenant| (tenant, request.after_address));
        Ok(Self {
            filter: SuppressionFilter {
                tenant: request.tenant.map(tenant_id).transpose()?,
                address: address.map(|address| suppressed_address(&address)).transpose()?,
            },
            after,
            limit: request.limit.clamp(1, MAX_ROWS),
        })
    }
}

impl From<SuppressOrder> for wire::PutSuppressionsRequest {
    fn from(order: SuppressOrder) -> Self {
        let one = |one: NewSuppression| wire::NewSuppression {
            address: one.address,
            reason: one.reason,
            until_us: one.until.map(Timestamp::as_micros),
        };
        Self {
            tenant: order.tenant.0,
            suppressions: order.suppressions.into_iter().map(one).collect(),
            operator: order.operator,
        }
    }
}

impl TryFrom<wire::PutSuppressionsRequest> for SuppressOrder {
    type Error = ApiError;

    fn try_from(request: wire::PutSuppressionsRequest) -> Result<Self, ApiError> {
        let one = |one: wire::NewSuppression| {
            NewSuppression::new(&one.address, one.reason, one.until_us.map(Timestamp::from_micros))
        };
        let tenant = tenant_id(request.tenant)?;
        // Too many are not looked at.
        let suppressions =
            request.suppressions.into_iter().take(MAX_SUPPRESSIONS + 1).map(one).collect::<Result<_, _>>()?;
        Self { tenant, suppressions, operator: request.operator }.judged()
    }
}

impl From<Suppression> for wire::SuppressionView {
    fn from(suppression: Suppression) -> Self {
        Self {
            tenant: suppression.tenant.0,
            address: suppression.address,
            source: suppression.source,
            reason: suppression.reason,
            operator: suppression.operator,
            since_us: suppression.since.as_micros(),
            until_us: suppression.until.map(Timestamp::as_micros),
            message_id: suppression.message.map(MessageId::as_i64).unwrap_or_default(),
        }
    }
}

impl TryFrom<wire::SuppressionView> for Suppression {
    type Error = ApiError;

    fn try_from(view: wire::SuppressionView) -> Result<Self, ApiError> {
        Ok(Self {
            tenant: tenant_id(view.tenant)?,
            address: view.address,
            source: view.source,
            reason: view.reason,
            operator: view.operator,
            since: Timestamp::from_micros(view.since_us),
            until: view.until_us.map(Timestamp::from_micros),
            message: Some(view.message_id).filter(|id| *id != 0).map(message_id).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(addresses: &[(&str, &str)]) -> Result<SuppressOrder, ApiError> {
        let one = |(address, reason): &(&str, &str)| wire::NewSuppression {
            address: (*address).to_owned(),
            reason: (*reason).to_owned(),
            until_us: None,
        };
        let suppressions = addresses.iter().map(one).collect();
        wire::PutSuppressionsRequest { tenant: 7, suppressions, operator: "alice".into() }.try_into()
    }

    #[test]
    fn a_recipient_is_the_same_however_it_is_written() {
        assert_eq!(suppressed_address("User+X@Bücher.Example").unwrap(), "user+x@xn--bcher-kva.example");
        assert!(suppressed_address("user").unwrap_err().to_string().contains("address: `user`"));
        let judged = order(&[("B@x.example", "first"), ("a@x.example", ""), ("b@X.example", "last")]).unwrap();
        let told: Vec<_> = judged.suppressions.iter().map(|one| (one.address.as_str(), one.reason.as_str())).collect();
        assert_eq!(told, [("a@x.example", ""), ("b@x.example", "last")]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        assert!(order(&[]).unwrap_err().to_string().contains("addresses: are missing"));
        assert!(
            order(&[("a@x.example", "two\nlines")]).unwrap_err().to_string().contains("reason: is more than one line")
        );
        let many: Vec<(String, &str)> = (0..1001).map(|number| (format!("a{number}@x.example"), "")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(address, reason)| (address.as_str(), *reason)).collect();
        assert!(order(&many).unwrap_err().to_string().contains("1001 are more than 1000"));
    }
}
