//! The fields of text lines. Not responsible for the time and the level before them.
//!
//! What strangers say stands in many fields: names in HELO, senders, recipients, replies of other servers. A value that
//! could be taken for something else is quoted and escaped, so that nobody makes a line say what did not happen, and no
//! terminal does what it is not meant to. Values that are plain stay as they are.

use std::error::Error;
use std::fmt;

use mailtier_types::text::{Chain, is_printable};
use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

/// `name=value`, with a space between.
#[derive(Debug)]
pub(crate) struct TextFields;

impl<'writer> FormatFields<'writer> for TextFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut line = Line { writer, is_first: true, result: Ok(()) };
        fields.record(&mut line);
        line.result
    }
}

struct Line<'writer> {
    writer: Writer<'writer>,
    is_first: bool,
    result: fmt::Result,
}

impl Line<'_> {
    fn write(&mut self, name: &str, value: fmt::Arguments<'_>) {
        // What tracing-log says of a library's line, of which the level is shown already.
        if self.result.is_err() || name.starts_with("log.") {
            return;
        }
        let space = if std::mem::take(&mut self.is_first) { "" } else { " " };
        self.result = match name {
            MESSAGE => write!(self.writer, "{space}{value}"),
            name => write!(self.writer, "{space}{}={value}", name.strip_prefix("r#").unwrap_or(name)),
        };
    }

    fn write_text(&mut self, name: &str, text: &str) {
        match name {
            // Ours, but libraries put into theirs what they like.
            MESSAGE if text.chars().all(is_printable) => self.write(name, format_args!("{text}")),
            MESSAGE => self.write(name, format_args!("{}", text.escape_debug())),
            name if is_plain(text) => self.write(name, format_args!("{text}")),
            name => self.write(name, format_args!("{text:?}")),
        }
    }
}

impl Visit for Line<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            MESSAGE => self.write_text(MESSAGE, value),
            name => self.write(name, format_args!("{value:?}")),
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.write_text(field.name(), &Chain(value).to_string());
    }

    /// What is displayed comes here as well, and numbers.
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.write_text(field.name(), &format!("{value:?}"));
    }
}

/// The field that stands without its name.
const MESSAGE: &str = "message";

/// Whether a value cannot be taken for anything else where it stands without quotes.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|one| !matches!(one, ' ' | '=' | '"' | '\'' | '\\') && is_printable(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_values_stay_as_they_are() {
        for plain in ["mx.example.org", "[192.0.2.1]", "<user+tag@bücher.example>", "12", "1.5s", "日本", "a,b;c:d/e"]
        {
            assert!(is_plain(plain), "{plain}");
        }
        for strange in ["", "a b", "a=b", "\"a\"", "a'b", "a\\b", "a\tb", "a\u{9b}b", "a\u{202e}b", "a\u{2028}b"] {
            assert!(!is_plain(strange), "{strange:?}");
        }
    }
}
