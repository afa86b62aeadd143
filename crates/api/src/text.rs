//! Texts that operators write and others read. Not responsible for what they mean.

use crate::error::ApiError;

/// A text of one line, as it is shown to operators.
pub(crate) fn line(field: &str, text: &str, octets: std::ops::RangeInclusive<usize>) -> Result<(), ApiError> {
    if text.is_empty() && !octets.contains(&0) {
        return Err(ApiError::invalid(field, "is missing"));
    }
    if !octets.contains(&text.len()) {
        return Err(ApiError::invalid(field, format!("is longer than {} octets", octets.end())));
    }
    if text.contains(char::is_control) {
        return Err(ApiError::invalid(field, "is more than one line of text"));
    }
    Ok(())
}
