//! Which deliveries an operator means: one filter for all that is listed, counted and changed. Not responsible for how
//! deliveries are found that fit it.

use std::fmt;
use std::str::FromStr;

use mailtier_config::expected;
use mailtier_types::{Domain, EnhancedCode, Mailbox, MessageId, TenantId, Timestamp};

use crate::convert::{attempt, message_id, tenant_id};
use crate::error::ApiError;
use crate::wire;

/// The most messages that one filter names.
pub const MAX_MESSAGES: usize = 1000;
/// The longest text to be looked for, and the longest name of a provider, in octets.
const MAX_TEXT_OCTETS: usize = 255;

/// What deliveries have in common that are meant: all that is said here. Nothing said: all deliveries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of one of these messages; empty: of any. At most [`MAX_MESSAGES`].
    pub messages: Vec<MessageId>,
    /// Whose.
    pub tenant: Option<TenantId>,
    /// The reverse-path.
    pub sender: Option<AddressPattern>,
    /// One of those still to be delivered; never [`AddressPattern::Null`].
    pub recipient: Option<AddressPattern>,
    /// What limits apply to.
    pub destination: Option<Domain>,
    /// By its name in the configuration: the last attempt was made at one of its exchangers.
    pub provider: Option<String>,
    /// How far it has come.
    pub state: Option<DeliveryState>,
    /// Accepted before this, to the millisecond.
    pub accepted_before: Option<Timestamp>,
    /// Accepted at this or after it, to the millisecond.
    pub accepted_since: Option<Timestamp>,
    /// Attempts that are over: so many or more.
    pub min_attempts: Option<u16>,
    /// What the last attempt met contains this, whatever the case of its letters.
    pub reply_text: Option<String>,
    /// What the last attempt met has this code.
    pub reply_code: Option<ReplyCode>,
    /// The message has more octets.
    pub larger_than: Option<u64>,
}

impl Filter {
    /// Only these messages.
    #[must_use]
    pub fn of(messages: Vec<MessageId>) -> Self {
        Self { messages, ..Self::default() }
    }

    /// How many things are said; 0: all deliveries are meant.
    #[must_use]
    pub fn criteria(&self) -> u32 {
        let said = [
            !self.messages.is_empty(),
            self.tenant.is_some(),
            self.sender.is_some(),
            self.recipient.is_some(),
            self.destination.is_some(),
            self.provider.is_some(),
            self.state.is_some(),
            self.accepted_before.is_some(),
            self.accepted_since.is_some(),
            self.min_attempts.is_some(),
            self.reply_text.is_some(),
            self.reply_code.is_some(),
            self.larger_than.is_some(),
        ];
        said.into_iter().map(u32::from).sum()
    }

    /// Whether all deliveries are meant.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.criteria() == 0
    }
}

/// One line for logs and events: `destination=b.example state=deferred`, or `all`.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn word(name: &str, value: Option<impl fmt::Display>) -> Option<String> {
            value.map(|value| format!("{name}={value}"))
        }
        let messages: Vec<String> = self.messages.iter().map(ToString::to_string).collect();
        let words = [
            word("messages", Some(messages.join(",")).filter(|names| !names.is_empty())),
            word("tenant", self.tenant.map(|tenant| tenant.0)),
            word("sender", self.sender.as_ref()),
            word("recipient", self.recipient.as_ref()),
            word("destination", self.destination.as_ref()),
            word("provider", self.provider.as_ref()),
            word("state", self.state.map(DeliveryState::name)),
            word("accepted_before_ms", self.accepted_before.map(Timestamp::as_millis)),
            word("accepted_since_ms", self.accepted_since.map(Timestamp::as_millis)),
            word("min_attempts", self.min_attempts),
            word("reply_text", self.reply_text.as_ref().map(|text| format!("{text:?}"))),
            word("reply_code", self.reply_code),
            word("larger_than_bytes", self.larger_than),
        ];
        let words: Vec<String> = words.into_iter().flatten().collect();
        f.write_str(if words.is_empty() { "all".to_owned() } else { words.join(" ") }.as_str())
    }
}

