//! Egress pools at real replicas: limits that hold together, days of warm-ups that outlive restarts, and mail of one pool
//! that delays no other's.

use std::collections::BTreeMap;
use std::time::SystemTime;

use mailtier_api::suspensions::{ResumeOrder, Scope, SuspendOrder};
use mailtier_api::work::Dispatch;
use mailtier_config::{Config, DayConfig, PoolConfig, PoolRuleConfig, WarmUpConfig};
use mailtier_testkit::postgres::TestDatabase;
use mailtier_types::{Day, TenantId, Timestamp};

use crate::submitter::{Submitter, submission};
use crate::system::{Replica, another, two, until_rules_are_read, until_told, usual};
use crate::worker::{Worker, all, result};

/// Of so many destinations each replica owns some.
const DOMAINS: usize = 12;

fn today() -> Day {
    Day::of(Timestamp::from_system(SystemTime::now()))
}

fn pool(name: &str) -> PoolConfig {
    PoolConfig { name: name.to_owned(), ..PoolConfig::default() }
}

/// One whose first day is today.
fn warming(name: &str, of_today: u32, overflow: Option<&str>) -> PoolConfig {
    let warm_up = WarmUpConfig { began: DayConfig(today()), per_day: vec![of_today] };
    PoolConfig { warm_up: Some(warm_up), overflow: overflow.map(str::to_owned), ..pool(name) }
}

/// Mail of tenant 7.
fn of_tenant(pool: &str) -> PoolRuleConfig {
    PoolRuleConfig { pool: pool.to_owned(), tenant: Some(7), ..PoolRuleConfig::default() }
}

async fn submit(submitter: &mut Submitter, tenant: i32, sender: &str, number: usize) {
    let mut one = submission(sender, &[&format!("x@d{}.example", number % DOMAINS)]);
    one.envelope.tenant = TenantId(tenant);
    assert_eq!(submitter.submit(one).await.result, Ok(()));
}

/// What arrives until nothing more does, by pool; each is delivered.
async fn delivered(workers: &mut [Worker]) -> BTreeMap<String, usize> {
    let mut pools = BTreeMap::new();
    loop {
        let mut is_over = true;
        for worker in &mut *workers {
            for dispatch in worker.until_quiet().await {
                is_over = false;
                *pools.entry(dispatch.pool.clone()).or_default() += 1;
                worker.report(all(&dispatch, 250)).await;
            }
        }
        if is_over {
            return pools;
        }
    }
}

