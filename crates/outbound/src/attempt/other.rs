//! Ways of a route that are no mail host: messages that are discarded, held, or posted to a web server. Not responsible for
//! which mail takes them.

use mailtier_route::Route;
use mailtier_types::{Cause, EnhancedCode, Mailbox, RemoteHost, Reply, Stage, Trouble, TroubleKind};

use super::record::{Delays, Place, outcome};
use super::{Attempt, Ended, now};
use crate::hook::{Hook, Post};

/// Recipients of one post: their header fields must fit what web servers take, usually 8 KiB.
const MAX_POSTED_RECIPIENTS: usize = 20;

impl Attempt<'_> {
    /// As Postfix's discard(8): it counts as delivered, and the history says what became of it.
    pub(super) fn discard(&mut self, route: &Route) {
        let text = format!("discarded by the route `{}`", route.name);
        let reply = Reply::received(250, Some(EnhancedCode::new(2, 0, 0)), text);
        self.decide_open(Stage::Final, &Cause::Reply(reply), &Place::default());
    }

    /// The queue holds it, when nobody else of the delivery is left.
    pub(super) fn hold(&mut self, route: &Route) {
        let text = format!("held by the route `{}`", route.name);
        let cause = Cause::Trouble(Trouble { kind: TroubleKind::Held, text });
        self.decide_open(Stage::Resolve, &cause, &Place::default());
    }

    fn decide_open(&mut self, stage: Stage, cause: &Cause, place: &Place) {
        let delays = Delays { waiting: self.taken_at.elapsed(), ..Delays::default() };
        for recipient in std::mem::take(&mut self.open) {
            self.record.add(recipient, outcome(stage, cause.clone(), place, delays, now()));
        }
    }

    /// Posts the message, to so many recipients at a time.
    pub(super) async fn post(&mut self, route: &Route) -> Option<Ended> {
        let rules = self.rules;
        let Some(hook) = rules.routes.hook(route) else {
            self.exhausted(None);
            return None;
        };
        let place =
            Place { remote: Some(RemoteHost { name: hook.host().to_owned(), address: None }), ..Place::default() };
        if self.options.require_tls && !hook.is_secure() {
            self.not_secure("REQUIRETLS is asked for, and the route posts in clear");
            return None;
        }
        let waiting = self.taken_at.elapsed();
        if let Err(ended) = self.fetch_content().await {
            return Some(ended);
        }
        let open = std::mem::take(&mut self.open);
        let mut chunks = open.chunks(MAX_POSTED_RECIPIENTS);
        while let Some(recipients) = chunks.next() {
            if let Some(ended) = self.refused() {
                self.open.extend(recipients.iter().chain(chunks.flatten()).cloned());
                return Some(ended);
            }
            self.post_to(hook, recipients, &place, waiting).await;
        }
        None
    }

    async fn post_to(&mut self, hook: &Hook, recipients: &[Mailbox], place: &Place, waiting: std::time::Duration) {
        let began_at = std::time::Instant::now();
        let post = Post {
            sender: self.dispatch.sender.as_str(),
            recipients,
            message: self.dispatch.message.to_string(),
            attempt: self.dispatch.attempt,
            tenant: self.dispatch.tenant.0,
            content: self.content.as_deref().unwrap_or_default(),
        };
        let answered = hook.post(&post).await;
        let delays = Delays { waiting, sending: began_at.elapsed(), ..Delays::default() };
        let mut outcome = outcome(answered.stage, answered.cause, place, delays, now());
        outcome.retry_after = answered.retry_after;
        for recipient in recipients {
            self.record.add(recipient.clone(), outcome.clone());
        }
    }
}