/// Whom a sender or a recipient is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressPattern {
    /// The null reverse-path, `<>`.
    Null,
    /// Exactly this mailbox.
    Mailbox(Mailbox),
    /// Any at this domain, `@example.com`.
    Domain(Domain),
}

impl AddressPattern {
    /// A sender: an address, `@domain` or `<>`.
    ///
    /// # Errors
    /// [`ApiError::Invalid`]: it is none of them.
    pub fn sender(text: &str) -> Result<Self, ApiError> {
        if text == "<>" {
            return Ok(Self::Null);
        }
        Self::parse("sender", text, "an address, `@domain`, or `<>` for the null sender")
    }

    /// A recipient: an address or `@domain`.
    ///
    /// # Errors
    /// [`ApiError::Invalid`]: it is neither.
    pub fn recipient(text: &str) -> Result<Self, ApiError> {
        Self::parse("recipient", text, "an address or `@domain`")
    }

    fn parse(field: &str, text: &str, wanted: &str) -> Result<Self, ApiError> {
        let parsed = match text.strip_prefix('@') {
            Some(domain) => Domain::parse(domain).map(Self::Domain),
            None => Mailbox::parse(text).map(Self::Mailbox),
        };
        parsed.map_err(|error| ApiError::invalid(field, format!("`{text}`: {error}; expected {wanted}")))
    }
}

impl fmt::Display for AddressPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("<>"),
            Self::Mailbox(mailbox) => f.write_str(mailbox.as_str()),
            Self::Domain(domain) => write!(f, "@{domain}"),
        }
    }
}

/// How far a delivery has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryState {
    /// Never attempted.
    Waiting,
    /// A failed attempt is behind it.
    Deferred,
    /// Attempted or not, it is held.
    Held,
}

impl DeliveryState {
    /// All there are.
    pub const ALL: &[Self] = &[Self::Waiting, Self::Deferred, Self::Held];

    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Deferred => "deferred",
            Self::Held => "held",
        }
    }
}

impl FromStr for DeliveryState {
    type Err = ApiError;

    fn from_str(text: &str) -> Result<Self, ApiError> {
        let names: Vec<&str> = Self::ALL.iter().map(|state| state.name()).collect();
        let known = Self::ALL.iter().find(|state| state.name() == text);
        known.copied().ok_or_else(|| ApiError::invalid("state", format!("`{text}`: {}", expected(text, &names))))
    }
}

/// The code of what an attempt met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyCode {
    /// `4xx`: a remote's reply of this class.
    Class(u8),
    /// `421`: a remote's reply with exactly this code.
    Code(u16),
    /// `4.7.1`: this status (RFC 3463), whether a remote said it or it was derived, from a reply without one or from
    /// trouble without a reply.
    Enhanced(EnhancedCode),
}

impl FromStr for ReplyCode {
    type Err = ApiError;

    fn from_str(text: &str) -> Result<Self, ApiError> {
        let class = text.strip_suffix("xx").and_then(|class| class.parse().ok());
        if let Some(class @ 2..=5) = class {
            return Ok(Self::Class(class));
        }
        if let Some(code @ 200..=599) = text.parse().ok().filter(|_| text.len() == 3) {
            return Ok(Self::Code(code));
        }
        let wanted = "expected a class such as 4xx, a code such as 421, or an enhanced code such as 4.7.1";
        let enhanced = text.parse().map_err(|_| ApiError::invalid("reply_code", format!("`{text}`: {wanted}")))?;
        Ok(Self::Enhanced(enhanced))
    }
}

impl fmt::Display for ReplyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Class(class) => write!(f, "{class}xx"),
            Self::Code(code) => write!(f, "{code}"),
            Self::Enhanced(code) => write!(f, "{code}"),
        }
    }
}

