//! What operators see as JSON, over HTTP and from the command line alike (`--json`): each object once, with its schema.
//! Not responsible for what is asked, nor for lines that people read.

mod look;
mod manage;
mod queue;
pub(crate) mod shape;
mod tls;

use std::fmt::Write as _;
use std::time::Duration;

use mailtier_types::Timestamp;
use mailtier_types::text::is_printable;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub use look::{Count, Group, Replica, Shard, Shards, Status, Worker};
pub use manage::{
    Address, AddressTargets, Addresses, Changed, MadeToken, NewToken, NewUser, Suppress, Suppression, Suppressions,
    Suspend, Suspension, Suspensions, Token, Tokens, User, UserChanges, Users,
};
pub use queue::{
    Audit, Change, ChangedDeliveries, Deliveries, Delivery, Event, Events, Finding, Held, Message, Outcome,
};
use shape::{Described, Schemas};
pub use tls::{TlsReport, TlsReportFailure};

/// A time as JSON has it: RFC 3339 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At(pub Timestamp);

impl Serialize for At {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&time(self.0))
    }
}

impl Described for At {
    fn schema(_: &mut Schemas) -> Value {
        json!({"type": "string", "format": "date-time"})
    }
}

/// RFC 3339 in UTC, with three digits of a second always: as text they sort as they are.
#[must_use]
pub fn time(at: Timestamp) -> String {
    OffsetDateTime::from_unix_timestamp(at.as_millis().div_euclid(1000))
        .ok()
        .and_then(|moment| moment.format(&Rfc3339).ok())
        .and_then(|text| Some(format!("{}.{:03}Z", text.strip_suffix('Z')?, at.as_millis().rem_euclid(1000))))
        .unwrap_or_else(|| at.as_micros().to_string())
}

/// The time that such a text means; RFC 3339 with any offset and any digits of a second.
#[must_use]
pub fn moment(text: &str) -> Option<Timestamp> {
    let micros = OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp_nanos() / 1000;
    i64::try_from(micros).ok().map(Timestamp::from_micros)
}

/// A length of time as JSON has it.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// An object on one line, as `--json` prints it.
#[must_use]
pub fn line(object: &impl Serialize) -> String {
    // Nothing here has keys that are no texts, so nothing can fail.
    let text = serde_json::to_string(object).unwrap_or_default();
    if text.chars().all(is_printable) {
        return text;
    }
    // The same text to whoever reads it as JSON, and nothing to a terminal: outside of texts there are no such characters.
    text.chars().fold(String::with_capacity(text.len() + 16), |mut line, one| {
        if is_printable(one) {
            line.push(one);
        } else {
            for unit in one.encode_utf16(&mut [0; 2]) {
                let _ = write!(line, "\\u{unit:04x}");
            }
        }
        line
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_is_escaped_and_reads_the_same() {
        let text = "450 \u{202e}evil \u{e0001}\u{1b} 日本";
        let line = line(&[text]);
        assert_eq!(line, r#"["450 \u202eevil \udb40\udc01\u001b 日本"]"#);
        assert_eq!(serde_json::from_str::<[String; 1]>(&line).unwrap(), [text]);
    }

    #[test]
    fn times_sort_as_texts() {
        assert_eq!(time(Timestamp::from_millis(1_800_000_000_123)), "2027-01-15T08:00:00.123Z");
        assert_eq!(time(Timestamp::from_millis(1_800_000_000_100)), "2027-01-15T08:00:00.100Z");
    }

    #[test]
    fn a_schema_says_what_is_written() {
        let mut schemas = Schemas::new();
        assert_eq!(Event::schema(&mut schemas), json!({"$ref": "#/components/schemas/Event"}));
        let event = &schemas["Event"];
        assert_eq!(event["required"], json!(["at", "kind", "message", "sender", "recipients"]));
        assert_eq!(event["properties"]["at"]["format"], json!("date-time"));
        assert_eq!(event["properties"]["attempt"]["type"], json!(["integer", "null"]));
        assert_eq!(event["properties"]["outcome"]["anyOf"][0], json!({"$ref": "#/components/schemas/Outcome"}));
        assert!(schemas["Outcome"]["properties"]["status"]["description"].is_string());
        NewUser::schema(&mut schemas);
        assert_eq!(schemas["NewUser"]["required"], json!(["name", "password"]));
    }
}
