//! Parameters of MAIL and RCPT (RFC 5321 §4.1.2 `esmtp-param`). Not responsible for which ones there are.

/// `KEYWORD` or `KEYWORD=value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parameter<'a> {
    /// As it was written; keywords are case-insensitive.
    pub(crate) keyword: &'a str,
    /// What stands after the `=`.
    pub(crate) value: Option<&'a str>,
}

/// The parameter is not of the form RFC 5321 §4.1.2 gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MalformedParameter;

/// The parameters in `text`, which are separated by spaces.
pub(crate) fn parse(text: &str) -> impl Iterator<Item = Result<Parameter<'_>, MalformedParameter>> {
    text.split(' ').filter(|word| !word.is_empty()).map(parse_one)
}

fn parse_one(word: &str) -> Result<Parameter<'_>, MalformedParameter> {
    let (keyword, value) = match word.split_once('=') {
        Some((keyword, value)) => (keyword, Some(value)),
        None => (word, None),
    };
    if is_keyword(keyword) && value.is_none_or(is_value) {
        Ok(Parameter { keyword, value })
    } else {
        Err(MalformedParameter)
    }
}

/// RFC 5321 §4.1.2 `esmtp-keyword`.
fn is_keyword(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
}

/// RFC 5321 §4.1.2 `esmtp-value`, with RFC 6531 §3.3's UTF-8.
fn is_value(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet > b' ' && octet != b'=' && octet != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_and_values() {
        let parsed: Vec<_> = parse("SIZE=10  body=8BITMIME X-Y").map(Result::unwrap).collect();
        let parameter = |keyword, value| Parameter { keyword, value };
        assert_eq!(
            parsed,
            [parameter("SIZE", Some("10")), parameter("body", Some("8BITMIME")), parameter("X-Y", None)]
        );
        assert_eq!(parse("  ").count(), 0);
    }

    #[test]
    fn malformed_ones() {
        for text in ["=1", "-A", "A=", "A=b=c", "A_B", "Ä=1", "A=\u{7f}"] {
            assert_eq!(parse(text).collect::<Vec<_>>(), [Err(MalformedParameter)], "{text}");
        }
    }
}
