//! Queue replicas with their configuration, running in this process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mailtier_api::admin::AdminClient;
use mailtier_config::{Config, ProviderConfig, Secret};
use mailtier_service::{Context, Reload};
use mailtier_testkit::postgres::TestDatabase;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The longest wait for anything that should happen.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
/// For how long nothing is to happen where nothing should: longer than workers are waited for.
pub(crate) const QUIET: Duration = Duration::from_millis(1600);
/// What operators show.
const ADMIN: &str = "operators only";

/// A running replica, on a runtime of its own so that it can be killed.
pub(crate) struct Replica {
    pub(crate) address: SocketAddr,
    /// Where the HTTP API is, where it is on.
    pub(crate) api: Option<SocketAddr>,
    shutdown: CancellationToken,
    finished: JoinHandle<anyhow::Result<()>>,
    runtime: Option<Runtime>,
    reload: Reload,
    config: Arc<Config>,
}

/// One that looks at everything often, so that tests are short.
pub(crate) fn config(database: &TestDatabase) -> Config {
    let mut config = Config { database: database.config(), ..Config::default() };
    config.cluster.admin_secret = Some(Secret::new(ADMIN.to_owned()));
    let queue = &mut config.queue;
    queue.listen = "127.0.0.1:0".parse().unwrap();
    queue.hostname = Some("mx.example.org".into());
    queue.lease = Duration::from_secs(4);
    queue.renew_every = Duration::from_millis(100);
    queue.worker_grace = Duration::from_secs(1);
    queue.catch_up_every = Duration::from_millis(300);
    queue.drain_timeout = Duration::from_secs(5);
    queue.retry_jitter = 0.0;
    config
}

impl Replica {
    /// Started, and ready.
    pub(crate) async fn start(config: Config) -> Self {
        Self::begin(config).await.until_ready().await
    }

    /// Started; when it is ready remains to be seen.
    pub(crate) async fn begin(config: Config) -> Begun {
        let config = Arc::new(config);
        let context = Context::new(Arc::clone(&config));
        let (health, shutdown) = (context.health.subscribe(), context.shutdown.clone());
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let running = runtime.spawn(mailtier_queue::start(context)).await.unwrap().unwrap();
        let (address, api) = (running.addresses[0], running.addresses.get(1).copied());
        let (finished, reload, runtime) = (running.finished, running.reload, Some(runtime));
        Begun { replica: Self { address, api, shutdown, finished, runtime, reload, config }, health }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Takes up another configuration.
    pub(crate) fn reload(&self, change: impl FnOnce(&mut Config)) {
        let mut config = Config::clone(&self.config);
        change(&mut config);
        (self.reload)(&Arc::new(config)).unwrap();
    }

    /// Drains and ends, as after a signal.
    pub(crate) async fn stop(mut self) {
        self.shutdown.cancel();
        tokio::time::timeout(LIMIT, &mut self.finished).await.expect("does not end").unwrap().unwrap();
    }

    /// Ends in the middle of everything, as after a kill.
    pub(crate) fn kill(self) {
        drop(self);
    }

    pub(crate) async fn admin(&self) -> AdminClient {
        AdminClient::connect(&self.url(), Some(&Secret::new(ADMIN.to_owned()))).await.unwrap()
    }
}

/// A replica that need not be ready.
pub(crate) struct Begun {
    replica: Replica,
    health: watch::Receiver<Option<&'static str>>,
}

impl Begun {
    pub(crate) const fn replica(&self) -> &Replica {
        &self.replica
    }

