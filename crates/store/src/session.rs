//! One connection: running statements on it, transactions, and what is known after trouble. Not responsible for what the
//! statements say.

use std::time::{Duration, Instant};

use sqlx::postgres::{PgArguments, PgConnection, PgRow, Postgres};
use sqlx::query::Query;
use tokio::sync::OwnedSemaphorePermit;

use crate::error::StoreError;

/// Beyond the server's own `statement_timeout`: after that the server, or the way to it, is gone.
const GRACE: Duration = Duration::from_secs(5);

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Ready for anything.
    Idle,
    /// Within a transaction.
    Open,
    /// Within a transaction that the server has given up; only a rollback is left.
    Aborted,
    /// A call is under way, or was cancelled: then nothing can be said, and nothing more is done.
    Busy,
    /// The connection was lost, or a transaction was left open.
    Spent,
}

/// What a statement may have changed when its connection is lost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// It reads, or its transaction goes on: nothing has changed.
    None,
    /// It may have been committed.
    Commits,
}

/// A statement with its arguments.
pub(crate) type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// One connection to the database, for one owner task; see the crate's documentation.
#[derive(Debug)]
pub struct Session {
    connection: PgConnection,
    state: State,
    deadline: Duration,
    spent: Duration,
    permit: OwnedSemaphorePermit,
}

impl Session {
    pub(crate) fn new(connection: PgConnection, statement_timeout: Duration, permit: OwnedSemaphorePermit) -> Self {
        let deadline = statement_timeout.saturating_add(GRACE);
        Self { connection, state: State::Idle, deadline, spent: Duration::ZERO, permit }
    }

    /// Statements may take so long from now on.
    pub(crate) const fn wait_at_most(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    /// Its connection, and its place among all of them, where it can be used again.
    pub(crate) fn into_usable(self) -> Option<(PgConnection, OwnedSemaphorePermit)> {
        self.is_usable().then_some((self.connection, self.permit))
    }

    /// Whether the session can be used again: false after its connection was lost, a call was cancelled or a settlement
    /// was left without an end.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.state == State::Idle
    }

    /// How long the server took for all that it was asked since this was last called.
    pub const fn take_spent(&mut self) -> Duration {
        std::mem::replace(&mut self.spent, Duration::ZERO)
    }

    /// Runs a statement that only reads.
    pub(crate) async fn read(&mut self, statement: Statement<'_>) -> Result<Vec<PgRow>, StoreError> {
        self.run(statement, Effect::None).await
    }

    /// Runs a statement that writes: in its own transaction, or in the one that was begun.
    pub(crate) async fn write(&mut self, statement: Statement<'_>) -> Result<Vec<PgRow>, StoreError> {
        let effect = if self.state == State::Open { Effect::None } else { Effect::Commits };
        self.run(statement, effect).await
    }

    /// Runs statements without arguments that cannot be prepared, in the transaction that was begun.
    pub(crate) async fn batch(&mut self, text: String) -> Result<(), StoreError> {
        let before = self.start()?;
        let work = sqlx::raw_sql(sqlx::AssertSqlSafe(text)).execute(&mut self.connection);
        let result = timed(&mut self.spent, within(self.deadline, work)).await;
        self.finish(before, result, Effect::None).map(|_| ())
    }

    pub(crate) async fn begin(&mut self) -> Result<Transaction<'_>, StoreError> {
        if self.state != State::Idle {
            return Err(StoreError::SessionSpent);
        }
        self.command("BEGIN", Effect::None).await?;
        self.state = State::Open;
        Ok(Transaction { session: self })
    }

    async fn command(&mut self, text: &'static str, effect: Effect) -> Result<(), StoreError> {
        let before = self.start()?;
        let work = sqlx::raw_sql(text).execute(&mut self.connection);
        let result = timed(&mut self.spent, within(self.deadline, work)).await;
        self.finish(before, result, effect).map(|_| ())
    }

    /// All rows, and the end of the statement: only `ReadyForQuery`, which follows the commit, ends `fetch_all`.
    async fn run(&mut self, statement: Statement<'_>, effect: Effect) -> Result<Vec<PgRow>, StoreError> {
        let before = self.start()?;
        let work = within(self.deadline, statement.fetch_all(&mut self.connection));
        let result = timed(&mut self.spent, work).await;
        self.finish(before, result, effect)
    }

    fn start(&mut self) -> Result<State, StoreError> {
        match self.state {
            State::Idle | State::Open => Ok(std::mem::replace(&mut self.state, State::Busy)),
            State::Aborted | State::Busy | State::Spent => Err(StoreError::SessionSpent),
        }
    }

    fn finish<T>(&mut self, before: State, result: Result<T, sqlx::Error>, effect: Effect) -> Result<T, StoreError> {
        let error = match result {
            Ok(value) => {
                self.state = before;
                return Ok(value);
            }
            Err(error) if effect == Effect::Commits => StoreError::of_write(error),
            Err(error) => StoreError::of_read(error),
        };
        self.state = match (&error, before) {
            (StoreError::Database(_), State::Idle) => State::Idle,
            (StoreError::Database(_), _) => State::Aborted,
            _ => State::Spent,
        };
        Err(error)
    }
}

/// A transaction on a session. Dropped without an end it leaves the session spent.
#[derive(Debug)]
pub(crate) struct Transaction<'a> {
    session: &'a mut Session,
}

impl Transaction<'_> {
    /// The session, for statements within the transaction.
    pub(crate) const fn session(&mut self) -> &mut Session {
        self.session
    }

    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        self.session.command("COMMIT", Effect::Commits).await?;
        self.session.state = State::Idle;
        Ok(())
    }

    pub(crate) async fn rollback(self) -> Result<(), StoreError> {
        if self.session.state == State::Aborted {
            self.session.state = State::Open;
        }
        self.session.command("ROLLBACK", Effect::None).await?;
        self.session.state = State::Idle;
        Ok(())
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.session.state != State::Idle {
            self.session.state = State::Spent;
        }
    }
}

async fn timed<T>(spent: &mut Duration, work: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let done = work.await;
    *spent += began.elapsed();
    done
}

async fn within<T>(deadline: Duration, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    match tokio::time::timeout(deadline, work).await {
        Ok(result) => result,
        Err(_) => Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer of the database"))),
    }
}
