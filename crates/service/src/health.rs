//! Whether a process is ready for traffic, and why not. Not responsible for how that is asked.

use std::sync::Arc;

use tokio::sync::watch;

/// Shared by whoever knows and whoever asks. A program begins not ready.
#[derive(Debug, Clone)]
pub struct Health {
    state: Arc<watch::Sender<Option<&'static str>>>,
}

impl Default for Health {
    fn default() -> Self {
        Self { state: Arc::new(watch::Sender::new(Some("starting"))) }
    }
}

impl Health {
    /// Ready for traffic.
    pub fn set_ready(&self) {
        self.state.send_if_modified(|state| state.take().is_some());
    }

    /// Not ready, for this reason.
    pub fn set_not_ready(&self, reason: &'static str) {
        self.state.send_if_modified(|state| state.replace(reason) != Some(reason));
    }

    /// Nothing when ready, else the reason.
    #[must_use]
    pub fn not_ready_because(&self) -> Option<&'static str> {
        *self.state.borrow()
    }

    /// Follows the state.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Option<&'static str>> {
        self.state.subscribe()
    }
}
