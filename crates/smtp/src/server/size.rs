//! SIZE, message size declaration (RFC 1870). Not responsible for the size content turns out to have.

use mailtier_types::{Reply, reply};

/// The most digits a size can have (RFC 1870 §5).
const MAX_DIGITS: usize = 20;

/// The declared size, refused at once where content of that size would be (RFC 1870 §6.1).
pub(super) fn parse(value: Option<&str>, max_bytes: u64) -> Result<u64, Reply> {
    let digits = value.filter(|value| value.len() <= MAX_DIGITS && value.bytes().all(|octet| octet.is_ascii_digit()));
    let digits = digits.ok_or(reply::BAD_PARAMETER)?;
    // Twenty digits can say more than 64 bits hold, which is too big as well.
    let size = digits.parse().unwrap_or(u64::MAX);
    if size > max_bytes { Err(reply::MESSAGE_TOO_BIG) } else { Ok(size) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse(Some("0"), 10), Ok(0));
        assert_eq!(parse(Some("10"), 10), Ok(10));
        assert_eq!(parse(Some("11"), 10), Err(reply::MESSAGE_TOO_BIG));
        assert_eq!(parse(Some("99999999999999999999"), u64::MAX - 1), Err(reply::MESSAGE_TOO_BIG));
        for bad in [None, Some("-1"), Some("+1"), Some("1k"), Some("000000000000000000001")] {
            assert_eq!(parse(bad, 10), Err(reply::BAD_PARAMETER), "{bad:?}");
        }
    }
}
