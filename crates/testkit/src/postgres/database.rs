//! A database of its own for each test, on the server that all tests of a process share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context as _;
use mailtier_config::{DatabaseConfig, Secret};
use mailtier_store::Store;
use mailtier_types::Timestamp;
use tokio::sync::OnceCell;

use super::server::PostgresServer;

/// What databases are copied from.
const TEMPLATE: &str = "mailtier_template";

static SERVER: OnceCell<Arc<PostgresServer>> = OnceCell::const_new();
static MIGRATED: OnceCell<()> = OnceCell::const_new();
static COUNT: AtomicU32 = AtomicU32::new(1);

/// A database that is dropped with this handle.
#[derive(Debug)]
pub struct TestDatabase {
    server: Arc<PostgresServer>,
    name: String,
}

impl TestDatabase {
    /// A database with the newest schema and event partitions around today.
    ///
    /// # Errors
    /// PostgreSQL is not installed, or the schema cannot be made.
    pub async fn migrated() -> anyhow::Result<Self> {
        let server = shared().await?;
        MIGRATED
            .get_or_try_init(|| async {
                sql(&server, "postgres", &format!("CREATE DATABASE {TEMPLATE}")).await?;
                let now = Timestamp::from_system(std::time::SystemTime::now());
                Store::migrate(&config(&server, TEMPLATE), now).await.context("cannot migrate")?;
                anyhow::Ok(())
            })
            .await?;
        Self::copy_of(server, TEMPLATE).await
    }

    /// A database without anything in it.
    ///
    /// # Errors
    /// PostgreSQL is not installed.
    pub async fn empty() -> anyhow::Result<Self> {
        Self::copy_of(shared().await?, "template0").await
    }

    async fn copy_of(server: Arc<PostgresServer>, template: &str) -> anyhow::Result<Self> {
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        sql(&server, "postgres", &format!("CREATE DATABASE {name} TEMPLATE {template}")).await?;
        Ok(Self { server, name })
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url(&self.name)
    }

    /// The configuration of a program that works with it.
    #[must_use]
    pub fn config(&self) -> DatabaseConfig {
        config(&self.server, &self.name)
    }

    /// It, opened as mailtier-queue does.
    ///
    /// # Errors
    /// It is not one to work with.
    pub async fn store(&self) -> anyhow::Result<Store> {
        Ok(Store::connect(&self.config()).await?)
    }

    /// Runs SQL as the superuser and returns what it gave: a line a row, `|` between columns.
    ///
    /// # Errors
    /// The server refused it.
    pub async fn sql(&self, text: &str) -> anyhow::Result<String> {
        sql(&self.server, &self.name, text).await
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let _ = self.server.sql("postgres", &format!("DROP DATABASE {} WITH (FORCE)", self.name));
    }
}

async fn shared() -> anyhow::Result<Arc<PostgresServer>> {
    let start = || async { anyhow::Ok(Arc::new(tokio::task::spawn_blocking(PostgresServer::start).await??)) };
    SERVER.get_or_try_init(start).await.cloned()
}

async fn sql(server: &Arc<PostgresServer>, database: &str, text: &str) -> anyhow::Result<String> {
    let (server, database, text) = (Arc::clone(server), database.to_owned(), text.to_owned());
    tokio::task::spawn_blocking(move || server.sql(&database, &text)).await?
}

fn config(server: &PostgresServer, database: &str) -> DatabaseConfig {
    DatabaseConfig { url: Some(Secret::new(server.url(database))), ..DatabaseConfig::default() }
}
