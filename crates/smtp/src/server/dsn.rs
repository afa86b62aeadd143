//! DSN, delivery status notifications (RFC 3461): the parameters of MAIL and RCPT. Not responsible for notifying.

use mailtier_types::request::{from_utf8_addr, from_xtext};
use mailtier_types::{EnvelopeId, Notify, OriginalRecipient, Reply, Return, reply};

/// RFC 3461 §4.3.
pub(super) fn ret(value: Option<&str>) -> Result<Return, Reply> {
    match value {
        Some(value) if value.eq_ignore_ascii_case("FULL") => Ok(Return::Full),
        Some(value) if value.eq_ignore_ascii_case("HDRS") => Ok(Return::Headers),
        _ => Err(reply::BAD_PARAMETER),
    }
}

/// RFC 3461 §4.4.
pub(super) fn envelope_id(value: Option<&str>) -> Result<EnvelopeId, Reply> {
    let decoded = value.and_then(|value| from_xtext(value).ok()).ok_or(reply::BAD_PARAMETER)?;
    EnvelopeId::new(&decoded).map_err(|_| reply::BAD_PARAMETER)
}

/// RFC 3461 §4.1.
pub(super) fn notify(value: Option<&str>) -> Result<Notify, Reply> {
    value.and_then(|value| value.parse().ok()).ok_or(reply::BAD_PARAMETER)
}

/// RFC 3461 §4.2, and RFC 6533 §3 for the address type `utf-8`.
pub(super) fn original_recipient(value: Option<&str>) -> Result<OriginalRecipient, Reply> {
    let (kind, encoded) = value.and_then(|value| value.split_once(';')).ok_or(reply::BAD_PARAMETER)?;
    let address = if kind.eq_ignore_ascii_case("utf-8") { from_utf8_addr(encoded) } else { from_xtext(encoded) };
    let address = address.map_err(|_| reply::BAD_PARAMETER)?;
    OriginalRecipient::new(kind, &address).map_err(|_| reply::BAD_PARAMETER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn original_recipients_in_either_form() {
        let read = |text| original_recipient(Some(text)).map(|original| original.to_string());
        assert_eq!(read("rfc822;a+2Bb@example.org"), Ok("rfc822;a+b@example.org".into()));
        assert_eq!(read("utf-8;\\x{443}@example.org"), Ok("utf-8;у@example.org".into()));
        for bad in ["a@example.org", ";a", "rfc822;", "rfc822;a+", "rfc822;a+0D+0Ab", "rfc822;a b"] {
            assert_eq!(read(bad), Err(reply::BAD_PARAMETER), "{bad}");
        }
        assert_eq!(ret(Some("hdrs")), Ok(Return::Headers));
        assert_eq!(ret(None), Err(reply::BAD_PARAMETER));
        assert_eq!(envelope_id(Some("QQ314159+20x")).unwrap().as_str(), "QQ314159 x");
        assert_eq!(envelope_id(Some("+0A")), Err(reply::BAD_PARAMETER));
    }
}
