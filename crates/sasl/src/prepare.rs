//! SASLprep (RFC 4013): names and passwords that look the same are the same. Not responsible for case.

use std::borrow::Cow;

/// The text has characters that no name or password may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("characters that names and passwords cannot have (RFC 4013)")]
pub struct UnusableText;

/// The prepared text.
///
/// # Errors
/// It is empty, or has characters that are prohibited.
pub fn prepare(text: &str) -> Result<Cow<'_, str>, UnusableText> {
    match stringprep::saslprep(text) {
        Ok(prepared) if !prepared.is_empty() => Ok(prepared),
        _ => Err(UnusableText),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_of_rfc_4013_section_3() {
        assert_eq!(prepare("I\u{ad}X").unwrap(), "IX");
        assert_eq!(prepare("USER").unwrap(), "USER");
        assert_eq!(prepare("\u{2168}").unwrap(), "IX");
        assert_eq!(prepare("\u{7}"), Err(UnusableText));
        assert_eq!(prepare("\u{627}\u{31}"), Err(UnusableText));
        assert_eq!(prepare(""), Err(UnusableText));
    }
}
