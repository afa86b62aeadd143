//! Suspensions within the admin API: of what nothing new is attempted, for the whole installation, until an operator
//! resumes it or its time is over.

use std::fmt;
use std::time::Duration;

use mailtier_types::{Domain, TenantId, Timestamp};

use crate::admin::{AdminClient, DeliveryView, MAX_ROWS};
use crate::convert::tenant_id;
use crate::error::ApiError;
use crate::text::line;
use crate::wire;

/// The longest reason, in octets.
const MAX_REASON_OCTETS: usize = 500;
/// The longest name of a provider, in octets.
const MAX_NAME_OCTETS: usize = 255;
/// What everything is called.
const ALL_MAIL: &str = "mail";
/// What is to last longer is better resumed by somebody.
const LONGEST: Duration = Duration::from_secs(3650 * 86_400);

/// The operator of a suspension that a queue began with (`queue.start_paused`).
pub const STARTED_PAUSED: &str = "queue.start_paused";

/// What is suspended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// A destination, as deliveries have it.
    Destination(Domain),
    /// All destinations of a provider, by its name.
    Provider(String),
    /// What a tenant sends.
    Tenant(TenantId),
    /// What goes through an egress pool, by its name.
    Pool(String),
    /// All mail: then nothing is given up for its age either.
    Everything,
}

impl Scope {
    /// What there is.
    pub const KINDS: &'static [&'static str] = &["destination", "provider", "tenant", "pool", "everything"];

    /// `destination`, `provider`, `tenant`, `pool` or `everything`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Destination(_) => "destination",
            Self::Provider(_) => "provider",
            Self::Tenant(_) => "tenant",
            Self::Pool(_) => "pool",
            Self::Everything => "everything",
        }
    }

    /// Its name, or its number as text; `mail` for everything.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Destination(domain) => domain.to_string(),
            Self::Provider(name) | Self::Pool(name) => name.clone(),
            Self::Tenant(tenant) => tenant.0.to_string(),
            Self::Everything => ALL_MAIL.to_owned(),
        }
    }

    /// A destination, in any case, with U-labels or A-labels.
    ///
    /// # Errors
    /// [`ApiError::Invalid`]: it is no domain.
    pub fn destination(text: &str) -> Result<Self, ApiError> {
        let domain = Domain::parse(text).map_err(|error| {
            ApiError::invalid("destination", format!("`{text}`: {error}; expected a domain such as example.com"))
        })?;
        Ok(Self::Destination(domain))
    }

    /// A provider.
    ///
    /// # Errors
    /// [`ApiError::Invalid`]: nobody can be named so.
    pub fn provider(name: &str) -> Result<Self, ApiError> {
        line("provider", name, 1..=MAX_NAME_OCTETS)?;
        Ok(Self::Provider(name.to_owned()))
    }

    /// A tenant.
    ///
    /// # Errors
    /// [`ApiError::Invalid`]: it is negative.
    pub fn tenant(number: i32) -> Result<Self, ApiError> {
        tenant_id(number).map(Self::Tenant)
    }

    /// An egress pool.
    ///
    /// # Errors
    /// [`ApiError::Invalid`]: none can be named so.
    pub fn pool(name: &str) -> Result<Self, ApiError> {
        line("pool", name, 1..=MAX_NAME_OCTETS)?;
        Ok(Self::Pool(name.to_owned()))
    }

    /// Whether a delivery waits for it to be resumed. Whose provider it is, and through which pool it goes, is not known of
    /// a delivery.
    #[must_use]
    pub fn holds(&self, view: &DeliveryView) -> bool {
        match self {
            Self::Destination(domain) => domain.as_str() == view.destination,
            Self::Tenant(tenant) => *tenant == view.tenant,
            Self::Provider(_) | Self::Pool(_) => false,
            Self::Everything => true,
        }
    }

    /// From what [`Self::kind`] and [`Self::name`] say.
    ///
    /// # Errors
    /// [`ApiError::Invalid`]: there is no such kind, or it cannot have this name.
    pub fn parse(kind: &str, name: &str) -> Result<Self, ApiError> {
        match kind {
            "destination" => Self::destination(name),
            "provider" => Self::provider(name),
            "pool" => Self::pool(name),
            "tenant" => {
                let number = name.parse().map_err(|_| ApiError::invalid("tenant", format!("`{name}` is no number")))?;
                Self::tenant(number)
            }
            "everything" if name == ALL_MAIL => Ok(Self::Everything),
            "everything" => Err(ApiError::invalid("name", format!("`{name}`: everything is called `{ALL_MAIL}`"))),
            _ => Err(ApiError::invalid("kind", format!("`{kind}` is not known"))),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.name())
    }
}

