//! Every statement against a migrated database: it prepares, and the hot ones walk primary keys, whatever the tables
//! held when they were planned.

use std::fs;
use std::path::PathBuf;
use std::str::FromStr as _;

use mailtier_store::SESSION_SETTINGS;
use mailtier_testkit::postgres::TestDatabase;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, PgConnection, Row as _};

use crate::mail::{accept, message};

/// Statements that run for every batch of mail.
const HOT: &[&str] = &[
    "accept",
    "accepted_before",
    "bodies",
    "body_chunk",
    "fetch",
    "finish_delivered",
    // Not hot, but walked by operators beside what is.
    "list",
    "load",
    "lock_deliveries",
    "lock_parts",
    "put_parts",
    "retry_now",
    "settle",
    "show",
];

fn statements() -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("sql");
    let mut found: Vec<(String, String)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
        .map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), fs::read_to_string(path).unwrap()))
        .collect();
    found.sort();
    found
}

async fn connect(database: &TestDatabase) -> PgConnection {
    let options = PgConnectOptions::from_str(&database.url()).unwrap().options(SESSION_SETTINGS.iter().copied());
    options.connect().await.unwrap()
}

async fn run(connection: &mut PgConnection, text: String) {
    sqlx::raw_sql(AssertSqlSafe(text.clone()))
        .execute(connection)
        .await
        .unwrap_or_else(|error| panic!("{text}: {error}"));
}

/// The plan that is made once and kept, whatever the arguments.
async fn kept_plan(connection: &mut PgConnection, name: &str) -> Vec<String> {
    let (_, text) = statements().into_iter().find(|(found, _)| found == name).unwrap();
    let arguments = (1..100).take_while(|n| text.contains(&format!("${n}:"))).count();
    run(connection, format!("PREPARE hot AS {text}")).await;
    // A time decides which partitions are planned for; nothing else does.
    let argument =
        |n: usize| if text.replace('\n', " ").contains(&format!("${n}::timestamptz ")) { "now()" } else { "NULL" };
    let list = (1..=arguments).map(argument).collect::<Vec<_>>().join(", ");
    let list = if arguments == 0 { list } else { format!("({list})") };
    let explain = format!("EXPLAIN (COSTS OFF) EXECUTE hot{list}");
    let rows = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_all(&mut *connection).await.unwrap();
    run(connection, "DEALLOCATE hot".to_owned()).await;
    rows.iter().map(|row| row.get::<String, _>(0)).collect()
}

#[tokio::test]
async fn every_statement_prepares() {
    let database = TestDatabase::migrated().await.unwrap();
    let mut connection = connect(&database).await;
    let all = statements();
    assert!(all.len() > 30);
    for (name, text) in all {
        run(&mut connection, format!("PREPARE {name}_statement AS {text}")).await;
    }
}

#[tokio::test]
async fn hot_statements_walk_primary_keys_whatever_the_tables_held_when_they_were_planned() {
    let database = TestDatabase::migrated().await.unwrap();
    let mut session = database.store().await.unwrap().session().await.unwrap();
    // As made; emptied and vacuumed, which is when a queue's statistics are at their worst; and full.
    for stage in ["new", "empty", "full"] {
        if stage == "full" {
            for _ in 0..10 {
                let batch: Vec<_> = (0..500).map(|_| message(&["one.example"])).collect();
                accept(&mut session, &batch).await;
            }
        }
        if stage != "new" {
            database.sql("VACUUM ANALYZE").await.unwrap();
        }
        let mut connection = connect(&database).await;
        run(&mut connection, "SET plan_cache_mode = force_generic_plan".to_owned()).await;
        for name in HOT {
            let plan = kept_plan(&mut connection, name).await;
            judge(stage, name, &plan);
        }
    }
}

/// Each scan of a table of the hot path goes through an index with a condition on it.
fn judge(stage: &str, name: &str, plan: &[String]) {
    let told = || format!("{stage}, {name}:\n{}", plan.join("\n"));
    let mut scans = 0;
    for (place, line) in plan.iter().enumerate() {
        let of_hot_table = ["on delivery", "on retry", "on body", "on event"].iter().any(|table| line.contains(table));
        if !line.contains("Scan") || !of_hot_table {
            continue;
        }
        scans += 1;
        assert!(line.contains("Index Scan using") || line.contains("Index Only Scan using"), "{}", told());
        assert!(plan.get(place + 1).is_some_and(|next| next.trim_start().starts_with("Index Cond")), "{}", told());
    }
    let only_inserts = ["accept", "put_parts"].contains(&name);
    assert!(scans > 0 || only_inserts, "{}", told());
    assert!(!plan.iter().any(|line| line.contains("Hash Join") && line.contains("delivery")), "{}", told());
}
