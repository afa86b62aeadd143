//! What an operator changes about deliveries: the order, its answer and the operator's side. See
//! `proto/mailtier/v1/admin.proto`. Not responsible for how deliveries are found that are meant.

use mailtier_config::expected;
use mailtier_types::RouteHost;

use crate::admin::{AdminClient, DeliveryView, MAX_ROWS};
use crate::convert::{MAX_ROUTE_HOSTS, route_hosts};
use crate::error::ApiError;
use crate::filter::{self, Filter};
use crate::suspensions::reason;
use crate::wire;

/// A change of a delivery that is queued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryChange {
    /// Neither attempt it nor give it up for its age, until it is released.
    Hold,
    /// Let what is held go on. The time on hold does not count for its lifetime.
    Release,
    /// Attempt it before its time.
    RetryNow,
    /// Give it up, and tell its sender.
    Bounce,
    /// Take it out, and tell nobody.
    Delete,
    /// Where its next attempts go, in this order; its own way again, where none is named.
    Reroute(Vec<RouteHost>),
}

impl DeliveryChange {
    /// The name in logs, and of the command.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Release => "release",
            Self::RetryNow => "retry",
            Self::Bounce => "bounce",
            Self::Delete => "delete",
            Self::Reroute(_) => "route",
        }
    }

    /// All names.
    pub const NAMES: &'static [&'static str] = &["hold", "release", "retry", "bounce", "delete", "route"];

    /// From its name; `hosts` are for `route` alone, and none mean the deliveries' own way.
    ///
    /// # Errors
    /// [`ApiError::Invalid`]: there is no such change, or a host is none.
    pub fn parse(name: &str, hosts: &[String]) -> Result<Self, ApiError> {
        let change = match name {
            "hold" => Self::Hold,
            "release" => Self::Release,
            "retry" => Self::RetryNow,
            "bounce" => Self::Bounce,
            "delete" => Self::Delete,
            "route" => return Ok(Self::Reroute(route_hosts(hosts)?)),
            _ => return Err(ApiError::invalid("change", format!("`{name}`: {}", expected(name, Self::NAMES)))),
        };
        if hosts.is_empty() {
            return Ok(change);
        }
        Err(ApiError::invalid("hosts", format!("to {name} needs none")))
    }

    /// A change of the way, to these hosts as an operator writes them.
    ///
    /// # Errors
    /// [`ApiError::Invalid`]: one is none, or there are too many or none.
    pub fn reroute(hosts: &[impl AsRef<str>]) -> Result<Self, ApiError> {
        let hosts: Vec<String> = hosts.iter().map(|host| host.as_ref().to_owned()).collect();
        if hosts.is_empty() {
            return Err(ApiError::invalid("hosts", format!("name 1 to {MAX_ROUTE_HOSTS} hosts")));
        }
        Ok(Self::Reroute(route_hosts(&hosts)?))
    }
}

/// What an operator wants changed, of a part of the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeOrder {
    /// Which deliveries are meant.
    pub filter: Filter,
    /// All are, where the filter says nothing.
    pub all: bool,
    /// What is changed.
    pub change: DeliveryChange,
    /// Who wants it.
    pub operator: String,
    /// Why: for the history, and for the senders of what is bounced. One line; may be empty.
    pub reason: String,
    /// Only deliveries after this id; 0 from the beginning.
    pub after: i64,
    /// Nothing is changed.
    pub dry_run: bool,
    /// So many of those that would be changed are shown, where nothing is.
    pub show: u32,
}

/// What one call came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangeAnswer {
    /// Deliveries that were looked at.
    pub looked_at: u64,
    /// Of these, those that are meant.
    pub matched: u64,
    /// Of these, those that were changed, or would be: the others are so already, or cannot be.
    pub changed: u64,
    /// To be passed as `after` for the next call; 0 at the end.
    pub next: i64,
    /// The first of those that would be changed.
    pub first: Vec<DeliveryView>,
}

impl AdminClient {
    /// Changes a bounded part of what is meant, in batches that are changed as a whole or not at all. To be called again
    /// with `after` until there is nothing more.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] says what cannot be meant. Otherwise some batches may be changed: to order it again changes
    /// what is left.
    pub async fn change(&self, order: ChangeOrder) -> Result<ChangeAnswer, ApiError> {
        self.asked(self.wire().change_deliveries(wire::ChangeDeliveriesRequest::from(order))).await?.try_into()
    }
}

impl ChangeOrder {
    /// It says what is meant, and nothing is longer than it may be.
    pub(crate) fn judged(self) -> Result<Self, ApiError> {
        if self.filter.is_empty() != self.all {
            return Err(ApiError::invalid("filter", "say which deliveries are meant, or all: exactly one of them"));
        }
        if self.show > MAX_ROWS {
            return Err(ApiError::invalid("show", format!("{} is more than {MAX_ROWS}", self.show)));
        }
        Ok(Self { reason: reason(self.reason)?, ..self })
    }
}