/// What an operator wants suspended. Said again, it replaces what was said before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuspendOrder {
    /// What.
    pub scope: Scope,
    /// Why; may be empty.
    pub reason: String,
    /// For how long; absent: until it is resumed.
    pub lasting: Option<Duration>,
    /// Who wants it.
    pub operator: String,
}

/// What an operator wants resumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumeOrder {
    /// What.
    pub scope: Scope,
    /// Who wants it.
    pub operator: String,
}

/// What is suspended, and what is known of that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspension {
    /// What.
    pub scope: Scope,
    /// Why; may be empty.
    pub reason: String,
    /// Who wanted it.
    pub operator: String,
    /// When that was said.
    pub since: Timestamp,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
}

impl AdminClient {
    /// Suspends something. The replica that is asked begins nothing more of it from now on, the others within
    /// `queue.renew_every`.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] says what cannot be suspended, or nothing was changed.
    pub async fn suspend(&self, order: SuspendOrder) -> Result<(), ApiError> {
        self.asked(self.wire().suspend(wire::SuspendRequest::from(order))).await?;
        Ok(())
    }

    /// Resumes something; false where it was not suspended.
    ///
    /// # Errors
    /// Nothing was changed.
    pub async fn resume(&self, order: ResumeOrder) -> Result<bool, ApiError> {
        Ok(self.asked(self.wire().resume(wire::ResumeRequest::from(order))).await?.changed > 0)
    }

    /// All that is suspended, asked for by pages.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn list_suspensions(&self) -> Result<Vec<Suspension>, ApiError> {
        let mut suspensions: Vec<Suspension> = Vec::new();
        loop {
            let after = suspensions.last().map(|last| (&last.scope).into());
            let request = wire::ListSuspensionsRequest { after, limit: MAX_ROWS };
            let page = self.asked(self.wire().list_suspensions(request)).await?.suspensions;
            let is_last = page.len() < MAX_ROWS as usize;
            for suspension in page {
                suspensions.push(suspension.try_into()?);
            }
            if is_last {
                return Ok(suspensions);
            }
        }
    }
}

fn scope(scope: Option<wire::Scope>) -> Result<Scope, ApiError> {
    match scope.and_then(|scope| scope.what) {
        Some(wire::scope::What::Destination(name)) => Scope::destination(&name),
        Some(wire::scope::What::Provider(name)) => Scope::provider(&name),
        Some(wire::scope::What::Tenant(number)) => Scope::tenant(number),
        Some(wire::scope::What::Pool(name)) => Scope::pool(&name),
        Some(wire::scope::What::Everything(true)) => Ok(Scope::Everything),
        Some(wire::scope::What::Everything(false)) | None => {
            Err(ApiError::invalid("scope", "name a destination, a provider, a tenant, a pool or everything"))
        }
    }
}

/// Why something is done.
pub(crate) fn reason(text: String) -> Result<String, ApiError> {
    line("reason", &text, 0..=MAX_REASON_OCTETS)?;
    Ok(text)
}

/// How long something is to last.
pub(crate) fn lasting(seconds: Option<u64>) -> Result<Option<Duration>, ApiError> {
    let lasting = seconds.map(Duration::from_secs);
    if lasting.is_some_and(|lasting| lasting.is_zero() || lasting > LONGEST) {
        return Err(ApiError::invalid("lasting_s", format!("expected 1 to {}", LONGEST.as_secs())));
    }
    Ok(lasting)
}

impl From<&Scope> for wire::Scope {
    fn from(scope: &Scope) -> Self {
        let what = match scope {
            Scope::Destination(domain) => wire::scope::What::Destination(domain.to_string()),
            Scope::Provider(name) => wire::scope::What::Provider(name.clone()),
            Scope::Tenant(tenant) => wire::scope::What::Tenant(tenant.0),
            Scope::Pool(name) => wire::scope::What::Pool(name.clone()),
            Scope::Everything => wire::scope::What::Everything(true),
        };
        Self { what: Some(what) }
    }
}

