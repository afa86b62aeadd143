//! The header section at the beginning of a content. Not responsible for reading it while it arrives (`scan`).

/// The header section at the beginning of `content`, without the empty line that ends it: whole fields only, at most
/// `limit` octets of them.
#[must_use]
pub fn original_headers(content: &[u8], limit: usize) -> &[u8] {
    let mut fields_end = 0;
    let mut line_start = 0;
    for line_feed in memchr::memchr_iter(b'\n', content) {
        let line = content.get(line_start..=line_feed).unwrap_or_default();
        let is_folded = matches!(line.first(), Some(b' ' | b'\t')) && line_start > 0;
        if !is_folded {
            // Here, and only here, all fields before are whole.
            fields_end = line_start;
        }
        if line_feed >= limit || !(is_folded || is_field(line)) {
            return content.get(..fields_end).unwrap_or_default();
        }
        line_start = line_feed + 1;
    }
    if line_start == content.len() {
        fields_end = line_start;
    }
    content.get(..fields_end).unwrap_or_default()
}

/// Whether a line begins a field (RFC 5322 §2.2, with the white space before the colon of §4.5).
fn is_field(line: &[u8]) -> bool {
    let Some(colon) = memchr::memchr(b':', line) else { return false };
    let name = line.get(..colon).unwrap_or_default().trim_ascii_end();
    !name.is_empty() && name.iter().all(u8::is_ascii_graphic)
}

/// Whether a header section has a field with this name.
pub(crate) fn has_field(section: &[u8], name: &str) -> bool {
    section.split_inclusive(|&octet| octet == b'\n').any(|line| {
        let given = line.get(..memchr::memchr(b':', line).unwrap_or(0)).unwrap_or_default();
        given.trim_ascii_end().eq_ignore_ascii_case(name.as_bytes())
    })
}

/// The value of the first field with this name in a header section, unfolded, where it is plain ASCII.
pub(crate) fn value_of(section: &[u8], name: &str) -> Option<String> {
    let mut value: Option<String> = None;
    for line in section.split_inclusive(|&octet| octet == b'\n') {
        let line = line.trim_ascii_end();
        let is_folded = matches!(line.first(), Some(b' ' | b'\t'));
        match &mut value {
            Some(value) if is_folded => {
                value.push(' ');
                value.push_str(std::str::from_utf8(line).ok()?.trim());
            }
            Some(_) => break,
            None => {
                let (given, rest) = line.split_at_checked(memchr::memchr(b':', line).unwrap_or(0))?;
                if !is_folded && given.trim_ascii_end().eq_ignore_ascii_case(name.as_bytes()) {
                    value = Some(std::str::from_utf8(rest.get(1..)?).ok()?.trim().to_owned());
                }
            }
        }
    }
    value.filter(|value| value.bytes().all(|octet| octet == b' ' || octet == b'\t' || octet.is_ascii_graphic()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(content: &str, limit: usize) -> &str {
        std::str::from_utf8(original_headers(content.as_bytes(), limit)).unwrap()
    }

    const FIELDS: &str = "A: 1\r\nB: 2\r\n folded\r\nC: 3\r\n";

    #[test]
    fn the_section_ends_at_the_empty_line() {
        assert_eq!(headers(&format!("{FIELDS}\r\nbody: x\r\n"), 1_000), FIELDS);
        assert_eq!(headers(FIELDS, 1_000), FIELDS);
        assert_eq!(headers("\r\nbody\r\n", 1_000), "");
        assert_eq!(headers("", 1_000), "");
    }

    #[test]
    fn or_at_what_is_no_field() {
        assert_eq!(headers("A: 1\r\nno field\r\nB: 2\r\n", 1_000), "A: 1\r\n");
        assert_eq!(headers(" folded\r\nA: 1\r\n", 1_000), "");
        assert_eq!(headers("A: 1\r\n: 2\r\n", 1_000), "A: 1\r\n");
    }

    #[test]
    fn only_whole_fields_are_taken() {
        for (limit, taken) in [(27, 27), (26, 21), (21, 21), (20, 6), (6, 6), (5, 0), (0, 0)] {
            assert_eq!(headers(FIELDS, limit).len(), taken, "{limit}");
        }
        assert_eq!(headers("A: 1\r\nB: 2\r\n fol", 1_000), "A: 1\r\n", "what is cut off is no whole field");
    }

    #[test]
    fn values_are_unfolded_and_only_plain_ones_are_told() {
        let section = "Subject: one\r\n  two\r\nsubject: three\r\nX : y\r\nTo: caf\u{e9}\r\nE:\r\n".as_bytes();
        assert_eq!(value_of(section, "subject").unwrap(), "one two");
        assert_eq!(value_of(section, "x").unwrap(), "y");
        assert_eq!(value_of(section, "e").unwrap(), "");
        assert_eq!(value_of(section, "to"), None);
        assert_eq!(value_of(section, "cc"), None);
    }
}