impl From<ChangeOrder> for wire::ChangeDeliveriesRequest {
    fn from(order: ChangeOrder) -> Self {
        let (change, hosts) = match order.change {
            DeliveryChange::Hold => (wire::DeliveryChange::Hold, Vec::new()),
            DeliveryChange::Release => (wire::DeliveryChange::Release, Vec::new()),
            DeliveryChange::RetryNow => (wire::DeliveryChange::RetryNow, Vec::new()),
            DeliveryChange::Bounce => (wire::DeliveryChange::Bounce, Vec::new()),
            DeliveryChange::Delete => (wire::DeliveryChange::Delete, Vec::new()),
            DeliveryChange::Reroute(hosts) => (wire::DeliveryChange::Reroute, hosts),
        };
        Self {
            filter: Some((&order.filter).into()),
            all: order.all,
            change: change.into(),
            hosts: hosts.iter().map(ToString::to_string).collect(),
            operator: order.operator,
            reason: order.reason,
            after: order.after,
            dry_run: order.dry_run,
            show: order.show,
        }
    }
}

impl TryFrom<wire::ChangeDeliveriesRequest> for ChangeOrder {
    type Error = ApiError;

    fn try_from(request: wire::ChangeDeliveriesRequest) -> Result<Self, ApiError> {
        let filter = filter::filter(request.filter)?;
        Self {
            filter,
            all: request.all,
            change: change(request.change, &request.hosts)?,
            operator: request.operator,
            reason: request.reason,
            after: request.after,
            dry_run: request.dry_run,
            show: request.show,
        }
        .judged()
    }
}

fn change(value: i32, hosts: &[String]) -> Result<DeliveryChange, ApiError> {
    let name = match wire::DeliveryChange::try_from(value) {
        Ok(wire::DeliveryChange::Hold) => "hold",
        Ok(wire::DeliveryChange::Release) => "release",
        Ok(wire::DeliveryChange::RetryNow) => "retry",
        Ok(wire::DeliveryChange::Bounce) => "bounce",
        Ok(wire::DeliveryChange::Delete) => "delete",
        Ok(wire::DeliveryChange::Reroute) => "route",
        Ok(wire::DeliveryChange::Unspecified) => return Err(ApiError::invalid("change", "is missing")),
        Err(_) => return Err(ApiError::invalid("change", format!("{value} is unknown"))),
    };
    DeliveryChange::parse(name, hosts)
}

impl From<ChangeAnswer> for wire::ChangeDeliveriesReply {
    fn from(answer: ChangeAnswer) -> Self {
        Self {
            looked_at: answer.looked_at,
            matched: answer.matched,
            changed: answer.changed,
            next: answer.next,
            first: answer.first.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<wire::ChangeDeliveriesReply> for ChangeAnswer {
    type Error = ApiError;

    fn try_from(reply: wire::ChangeDeliveriesReply) -> Result<Self, ApiError> {
        Ok(Self {
            looked_at: reply.looked_at,
            matched: reply.matched,
            changed: reply.changed,
            next: reply.next,
            first: reply.first.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use mailtier_types::MessageId;

    use super::*;

    fn order(change: DeliveryChange) -> ChangeOrder {
        ChangeOrder {
            filter: Filter::of(vec![MessageId::from_i64(7).unwrap()]),
            all: false,
            change,
            operator: "alice".into(),
            reason: "they asked".into(),
            after: 9,
            dry_run: true,
            show: 5,
        }
    }

    fn refusal(change: impl FnOnce(&mut wire::ChangeDeliveriesRequest)) -> String {
        let mut request = wire::ChangeDeliveriesRequest::from(order(DeliveryChange::Hold));
        change(&mut request);
        ChangeOrder::try_from(request).unwrap_err().to_string()
    }

    #[test]
    fn an_order_arrives_as_it_was_meant() {
        let way = DeliveryChange::reroute(&["relay.example:2525", "[2001:db8::1]:25"]).unwrap();
        let own_way = DeliveryChange::Reroute(Vec::new());
        let all = [DeliveryChange::Hold, DeliveryChange::Release, DeliveryChange::RetryNow, DeliveryChange::Bounce];
        for change in all.into_iter().chain([DeliveryChange::Delete, way, own_way]) {
            assert!(DeliveryChange::NAMES.contains(&change.name()));
            let order = order(change);
            assert_eq!(ChangeOrder::try_from(wire::ChangeDeliveriesRequest::from(order.clone())).unwrap(), order);
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        assert!(refusal(|request| request.filter = None).contains("filter: say which deliveries are meant, or all"));
        assert!(refusal(|request| request.all = true).contains("exactly one"));
        assert!(refusal(|request| request.reason = "two\nlines".into()).contains("reason: is more than one line"));
        assert!(refusal(|request| request.reason = "x".repeat(501)).contains("reason: is longer than 500"));
        assert!(refusal(|request| request.change = 0).contains("change: is missing"));
        assert!(refusal(|request| request.change = 99).contains("change: 99 is unknown"));
        assert!(refusal(|request| request.hosts = vec!["a".into()]).contains("hosts: to hold needs none"));
        assert!(refusal(|request| request.show = 1001).contains("show: 1001"));
        let rerouted = |hosts: Vec<String>| {
            refusal(|request| (request.change, request.hosts) = (wire::DeliveryChange::Reroute.into(), hosts))
        };
        assert!(rerouted(vec!["relay:port".into()]).contains("\"relay:port\" is not a host: expected host, host:port"));
        assert!(rerouted(vec!["a".into(); 17]).contains("17 are more than 16"));
        assert!(DeliveryChange::reroute(&[] as &[&str]).unwrap_err().to_string().contains("name 1 to 16"));
    }
}
