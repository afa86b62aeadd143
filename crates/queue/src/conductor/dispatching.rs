//! Handing out: which delivery goes to which worker now, with what content, and what is read first. Not responsible for
//! whose turn it is, nor for through which egress pool it goes: that is the scheduler's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mailtier_api::work::Dispatch;
use mailtier_schedule::{Correction, Entry, Ready};
use mailtier_telemetry::{spans, traceparent_of};
use mailtier_types::{DeliveryId, Epoch, Timestamp, WorkerId};

use super::flights::Flight;
use super::handle::{Content, Fetched, FetchedRow, Wanted};
use super::pools::domain_of;
use super::task::ConductorTask;
use crate::clock;
use crate::settle::{Report, What};

/// How long a delivery under suspicion waits for the one before it, until it is looked at again.
const TRIAL_PAUSE: Duration = Duration::from_millis(200);
/// With so many reports at the settler nothing more is given up.
const SETTLING_AT_ONCE: usize = 1000;

impl ConductorTask {
    /// Whether anything may be handed out at all.
    pub(super) fn may_dispatch(&self) -> bool {
        self.draining.is_none() && !self.has_drained && self.spare_credit() > 0 && self.fence.is_open()
    }

    /// Whether more may be given up: so much at a time that results need not wait behind it.
    pub(super) fn may_give_up(&self) -> bool {
        self.draining.is_none() && !self.has_drained && self.settling < SETTLING_AT_ONCE && self.fence.is_open()
    }

    /// Credit that no delivery being read is going to use.
    fn spare_credit(&self) -> usize {
        usize::try_from(self.workers.credit()).unwrap_or(usize::MAX).saturating_sub(self.fetching.len())
    }

    /// Hands out as much as workers can take. What is to be given up does not need a worker.
    pub(super) fn dispatch_all(&mut self) {
        let now = clock::now();
        let mut wanted = Vec::new();
        self.tell_credit();
        while self.may_dispatch() {
            let ready = if self.may_give_up() {
                self.scheduler.next(now)
            } else {
                self.scheduler.next_attempt(now).map(Ready::Attempt)
            };
            match ready {
                Some(Ready::Attempt(entry)) => self.begin(entry, now, &mut wanted),
                Some(Ready::Expired(entry)) => self.expire(entry),
                None => break,
            }
        }
        while self.may_give_up() {
            let Some(entry) = self.scheduler.next_expired(now) else { break };
            self.expire(entry);
        }
        while self.may_give_up() {
            let Some(entry) = self.scheduler.next_late(now) else { break };
            self.report_about(entry, What::Late);
        }
        self.want(wanted);
        self.ask_allowances();
    }

    fn begin(&mut self, entry: Entry, now: Timestamp, wanted: &mut Vec<Wanted>) {
        if !self.suspects.may_begin(entry.id, self.workers.len()) {
            self.lay_aside(entry, TRIAL_PAUSE, now);
            return;
        }
        let epoch = self.shards.active(entry.shard).filter(|_| entry.attempts == 0);
        match epoch.and_then(|epoch| self.cache.take(entry.id, epoch, Instant::now())) {
            Some(content) => self.dispatch(entry, content, now),
            None => {
                self.fetching.insert(entry.id, self.scheduler.pool_of(entry.id).unwrap_or_default());
                wanted.push(Wanted { id: entry.id, for_dispatch: true });
            }
        }
    }

    /// Keeps a content for the first attempt.
    pub(super) fn keep(&mut self, entry: Entry, content: Arc<Content>) {
        if let Some(epoch) = self.shards.active(entry.shard) {
            self.cache.insert(entry.id, content, epoch, Instant::now());
        }
    }

    /// Has deliveries read. What was read comes back in the order in which it was asked for.
    pub(super) fn want(&self, wanted: Vec<Wanted>) {
        if !wanted.is_empty() {
            let _ = self.fetcher.send(wanted);
        }
    }

    fn expire(&mut self, entry: Entry) {
        self.cache.drop(entry.id);
        self.report_about(entry, What::Expired);
    }

    /// What no worker has to report.
    fn report_about(&mut self, entry: Entry, what: What) {
        let Entry { id, attempts, tenant, .. } = entry;
        self.report(Report { delivery: id, attempt: attempts, tenant, what, worker: None, content: None });
    }

    pub(super) fn report(&mut self, report: Report) {
        self.settling += 1;
        let _ = self.settler.send(report);
    }