    pub(crate) async fn until_ready(mut self) -> Replica {
        let ready = self.health.wait_for(Option::is_none);
        tokio::time::timeout(LIMIT, ready).await.expect("waited in vain for readiness").unwrap();
        self.replica
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A database and one replica.
pub(crate) async fn usual(change: impl FnOnce(&mut Config)) -> (TestDatabase, Replica) {
    let database = TestDatabase::migrated().await.unwrap();
    let replica = another(&database, change).await;
    (database, replica)
}

/// One more replica.
pub(crate) async fn another(database: &TestDatabase, change: impl FnOnce(&mut Config)) -> Replica {
    let mut config = config(database);
    change(&mut config);
    Replica::start(config).await
}

/// Two replicas that share the shards.
pub(crate) async fn two(database: &TestDatabase, change: impl Fn(&mut Config)) -> [Replica; 2] {
    let replicas = [another(database, &change).await, another(database, &change).await];
    until_shared(database).await;
    replicas
}

/// Exchangers below mx.big.example are big's, and take so many deliveries at a time.
pub(crate) fn with_provider(config: &mut Config, concurrency: Option<u32>) {
    let exchangers = vec!["mx.big.example".into()];
    config.queue.providers =
        vec![ProviderConfig { name: "big".into(), exchangers, concurrency, ..ProviderConfig::default() }];
}

/// Until a question to the database has this answer, which may take thousands of transactions.
pub(crate) async fn until_told(database: &TestDatabase, question: &str, answer: &str) {
    let mut looks = tokio::time::interval(Duration::from_millis(50));
    let started = std::time::Instant::now();
    while database.sql(question).await.unwrap() != answer {
        assert!(started.elapsed() < 3 * LIMIT, "never {answer}: {question}");
        looks.tick().await;
    }
}

/// Until every shard is owned in an epoch.
pub(crate) async fn until_owned(database: &TestDatabase, epoch: i64) {
    let owned = format!("SELECT count(*) FROM shard WHERE owner IS NOT NULL AND epoch = {epoch}");
    let mut rounds = tokio::time::interval(Duration::from_millis(100));
    for _ in 0..200 {
        rounds.tick().await;
        if database.sql(&owned).await.unwrap() == "256" {
            return;
        }
    }
    panic!("never owned");
}

/// Until every shard has been renewed once more, and then once more: a whole round of its owner is over.
pub(crate) async fn until_renewed(database: &TestDatabase) {
    for _ in 0..2 {
        let before = database.sql("SELECT max(lease_until) FROM shard").await.unwrap();
        let renewed = format!("SELECT min(lease_until) > '{before}' FROM shard");
        let mut rounds = tokio::time::interval(Duration::from_millis(20));
        let started = std::time::Instant::now();
        while database.sql(&renewed).await.unwrap() != "t" {
            assert!(started.elapsed() < LIMIT, "not renewed");
            rounds.tick().await;
        }
    }
}

/// Until one replica owns every shard.
pub(crate) async fn until_one_owns_all(database: &TestDatabase) {
    let owners = "SELECT count(*) || ' of ' || count(DISTINCT owner) FROM shard WHERE owner IS NOT NULL";
    let mut rounds = tokio::time::interval(Duration::from_millis(100));
    for _ in 0..200 {
        rounds.tick().await;
        if database.sql(owners).await.unwrap() == "256 of 1" {
            return;
        }
    }
    panic!("never one's alone");
}

/// Until both replicas have their share, and each knows of the other's.
pub(crate) async fn until_shared(database: &TestDatabase) {
    let shares = "SELECT string_agg(n::text, ' ') FROM (SELECT count(*) AS n FROM shard GROUP BY owner) s";
    let mut rounds = tokio::time::interval(Duration::from_millis(200));
    let mut even = 0;
    for _ in 0..100 {
        rounds.tick().await;
        even = if database.sql(shares).await.unwrap() == "128 128" { even + 1 } else { 0 };
        if even == 6 {
            return;
        }
    }
    panic!("never shared");
}

/// Until every replica has read the rules since now: it does so in each round, before its heart beats.
pub(crate) async fn until_rules_are_read(database: &TestDatabase) {
    let mut looks = tokio::time::interval(config(database).queue.renew_every / 2);
    for _ in 0..2 {
        let since = database.sql("SELECT now()").await.unwrap();
        let beats = format!("SELECT bool_and(lease_until - interval '4 s' > '{since}') FROM member");
        while database.sql(&beats).await.unwrap() != "t" {
            looks.tick().await;
        }
    }
}
