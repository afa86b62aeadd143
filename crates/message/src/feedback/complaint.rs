//! Feedback reports (RFC 5965). Not responsible for what follows from one.

use super::fields::groups;
use super::mime::Part;
use super::{Complaint, MAX_ADDRESS_OCTETS, MAX_NAME_OCTETS, MAX_REPORTED, address_in, kept};
use crate::header::{original_headers, value_of};

/// The longest name of a kind of report, in octets.
const MAX_KIND_OCTETS: usize = 64;

/// Fields of the returned message in which providers that do not name the recipient in the report leave it.
const RECIPIENT_FIELDS: [&str; 4] = ["x-hmxmroriginalrecipient", "x-original-to", "delivered-to", "x-rcpt-to"];

/// A report, and what it returns.
pub(super) fn read(part: &Part<'_>, original: Option<&Part<'_>>) -> Complaint {
    let text = String::from_utf8_lossy(&part.body);
    let groups = groups(&text);
    let value = |name: &str| groups.iter().find_map(|group| group.value(name)).unwrap_or_default();
    // RFC 5965 §3.2: as often as there are recipients. Providers that redact put no address there.
    let named = groups.iter().flat_map(|group| group.values("original-rcpt-to")).filter_map(address_in);
    let mut recipients: Vec<String> =
        named.map(|address| kept(address, MAX_ADDRESS_OCTETS)).take(MAX_REPORTED).collect();
    if let Some(original) = original.filter(|_| recipients.is_empty()) {
        let header = original_headers(&original.body, original.body.len());
        let found = RECIPIENT_FIELDS.iter().find_map(|field| value_of(header, field));
        recipients.extend(found.as_deref().and_then(address_in).map(str::to_owned));
    }
    Complaint {
        kind: kept(value("feedback-type"), MAX_KIND_OCTETS).to_ascii_lowercase(),
        agent: kept(value("user-agent"), MAX_NAME_OCTETS),
        recipients,
    }
}
