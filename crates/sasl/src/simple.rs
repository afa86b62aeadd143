//! PLAIN (RFC 4616), LOGIN and EXTERNAL (RFC 4422 appendix A): what their messages hold. Not responsible for the order in
//! which they come.

use crate::exchange::{ExchangeError, Password};
use crate::prepare::prepare;

/// The longest name or password, in octets.
const MAX_OCTETS: usize = 1024;

/// `[authorization] NUL name NUL password`. Nobody acts for others here: an authorization identity must be the name.
pub(crate) fn plain(message: &[u8]) -> Result<(String, Password), ExchangeError> {
    let text = std::str::from_utf8(message).map_err(|_| ExchangeError::Malformed)?;
    let mut parts = text.split('\0');
    let (Some(authorization), Some(name), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(ExchangeError::Malformed);
    };
    let (name, password) = (self::name(name.as_bytes())?, self::password(password.as_bytes())?);
    if authorization.is_empty() || authorization == name {
        Ok((name, password))
    } else {
        Err(ExchangeError::ForAnother)
    }
}

/// A name, prepared.
pub(crate) fn name(octets: &[u8]) -> Result<String, ExchangeError> {
    text(octets)
}

/// A password, prepared.
pub(crate) fn password(octets: &[u8]) -> Result<Password, ExchangeError> {
    text(octets).map(Password)
}

/// Whom a client with a certificate wants to be; nothing where it leaves that to us.
pub(crate) fn external(message: &[u8]) -> Result<Option<String>, ExchangeError> {
    if message.is_empty() { Ok(None) } else { text(message).map(Some) }
}

fn text(octets: &[u8]) -> Result<String, ExchangeError> {
    if octets.len() > MAX_OCTETS {
        return Err(ExchangeError::Malformed);
    }
    let text = std::str::from_utf8(octets).map_err(|_| ExchangeError::Malformed)?;
    prepare(text).map(std::borrow::Cow::into_owned).map_err(|_| ExchangeError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_has_three_parts() {
        // RFC 4616 section 2.
        assert_eq!(plain(b"\0user\0secret"), Ok(("user".into(), Password("secret".into()))));
        assert_eq!(plain(b"user\0user\0secret"), Ok(("user".into(), Password("secret".into()))));
        assert_eq!(plain(b"admin\0user\0secret"), Err(ExchangeError::ForAnother));
        for bad in
            [&b""[..], b"user", b"\0user", b"\0\0secret", b"\0user\0", b"\0user\0a\0b", b"\0us\xffer\0a", b"\0u\x07\0a"]
        {
            assert_eq!(plain(bad), Err(ExchangeError::Malformed), "{bad:?}");
        }
        assert_eq!(plain(&[&b"\0user\0"[..], &[b'x'; 1025]].concat()), Err(ExchangeError::Malformed));
    }
}
