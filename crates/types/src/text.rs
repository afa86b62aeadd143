//! Texts that people look at: what strangers have written, and errors with their causes.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

/// An error with its causes, in one line: each says one level alone.
#[derive(Clone, Copy, Debug)]
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(formatter, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

/// Neither a control nor what a terminal does not show by itself, as marks of direction: Rust's table of them is that of
/// `escape_debug`.
#[must_use]
pub fn is_printable(one: char) -> bool {
    if one.is_ascii() {
        return !one.is_ascii_control();
    }
    // Behind a letter, as accents and vowel signs stand.
    let mut octets = [b'a', 0, 0, 0, 0];
    let [_, behind @ ..] = &mut octets;
    let len = 1 + one.encode_utf8(behind).len();
    let text = octets.get(..len).and_then(|octets| std::str::from_utf8(octets).ok());
    text.is_some_and(|text| text.escape_debug().count() == 2)
}

/// The same with U+FFFD for whatever is neither printable nor the end of a line or a tab, so that no terminal does what it
/// is not meant to. A line may end with CRLF.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    let stays = |one: char| one == '\n' || one == '\t' || is_printable(one);
    if text.chars().all(stays) {
        return Cow::Borrowed(text);
    }
    let replaced = |one: char| if stays(one) { one } else { char::REPLACEMENT_CHARACTER };
    Cow::Owned(text.replace("\r\n", "\n").chars().map(replaced).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_is_replaced() {
        for (text, shown) in [
            ("plain \"text\"\twith 日本 and ü\n", "plain \"text\"\twith 日本 and ü\n"),
            ("हिन्दी, e\u{301}", "हिन्दी, e\u{301}"),
            ("450 \u{202e}evil\u{200b}", "450 \u{fffd}evil\u{fffd}"),
            ("\u{1b}[2J\u{9b}x\u{7}", "\u{fffd}[2J\u{fffd}x\u{fffd}"),
            ("Subject: a\r\n\r\nb\rc\r\n", "Subject: a\n\nb\u{fffd}c\n"),
        ] {
            assert_eq!(printable(text), shown);
        }
    }
}