    /// Gives a delivery to the worker with the most credit for its pool; without one it is ready again.
    fn dispatch(&mut self, entry: Entry, mut content: Arc<Content>, now: Timestamp) {
        let Some(epoch) = self.shards.active(entry.shard) else {
            // Not ours to dispatch: whoever owns the shard reads it from the table.
            self.forget(entry.id, now);
            return;
        };
        let pool = self.scheduler.pool_of(entry.id).unwrap_or_default();
        let on_trial = self.suspects.others_on_trial(entry.id).filter_map(|id| Some(self.flights.get(id)?.worker));
        let taken: Vec<WorkerId> = on_trial.collect();
        let Some(worker) = self.workers.most_free(pool, |worker| !taken.contains(&worker)) else {
            self.put_back(entry.id, now);
            return;
        };
        let Some(destination) = self.scheduler.destination_of(entry.id).map(str::to_owned) else { return };
        let pool_name = self.settings.rules.pools.get(pool).map(|pool| pool.name.clone()).unwrap_or_default();
        // Whose the destination is does not follow from where an operator sends one delivery.
        let is_rerouted = !content.hosts.is_empty();
        let asks = !is_rerouted && self.scheduler.asks(entry.id);
        let mut dispatch = dispatch_of(entry, epoch, (destination, pool_name), &content);
        let signed = self.settings.feedback.return_paths(entry.tenant, entry.id, &content);
        (dispatch.return_path, dispatch.return_paths) = (signed.shared, signed.own);
        self.choose_source(&mut dispatch, &content, now);
        // A question needs no body. A worker that does not know questions fetches it.
        dispatch.resolve_first = asks;
        dispatch.body = if asks { None } else { self.body_of(&mut content) };
        if let Some(parent) = content.traceparent.as_ref().filter(|_| !asks) {
            let name = self.workers.name(worker);
            let ids = (content.message, entry.id);
            dispatch.traceparent = traceparent_of(&spans::schedule(parent, ids, dispatch.attempt, name, now));
        }
        self.flights.insert(
            entry.id,
            Flight {
                worker,
                attempt: dispatch.attempt,
                shard: Some(entry.shard),
                tenant: entry.tenant,
                content: Some(content),
                inquiries: self.workers.inquiries(),
                limbo_until: None,
                is_settling: false,
                is_unread: false,
                is_rerouted,
            },
        );
        self.workers.dispatch(worker, pool, dispatch);
        if !asks {
            self.count_dispatched(pool);
        }
    }

    /// The body that travels along, where it is small enough. It is not kept here any longer: what is in workers' hands
    /// has no bound of octets.
    fn body_of(&self, content: &mut Arc<Content>) -> Option<Vec<Bytes>> {
        let body = match Arc::get_mut(content) {
            Some(own) => own.body.take(),
            None => content.body.clone(),
        };
        let travels = |body: &Vec<Bytes>| {
            let stored: usize = body.iter().map(Bytes::len).sum();
            u64::try_from(stored).is_ok_and(|stored| stored <= self.settings.inline_bytes)
        };
        body.filter(travels)
    }

    /// What was read goes out, or corrects the schedule.
    pub(super) fn fetched(&mut self, fetched: Vec<Fetched>) {
        let now = clock::now();
        for Fetched { wanted: Wanted { id, for_dispatch }, row } in fetched {
            if for_dispatch {
                self.fetched_for_dispatch(id, row, now);
            } else {
                self.fetched_for_correction(id, row, now);
            }
        }
    }

    /// It goes out, unless things have changed meanwhile.
    fn fetched_for_dispatch(&mut self, id: DeliveryId, row: Option<FetchedRow>, now: Timestamp) {
        // Its shard may be another's by now; then it is not in flight here.
        if !self.fetching.remove(id) || !self.scheduler.in_flight(id) {
            return;
        }
        // A worker that was taken for lost has come back with it meanwhile.
        if self.flights.get(id).is_some() {
            return;
        }
        // One that is held is forgotten: who releases it tells of it.
        let Some(row) = row.filter(|row| !row.is_held) else {
            self.suspects.cleared(id);
            self.forget(id, now);
            return;
        };
        // A hint says nothing of earlier attempts, and the last release may have moved the end of its lifetime.
        let is_early = row.entry.due > now;
        if is_early {
            self.scheduler.release_unused(id, now);
        }
        self.scheduler.correct(id, row.correction(), now);
        if is_early {
            self.suspects.set_down(id);
            return;
        }
        if let Some(content) = &row.content
            && self.leaves_for_another_way(id, content, now)
        {
            return;
        }
        let may_dispatch = self.draining.is_none() && !self.has_drained && self.fence.is_open();
        match (row.content, self.scheduler.entry(id)) {
            (Some(content), Some(entry)) if may_dispatch && !self.scheduler.is_suspended(id) => {
                self.dispatch(entry, content, now);
            }
            // A row that cannot be read is left alone, until its time is up.
            (None, _) => {
                self.suspects.cleared(id);
                self.forget(id, now);
            }
            (Some(_), _) => self.put_back(id, now),
        }
    }

    /// An operator has sent it another way, and the word of that was lost: it goes to where it belongs in the schedule.
    fn leaves_for_another_way(&mut self, id: DeliveryId, content: &Content, now: Timestamp) -> bool {
        let hosts: Vec<String> = content.hosts.iter().map(ToString::to_string).collect();
        if !self.scheduler.goes_elsewhere(id, &hosts) {
            return false;
        }
        let (Some(entry), Some(destination)) =
            (self.scheduler.entry(id), self.scheduler.destination_of(id).map(str::to_owned))
        else {
            return false;
        };
        self.put_back(id, now);
        self.leave_other_way(id, &hosts);
        self.schedule((&destination, &hosts), domain_of(&content.sender), entry, now);
        true
    }

