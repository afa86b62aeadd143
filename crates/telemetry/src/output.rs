//! Where log lines go: standard output, a line at a time, or several at once where they belong together. Not responsible for
//! what they look like.

use std::cell::RefCell;
use std::io::{self, Write};

use tracing_subscriber::fmt::MakeWriter;

thread_local! {
    /// Lines that are written when their last is there; nothing while each is written at once.
    static GATHERED: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Writes the log lines of this thread that `say` logs all at once, when it ends or panics. For what logs many lines in a
/// row: one system call instead of one for each.
pub fn together<T>(say: impl FnOnce() -> T) -> T {
    let _gathering = Gathering::begin();
    say()
}

/// While it lives, lines are gathered; where that was so before, nothing changes.
struct Gathering {
    is_outermost: bool,
}

impl Gathering {
    fn begin() -> Self {
        let is_outermost = GATHERED.with_borrow_mut(|gathered| match gathered {
            Some(_) => false,
            None => {
                *gathered = Some(Vec::new());
                true
            }
        });
        Self { is_outermost }
    }
}

impl Drop for Gathering {
    fn drop(&mut self) {
        if self.is_outermost
            && let Some(lines) = GATHERED.take()
            && !lines.is_empty()
        {
            // As with lines on their own, nobody can be told that the log cannot be written.
            let _ = io::stdout().lock().write_all(&lines);
        }
    }
}

/// Makes writers of lines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output;

impl MakeWriter<'_> for Output {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        *self
    }
}

impl Write for Output {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let is_gathered = GATHERED.with_borrow_mut(|gathered| match gathered {
            Some(lines) => {
                lines.extend_from_slice(line);
                true
            }
            None => false,
        });
        if is_gathered { Ok(line.len()) } else { io::stdout().lock().write(line) }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().lock().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_gathered_until_the_outermost_ends() {
        let gathered =
            || GATHERED.with_borrow(|lines| lines.as_ref().map(|lines| String::from_utf8_lossy(lines).into_owned()));
        assert_eq!(gathered(), None);
        together(|| {
            Output.write_all(b"one\n").unwrap();
            together(|| Output.write_all(b"two\n").unwrap());
            assert_eq!(gathered().as_deref(), Some("one\ntwo\n"));
        });
        assert_eq!(gathered(), None);
        let panicked = std::panic::catch_unwind(|| together(|| panic!("while lines are gathered")));
        assert!(panicked.is_err());
        assert_eq!(gathered(), None);
    }
}
