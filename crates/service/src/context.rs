//! What a program is given when it starts, and what it gives back.

use std::net::SocketAddr;
use std::sync::Arc;

use mailtier_config::Config;
use mailtier_telemetry::Meters;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::health::Health;

/// What a program needs from its surroundings.
#[derive(Debug, Clone)]
pub struct Context {
    /// The whole configuration.
    pub config: Arc<Config>,
    /// To say when it is ready.
    pub health: Health,
    /// Cancelled when it is to drain and end.
    pub shutdown: CancellationToken,
    /// Its metrics.
    pub meters: Arc<Meters>,
}

impl Context {
    /// A context of its own, whose metrics go nowhere: for programs that run inside another process.
    #[must_use]
    pub fn new(config: Arc<Config>) -> Self {
        Self { config, health: Health::default(), shutdown: CancellationToken::new(), meters: Arc::new(Meters::none()) }
    }
}

/// Takes up another configuration, which was checked, in a program that runs: all of it that needs no restart, or, with an
/// error, nothing. It may read files.
pub type Reload = Box<dyn Fn(&Arc<Config>) -> anyhow::Result<()> + Send + Sync>;

/// A program that runs.
pub struct Running {
    /// Where it listens, in the order of its configuration.
    pub addresses: Vec<SocketAddr>,
    /// Ends when the drain after [`Context::shutdown`] is over, or with the error that ended the program.
    pub finished: JoinHandle<anyhow::Result<()>>,
    /// See [`Reload`].
    pub reload: Reload,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}
