//! The database as a whole: where it is, whether its schema and settings are ones to work with, and new sessions.

use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mailtier_config::{ConfigError, DatabaseConfig};
use mailtier_types::Timestamp;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::StoreError;
use crate::idle::Idle;
use crate::schema;
use crate::session::Session;

/// What every session asks of the server beside its timeouts. Statements are planned once and run for weeks, while the
/// tables go from empty to full and back; a plan made for an empty table must still walk the primary key when it is full.
/// Behind a PgBouncer, which passes no such settings on, they are set for the role (`ALTER ROLE … SET`).
pub const SESSION_SETTINGS: &[(&str, &str)] = &[
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    // A plan with a disabled path looks expensive enough to be compiled, which takes longer than it runs.
    ("jit", "off"),
    // A batch of bodies passes through it; beyond it spills to a file.
    ("work_mem", "16MB"),
];

/// Sessions beyond `database.max_connections`: those that the loops of the queue keep.
const HOT_SESSIONS: u32 = 9;
/// How long a session waits for another to end, and for the server to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A transaction whose program says nothing for so long is ended, in milliseconds: a program that is stopped or cut off must
/// not hold the rows that its successor settles.
const IDLE_IN_TRANSACTION: &str = "3000";
/// Event partitions are made this many days ahead when the schema is.
const PARTITIONS_AHEAD_DAYS: u16 = 7;

/// A database that can be worked with.
#[derive(Clone, Debug)]
pub struct Store {
    options: PgConnectOptions,
    statement_timeout: Duration,
    allow_unsafe_durability: bool,
    limit: u32,
    permits: Arc<Semaphore>,
    /// Connections that were given back.
    idle: Arc<Idle>,
    waiting: Arc<AtomicU32>,
}

/// How many sessions there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// In somebody's hands.
    pub open: u32,
    /// That there may be.
    pub limit: u32,
    /// Wanted by somebody who waits for another's end.
    pub waiting: u32,
}

/// What a migration did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The schema before; 0 for none.
    pub from: i32,
    /// The schema now.
    pub to: i32,
}

impl Store {
    /// Opens the database and checks it (see [`check`](Self::check)).
    ///
    /// # Errors
    /// It cannot be reached, or is not one to work with.
    pub async fn connect(config: &DatabaseConfig) -> Result<Self, StoreError> {
        let store = Self::open(config)?;
        store.check().await?;
        Ok(store)
    }

    /// Brings the schema to the newest this program knows, and makes the event partitions of the coming days.
    ///
    /// # Errors
    /// The database cannot be reached, or its schema is not ours.
    pub async fn migrate(config: &DatabaseConfig, now: Timestamp) -> Result<Migrated, StoreError> {
        let store = Self::open(config)?;
        let mut session = store.session().await?;
        let migrated = schema::migrate(&mut session).await?;
        // The lock and the settings of the migration end with its session.
        drop(session);
        store.session().await?.ensure_event_partitions(now, PARTITIONS_AHEAD_DAYS).await?;
        Ok(migrated)
    }

    /// Whether the schema is known to this program and the server's settings keep what was committed.
    ///
    /// # Errors
    /// Neither, or the database cannot be reached.
    pub async fn check(&self) -> Result<(), StoreError> {
        let mut session = self.session().await?;
        schema::check(&mut session).await?;
        schema::check_durability(&mut session, self.allow_unsafe_durability).await
    }

    /// A connection for one owner task.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub async fn session(&self) -> Result<Session, StoreError> {
        let permit = self.permit().await?;
        // One of those that wait makes room for it: together they are never more than the limit.
        drop(self.idle.take());
        self.connect_with(permit).await
    }

    /// A connection for a moment, which may have served others before: who has used it returns it by
    /// [`Self::give_back`]. One that waited may turn out to be broken; [`Self::session`] is always a new one.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub async fn borrow(&self) -> Result<Session, StoreError> {
        let permit = self.permit().await?;
        match self.idle.take() {
            Some(connection) => Ok(Session::new(connection, self.statement_timeout, permit)),
            None => self.connect_with(permit).await,
        }
    }

    /// Keeps a connection for the next that borrows one, unless it cannot be used again.
    pub fn give_back(&self, session: Session) {
        if let Some((connection, permit)) = session.into_usable() {
            self.idle.keep(connection);
            drop(permit);
        }
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        let _waiting = Waiting::begin(&self.waiting);
        match tokio::time::timeout(CONNECT_TIMEOUT, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(StoreError::TooManySessions { limit: self.limit }),
        }
    }

    async fn connect_with(&self, permit: OwnedSemaphorePermit) -> Result<Session, StoreError> {
        let timed_out = |_| std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer of the database");
        let connection = tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(&self.options))
            .await
            .map_err(timed_out)
            .map_err(sqlx::Error::Io)
            .flatten()
            .map_err(StoreError::Unavailable)?;
        Ok(Session::new(connection, self.statement_timeout, permit))
    }

    /// How many sessions there are now.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let free = u32::try_from(self.permits.available_permits()).unwrap_or(u32::MAX);
        let waiting = self.waiting.load(Ordering::Relaxed);
        let idle = u32::try_from(self.idle.close_old()).unwrap_or(u32::MAX);
        Usage { open: self.limit.saturating_sub(free).saturating_add(idle), limit: self.limit, waiting }
    }

    fn open(config: &DatabaseConfig) -> Result<Self, StoreError> {
        let url = config.resolved_url().map_err(StoreError::Configuration)?;
        let timeout_ms = config.statement_timeout.as_millis().to_string();
        let options = PgConnectOptions::from_str(url.expose())
            .map_err(|error| bad_url(config, &error))?
            .application_name("mailtier-queue")
            .options(SESSION_SETTINGS.iter().copied())
            .options([
                ("statement_timeout", timeout_ms.as_str()),
                ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION),
            ])
            .disable_statement_logging();
        let limit = config.max_connections.saturating_add(HOT_SESSIONS);
        Ok(Self {
            options,
            statement_timeout: config.statement_timeout,
            allow_unsafe_durability: config.allow_unsafe_durability,
            limit,
            idle: Arc::default(),
            permits: Arc::new(Semaphore::new(usize::try_from(limit).unwrap_or(usize::MAX >> 3))),
            waiting: Arc::default(),
        })
    }
}

/// Somebody waits for a session; until this is dropped, even where the wait is cancelled.
struct Waiting<'a>(&'a AtomicU32);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Says what is wrong with the URL, and never the URL: a password may be in it.
fn bad_url(config: &DatabaseConfig, error: &sqlx::Error) -> StoreError {
    let key = if config.url_file.is_some() { "database.url_file" } else { "database.url" };
    StoreError::Configuration(ConfigError::bad(key, format!("cannot be used: {error}")))
}
