//! The schema: which migrations there are, applying them, and refusing to work with a schema that is not known or with a
//! server that forgets. Not responsible for the migrations' content, which explains itself in `migrations/`.

use std::time::Duration;

use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::error::StoreError;
use crate::session::Session;
use crate::sql;
use crate::store::Migrated;
use crate::wire::Columns as _;

/// One step of the schema, forward only.
struct Migration {
    /// Counted from 1.
    version: i32,
    /// The file's name.
    name: &'static str,
    text: &'static str,
    /// The newest migration known to the oldest program that runs beside this schema. While a release is made that is
    /// the last release's: the steps of one release only add (expand), so that programs are upgraded one by one.
    oldest_program: i32,
}

/// Each is named by its file, and says the oldest program that runs beside it.
macro_rules! migrations {
    ($($version:literal: $name:literal beside $oldest_program:literal,)*) => {
        &[$(Migration {
            version: $version,
            name: $name,
            text: include_str!(concat!("../../../migrations/", $name, ".sql")),
            oldest_program: $oldest_program,
        }),*]
    };
}

const MIGRATIONS: &[Migration] = migrations! {
    1: "0001_queue" beside 1,
    2: "0002_accounts" beside 1,
    3: "0003_rules" beside 2,
    4: "0004_rules_of_all_kinds" beside 3,
    5: "0005_told" beside 3,
    6: "0006_tokens" beside 3,
    7: "0007_pools" beside 3,
    8: "0008_held" beside 3,
    9: "0009_suppression" beside 3,
    10: "0010_tls" beside 3,
};

/// The newest migration this program knows.
const KNOWN: i32 = match MIGRATIONS {
    [.., newest] => newest.version,
    [] => 0,
};

/// A migration as the database remembers it.
struct Applied {
    version: i32,
    checksum: Vec<u8>,
    oldest_program: i32,
}

/// A step that others keep from a table lets them pass for so long, and tries again so often: a dump of a large database
/// keeps its locks for an hour.
const LET_PASS: Duration = Duration::from_secs(1);
const TRIES: u32 = 3600;
/// One statement may read a large table once.
const STEP_DEADLINE: Duration = Duration::from_secs(6 * 3600);

/// Applies what is missing, each migration in its own transaction, one program at a time, while mail flows: no step keeps
/// others waiting for longer than `lock_timeout` (see `schema_lock.sql`) and what it does itself.
pub(crate) async fn migrate(session: &mut Session) -> Result<Migrated, StoreError> {
    session.wait_at_most(STEP_DEADLINE);
    session.read(sqlx::query(sql::SCHEMA_PATIENCE)).await?;
    session.read(sqlx::query(sql::SCHEMA_LOCK)).await?;
    let applied = applied(session).await?;
    let from = applied.last().map_or(0, |row| row.version);
    match judge(session, &applied).await {
        Ok(()) => return Ok(Migrated { from, to: from }),
        Err(StoreError::SchemaOlder { .. } | StoreError::SchemaMissing) => {}
        Err(error) => return Err(error),
    }
    for migration in MIGRATIONS.iter().filter(|migration| migration.version > from) {
        tracing::info!(migration = migration.name, "migrating the schema");
        apply(session, migration).await?;
    }
    Ok(Migrated { from, to: KNOWN })
}

/// Applies one, when those who hold its tables let it.
async fn apply(session: &mut Session, migration: &Migration) -> Result<(), StoreError> {
    for _ in 1..TRIES {
        match try_to_apply(session, migration).await {
            Err(error) if error.is_lock_timeout() => {
                tell_who_holds(session, migration).await?;
                tokio::time::sleep(LET_PASS).await;
            }
            result => return result,
        }
    }
    try_to_apply(session, migration).await
}

async fn try_to_apply(session: &mut Session, migration: &Migration) -> Result<(), StoreError> {
    let mut transaction = session.begin().await?;
    let result = take_step(transaction.session(), migration).await;
    match result {
        Ok(()) => transaction.commit().await,
        Err(error) => {
            transaction.rollback().await?;
            Err(error)
        }
    }
}

async fn take_step(open: &mut Session, migration: &Migration) -> Result<(), StoreError> {
    open.batch(sql::DDL_SCHEMA_VERSION.to_owned()).await?;
    open.batch(migration.text.to_owned()).await?;
    let record = sqlx::query(sql::SCHEMA_RECORD)
        .bind(migration.version)
        .bind(migration.name)
        .bind(migration.text)
        .bind(migration.oldest_program);
    open.write(record).await.map(|_| ())
}

async fn tell_who_holds(session: &mut Session, migration: &Migration) -> Result<(), StoreError> {
    let rows = session.read(sqlx::query(sql::OLDEST_TRANSACTION)).await?;
    let Some(oldest) = rows.first() else { return Ok(()) };
    let (pid, application): (i32, String) = (oldest.value("pid")?, oldest.value("application_name")?);
    let open_seconds: i64 = oldest.value("open_seconds")?;
    tracing::warn!(
        migration = migration.name,
        pid,
        application,
        open_seconds,
        "a transaction holds a table that is to be changed: mail passes, and it is tried again"
    );
    Ok(())
}