fn counted(pools: &[(&str, usize)]) -> BTreeMap<String, usize> {
    pools.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[tokio::test]
async fn a_day_of_a_warm_up_is_used_once_over_all_replicas_and_restarts() {
    const OF_TODAY: u32 = 20;
    let began = today();
    let change = |config: &mut Config| {
        config.queue.pools = vec![warming("new", OF_TODAY, None)];
        config.queue.pool_rules = vec![of_tenant("new")];
    };
    let database = TestDatabase::migrated().await.unwrap();
    let mut replicas = two(&database, change).await;
    let mut submitter = Submitter::connect(&replicas[0]).await;
    for number in 0..10 * DOMAINS {
        submit(&mut submitter, 7, "s@a.example", number).await;
    }
    submit(&mut submitter, 8, "s@a.example", 0).await;
    let mut used = BTreeMap::new();
    for _ in 0..2 {
        let mut workers = Vec::new();
        for replica in &replicas {
            workers.push(Worker::serving(replica, &["default", "new"]).await);
        }
        for (pool, count) in delivered(&mut workers).await {
            *used.entry(pool).or_default() += count;
        }
        let [first, second] = replicas;
        first.stop().await;
        second.stop().await;
        replicas = two(&database, change).await;
    }
    if today() != began {
        return; // At midnight there is more, and rightly so.
    }
    assert_eq!(used, counted(&[("default", 1), ("new", OF_TODAY as usize)]));
    assert_eq!(database.sql("SELECT pool, taken FROM pool_day").await.unwrap(), format!("new|{OF_TODAY}"));
    assert_eq!(database.sql("SELECT count(*) FROM delivery").await.unwrap(), (10 * DOMAINS - 20).to_string());
}

/// A replica with one delivery of a warm-up's day in the hands of a worker.
async fn warmed(database: &TestDatabase) -> (Replica, Worker, Dispatch) {
    let replica = another(database, |config| {
        config.queue.pools = vec![warming("new", 20, None)];
        config.queue.pool_rules = vec![of_tenant("new")];
    })
    .await;
    let mut worker = Worker::serving(&replica, &["new"]).await;
    submit(&mut Submitter::connect(&replica).await, 7, "s@a.example", 0).await;
    let dispatch = worker.dispatch().await;
    (replica, worker, dispatch)
}

/// So many are taken of the day, unless another has begun.
async fn are_taken(database: &TestDatabase, count: u32, began: Day) {
    let taken = database.sql("SELECT coalesce(sum(taken), 0) FROM pool_day").await.unwrap();
    assert!(today() != began || taken == count.to_string(), "{taken}");
}

#[tokio::test]
async fn what_a_replica_has_left_of_a_day_is_given_back_although_the_database_is_in_trouble_for_a_while() {
    let (database, began) = (TestDatabase::migrated().await.unwrap(), today());
    let (replica, mut worker, dispatch) = warmed(&database).await;
    worker.report(all(&dispatch, 250)).await;
    database
        .sql(
            "CREATE SEQUENCE troubles;
             CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS
             $$BEGIN IF nextval('troubles') < 4 THEN RAISE 'trouble' USING ERRCODE = '40001'; END IF; RETURN NEW; END$$;
             CREATE TRIGGER trouble BEFORE UPDATE ON pool_day FOR EACH ROW EXECUTE FUNCTION trouble()",
        )
        .await
        .unwrap();
    replica.stop().await;
    are_taken(&database, 1, began).await;
}

#[tokio::test]
async fn what_comes_back_unused_while_a_replica_leaves_is_given_back_as_well() {
    let (database, began) = (TestDatabase::migrated().await.unwrap(), today());
    let (replica, mut worker, dispatch) = warmed(&database).await;
    let leaving = tokio::spawn(replica.stop());
    worker.until_drained().await;
    worker.send(result(&dispatch, Vec::new())).await;
    leaving.await.unwrap();
    are_taken(&database, 0, began).await;
}

#[tokio::test]
async fn what_is_being_taken_of_a_day_while_a_replica_leaves_is_given_back_as_well() {
    let began = today();
    let (database, replica) = usual(|config| {
        config.queue.pools = vec![warming("new", 20, None)];
        config.queue.pool_rules = vec![of_tenant("new")];
    })
    .await;
    let mut submitter = Submitter::connect(&replica).await;
    let lock = submission("s@a.example", &["x@lock.example"]);
    let locked = lock.id.delivery(0);
    assert_eq!(submitter.submit(lock).await.result, Ok(()));
    let mut session = database.store().await.unwrap().session().await.unwrap();
    let mut settlement = session.begin_settle().await.unwrap();
    settlement.lock(&[locked]).await.unwrap();
    database
        .sql(
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
             $$BEGIN PERFORM FROM delivery WHERE destination = 'lock.example' FOR UPDATE; RETURN NEW; END$$;
             CREATE TRIGGER wait BEFORE INSERT ON pool_day FOR EACH ROW EXECUTE FUNCTION wait()",
        )
        .await
        .unwrap();
    let mut worker = Worker::serving(&replica, &["new"]).await;
    submit(&mut submitter, 7, "s@a.example", 0).await;
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    until_told(&database, waits, "1").await;
    let leaving = tokio::spawn(replica.stop());
    worker.until_drained().await;
    settlement.rollback().await.unwrap();
    leaving.await.unwrap();
    are_taken(&database, 0, began).await;
}

#[tokio::test]
async fn what_is_beyond_a_day_overflows_at_once() {
    let began = today();
    let (_database, replica) = usual(|config| {
        config.queue.pools = vec![warming("new", 5, Some("main")), pool("main")];
        config.queue.pool_rules = vec![of_tenant("new")];
    })
    .await;
    let mut submitter = Submitter::connect(&replica).await;
    let mut workers = [Worker::serving(&replica, &["new", "main"]).await];
    for number in 0..12 {
        submit(&mut submitter, 7, "s@a.example", number).await;
    }
    let pools = delivered(&mut workers).await;
    assert!(today() != began || pools == counted(&[("main", 7), ("new", 5)]), "{pools:?}");
}

#[tokio::test]
async fn mail_of_a_pool_that_nobody_serves_waits_and_delays_no_other() {
    let change = |config: &mut Config| {
        config.queue.pools = vec![pool("special")];
        let sender_domain = Some(".special.example".to_owned());
        config.queue.pool_rules = vec![PoolRuleConfig { sender_domain, ..of_tenant("special") }];
        config.queue.pool_rules[0].tenant = None;
    };
    let database = TestDatabase::migrated().await.unwrap();
    let replicas = two(&database, change).await;
    let mut workers = Vec::new();
    for replica in &replicas {
        // As one of an earlier version, it names no pool.
        workers.push(Worker::serving(replica, &[]).await);
    }
    let mut submitter = Submitter::connect(&replicas[0]).await;
    for number in 0..5 * DOMAINS {
        submit(&mut submitter, 0, "s@a.special.example", number).await;
    }
    for number in 0..DOMAINS {
        submit(&mut submitter, 0, "s@special.example", number).await;
    }
    assert_eq!(delivered(&mut workers).await, counted(&[("default", DOMAINS)]));
    let [first, second] = replicas;
    first.stop().await;
    second.stop().await;

    // Others read from the table whose mail it is.
    let replicas = two(&database, change).await;
    let mut workers = vec![Worker::serving(&replicas[0], &["default"]).await];
    workers.push(Worker::serving(&replicas[1], &["default"]).await);
    assert_eq!(delivered(&mut workers).await, counted(&[]));
    for replica in &replicas {
        workers.push(Worker::serving(replica, &["special", "unheard-of"]).await);
    }
    assert_eq!(delivered(&mut workers).await, counted(&[("special", 5 * DOMAINS)]));
}

#[tokio::test]
async fn a_suspended_pool_waits_on_every_replica() {
    let change = |config: &mut Config| {
        config.queue.pools = vec![pool("fresh")];
        config.queue.pool_rules = vec![of_tenant("fresh")];
    };
    let database = TestDatabase::migrated().await.unwrap();
    let replicas = two(&database, change).await;
    let scope = || Scope::pool("fresh").unwrap();
    let admin = replicas[0].admin().await;
    let order = |scope| SuspendOrder { scope, reason: String::new(), lasting: None, operator: "alice".to_owned() };
    let refused = admin.suspend(order(Scope::pool("frehs").unwrap())).await.unwrap_err().to_string();
    assert!(refused.contains("did you mean `fresh`?"), "{refused}");
    admin.suspend(order(scope())).await.unwrap();
    until_rules_are_read(&database).await;
    let mut workers = Vec::new();
    for replica in &replicas {
        workers.push(Worker::serving(replica, &["default", "fresh"]).await);
    }
    let mut submitter = Submitter::connect(&replicas[0]).await;
    for number in 0..DOMAINS {
        submit(&mut submitter, 7, "s@a.example", number).await;
        submit(&mut submitter, 8, "s@a.example", number).await;
    }
    assert_eq!(delivered(&mut workers).await, counted(&[("default", DOMAINS)]));
    let order = ResumeOrder { scope: scope(), operator: "alice".to_owned() };
    assert!(replicas[1].admin().await.resume(order).await.unwrap());
    assert_eq!(delivered(&mut workers).await, counted(&[("fresh", DOMAINS)]));
}

#[tokio::test]
async fn a_pool_has_its_limit_over_all_destinations_and_replicas() {
    let change = |config: &mut Config| {
        config.queue.pools = vec![PoolConfig { concurrency: Some(4), ..pool("new") }];
        config.queue.pool_rules = vec![of_tenant("new")];
    };
    let database = TestDatabase::migrated().await.unwrap();
    let replicas = two(&database, change).await;
    let mut submitter = Submitter::connect(&replicas[0]).await;
    for number in 0..DOMAINS {
        submit(&mut submitter, 7, "s@a.example", number).await;
    }
    let mut first = Worker::serving(&replicas[0], &["default", "new"]).await;
    let mut second = Worker::serving(&replicas[1], &["default", "new"]).await;
    let mut all_told = 0;
    while all_told < DOMAINS {
        let (at_first, at_second) = tokio::join!(first.until_quiet(), second.until_quiet());
        let at_a_time = at_first.len() + at_second.len();
        assert!((1..=4).contains(&at_a_time), "{at_a_time} at a time");
        all_told += at_a_time;
        for (worker, dispatches) in [(&mut first, at_first), (&mut second, at_second)] {
            for dispatch in dispatches {
                worker.report(all(&dispatch, 250)).await;
            }
        }
    }
}
