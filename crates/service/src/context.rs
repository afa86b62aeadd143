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

/// A program that runs.
#[derive(Debug)]
pub struct Running {
    /// Where it listens, in the order of its configuration.
    pub addresses: Vec<SocketAddr>,
    /// Ends when the drain after [`Context::shutdown`] is over, or with the error that ended the program.
    pub finished: JoinHandle<anyhow::Result<()>>,
}
