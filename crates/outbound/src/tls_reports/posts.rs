//! Posts reports that are due over HTTPS, as the queue gives them out. Not responsible for when one is tried again.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use mailtier_api::tls::{FinishedPost, TlsReportPost};
use mailtier_directory::ReportPoster;
use mailtier_types::WorkerId;

use crate::desk::Desk;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// The same while nobody can be asked, as just after the start, and while there are no reports.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Posts at a time: each takes a minute at most, and the queue gives them out for longer than that.
const POSTS: u32 = 4;

/// See the module.
pub(crate) struct PostRunner {
    worker: WorkerId,
    /// None could be made of the authorities that are trusted.
    poster: Option<ReportPoster>,
    desk: Arc<Desk>,
}

impl PostRunner {
    pub(crate) const fn new(worker: WorkerId, poster: Option<ReportPoster>, desk: Arc<Desk>) -> Self {
        Self { worker, poster, desk }
    }

    /// Posts what is due while there are reports, until it is dropped.
    pub(crate) async fn run(&self, are_used: impl Fn() -> bool) {
        loop {
            let Some(poster) = self.poster.as_ref().filter(|_| are_used()) else {
                tokio::time::sleep(LOOK_AGAIN).await;
                continue;
            };
            let worker = self.worker;
            let taken = self.desk.ask_tls(|client| async move { client.take_posts(worker, POSTS).await }).await;
            let pause = if taken.is_ok() { LOOK_EVERY } else { LOOK_AGAIN };
            join_all(taken.unwrap_or_default().into_iter().map(|post| self.post(poster, post))).await;
            tokio::time::sleep(pause).await;
        }
    }

    async fn post(&self, poster: &ReportPoster, post: TlsReportPost) {
        let TlsReportPost { id, uri, body } = post;
        let problem = poster.post(&uri, body.to_vec()).await.err();
        match &problem {
            None => tracing::info!(uri, "a TLS report was posted"),
            Some(problem) => tracing::warn!(uri, problem, "a TLS report was not taken"),
        }
        let finished = FinishedPost { worker: self.worker, id, problem };
        let told = self.desk.ask_tls(|client| {
            let finished = finished.clone();
            async move { client.finish_post(finished).await }
        });
        if let Err(error) = told.await {
            tracing::debug!(%error, "what became of a TLS report cannot be told: it may be posted again");
        }
    }
}
