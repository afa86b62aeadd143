//! Text from strangers made harmless, and lines of the right length. Not responsible for what the text says.

use std::borrow::Cow;

use mailtier_types::Domain;

/// RFC 5322 §2.1.1: a line SHOULD NOT be longer, in characters without its CRLF.
pub(crate) const GOOD_LINE: usize = 78;
/// RFC 5322 §2.1.1: a line MUST NOT be longer, in octets without its CRLF.
pub(crate) const MAX_LINE_OCTETS: usize = 998;
/// Words that are longer are broken.
const MAX_WORD_OCTETS: usize = 900;
/// The longest name of a host that is written out, in octets (RFC 1035 §2.3.4).
const MAX_HOST_OCTETS: usize = 255;

/// Which characters may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Charset {
    Ascii,
    Utf8,
}

/// One line of text with nothing in it that ends a line, moves a cursor or turns the direction of reading; at most
/// `max_octets`, with an ellipsis where something was cut off.
pub(crate) fn one_line(text: &str, charset: Charset, max_octets: usize) -> String {
    let mut line = String::with_capacity(text.len().min(max_octets));
    for character in text.trim().chars() {
        let harmless = match character {
            control if control.is_control() => ' ',
            other if charset == Charset::Ascii && !other.is_ascii() => '?',
            other if is_invisible(other) => '?',
            other => other,
        };
        if line.len() + harmless.len_utf8() > max_octets {
            line.push_str("...");
            break;
        }
        line.push(harmless);
    }
    line
}

/// Line and paragraph separators, and what changes the direction of reading or is not seen.
const fn is_invisible(character: char) -> bool {
    matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}'..='\u{200f}' | '\u{feff}')
}

/// The name of a host as it may stand in a field: letters, digits, and what address literals have. An international
/// name is written with A-labels.
pub(crate) fn host(name: &str) -> Cow<'_, str> {
    if !name.is_ascii()
        && let Ok(domain) = Domain::parse(name)
    {
        return Cow::Owned(domain.as_str().to_owned());
    }
    let allowed =
        |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_' | ':' | '[' | ']');
    if name.is_empty() {
        return Cow::Borrowed("unknown");
    }
    if name.len() <= MAX_HOST_OCTETS && name.chars().all(allowed) {
        return Cow::Borrowed(name);
    }
    name.chars().take(MAX_HOST_OCTETS).map(|character| if allowed(character) { character } else { '?' }).collect()
}

/// Appends a field: its name, and its value folded at spaces where it is too long (RFC 5322 §2.2.3). Control characters
/// in the value become spaces.
pub(crate) fn field(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    out.push(':');
    let mut column = name.chars().count() + 1;
    for word in pieces(value) {
        let width = word.chars().count() + 1;
        // The first word stays with the name: a field of spaces only is obsolete syntax (RFC 5322 §4.2).
        if column + width > GOOD_LINE && column > name.len() + 1 {
            out.push_str("\r\n");
            column = 0;
        }
        out.push(' ');
        out.push_str(word);
        column += width;
    }
    out.push_str("\r\n");
}

/// Appends a paragraph, wrapped at `width` characters, each line after `indent` spaces.
pub(crate) fn paragraph(out: &mut String, indent: usize, width: usize, text: &str) {
    let mut column = 0;
    for word in pieces(text) {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > width {
            out.push_str("\r\n");
            column = 0;
        }
        if column == 0 {
            out.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out.push_str("\r\n");
}

/// The words of a text, the longest broken up. White space and control characters part words.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| character.is_whitespace() || character.is_control())
        .filter(|word| !word.is_empty())
        .flat_map(broken)
}

fn broken(word: &str) -> impl Iterator<Item = &str> {
    let mut rest = word;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let cut = rest.floor_char_boundary(MAX_WORD_OCTETS);
        let (piece, after) = rest.split_at_checked(cut)?;
        rest = after;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_strangers_write_stays_in_its_line() {
        assert_eq!(one_line(" a\r\nBcc: b\0c\u{7f}d\u{85}e ", Charset::Ascii, 100), "a  Bcc: b c d e");
        assert_eq!(one_line("grün\u{202e}x\u{2028}y", Charset::Utf8, 100), "grün?x?y");
        assert_eq!(one_line("grün", Charset::Ascii, 100), "gr?n");
        assert_eq!(one_line("grün", Charset::Utf8, 3), "gr...");
    }

    #[test]
    fn hosts_have_no_other_characters() {
        assert_eq!(host("mx1.example.org"), "mx1.example.org");
        assert_eq!(host("[IPv6:2001:db8::1]"), "[IPv6:2001:db8::1]");
        assert_eq!(host("evil) by (x\r\ny;ü"), "evil??by??x??y??");
        assert_eq!(host(""), "unknown");
    }

    proptest! {
        #[test]
        fn fields_are_one_field_and_lines_are_short(value in "\\PC*|(.|\r|\n|\t){0,300}|[a-z]{0,3000}|([a-z]{0,20} ){0,90}") {
            let mut out = String::new();
            field(&mut out, "X-Name", &value);
            let lines: Vec<&str> = out.strip_suffix("\r\n").unwrap().split("\r\n").collect();
            prop_assert!(lines[0].starts_with("X-Name:"));
            prop_assert!(lines[1..].iter().all(|line| line.starts_with(' ') && !line.trim().is_empty()));
            for line in lines {
                prop_assert!(!line.contains(['\r', '\n', '\0']));
                prop_assert!(line.len() <= MAX_LINE_OCTETS);
                prop_assert!(line.chars().count() <= GOOD_LINE || line.split(' ').count() <= 3);
            }
            let words: String = out["X-Name:".len()..].split_whitespace().collect();
            let given: String = value.split(|c: char| c.is_whitespace() || c.is_control()).collect();
            prop_assert_eq!(words, given);
        }
    }
}
