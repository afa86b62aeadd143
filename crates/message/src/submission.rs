//! What a submission server adds to a message that lacks it (RFC 6409 §8.2 and §8.3): Date and Message-ID. Not
//! responsible for who submits.

use mailtier_types::{MessageId, Timestamp};

use crate::header::has_field;
use crate::{date, text};

/// What both fields take, unless the host's name is long, in octets.
const FIELDS_OCTETS: usize = 128;

/// What is added before the header section of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completion {
    /// Whole fields, with CRLF at the end of each.
    pub fields: Vec<u8>,
    /// The Message-ID that was added, with its angle brackets.
    pub message_id: Option<String>,
}

/// What a header section lacks.
#[must_use]
pub fn complete(section: &[u8], id: MessageId, host: &str, at: Timestamp) -> Completion {
    let mut completion = Completion::default();
    let mut fields = String::with_capacity(FIELDS_OCTETS);
    if !has_field(section, "Date") {
        text::field(&mut fields, "Date", &date::rfc5322(at));
    }
    if !has_field(section, "Message-ID") {
        let message_id = format!("<{id}@{}>", text::host(host));
        text::field(&mut fields, "Message-ID", &message_id);
        completion.message_id = Some(message_id);
    }
    completion.fields = fields.into_bytes();
    completion
}

/// What must stand between fields of ours and a content without a header section of its own, so that its first line is
/// no part of them: the empty line that ends a header section.
#[must_use]
pub fn separator(section: &[u8], content: &[u8]) -> &'static [u8] {
    let has_no_header = section.is_empty() && !content.is_empty() && !content.starts_with(b"\r\n");
    if has_no_header { b"\r\n" } else { b"" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(content: &str) -> String {
        let section = crate::original_headers(content.as_bytes(), usize::MAX);
        let id = MessageId::from_i64(123_456_789_012_345).unwrap();
        let done = complete(section, id, "mx.example.org", Timestamp::from_secs(1_800_000_000));
        assert_eq!(done.message_id.is_some(), !content.to_lowercase().contains("message-id:"), "{content}");
        let separator = separator(section, content.as_bytes());
        String::from_utf8([&done.fields[..], separator, content.as_bytes()].concat()).unwrap()
    }

    #[test]
    fn only_what_lacks_is_added() {
        let whole = "date: x\r\nMessage-Id: <a@b>\r\n\r\nbody\r\n";
        assert_eq!(completed(whole), whole);
        let (date, id) = ("Date: Fri, 15 Jan 2027 08:00:00 +0000\r\n", "Message-ID: <");
        let done = completed("Subject: x\r\n\r\nDate: in the body\r\n");
        assert!(
            done.starts_with(&format!("{date}{id}"))
                && done.ends_with("@mx.example.org>\r\nSubject: x\r\n\r\nDate: in the body\r\n")
        );
        assert!(completed("Subject: x\r\n date: folded\r\n\r\n").starts_with(date));
        assert!(completed("Message-ID:\r\n <a@b>\r\n\r\n").starts_with(&format!("{date}Message-ID:\r\n <a@b>")));
        assert!(completed("hello\r\n").ends_with("@mx.example.org>\r\n\r\nhello\r\n"), "no header becomes one");
        assert!(completed("\r\nhello\r\n").ends_with("@mx.example.org>\r\n\r\nhello\r\n"));
    }
}
