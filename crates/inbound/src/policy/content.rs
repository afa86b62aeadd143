//! The last stage: whether content may come, and whether it may stay. Not responsible for looking at it, for memory, nor
//! for lines and octets that are no content, which are the engine's.

use mailtier_types::reply;

use super::Refusal;

/// What is known of content: when it is announced, and again with each piece of its header section.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// There is an id for the message.
    pub(crate) has_id: bool,
    /// The header section is within its limit, as far as it came.
    pub(crate) header_fits: bool,
    /// Received fields it has, as far as it came.
    pub(crate) received_fields: usize,
    /// Received fields it may have.
    pub(crate) max_hops: usize,
    /// Octets it has, as far as it came.
    pub(crate) octets: u64,
    /// Octets that the tenant's messages may have.
    pub(crate) max_octets: u64,
}

impl Facts {
    /// Nothing came yet.
    pub(crate) const fn announced(has_id: bool) -> Self {
        Self { has_id, header_fits: true, received_fields: 0, max_hops: usize::MAX, octets: 0, max_octets: u64::MAX }
    }
}

/// Whether content is heard, or heard further.
///
/// # Errors
/// The message is refused.
pub(crate) fn decide(facts: &Facts) -> Result<(), Refusal> {
    // Without a lease there is no id to take: better now than after the content.
    if !facts.has_id {
        return Err(Refusal::new(reply::QUEUE_UNAVAILABLE, "queue_unavailable"));
    }
    if !facts.header_fits {
        return Err(Refusal::new(reply::HEADER_TOO_LARGE, "header_too_large"));
    }
    // RFC 5321 §6.3: counting Received fields finds loops whatever they go through.
    if facts.received_fields > facts.max_hops {
        return Err(Refusal::new(reply::MAIL_LOOP, "mail_loop"));
    }
    // Whatever SIZE said, if it was said (RFC 1870 §6.3).
    if facts.octets > facts.max_octets {
        return Err(Refusal::new(reply::MESSAGE_TOO_BIG, "message_too_big"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_content_may_come_and_stay() {
        let coming =
            Facts { has_id: true, header_fits: true, received_fields: 0, max_hops: 50, octets: 0, max_octets: 1000 };
        for (case, facts, refusal) in [
            ("announced", Facts::announced(true), None),
            ("announced while no queue gives ids", Facts::announced(false), Some("queue_unavailable")),
            ("fresh", coming, None),
            ("as many hops as there may be", Facts { received_fields: 50, ..coming }, None),
            ("it goes in a circle", Facts { received_fields: 51, ..coming }, Some("mail_loop")),
            ("as much as the tenant may send", Facts { octets: 1000, ..coming }, None),
            ("more than that", Facts { octets: 1001, ..coming }, Some("message_too_big")),
            ("nobody writes such a header", Facts { header_fits: false, ..coming }, Some("header_too_large")),
        ] {
            assert_eq!(decide(&facts).err().map(|refusal| refusal.reason), refusal, "{case}");
        }
    }
}
