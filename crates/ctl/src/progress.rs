//! How far a question has come that takes several calls: one line on a terminal, nothing elsewhere.

use std::io::IsTerminal as _;

/// The line, on standard error.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    looked_at: u64,
    is_shown: bool,
}

impl Progress {
    /// So many more were looked at, and there will be another call.
    pub(crate) fn tell(&mut self, looked_at: u64) {
        self.looked_at = self.looked_at.saturating_add(looked_at);
        self.show(&format!("{} deliveries looked at …", self.looked_at));
    }

    /// How far it has come, in words.
    pub(crate) fn show(&mut self, line: &str) {
        if std::io::stderr().is_terminal() {
            // To the beginning of the line, and clear what was there.
            eprint!("\r\x1b[K{line}");
            self.is_shown = true;
        }
    }

    /// Takes the line away before something else is written.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.is_shown) {
            eprint!("\r\x1b[K");
        }
    }
}
