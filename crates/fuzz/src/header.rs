//! Header sections: what is found does not depend on the borders between chunks, and nothing is added that is there.

use mailtier_message::{HeaderScan, complete, original_headers, separator};
use mailtier_types::{MessageId, Timestamp};

/// The largest section.
const LIMIT_BYTES: usize = 4096;

pub(crate) fn run(data: &[u8]) {
    let found = |step: usize| {
        let mut scan = HeaderScan::new(LIMIT_BYTES);
        let fits = data.chunks(step.max(1)).all(|chunk| scan.feed(chunk).is_ok());
        fits.then(|| (scan.received_count(), scan.message_id().to_owned(), scan.is_tls_optional(), scan.is_complete()))
    };
    let whole = found(data.len());
    for step in [1, 2, 3, 7, 64] {
        assert_eq!(found(step), whole, "by {step}");
    }
    let section = original_headers(data, LIMIT_BYTES);
    assert!(data.starts_with(section));
    let Ok(id) = MessageId::from_i64(1 << 40) else { return };
    let lacking = |section: &[u8]| complete(section, id, "mx.example.org", Timestamp::EPOCH).fields;
    let completed = [&lacking(section), separator(section, data), data].concat();
    assert!(lacking(original_headers(&completed, usize::MAX)).is_empty(), "what was added is not added again");
}