/// Whether this program can work with the schema.
pub(crate) async fn check(session: &mut Session) -> Result<(), StoreError> {
    let applied = applied(session).await?;
    judge(session, &applied).await
}

async fn applied(session: &mut Session) -> Result<Vec<Applied>, StoreError> {
    let exists = session.read(sqlx::query(sql::SCHEMA_EXISTS)).await?;
    if !exists.first().map(|row| row.value("found")).transpose()?.unwrap_or(false) {
        return Ok(Vec::new());
    }
    let rows = session.read(sqlx::query(sql::SCHEMA_ROWS)).await?;
    rows.iter()
        .map(|row| {
            Ok(Applied {
                version: row.value("version")?,
                checksum: row.value("checksum")?,
                oldest_program: row.value("oldest_program")?,
            })
        })
        .collect()
}

async fn judge(session: &mut Session, applied: &[Applied]) -> Result<(), StoreError> {
    for (row, expected) in applied.iter().zip(1..) {
        let Some(migration) = MIGRATIONS.iter().find(|migration| migration.version == expected) else { break };
        let checksum = sqlx::query(sql::SCHEMA_CHECKSUM).bind(migration.text);
        let checksum: Vec<u8> = match session.read(checksum).await?.first() {
            Some(row) => row.value("checksum")?,
            None => Vec::new(),
        };
        if row.version != expected || row.checksum != checksum {
            return Err(StoreError::SchemaTampered { version: expected });
        }
    }
    judge_version(applied.last().map_or(0, |row| row.version), applied.iter().map(|row| row.oldest_program).max())
}

/// A newer schema is worked with when all its steps declare that this program may.
fn judge_version(found: i32, oldest_program: Option<i32>) -> Result<(), StoreError> {
    match found {
        0 => Err(StoreError::SchemaMissing),
        found if found < KNOWN => Err(StoreError::SchemaOlder { found, needed: KNOWN }),
        found if oldest_program.is_some_and(|oldest| oldest > KNOWN) => {
            Err(StoreError::SchemaNewer { found, known: KNOWN })
        }
        _ => Ok(()),
    }
}

/// Refuses settings with which a crash of the server, or of its host, loses what was committed.
pub(crate) async fn check_durability(session: &mut Session, allow_unsafe: bool) -> Result<(), StoreError> {
    let rows = session.read(sqlx::query(sql::DURABILITY)).await?;
    let Some(row) = rows.first() else { return Err(StoreError::Corrupt { column: "fsync" }) };
    if row.value::<String>("enable_seqscan")? != "off" {
        tracing::warn!("the session's planner settings did not arrive (PgBouncer?): set them for the role");
    }
    match unsafe_setting(row)? {
        Some((setting, value)) if allow_unsafe => {
            tracing::warn!(setting, value, "the server can lose accepted mail in a crash");
            Ok(())
        }
        Some((setting, value)) => Err(StoreError::UnsafeDurability { setting, value }),
        None => Ok(()),
    }
}

/// With a standby, `local` and `remote_write` answer before it has the commit on disk.
fn unsafe_setting(row: &PgRow) -> Result<Option<(&'static str, String)>, StoreError> {
    for setting in ["fsync", "full_page_writes"] {
        let value: String = row.value(setting)?;
        if value != "on" {
            return Ok(Some((setting, value)));
        }
    }
    let value: String = row.value("synchronous_commit")?;
    let has_standby = !row.try_get::<String, _>("synchronous_standby_names").unwrap_or_default().is_empty();
    let too_weak = value == "off" || has_standby && (value == "local" || value == "remote_write");
    Ok(too_weak.then_some(("synchronous_commit", value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The newest migration of the last release (`.compat-base`).
    const RELEASED: i32 = 3;

    #[test]
    fn migrations_are_numbered_and_explain_themselves() {
        for (migration, expected) in MIGRATIONS.iter().zip(1..) {
            assert_eq!(migration.version, expected);
            assert!(migration.name.starts_with(&format!("{expected:04}_")), "{}", migration.name);
            for word in ["-- Why:", "-- Locks:", "-- Beside the version before:"] {
                assert!(migration.text.contains(word), "{}: {word}", migration.name);
            }
            assert!((1..=expected).contains(&migration.oldest_program), "{}", migration.name);
            assert!(
                expected <= RELEASED || migration.oldest_program <= RELEASED,
                "{}: beside a release",
                migration.name
            );
        }
        assert_eq!(MIGRATIONS.last().unwrap().version, KNOWN);
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations");
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), MIGRATIONS.len(), "every file is applied");
    }

    #[test]
    fn a_schema_is_judged_by_its_version() {
        assert!(matches!(judge_version(0, None), Err(StoreError::SchemaMissing)));
        assert!(judge_version(KNOWN, Some(KNOWN)).is_ok());
        assert!(judge_version(KNOWN + 1, Some(KNOWN)).is_ok(), "declared to run beside this program");
        let newer = judge_version(KNOWN + 1, Some(KNOWN + 1)).unwrap_err();
        assert!(newer.to_string().contains("newer than this program knows"), "{newer}");
    }
}