impl From<&Filter> for wire::Filter {
    fn from(filter: &Filter) -> Self {
        let text = |value: Option<String>| value.unwrap_or_default();
        Self {
            message_ids: filter.messages.iter().map(|id| id.as_i64()).collect(),
            tenant: filter.tenant.map(|tenant| tenant.0),
            sender: text(filter.sender.as_ref().map(ToString::to_string)),
            recipient: text(filter.recipient.as_ref().map(ToString::to_string)),
            destination: text(filter.destination.as_ref().map(ToString::to_string)),
            provider: text(filter.provider.clone()),
            state: wire_state(filter.state).into(),
            accepted_before_us: filter.accepted_before.map_or(0, Timestamp::as_micros),
            accepted_since_us: filter.accepted_since.map_or(0, Timestamp::as_micros),
            min_attempts: filter.min_attempts.map_or(0, u32::from),
            reply_text: text(filter.reply_text.clone()),
            reply_code: text(filter.reply_code.map(|code| code.to_string())),
            larger_than_bytes: filter.larger_than,
            criteria: filter.criteria(),
        }
    }
}

impl TryFrom<wire::Filter> for Filter {
    type Error = ApiError;

    fn try_from(filter: wire::Filter) -> Result<Self, ApiError> {
        let time = |micros: i64| Some(micros).filter(|micros| *micros != 0).map(Timestamp::from_micros);
        let parsed = Self {
            messages: messages(filter.message_ids)?,
            tenant: filter.tenant.map(tenant_id).transpose()?,
            sender: said(&filter.sender).map(AddressPattern::sender).transpose()?,
            recipient: said(&filter.recipient).map(AddressPattern::recipient).transpose()?,
            destination: said(&filter.destination).map(destination).transpose()?,
            provider: said(&filter.provider).map(|name| short("provider", name)).transpose()?,
            state: state(filter.state)?,
            accepted_before: time(filter.accepted_before_us),
            accepted_since: time(filter.accepted_since_us),
            min_attempts: Some(attempt(filter.min_attempts)?).filter(|attempts| *attempts != 0),
            reply_text: said(&filter.reply_text).map(|text| short("reply_text", text)).transpose()?,
            reply_code: said(&filter.reply_code).map(str::parse).transpose()?,
            larger_than: filter.larger_than_bytes,
        };
        if let (Some(since), Some(before)) = (parsed.accepted_since, parsed.accepted_before)
            && since >= before
        {
            return Err(ApiError::invalid("accepted_since_us", "is not before accepted_before_us: nothing is between"));
        }
        if parsed.criteria() != filter.criteria {
            let (known, said) = (parsed.criteria(), filter.criteria);
            let reason = format!("{said} are said and {known} are known here: this replica is of another version");
            return Err(ApiError::invalid("criteria", reason));
        }
        Ok(parsed)
    }
}

/// Of a request; absent: all deliveries.
pub(crate) fn filter(filter: Option<wire::Filter>) -> Result<Filter, ApiError> {
    filter.map_or_else(|| Ok(Filter::default()), TryInto::try_into)
}

