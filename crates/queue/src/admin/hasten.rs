//! ETRN (RFC 1985): what was deferred on its way to a destination is due, because its host has come back and says so. Who
//! says so is no operator: however often and for however many destinations it is said, little of the database's time is
//! used, and nobody waits for the end of a long queue.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mailtier_api::ApiError;
use mailtier_api::change::{ChangeAnswer, ChangeOrder, DeliveryChange};
use mailtier_api::filter::{DeliveryState, Filter};
use mailtier_api::tokens::ETRN;
use mailtier_types::Domain;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

use super::AdminService;

/// Destinations whose mail is being looked for, at the most.
const DESTINATIONS: usize = 64;
/// An answer comes after so long, whether or not all has been looked at.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// How far one has come: so many are due, and whether that is all.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Progress {
    /// There may be more.
    UnderWay(u64),
    /// There is no more, or it went wrong.
    Over(Result<u64, ApiError>),
}

/// What is under way, once for each destination, whoever asks for it.
#[derive(Debug, Clone)]
pub(crate) struct Hastening {
    under_way: Arc<Mutex<HashMap<Domain, watch::Receiver<Progress>>>>,
    /// One part of one of them at a time; they take turns.
    turn: Arc<Semaphore>,
}

impl Hastening {
    pub(crate) fn new() -> Self {
        Self { under_way: Arc::default(), turn: Arc::new(Semaphore::new(1)) }
    }

