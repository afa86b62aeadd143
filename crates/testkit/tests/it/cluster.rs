//! Two of each program in one process, with a real PostgreSQL, a name server and a sink: mail finds its way by DNS.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mailtier_config::Config;
use mailtier_service::{Context, Running};
use mailtier_testkit::ledger::send;
use mailtier_testkit::name_server::{NameFailure, NameServer};
use mailtier_testkit::peer::{Received, Sink};
use mailtier_testkit::postgres::TestDatabase;
use mailtier_types::Timestamp;
use tokio_util::sync::CancellationToken;

/// Longest wait for anything.
const LIMIT: Duration = Duration::from_secs(30);

/// All of it.
struct Cluster {
    database: TestDatabase,
    inbound: Vec<SocketAddr>,
    programs: Vec<(CancellationToken, Running)>,
}

impl Cluster {
    /// Each is ready before the next starts.
    async fn start(names: &NameServer, sink: &Sink) -> Self {
        let database = TestDatabase::migrated().await.unwrap();
        let mut config = Config { database: database.config(), ..Config::default() };
        config.queue.listen = loopback();
        config.queue.hostname = Some("mx.system.example".into());
        config.queue.renew_every = Duration::from_millis(200);
        config.queue.worker_grace = Duration::from_millis(500);
        config.inbound.listen = vec![loopback()];
        config.inbound.hostname = Some("mx.system.example".into());
        config.outbound.ehlo_name = Some("mx.system.example".into());
        config.outbound.dns_servers = vec![names.address()];
        config.outbound.smtp_port = sink.address().port();
        config.outbound.allow_private_addresses = true;
        let mut programs = Vec::new();
        for _ in 0..2 {
            programs.push(start(&config, async |context| mailtier_queue::start(context).await.unwrap()).await);
        }
        let queues = programs.iter().map(|(_, running)| format!("http://{}", running.addresses[0])).collect();
        config.inbound.queue = queues;
        config.outbound.queue.clone_from(&config.inbound.queue);
        for _ in 0..2 {
            programs.push(start(&config, async |context| mailtier_outbound::start(context).await.unwrap()).await);
        }
        let mut inbound = Vec::new();
        for _ in 0..2 {
            let program = start(&config, async |context| mailtier_inbound::start(context).await.unwrap()).await;
            inbound.push(program.1.addresses[0]);
            programs.push(program);
        }
        Self { database, inbound, programs }
    }

    async fn send(&self, number: usize, recipient: &str) {
        let (inbound, recipient) = (self.inbound[number % self.inbound.len()], recipient.to_owned());
        let content = format!("Subject: number {number}\r\n\r\nHello.\r\n");
        let sending = move || send(inbound, "<s@client.example>", &[&recipient], content.as_bytes());
        assert_eq!(tokio::task::spawn_blocking(sending).await.unwrap().unwrap(), 250);
    }

    /// Everyone stops, the front first; each recipient is in one state.
    async fn stop(mut self) {
        while let Some((shutdown, running)) = self.programs.pop() {
            shutdown.cancel();
            tokio::time::timeout(LIMIT, running.finished).await.expect("ends").unwrap().unwrap();
        }
        let mut session = self.database.store().await.unwrap().session().await.unwrap();
        let now = Timestamp::from_system(SystemTime::now());
        assert_eq!(session.audit(Timestamp::EPOCH, now, 10).await.unwrap(), []);
    }
}

/// Starts a program and waits until it is ready.
async fn start(config: &Config, program: impl AsyncFnOnce(Context) -> Running) -> (CancellationToken, Running) {
    let context = Context::new(Arc::new(config.clone()));
    let (mut health, shutdown) = (context.health.subscribe(), context.shutdown.clone());
    let running = program(context).await;
    tokio::time::timeout(LIMIT, health.wait_for(Option::is_none)).await.expect("is ready").unwrap();
    (shutdown, running)
}

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A name server that knows the sender's domain and the sink.
async fn names() -> NameServer {
    let names = NameServer::start().await.unwrap();
    names.add_address("sink.example", address("127.0.0.1")).unwrap();
    names.add_mx("client.example", 10, "sink.example").unwrap();
    names
}

async fn received(sink: &Sink, count: usize) -> Vec<Received> {
    tokio::time::timeout(LIMIT, sink.wait_for(count)).await.expect("arrives in time").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_finds_its_way_by_dns_and_arrives_once() {
    let (names, sink) = (names().await, Sink::start().await.unwrap());
    // One exchanger that is down before one that is up; no exchanger but an address; an alias.
    names.add_address("down.example", address("127.0.0.3")).unwrap();
    names.add_mx("two.example", 10, "down.example").unwrap();
    names.add_mx("two.example", 20, "sink.example").unwrap();
    names.add_address("implicit.example", address("127.0.0.1")).unwrap();
    names.add_alias("alias.example", "two.example").unwrap();
    let cluster = Cluster::start(&names, &sink).await;
    for number in 0..40 {
        let domain = ["two.example", "implicit.example", "alias.example"][number % 3];
        cluster.send(number, &format!("r{number}@{domain}")).await;
    }
    let mut arrived: Vec<String> =
        received(&sink, 40).await.iter().flat_map(|one| &one.recipients).map(ToString::to_string).collect();
    cluster.stop().await;
    assert_eq!(sink.received().len(), 40, "nothing twice");
    arrived.sort_unstable();
    arrived.dedup();
    assert_eq!(arrived.len(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_take_no_mail_are_told_from_names_that_cannot_be_asked() {
    let (names, sink) = (names().await, Sink::start().await.unwrap());
    names.add_mx("null.example", 0, ".").unwrap();
    names.fail("sick.example", NameFailure::ServFail).unwrap();
    let cluster = Cluster::start(&names, &sink).await;
    for (number, domain) in ["null.example", "unknown.example", "sick.example"].into_iter().enumerate() {
        cluster.send(number, &format!("r@{domain}")).await;
    }
    let returned = received(&sink, 2).await;
    let text = |name: &str| {
        let texts = returned.iter().map(|one| String::from_utf8_lossy(&one.content).into_owned());
        texts.into_iter().find(|text| text.contains(&format!("Final-Recipient: rfc822; r@{name}"))).unwrap_or_default()
    };
    // RFC 7505 §4.2 and RFC 3463 §3.2.
    assert!(text("null.example").contains("Status: 5.1.10"), "{}", text("null.example"));
    assert!(text("unknown.example").contains("Status: 5.1.2"), "{}", text("unknown.example"));
    // The notifications, which have no sender, may have arrived and not be settled yet.
    let waiting = cluster.database.sql("SELECT destination FROM delivery WHERE sender <> ''").await.unwrap();
    assert_eq!(waiting, "sick.example", "a name server that fails bounces nothing (RFC 5321 §5.1)");
    cluster.stop().await;
}