fn said(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

fn messages(ids: Vec<i64>) -> Result<Vec<MessageId>, ApiError> {
    if ids.len() > MAX_MESSAGES {
        return Err(ApiError::invalid("message_ids", format!("{} are more than {MAX_MESSAGES}", ids.len())));
    }
    ids.into_iter().map(message_id).collect()
}

fn destination(name: &str) -> Result<Domain, ApiError> {
    Domain::parse(name).map_err(|error| {
        ApiError::invalid("destination", format!("`{name}`: {error}; expected a domain such as example.com"))
    })
}

fn short(field: &str, text: &str) -> Result<String, ApiError> {
    if text.len() > MAX_TEXT_OCTETS {
        return Err(ApiError::invalid(field, format!("is longer than {MAX_TEXT_OCTETS} octets")));
    }
    Ok(text.to_owned())
}

const fn wire_state(state: Option<DeliveryState>) -> wire::DeliveryState {
    match state {
        None => wire::DeliveryState::Unspecified,
        Some(DeliveryState::Waiting) => wire::DeliveryState::Waiting,
        Some(DeliveryState::Deferred) => wire::DeliveryState::Deferred,
        Some(DeliveryState::Held) => wire::DeliveryState::Held,
    }
}

fn state(value: i32) -> Result<Option<DeliveryState>, ApiError> {
    match wire::DeliveryState::try_from(value) {
        Ok(wire::DeliveryState::Unspecified) => Ok(None),
        Ok(wire::DeliveryState::Waiting) => Ok(Some(DeliveryState::Waiting)),
        Ok(wire::DeliveryState::Deferred) => Ok(Some(DeliveryState::Deferred)),
        Ok(wire::DeliveryState::Held) => Ok(Some(DeliveryState::Held)),
        Err(_) => Err(ApiError::invalid("state", format!("{value} is unknown"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Filter {
        Filter {
            messages: vec![MessageId::from_i64(7).unwrap()],
            tenant: Some(TenantId(0)),
            sender: Some(AddressPattern::Null),
            recipient: Some(AddressPattern::recipient("@Bücher.example").unwrap()),
            destination: Some(Domain::parse("b.example").unwrap()),
            provider: Some("big".into()),
            state: Some(DeliveryState::Deferred),
            accepted_before: Some(Timestamp::from_millis(2)),
            accepted_since: Some(Timestamp::from_millis(1)),
            min_attempts: Some(3),
            reply_text: Some("try \"later\"".into()),
            reply_code: Some(ReplyCode::Class(4)),
            larger_than: Some(0),
        }
    }

    #[test]
    fn a_filter_arrives_as_it_was_meant() {
        assert_eq!(full().criteria(), 13);
        for filter in [full(), Filter::default(), Filter { tenant: Some(TenantId(0)), ..Filter::default() }] {
            assert_eq!(Filter::try_from(wire::Filter::from(&filter)).unwrap(), filter);
        }
        assert_eq!(super::filter(None).unwrap(), Filter::default());
        assert_eq!(
            full().to_string(),
            "messages=0000000000007 tenant=0 sender=<> recipient=@xn--bcher-kva.example destination=b.example \
             provider=big state=deferred accepted_before_ms=2 accepted_since_ms=1 min_attempts=3 \
             reply_text=\"try \\\"later\\\"\" reply_code=4xx larger_than_bytes=0"
        );
        assert_eq!(Filter::default().to_string(), "all");
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        type Change = fn(&mut wire::Filter);
        let cases: &[(Change, &str)] = &[
            (|filter| filter.message_ids = vec![0], "message_id"),
            (|filter| filter.message_ids = vec![1; 1001], "message_ids: 1001 are more than 1000"),
            (|filter| filter.tenant = Some(-1), "tenant: -1 is negative"),
            (|filter| filter.sender = "nobody".into(), "sender: `nobody`: address has no @ and domain; expected"),
            (|filter| filter.recipient = "<>".into(), "recipient: `<>`"),
            (|filter| filter.destination = "a@b.example".into(), "destination: `a@b.example`"),
            (|filter| filter.provider = "x".repeat(256), "provider: is longer than 255"),
            (|filter| filter.state = 99, "state: 99 is unknown"),
            (|filter| filter.accepted_since_us = filter.accepted_before_us, "nothing is between"),
            (|filter| filter.min_attempts = 70_000, "attempt"),
            (|filter| filter.reply_text = "x".repeat(256), "reply_text: is longer"),
            (|filter| filter.reply_code = "6xx".into(), "reply_code: `6xx`: expected a class"),
            (|filter| filter.criteria += 1, "criteria: 14 are said and 13 are known here"),
        ];
        for (change, told) in cases {
            let mut filter = wire::Filter::from(&full());
            change(&mut filter);
            let refused = Filter::try_from(filter).unwrap_err().to_string();
            assert!(refused.contains(told), "{refused}");
        }
    }

    #[test]
    fn codes_states_and_addresses_are_written_as_they_are_read() {
        for text in ["4xx", "421", "4.7.1", "5.7.515"] {
            assert_eq!(text.parse::<ReplyCode>().unwrap().to_string(), text);
        }
        for text in ["", "xx", "4x", "42", "0421", "600", "+42", "4.7", "4.7.x", "44xx"] {
            assert!(text.parse::<ReplyCode>().is_err(), "{text}");
        }
        let refused = "defered".parse::<DeliveryState>().unwrap_err().to_string();
        assert!(refused.contains("did you mean `deferred`?"), "{refused}");
        for text in ["<>", "a@b.example", "@b.example", "@[192.0.2.1]"] {
            assert_eq!(AddressPattern::sender(text).unwrap().to_string(), text);
        }
        for text in ["", "@", "b.example", "a@", "<a@b.example>"] {
            assert!(AddressPattern::sender(text).is_err(), "{text}");
        }
    }
}
