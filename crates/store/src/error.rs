//! What can go wrong with the database, split by what the caller must conclude from it. Not responsible for retrying.

use mailtier_config::ConfigError;
use mailtier_types::id::InvalidId;

/// invalid_sql_statement_name and duplicate_prepared_statement of PostgreSQL's appendix A. No statement of ours has a name
/// of its own, so neither can be our mistake.
const INVALID_STATEMENT_NAME: &str = "26000";
const DUPLICATE_STATEMENT: &str = "42P05";
/// lock_not_available.
const LOCK_NOT_AVAILABLE: &str = "55P03";
/// The class of data exceptions.
const DATA_EXCEPTION: &str = "22";

/// Trouble with the database. After any of these a [`Session`](crate::Session) is not used again.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The connection was lost while a write was under way: it may have been committed or not. The caller writes the
    /// same again on another session (every write is made so that this is harmless) and believes only that answer.
    #[error("connection to the database lost, outcome of the write unknown")]
    Unknown(#[source] sqlx::Error),
    /// No connection, or it was lost while nothing was being written. Nothing has changed.
    #[error("database unavailable")]
    Unavailable(#[source] sqlx::Error),
    /// The server refused the statement. Nothing has changed.
    #[error("database refused the statement")]
    Database(#[source] sqlx::Error),
    /// What was prepared is not there any more, or what was not prepared is there already: connections are shared by a
    /// pooler that does not know of prepared statements. Nothing has changed.
    #[error(
        "the pooler in front of the database mixes up prepared statements: use PgBouncer 1.21 or newer with \
         max_prepared_statements = 200, or connect past it"
    )]
    StatementsMixedUp(#[source] sqlx::Error),
    /// The session was used again after an error or after a cancelled call.
    #[error("database session cannot be used any more")]
    SessionSpent,
    /// All connections that the configuration allows are in use.
    #[error("all {limit} database connections are in use")]
    TooManySessions {
        /// The limit.
        limit: u32,
    },
    /// A stored value is not what this program writes.
    #[error("stored value of {column} cannot be read")]
    Corrupt {
        /// Where it was found.
        column: &'static str,
    },
    /// Every node number is leased.
    #[error("all node numbers are leased")]
    NoNodeNumber,
    /// The configuration does not say where the database is.
    #[error("the configuration cannot be used")]
    Configuration(#[source] ConfigError),
    /// The database has no schema of ours.
    #[error("database has no schema yet: run `mailtier-queue migrate`")]
    SchemaMissing,
    /// The schema is older than this program.
    #[error("database schema {found} is older than this program needs ({needed}): run `mailtier-queue migrate`")]
    SchemaOlder {
        /// The database's.
        found: i32,
        /// This program's.
        needed: i32,
    },
    /// The schema is newer than this program and not declared to go with it.
    #[error("database schema {found} is newer than this program knows ({known}): run a newer mailtier-queue")]
    SchemaNewer {
        /// The database's.
        found: i32,
        /// The newest of this program.
        known: i32,
    },
    /// A migration was applied that is not this program's of that number.
    #[error(
        "migration {version} of the database is not the one of this program: the schema is not ours or was changed"
    )]
    SchemaTampered {
        /// Its number.
        version: i32,
    },
    /// The server's settings lose committed mail when it crashes.
    #[error(
        "server setting {setting} = {value} loses accepted mail in a crash (database.allow_unsafe_durability permits it)"
    )]
    UnsafeDurability {
        /// Which.
        setting: &'static str,
        /// Its value.
        value: String,
    },
}

impl From<InvalidId> for StoreError {
    fn from(_: InvalidId) -> Self {
        Self::Corrupt { column: "id" }
    }
}

impl StoreError {
    /// Whether a write may have been committed although it failed.
    #[must_use]
    pub const fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown(_))
    }

    /// Whether the same can succeed later without anyone changing anything: no connection, a deadlock, a full server.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unknown(_)
            | Self::Unavailable(_)
            | Self::StatementsMixedUp(_)
            | Self::SessionSpent
            | Self::TooManySessions { .. } => true,
            Self::Database(error) => sqlstate(error).is_some_and(|state| is_transient_state(&state)),
            _ => false,
        }
    }

    /// For a statement that writes.
    pub(crate) fn of_write(error: sqlx::Error) -> Self {
        if lost_connection(&error) { Self::Unknown(error) } else { Self::refused(error) }
    }

    /// For a statement that only reads, and for the time before a transaction wrote anything.
    pub(crate) fn of_read(error: sqlx::Error) -> Self {
        if lost_connection(&error) { Self::Unavailable(error) } else { Self::refused(error) }
    }

    fn refused(error: sqlx::Error) -> Self {
        match sqlstate(&error).as_deref() {
            Some(INVALID_STATEMENT_NAME | DUPLICATE_STATEMENT) => Self::StatementsMixedUp(error),
            _ => Self::Database(error),
        }
    }

    /// Whether the server cannot take in a value as it was given: a number beyond its range, a zero octet in a text.
    #[must_use]
    pub fn is_bad_value(&self) -> bool {
        matches!(self, Self::Database(error) if sqlstate(error).is_some_and(|state| state.starts_with(DATA_EXCEPTION)))
    }

    /// Whether a statement has waited for a lock for as long as `lock_timeout` allows.
    pub(crate) fn is_lock_timeout(&self) -> bool {
        matches!(self, Self::Database(error) if sqlstate(error).as_deref() == Some(LOCK_NOT_AVAILABLE))
    }

    /// Whether a key was there already.
    #[must_use]
    pub fn is_duplicate_key(&self) -> bool {
        matches!(self, Self::Database(sqlx::Error::Database(error)) if error.is_unique_violation())
    }
}

impl StoreError {
    /// Whether a value was one that PostgreSQL cannot hold (classes 22, data exception, and 54, program limit).
    #[must_use]
    pub fn is_data_error(&self) -> bool {
        match self {
            Self::Database(error) => {
                sqlstate(error).is_some_and(|state| state.starts_with("22") || state.starts_with("54"))
            }
            _ => false,
        }
    }
}

fn sqlstate(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|error| error.code()).map(std::borrow::Cow::into_owned)
}

/// Classes 40 (rolled back: deadlock, serialization), 53 (resources), 55 (lock not available), 57 (operator intervention
/// and timeouts) and 58 (system error) of PostgreSQL's appendix A.
fn is_transient_state(state: &str) -> bool {
    ["40", "53", "55", "57", "58"].iter().any(|class| state.starts_with(class))
}

/// Everything but an ordinary error message of the server: with class 57P (shutdown, crash, dropped database) and class
/// 08 the server ends the connection, and what it had committed before is not said.
fn lost_connection(error: &sqlx::Error) -> bool {
    match sqlstate(error) {
        Some(state) => state.starts_with("57P") || state.starts_with("08"),
        None => !matches!(
            error,
            sqlx::Error::RowNotFound
                | sqlx::Error::ColumnNotFound(_)
                | sqlx::Error::ColumnIndexOutOfBounds { .. }
                | sqlx::Error::ColumnDecode { .. }
                | sqlx::Error::Encode(_)
                | sqlx::Error::Decode(_)
                | sqlx::Error::TypeNotFound { .. }
        ),
    }
}