    /// Has part after part done, each from where the one before has ended, in a task of its own; where that is under way
    /// for the destination, nothing begins. Says how many are due after a while: at least one where that is not known yet.
    ///
    /// # Errors
    /// Too much is under way, or it went wrong.
    async fn hasten<F>(&self, to: &Domain, part: impl Fn(i64) -> F + Send + 'static) -> Result<u64, ApiError>
    where
        F: Future<Output = Result<ChangeAnswer, ApiError>> + Send + 'static,
    {
        let mut progress = self.join(to, part)?;
        let is_over = progress.wait_for(|progress| matches!(progress, Progress::Over(_)));
        if let Ok(Err(_)) = tokio::time::timeout(ANSWER_WITHIN, is_over).await {
            return Err(ApiError::Internal("the search has broken off".to_owned()));
        }
        let progress = progress.borrow();
        match &*progress {
            Progress::UnderWay(changed) => Ok((*changed).max(1)),
            Progress::Over(result) => result.clone(),
        }
    }

    fn join<F>(
        &self,
        to: &Domain,
        part: impl Fn(i64) -> F + Send + 'static,
    ) -> Result<watch::Receiver<Progress>, ApiError>
    where
        F: Future<Output = Result<ChangeAnswer, ApiError>> + Send + 'static,
    {
        let mut under_way = self.under_way.lock();
        // One that has panicked is not.
        under_way.retain(|_, progress| progress.has_changed().is_ok());
        if let Some(progress) = under_way.get(to) {
            return Ok(progress.clone());
        }
        if under_way.len() >= DESTINATIONS {
            return Err(ApiError::Unavailable("too many destinations are asked for at a time".to_owned()));
        }
        let (tell, progress) = watch::channel(Progress::UnderWay(0));
        under_way.insert(to.clone(), progress.clone());
        tokio::spawn(self.clone().run(to.clone(), part, tell));
        Ok(progress)
    }

    async fn run<F>(self, to: Domain, part: impl Fn(i64) -> F + Send, tell: watch::Sender<Progress>)
    where
        F: Future<Output = Result<ChangeAnswer, ApiError>> + Send + 'static,
    {
        let (mut changed, mut after) = (0, 0);
        let result = loop {
            let _turn = self.turn.acquire().await;
            match part(after).await {
                Ok(answer) => (changed, after) = (changed + answer.changed, answer.next),
                Err(error) => break Err(error),
            }
            if after == 0 {
                break Ok(changed);
            }
            tell.send_replace(Progress::UnderWay(changed));
        };
        self.under_way.lock().remove(&to);
        tell.send_replace(Progress::Over(result));
    }
}

impl AdminService {
    /// Says how many are due now. What was never attempted is not among them: its sender may have asked for a later
    /// release (RFC 4865).
    pub(crate) async fn hasten(&self, destination: &str) -> Result<u64, ApiError> {
        let destination = Domain::parse(destination)
            .map_err(|error| ApiError::Invalid(format!("destination: `{destination}`: {error}")))?;
        let state = Some(DeliveryState::Deferred);
        let order = ChangeOrder {
            filter: Filter { destination: Some(destination.clone()), state, ..Filter::default() },
            all: false,
            change: DeliveryChange::RetryNow,
            operator: ETRN.to_owned(),
            reason: String::new(),
            after: 0,
            dry_run: false,
            show: 0,
        };
        let this = self.clone();
        let part = move |after| {
            let (this, order) = (this.clone(), ChangeOrder { after, ..order.clone() });
            async move { this.change_it(order).await }
        };
        self.hastening.hasten(&destination, part).await
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::mpsc;

    use super::*;

    fn to(name: &str) -> Domain {
        Domain::parse(name).unwrap()
    }

    /// What one part comes to.
    fn part(changed: u64, next: i64) -> ChangeAnswer {
        ChangeAnswer { changed, next, ..ChangeAnswer::default() }
    }

    /// Parts that end when a test says so, with what it says.
    struct Parts {
        hastening: Hastening,
        answers: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<ChangeAnswer>>>,
        begun: Arc<AtomicUsize>,
    }

    impl Parts {
        fn new() -> (mpsc::UnboundedSender<ChangeAnswer>, Self) {
            let (answer, answers) = mpsc::unbounded_channel();
            let answers = Arc::new(tokio::sync::Mutex::new(answers));
            (answer, Self { hastening: Hastening::new(), answers, begun: Arc::default() })
        }

        fn part(&self) -> impl Fn(i64) -> Pin<Box<dyn Future<Output = Result<ChangeAnswer, ApiError>> + Send>> + use<> {
            let (answers, begun) = (Arc::clone(&self.answers), Arc::clone(&self.begun));
            move |_| {
                begun.fetch_add(1, Ordering::Relaxed);
                let answers = Arc::clone(&answers);
                Box::pin(async move { Ok(answers.lock().await.recv().await.unwrap()) })
            }
        }

        fn join(&self, name: &str) -> watch::Receiver<Progress> {
            self.hastening.join(&to(name), self.part()).unwrap()
        }

        async fn hasten(&self, name: &str) -> Result<u64, ApiError> {
            self.hastening.hasten(&to(name), self.part()).await
        }

        fn begun(&self) -> usize {
            self.begun.load(Ordering::Relaxed)
        }
    }

    #[tokio::test]
    async fn who_asks_for_the_same_gets_the_same_answer_of_one_search() {
        let (answer, parts) = Parts::new();
        let _joined = parts.join("b.example");
        answer.send(part(2, 7)).unwrap();
        answer.send(part(3, 0)).unwrap();
        assert_eq!(tokio::join!(parts.hasten("b.example"), parts.hasten("b.example")), (Ok(5), Ok(5)));
        assert_eq!(parts.begun(), 2);
        answer.send(part(0, 0)).unwrap();
        assert_eq!(parts.hasten("b.example").await, Ok(0), "later it is looked for again");
    }

    #[tokio::test]
    async fn destinations_take_turns_and_nobody_waits_for_the_end() {
        let (answer, parts) = Parts::new();
        let (mut first, mut second) = (parts.join("b.example"), parts.join("c.example"));
        assert_eq!(parts.hasten("b.example").await, Ok(1), "so it is told after a while");
        assert_eq!(parts.begun(), 1, "the other waits for its turn");
        answer.send(part(4, 9)).unwrap();
        first.wait_for(|progress| *progress == Progress::UnderWay(4)).await.unwrap();
        answer.send(part(0, 0)).unwrap();
        second.wait_for(|progress| *progress == Progress::Over(Ok(0))).await.unwrap();
        answer.send(part(1, 0)).unwrap();
        first.wait_for(|progress| *progress == Progress::Over(Ok(5))).await.unwrap();
    }

    #[tokio::test]
    async fn of_too_many_destinations_the_last_are_refused() {
        let (_answer, parts) = Parts::new();
        let under_way: Vec<_> = (0..DESTINATIONS).map(|number| parts.join(&format!("d{number}.example"))).collect();
        assert!(matches!(parts.hasten("b.example").await, Err(ApiError::Unavailable(_))));
        assert!(parts.join("d0.example").same_channel(&under_way[0]), "it is under way");
    }
}
