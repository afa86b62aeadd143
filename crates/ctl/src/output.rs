//! What operators' commands print: line by line, without what a terminal would act on, and until nobody reads it any more.
//! Not responsible for what `up` and `sink` say, which go on whether or not anybody listens.

use std::fmt;
use std::io::{self, ErrorKind, Write as _};

use mailtier_types::text::printable;

use crate::cli::Failure;

/// As a shell says of a program that was ended because nobody reads what it writes.
const NOBODY_READS: i32 = 128 + 13;

/// Prints a line.
macro_rules! say {
    ($($text:tt)*) => { $crate::output::line(format_args!($($text)*)) };
}
pub(crate) use say;

/// Prints a line. Where nobody reads any more, as behind `| head`, the program ends quietly.
pub(crate) fn line(text: fmt::Arguments<'_>) {
    let text = text.to_string();
    written(writeln!(io::stdout().lock(), "{}", printable(&text)));
}

/// Prints octets as they are.
pub(crate) fn octets(octets: &[u8]) {
    let mut out = io::stdout().lock();
    written(out.write_all(octets).and_then(|()| out.flush()));
}

fn written(result: io::Result<()>) {
    match result {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(NOBODY_READS),
        Err(error) => {
            eprintln!("cannot write: {error}");
            std::process::exit(i32::from(Failure::CANNOT_WRITE));
        }
    }
}
