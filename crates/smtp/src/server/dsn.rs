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

/// RFC 3461 §4.2, and RFC 6533 §3 for the address type `utf-8`: only it, and only where SMTPUTF8 was asked for, has
/// characters beyond ASCII as they are.
pub(super) fn original_recipient(value: Option<&str>, smtputf8: bool) -> Result<OriginalRecipient, Reply> {
    let (kind, encoded) = value.and_then(|value| value.split_once(';')).ok_or(reply::BAD_PARAMETER)?;
    let is_utf8 = kind.eq_ignore_ascii_case("utf-8");
    let may_be_utf8 = is_utf8 && smtputf8;
    if !may_be_utf8 && !encoded.is_ascii() {
        return Err(reply::BAD_PARAMETER);
    }
    let address = if is_utf8 { from_utf8_addr(encoded) } else { from_xtext(encoded) };
    let address = address.map_err(|_| reply::BAD_PARAMETER)?;
    OriginalRecipient::new(kind, &address).map_err(|_| reply::BAD_PARAMETER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn original_recipients_in_either_form() {
        let read = |text| original_recipient(Some(text), false).map(|original| original.to_string());
        assert_eq!(read("rfc822;a+2Bb@example.org"), Ok("rfc822;a+b@example.org".into()));
        assert_eq!(read("utf-8;\\x{443}@example.org"), Ok("utf-8;у@example.org".into()));
        let raw = original_recipient(Some("utf-8;у@example.org"), true).map(|original| original.to_string());
        assert_eq!(raw, Ok("utf-8;у@example.org".into()));
        assert_eq!(original_recipient(Some("rfc822;у@example.org"), true), Err(reply::BAD_PARAMETER));
        for bad in [
            "a@example.org",
            ";a",
            "rfc822;",
            "rfc822;a+",
            "rfc822;a+0D+0Ab",
            "rfc822;a b",
            "rfc822;у@example.org",
            "utf-8;у@example.org",
        ] {
            assert_eq!(read(bad), Err(reply::BAD_PARAMETER), "{bad}");
        }
        assert_eq!(ret(Some("hdrs")), Ok(Return::Headers));
        assert_eq!(ret(None), Err(reply::BAD_PARAMETER));
        assert_eq!(envelope_id(Some("QQ314159+20x")).unwrap().as_str(), "QQ314159 x");
        assert_eq!(envelope_id(Some("+0A")), Err(reply::BAD_PARAMETER));
    }
}
