//! Start-up: a schema that is not known, and a server that forgets, are refused in words an operator understands.

use std::fs;
use std::time::Duration;

use mailtier_store::{Migrated, Store, StoreError};
use mailtier_testkit::postgres::{PostgresServer, TestDatabase};
use sqlx::{Connection as _, PgConnection};

use crate::mail::now;

/// The longest wait for anything that should happen.
const LIMIT: Duration = Duration::from_secs(60);
/// A schema whose next step changes tables that mail is written to.
const BEFORE_A_CHANGE: usize = 7;

/// Every migration, in order: name and text.
fn migrations() -> Vec<(String, String)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let name = |path: &std::path::Path| path.file_stem().unwrap().to_string_lossy().into_owned();
    files.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// The newest one.
fn newest() -> i32 {
    i32::try_from(migrations().len()).unwrap()
}

/// A database as a program of long ago has left it.
async fn at_version(version: usize) -> TestDatabase {
    let database = TestDatabase::empty().await.unwrap();
    let read = |name: &str| fs::read_to_string(format!("{}/sql/{name}.sql", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let mut connection = PgConnection::connect(&database.url()).await.unwrap();
    let mut all = read("ddl/schema_version");
    for (_, text) in migrations().iter().take(version) {
        all.push_str(&format!(";{text}"));
    }
    sqlx::raw_sql(sqlx::AssertSqlSafe(all)).execute(&mut connection).await.unwrap();
    for ((name, text), number) in migrations().into_iter().take(version).zip(1_i32..) {
        let record = sqlx::query(sqlx::AssertSqlSafe(read("schema_record")));
        record.bind(number).bind(name).bind(text).bind(1_i32).execute(&mut connection).await.unwrap();
    }
    database
}

async fn refusal(database: &TestDatabase) -> StoreError {
    Store::connect(&database.config()).await.unwrap_err()
}

#[tokio::test]
async fn a_database_without_schema_is_refused_until_it_is_migrated() {
    let database = TestDatabase::empty().await.unwrap();
    let error = refusal(&database).await;
    assert!(matches!(error, StoreError::SchemaMissing), "{error:?}");
    assert!(error.to_string().contains("mailtier-queue migrate"), "it says what to do: {error}");
    assert_eq!(Store::migrate(&database.config(), now()).await.unwrap(), Migrated { from: 0, to: newest() });
    let again = Store::migrate(&database.config(), now()).await.unwrap();
    assert_eq!(again, Migrated { from: newest(), to: newest() });
    Store::connect(&database.config()).await.unwrap();
}

#[tokio::test]
async fn two_programs_may_migrate_at_once() {
    let database = TestDatabase::empty().await.unwrap();
    let config = database.config();
    let (a, b) = tokio::join!(Store::migrate(&config, now()), Store::migrate(&config, now()));
    let mut from = [a.unwrap().from, b.unwrap().from];
    from.sort_unstable();
    assert_eq!(from, [0, newest()], "one did it, the other found it done");
}

/// As `pg_dump` holds every table for as long as it reads.
#[tokio::test]
async fn a_migration_that_waits_for_a_dump_lets_mail_pass() {
    let database = at_version(BEFORE_A_CHANGE).await;
    let mut dump = PgConnection::connect(&database.url()).await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE delivery, retry IN ACCESS SHARE MODE").execute(&mut dump).await.unwrap();
    let config = database.config();
    let migrating = tokio::spawn(async move { Store::migrate(&config, now()).await });

    // When the transaction of a step that waits has begun.
    let waits =
        "SELECT xact_start FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    let mut tries = std::collections::BTreeSet::new();
    let watching = async {
        while tries.len() < 3 {
            let waiting = database.sql(waits).await.unwrap();
            if !waiting.is_empty() && tries.insert(waiting) {
                // What would be written meanwhile is not kept waiting for as long as the dump.
                database.sql("SET lock_timeout = '10s'; DELETE FROM delivery").await.unwrap();
            }
            assert!(!migrating.is_finished(), "it has given up, or did not wait");
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, watching).await.expect("it tries again and again");
    sqlx::raw_sql("ROLLBACK").execute(&mut dump).await.unwrap();
    let migrated = tokio::time::timeout(LIMIT, migrating).await.unwrap().unwrap().unwrap();
    assert_eq!(migrated, Migrated { from: 7, to: newest() });
    database.store().await.unwrap();
}

#[tokio::test]
async fn a_schema_that_is_not_ours_is_refused() {
    let database = TestDatabase::migrated().await.unwrap();
    let (ours, next) = (newest(), newest() + 1);
    let newer = "INSERT INTO schema_version (version, name, checksum, oldest_program)";
    database.sql(&format!("{newer} VALUES ({next}, 'x', '', {next})")).await.unwrap();
    let error = refusal(&database).await;
    assert!(matches!(error, StoreError::SchemaNewer { found, known } if (found, known) == (next, ours)), "{error:?}");
    let error = Store::migrate(&database.config(), now()).await.unwrap_err();
    assert!(matches!(error, StoreError::SchemaNewer { .. }), "nor is it migrated: {error:?}");
    let declares = format!("UPDATE schema_version SET oldest_program = {ours} WHERE version = {next}");
    database.sql(&declares).await.unwrap();
    Store::connect(&database.config()).await.expect("a step that declares to run beside this program");

    database.sql("UPDATE schema_version SET checksum = 'other' WHERE version = 1").await.unwrap();
    let error = refusal(&database).await;
    assert!(matches!(error, StoreError::SchemaTampered { version: 1 }), "{error:?}");
    database.sql("DELETE FROM schema_version WHERE version = 1").await.unwrap();
    assert!(matches!(refusal(&database).await, StoreError::SchemaTampered { .. }), "a gap");
}

#[tokio::test]
async fn a_server_that_forgets_is_refused_unless_that_is_wanted() {
    let database = TestDatabase::migrated().await.unwrap();
    let weaken = "ALTER ROLE postgres IN DATABASE \"{}\" SET synchronous_commit = off";
    let name = database.sql("SELECT current_database()").await.unwrap();
    database.sql(&weaken.replace("{}", &name)).await.unwrap();
    let error = refusal(&database).await;
    assert!(matches!(&error, StoreError::UnsafeDurability { setting: "synchronous_commit", value } if value == "off"));
    assert!(error.to_string().contains("allow_unsafe_durability"), "{error}");
    let mut config = database.config();
    config.allow_unsafe_durability = true;
    Store::connect(&config).await.unwrap();
}

#[tokio::test]
async fn a_server_without_fsync_is_refused() {
    let start = || PostgresServer::start_with(&["fsync=off"]);
    let server = tokio::task::spawn_blocking(start).await.unwrap().unwrap();
    let url = mailtier_config::Secret::new(server.url("postgres"));
    let config = mailtier_config::DatabaseConfig { url: Some(url), ..Default::default() };
    Store::migrate(&config, now()).await.unwrap();
    let error = Store::connect(&config).await.unwrap_err();
    assert!(matches!(error, StoreError::UnsafeDurability { setting: "fsync", .. }), "{error:?}");
}

#[tokio::test]
async fn a_database_that_is_not_there_is_unavailable_and_worth_another_try() {
    let mut config = TestDatabase::empty().await.unwrap().config();
    config.url = Some(mailtier_config::Secret::new("postgres://postgres@127.0.0.1:1/none".to_owned()));
    let error = Store::connect(&config).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)) && error.is_transient(), "{error:?}");
    config.url = Some(mailtier_config::Secret::new("mysql://root@localhost/none".to_owned()));
    let error = Store::connect(&config).await.unwrap_err();
    assert!(matches!(error, StoreError::Configuration(_)) && !error.is_transient(), "{error:?}");
}
