//! 8BITMIME (RFC 6152): the BODY parameter. Not responsible for what is done with eight-bit content.

use mailtier_types::{Reply, reply};

/// Whether the content is declared as 8BITMIME.
pub(super) fn parse(value: Option<&str>) -> Result<bool, Reply> {
    match value {
        Some(value) if value.eq_ignore_ascii_case("8BITMIME") => Ok(true),
        Some(value) if value.eq_ignore_ascii_case("7BIT") => Ok(false),
        // BINARYMIME (RFC 3030) is not offered.
        _ => Err(reply::BAD_PARAMETER),
    }
}
