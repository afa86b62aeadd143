//! Start-up: a schema that is not known, and a server that forgets, are refused in words an operator understands.

use mailtier_store::{Migrated, Store, StoreError};
use mailtier_testkit::postgres::{PostgresServer, TestDatabase};

use crate::mail::now;

/// The newest migration: one a file.
fn newest() -> i32 {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations");
    i32::try_from(std::fs::read_dir(folder).unwrap().count()).unwrap()
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