impl From<SuspendOrder> for wire::SuspendRequest {
    fn from(order: SuspendOrder) -> Self {
        Self {
            scope: Some((&order.scope).into()),
            reason: order.reason,
            lasting_s: order.lasting.map(|lasting| lasting.as_secs()),
            operator: order.operator,
        }
    }
}

impl TryFrom<wire::SuspendRequest> for SuspendOrder {
    type Error = ApiError;

    fn try_from(request: wire::SuspendRequest) -> Result<Self, ApiError> {
        Ok(Self {
            scope: scope(request.scope)?,
            reason: reason(request.reason)?,
            lasting: lasting(request.lasting_s)?,
            operator: request.operator,
        })
    }
}

impl From<ResumeOrder> for wire::ResumeRequest {
    fn from(order: ResumeOrder) -> Self {
        Self { scope: Some((&order.scope).into()), operator: order.operator }
    }
}

impl TryFrom<wire::ResumeRequest> for ResumeOrder {
    type Error = ApiError;

    fn try_from(request: wire::ResumeRequest) -> Result<Self, ApiError> {
        Ok(Self { scope: scope(request.scope)?, operator: request.operator })
    }
}

/// Where a page begins.
pub(crate) fn page_after(request: Option<wire::Scope>) -> Result<Option<Scope>, ApiError> {
    request.map(|after| scope(Some(after))).transpose()
}

impl From<Suspension> for wire::SuspensionView {
    fn from(suspension: Suspension) -> Self {
        Self {
            scope: Some((&suspension.scope).into()),
            reason: suspension.reason,
            operator: suspension.operator,
            since_us: suspension.since.as_micros(),
            until_us: suspension.until.map(Timestamp::as_micros),
        }
    }
}

impl TryFrom<wire::SuspensionView> for Suspension {
    type Error = ApiError;

    fn try_from(view: wire::SuspensionView) -> Result<Self, ApiError> {
        Ok(Self {
            scope: scope(view.scope)?,
            reason: view.reason,
            operator: view.operator,
            since: Timestamp::from_micros(view.since_us),
            until: view.until_us.map(Timestamp::from_micros),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(change: impl FnOnce(&mut wire::SuspendRequest)) -> String {
        let scope = Some((&Scope::Tenant(TenantId(7))).into());
        let (reason, operator) = ("they asked".to_owned(), "alice".to_owned());
        let mut request = wire::SuspendRequest { scope, reason, lasting_s: Some(60), operator };
        change(&mut request);
        SuspendOrder::try_from(request).unwrap_err().to_string()
    }

    #[test]
    fn a_scope_has_one_form() {
        let told = [
            ("destination", "Bücher.Example", "destination xn--bcher-kva.example"),
            ("destination", "[192.0.2.1]", "destination [192.0.2.1]"),
            ("provider", "Big", "provider Big"),
            ("tenant", "0", "tenant 0"),
            ("pool", "warm-1", "pool warm-1"),
            ("everything", "mail", "everything mail"),
        ];
        for (kind, name, shown) in told {
            let scope = Scope::parse(kind, name).unwrap();
            assert_eq!(scope.to_string(), shown);
            assert_eq!(Scope::parse(scope.kind(), &scope.name()).unwrap(), scope);
            assert_eq!(super::scope(Some((&scope).into())).unwrap(), scope);
        }
        for (kind, name) in
            [("destination", "a@b.example"), ("provider", ""), ("tenant", "-1"), ("pool", ""), ("everything", "else")]
        {
            assert!(Scope::parse(kind, name).is_err(), "{kind} {name}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        use wire::scope::What;
        let scoped = |what: What| refusal(|request| request.scope = Some(wire::Scope { what: Some(what) }));
        assert!(scoped(What::Destination("postmaster@".into())).contains("destination: `postmaster@`"));
        assert!(scoped(What::Tenant(-1)).contains("tenant: -1 is negative"));
        assert!(scoped(What::Provider("x".repeat(256))).contains("provider: is longer"));
        assert!(refusal(|request| request.scope = None).contains("name a destination"));
        assert!(refusal(|request| request.reason = "two\nlines".into()).contains("reason: is more than one line"));
        assert!(refusal(|request| request.reason = "x".repeat(501)).contains("reason: is longer than 500"));
        for lasting in [0, u64::MAX] {
            assert!(refusal(|request| request.lasting_s = Some(lasting)).contains("lasting_s: expected 1 to"));
        }
    }
}
