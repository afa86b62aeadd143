//! Two replicas that share the shards, each with a worker.

use mailtier_api::work::Dispatch;
use mailtier_config::Config;
use mailtier_testkit::postgres::TestDatabase;

use crate::submitter::Submitter;
use crate::system::{Replica, two, until_rules_are_read};
use crate::worker::{Worker, said_by};

/// Two replicas that share the shards, each with a worker.
pub(crate) struct Pair {
    pub(crate) database: TestDatabase,
    pub(crate) replicas: [Replica; 2],
    pub(crate) workers: [Worker; 2],
    change: fn(&mut Config),
}

impl Pair {
    pub(crate) async fn start(change: fn(&mut Config)) -> Self {
        let database = TestDatabase::migrated().await.unwrap();
        let replicas = two(&database, change).await;
        Self::over(database, replicas, change).await
    }

    /// Over two that run already.
    pub(crate) async fn over(database: TestDatabase, replicas: [Replica; 2], change: fn(&mut Config)) -> Self {
        let workers = [Worker::connect(&replicas[0]).await, Worker::connect(&replicas[1]).await];
        Self { database, replicas, workers, change }
    }

    /// Both end, and two others begin.
    pub(crate) async fn restarted(self) -> Self {
        let Self { database, replicas: [first, second], workers, change } = self;
        first.stop().await;
        second.stop().await;
        drop(workers);
        let replicas = two(&database, change).await;
        Self::over(database, replicas, change).await
    }

    pub(crate) async fn submitter(&self) -> Submitter {
        Submitter::connect(&self.replicas[0]).await
    }

    /// The next delivery, whoever gets it.
    pub(crate) async fn dispatch(&mut self) -> (usize, Dispatch) {
        let [first, second] = &mut self.workers;
        tokio::select! {
            dispatch = first.dispatch() => (0, dispatch),
            dispatch = second.dispatch() => (1, dispatch),
        }
    }

    /// Delivers so many, and says where they went, in order of names.
    pub(crate) async fn deliver(&mut self, count: usize) -> Vec<String> {
        self.attempt(count, "mx.example", 250).await
    }

    /// So many are attempted at this exchanger, which says the same to all.
    pub(crate) async fn attempt(&mut self, count: usize, exchanger: &str, code: u16) -> Vec<String> {
        let mut destinations = Vec::new();
        for _ in 0..count {
            let (place, dispatch) = self.dispatch().await;
            self.workers[place].report(said_by(&dispatch, exchanger, code)).await;
            destinations.push(dispatch.destination);
        }
        destinations.sort_unstable();
        destinations
    }

    pub(crate) async fn are_left_alone(&mut self) {
        let [first, second] = &mut self.workers;
        tokio::join!(first.is_left_alone(), second.is_left_alone());
    }

    /// Until every replica has read the rules since now: it does so in each round, before its heart beats.
    pub(crate) async fn until_all_know(&self) {
        until_rules_are_read(&self.database).await;
    }
}
