//! 8BITMIME (RFC 6152) and BINARYMIME (RFC 3030 §3): the BODY parameter. Not responsible for what is done with such
//! content.

use mailtier_types::{Reply, reply};

use super::action::BodyType;

/// What kind of content is declared; `binary`: BINARYMIME is offered.
pub(super) fn parse(value: Option<&str>, binary: bool) -> Result<BodyType, Reply> {
    match value {
        Some(value) if value.eq_ignore_ascii_case("8BITMIME") => Ok(BodyType::EightBit),
        Some(value) if value.eq_ignore_ascii_case("7BIT") => Ok(BodyType::SevenBit),
        Some(value) if binary && value.eq_ignore_ascii_case("BINARYMIME") => Ok(BodyType::Binary),
        _ => Err(reply::BAD_PARAMETER),
    }
}
