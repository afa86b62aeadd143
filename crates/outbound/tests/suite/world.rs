//! A worker and what it works on, for one test.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use mailtier_api::encode_options;
use mailtier_api::work::{Dispatch, WorkResult};
use mailtier_config::{Config, RouteConfig};
use mailtier_service::{Context, Health, Running};
use mailtier_types::{
    BodyEncoding, Epoch, Mailbox, MessageId, Options, Outcome, ReversePath, ShardId, TenantId, Timestamp,
};
use tokio_util::sync::CancellationToken;

use crate::peer::Peer;
use crate::queue::Queue;

/// A worker that ends with the test.
pub(crate) struct Worker {
    pub(crate) health: Health,
    shutdown: CancellationToken,
    running: Option<Running>,
    config: Config,
}

impl Worker {
    /// Over one queue replica, with what the test changes.
    pub(crate) async fn start(queue: &Queue, change: impl FnOnce(&mut Config)) -> Self {
        Self::over(&[queue], change).await
    }

    pub(crate) async fn over(queues: &[&Queue], change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.outbound.queue = queues.iter().map(|queue| queue.endpoint()).collect();
        config.outbound.ehlo_name = Some("out.example".to_owned());
        config.outbound.name = Some("worker".to_owned());
        config.outbound.dns_timeout = Duration::from_secs(1);
        config.outbound.connect_timeout = Duration::from_secs(5);
        config.outbound.idle_timeout = Duration::from_secs(60);
        change(&mut config);
        let context = Context::new(Arc::new(config.clone()));
        let (health, shutdown) = (context.health.clone(), context.shutdown.clone());
        let running = mailtier_outbound::start(context).await.unwrap();
        Self { health, shutdown, running: Some(running), config }
    }

    /// Takes up another configuration.
    pub(crate) fn reload(&self, change: impl FnOnce(&mut Config)) -> Result<(), String> {
        let mut config = self.config.clone();
        change(&mut config);
        (self.running.as_ref().unwrap().reload)(&Arc::new(config)).map_err(|error| error.to_string())
    }

    /// Begins the drain.
    pub(crate) fn shut_down(&self) {
        self.shutdown.cancel();
    }

    /// Waits for the end of the drain.
    pub(crate) async fn ended(&mut self) {
        self.running.take().unwrap().finished.await.unwrap().unwrap();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// All mail goes to this peer.
pub(crate) fn smarthost(config: &mut Config, peer: &Peer) {
    config.outbound.routes = vec![RouteConfig::to_hosts("*", vec![peer.address.to_string()])];
}

/// Sessions are counted, and reports posted.
pub(crate) fn with_tls_reports(config: &mut Config) {
    config.tls_reports.sender = Some("tls@out.example".to_owned());
    config.tls_reports.organization = Some("Example".to_owned());
    config.tls_reports.dkim_selector = Some("s1".to_owned());
}

pub(crate) const TEXT: &str = "Subject: greetings\r\n\r\nHello.\r\n.dot\r\n";

/// The shard all deliveries of tests are in.
pub(crate) const SHARD: ShardId = ShardId::new(7);

fn next_id() -> MessageId {
    static NEXT: AtomicI64 = AtomicI64::new(1 << 40);
    MessageId::from_i64(NEXT.fetch_add(16, Ordering::Relaxed)).unwrap()
}

/// A first attempt of a small message.
pub(crate) fn letter(recipients: &[&str]) -> Dispatch {
    with_body(recipients, TEXT, |_| {})
}

pub(crate) fn with_body(recipients: &[&str], text: &str, change: impl FnOnce(&mut Options)) -> Dispatch {
    let mut options = Options {
        received_at: Timestamp::from_secs(1_800_000_000),
        size_bytes: text.len() as u64,
        encoding: BodyEncoding::Identity,
        chunks: 1,
        fanout: 1,
        ..Options::default()
    };
    change(&mut options);
    let recipients: Vec<_> = recipients.iter().map(|text| Mailbox::parse(text).unwrap()).collect();
    let message = next_id();
    Dispatch {
        traceparent: None,
        priority: 0,
        pool: "default".to_owned(),
        delivery: message.delivery(0),
        message,
        shard: SHARD,
        epoch: Epoch(1),
        attempt: 1,
        tenant: TenantId(0),
        destination: recipients[0].domain_str().to_owned(),
        sender: ReversePath::parse("sender@from.example").unwrap(),
        return_path: None,
        return_paths: Vec::new(),
        recipients,
        options: encode_options(options),
        expires_at: Timestamp::from_secs(1_900_000_000),
        body: Some(vec![Bytes::copy_from_slice(text.as_bytes())]),
        resolve_first: false,
        hosts: Vec::new(),
        was_held: false,
        same_source: None,
        avoided_sources: Vec::new(),
    }
}

/// The one outcome of a result.
pub(crate) fn only(result: &WorkResult) -> &Outcome {
    assert!(!result.not_attempted, "{result:?}");
    assert_eq!(result.outcomes.len(), 1, "{result:?}");
    &result.outcomes[0].1
}

/// Each outcome with the local parts it concerns, as a line.
pub(crate) fn lines(result: &WorkResult) -> Vec<String> {
    let line = |(recipients, outcome): &(Vec<Mailbox>, Outcome)| {
        let names: Vec<_> = recipients.iter().map(Mailbox::local_part).collect();
        format!("{}: {} {outcome}", names.join(","), outcome.stage.name())
    };
    let mut lines: Vec<_> = result.outcomes.iter().map(line).collect();
    lines.sort_unstable();
    lines
}