    /// Somebody has changed it. One that is handed out stays so: its result is settled by what is stored then, and what
    /// was read for it before is not used again.
    fn fetched_for_correction(&mut self, id: DeliveryId, row: Option<FetchedRow>, now: Timestamp) {
        self.distrust(id);
        if let Some(flight) = self.flights.get_mut(id) {
            flight.is_unread = false;
            if let Some(row) = row {
                self.take_in(row, now);
            }
            self.end_takeovers(Instant::now());
            return;
        }
        if self.scheduler.in_flight(id) {
            return;
        }
        let Some(row) = row.filter(|row| !row.is_held) else {
            self.suspects.cleared(id);
            self.scheduler.finish(id);
            return;
        };
        if let Some(place) = &row.place {
            self.leave_other_way(id, &place.hosts);
        }
        if !self.scheduler.correct(id, row.correction(), now) {
            self.take_in(row, now);
        }
    }

    /// Takes in a delivery that the schedule does not have.
    fn take_in(&mut self, row: FetchedRow, now: Timestamp) {
        let Some(place) = row.place else { return };
        let warn_at = self.warning(row.entry.id.made_at(), None).filter(|_| !place.is_told);
        let entry = Entry { warn_at, ..row.entry };
        self.schedule((&place.destination, &place.hosts), &place.sender_domain, entry, now);
    }

    pub(super) fn fetch_failed(&mut self, failed: Vec<Wanted>) {
        let now = clock::now();
        let (dispatches, corrections): (Vec<Wanted>, Vec<Wanted>) =
            failed.into_iter().partition(|wanted| wanted.for_dispatch);
        for Wanted { id, .. } in dispatches {
            if self.fetching.remove(id) && self.scheduler.in_flight(id) {
                self.put_back(id, now);
            }
        }
        self.want(corrections);
    }

    /// It is not attempted after all, and ready again.
    pub(super) fn put_back(&mut self, id: DeliveryId, now: Timestamp) {
        self.suspects.set_down(id);
        self.scheduler.release_unused(id, now);
    }

    /// It is not attempted after all, nor before it has rested.
    pub(super) fn lay_aside(&mut self, entry: Entry, rest: Duration, now: Timestamp) {
        let Entry { id, attempts, expires_at, .. } = entry;
        self.scheduler.release_unused(id, now);
        self.scheduler.correct(id, Correction { attempts, due: Some(now.after(rest)), expires_at }, now);
    }

    /// It is not attempted after all, and what becomes of it is found in the table.
    fn forget(&mut self, id: DeliveryId, now: Timestamp) {
        self.scheduler.release_unused(id, now);
        self.scheduler.finish(id);
    }

    /// Its worker is gone, or does not have it. It is attempted again, unless too many workers have gone with it.
    pub(super) fn lost_with_worker(&mut self, id: DeliveryId, worker: WorkerId, now: Timestamp) {
        if self.workers.is_connected(worker) {
            tracing::warn!(delivery = %id, %worker, "its worker does not have it; it will be attempted again");
            self.put_back(id, now);
            return;
        }
        let (Some(losses), Some(entry)) = (self.suspects.lost(id), self.scheduler.entry(id)) else {
            tracing::warn!(delivery = %id, %worker, "its worker is gone; it will be attempted again");
            self.scheduler.release(id, now);
            return;
        };
        tracing::error!(delivery = %id, losses, "worker after worker was lost with it; it is held for an operator to look at");
        self.report(Report {
            delivery: id,
            attempt: entry.attempts,
            tenant: entry.tenant,
            what: What::Quarantined { losses },
            worker: None,
            content: None,
        });
    }
}

fn dispatch_of(entry: Entry, epoch: Epoch, (destination, pool): (String, String), content: &Content) -> Dispatch {
    Dispatch {
        delivery: entry.id,
        message: content.message,
        shard: entry.shard,
        epoch,
        attempt: entry.attempts.saturating_add(1),
        tenant: entry.tenant,
        priority: entry.priority,
        pool,
        destination,
        return_path: None,
        return_paths: Vec::new(),
        sender: content.sender.clone(),
        recipients: content.recipients.clone(),
        options: content.options.clone(),
        expires_at: entry.expires_at,
        body: None,
        resolve_first: false,
        hosts: content.hosts.clone(),
        was_held: content.was_held,
        same_source: None,
        avoided_sources: Vec::new(),
        traceparent: None,
    }
}

impl FetchedRow {
    const fn correction(&self) -> Correction {
        let Entry { attempts, due, expires_at, .. } = self.entry;
        Correction { attempts, due: Some(due), expires_at }
    }
}
