//! Inbound with its configuration, running in this process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mailtier_config::Config;
use mailtier_service::{Context, Health, Reload};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::dialogue::RELAY_DOMAIN;
use crate::queue::{Queue, Replica};

pub(crate) struct System {
    pub(crate) address: SocketAddr,
    pub(crate) health: Health,
    pub(crate) shutdown: CancellationToken,
    pub(crate) finished: JoinHandle<anyhow::Result<()>>,
    reload: Reload,
    config: Config,
}

/// Mail for example.org from anyone, nothing else: the tests' clients are strangers.
pub(crate) fn config(replicas: &[&Replica]) -> Config {
    let mut config = Config::default();
    config.inbound.listen = vec!["127.0.0.1:0".parse().unwrap()];
    config.inbound.hostname = Some("mx.example.org".into());
    config.inbound.queue = replicas.iter().map(|replica| replica.url.clone()).collect();
    config.inbound.relay_networks = Vec::new();
    config.inbound.relay_domains = vec![RELAY_DOMAIN.into(), format!(".{RELAY_DOMAIN}")];
    config
}

impl System {
    pub(crate) async fn start(config: Config) -> Self {
        let context = Context::new(Arc::new(config.clone()));
        let (health, shutdown) = (context.health.clone(), context.shutdown.clone());
        let running = mailtier_inbound::start(context).await.unwrap();
        let (address, finished, reload) = (running.addresses[0], running.finished, running.reload);
        Self { address, health, shutdown, finished, reload, config }
    }

    /// Started, and ready for mail.
    pub(crate) async fn ready(config: Config) -> Self {
        let system = Self::start(config).await;
        system.until_ready(true).await;
        system
    }

    pub(crate) async fn until_ready(&self, ready: bool) {
        let mut state = self.health.subscribe();
        let wait = state.wait_for(|reason| reason.is_none() == ready);
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("waited in vain for readiness").unwrap();
    }

    /// Takes up another configuration.
    pub(crate) fn reload(&self, change: impl FnOnce(&mut Config)) -> anyhow::Result<()> {
        let mut config = self.config.clone();
        change(&mut config);
        (self.reload)(&Arc::new(config))
    }

    pub(crate) async fn client(&self) -> Client {
        Client::greeted(self.address).await
    }
}

/// A queue of one replica that accepts, and inbound before it.
pub(crate) async fn usual(change: impl FnOnce(&mut Config)) -> (Queue, Replica, System) {
    let queue = Queue::new();
    let replica = queue.replica(0, crate::queue::Mode::Accept).await;
    let mut config = config(&[&replica]);
    change(&mut config);
    let system = System::ready(config).await;
    (queue, replica, system)
}
