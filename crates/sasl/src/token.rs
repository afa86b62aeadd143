//! OAUTHBEARER (RFC 7628) and XOAUTH2: a token, and whom it is for. Not responsible for whether a token is good.

use mailtier_types::SaslMechanism;

use crate::exchange::ExchangeError;

/// Between the fields.
const SEPARATOR: char = '\x01';
/// What a client is told when its token is not taken (RFC 7628 §3.2.2); it answers, and then the login has failed.
pub(crate) const REFUSAL: &[u8] = br#"{"status":"invalid_token"}"#;

/// The user it claims, if any, and the token.
pub(crate) fn parse(mechanism: SaslMechanism, message: &[u8]) -> Result<(Option<String>, String), ExchangeError> {
    let text = std::str::from_utf8(message).map_err(|_| ExchangeError::Malformed)?;
    let fields = text.strip_suffix("\x01\x01").ok_or(ExchangeError::Malformed)?;
    let (user, fields) = match mechanism {
        SaslMechanism::XOAuth2 => {
            let (user, rest) = fields.split_once(SEPARATOR).ok_or(ExchangeError::Malformed)?;
            (Some(user.strip_prefix("user=").ok_or(ExchangeError::Malformed)?.to_owned()), rest)
        }
        _ => {
            let (header, rest) = fields.split_once(SEPARATOR).ok_or(ExchangeError::Malformed)?;
            (authorization(header)?, rest)
        }
    };
    let token = fields.split(SEPARATOR).find_map(|field| field.strip_prefix("auth=")).and_then(bearer);
    let token = token.filter(|token| !token.is_empty()).ok_or(ExchangeError::Malformed)?;
    Ok((user.filter(|user| !user.is_empty()), token.to_owned()))
}

/// The GS2 header of RFC 5801 §4: no channel binding here.
fn authorization(header: &str) -> Result<Option<String>, ExchangeError> {
    let rest = header.strip_prefix("n,").or_else(|| header.strip_prefix("y,")).ok_or(ExchangeError::Malformed)?;
    let name = rest.strip_suffix(',').ok_or(ExchangeError::Malformed)?;
    if name.is_empty() {
        return Ok(None);
    }
    name.strip_prefix("a=")
        .map(|name| Some(name.replace("=2C", ",").replace("=3D", "=")))
        .ok_or(ExchangeError::Malformed)
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim_start_matches(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms() {
        // RFC 7628 section 4.
        let bearer = |text: &str| parse(SaslMechanism::OAuthBearer, text.as_bytes());
        let google = |text: &str| parse(SaslMechanism::XOAuth2, text.as_bytes());
        assert_eq!(
            bearer("n,a=user@example.com,\x01host=server.example.com\x01port=587\x01auth=Bearer vF9dft4qmT\x01\x01"),
            Ok((Some("user@example.com".into()), "vF9dft4qmT".into()))
        );
        assert_eq!(bearer("n,,\x01auth=bearer t\x01\x01"), Ok((None, "t".into())));
        assert_eq!(
            google("user=u@example.com\x01auth=Bearer t\x01\x01"),
            Ok((Some("u@example.com".into()), "t".into()))
        );
        for bad in [
            "",
            "n,,\x01\x01",
            "n,,\x01auth=Bearer \x01\x01",
            "p=x,,\x01auth=Bearer t\x01\x01",
            "n,,\x01auth=Basic t\x01\x01",
            "n,,auth=Bearer t",
        ] {
            assert_eq!(bearer(bad), Err(ExchangeError::Malformed), "{bad:?}");
        }
        assert_eq!(google("u\x01auth=Bearer t\x01\x01"), Err(ExchangeError::Malformed));
    }
}
