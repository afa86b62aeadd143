//! MT-PRIORITY, message transfer priorities (RFC 6710). Not responsible for who may have which.

use mailtier_types::{Reply, reply};

/// −9 to 9 (RFC 6710 §2).
pub(super) fn parse(value: Option<&str>) -> Result<i8, Reply> {
    let digit = match value.map(str::as_bytes) {
        Some(&[digit]) => Some((digit, 1)),
        Some(&[b'-', digit @ b'1'..=b'9']) => Some((digit, -1)),
        _ => None,
    };
    match digit {
        Some((digit @ b'0'..=b'9', sign)) => {
            i8::try_from(digit - b'0').map(|value| value * sign).map_err(|_| reply::BAD_PARAMETER)
        }
        _ => Err(reply::BAD_PARAMETER),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_digit_and_a_sign() {
        for value in -9..=9_i8 {
            assert_eq!(parse(Some(&value.to_string())), Ok(value));
        }
        for bad in [None, Some(""), Some("10"), Some("+1"), Some("-0"), Some("--1"), Some("x")] {
            assert_eq!(parse(bad), Err(reply::BAD_PARAMETER), "{bad:?}");
        }
    }
}
