//! How this replica stands, in numbers that are looked at again and again. Not responsible for what is counted as it
//! happens, nor for how the database stands.

use std::time::{Duration, Instant};

use mailtier_schedule::{Backlog, ProviderStanding, Rules};
use opentelemetry::KeyValue;

use super::task::ConductorTask;
use crate::clock;

/// How often what waits is looked through, which costs in proportion to the queues.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The looks take no more than this part of the time.
const MOST_OF_TIME: u32 = 200;
/// What keeps mail to a provider back.
const KEPT_BACK_BY: [&str; 3] = ["limit", "rest", "operator"];

/// What is kept of them: the attributes of all series.
#[derive(Debug)]
pub(super) struct Gauges {
    next_look: Instant,
    waiting: [KeyValue; 1],
    ready: [KeyValue; 1],
    resting: [KeyValue; 1],
    in_flight: [KeyValue; 1],
    /// In the order of the providers, and of what is nobody's.
    providers: Vec<[KeyValue; 1]>,
    kept_back: Vec<[[KeyValue; 2]; 3]>,
}

impl Gauges {
    pub(super) fn new(rules: &Rules, now: Instant) -> Self {
        let state = |state| [KeyValue::new("state", state)];
        let names = || rules.providers.iter().map(|provider| KeyValue::new("provider", provider.name.clone()));
        let kept_back = |name: KeyValue| KEPT_BACK_BY.map(|by| [name.clone(), KeyValue::new("by", by)]);
        let nobodys = KeyValue::new("provider", super::OTHER_PROVIDER);
        Self {
            next_look: now,
            waiting: state("waiting"),
            ready: state("ready"),
            resting: state("resting"),
            in_flight: state("in_flight"),
            providers: names().chain([nobodys]).map(|name| [name]).collect(),
            kept_back: names().map(kept_back).collect(),
        }
    }
}

impl ConductorTask {
    pub(super) fn gauge(&mut self, now: Instant) {
        let (meters, counts) = (&self.meters, self.scheduler.counts());
        meters.queue_scheduled.record(self.scheduler.len() as u64, &[]);
        meters.queue_in_flight.record(self.flights.len() as u64, &[]);
        meters.queue_shards.record(self.shards.len() as u64, &[]);
        meters.queue_workers.record(self.workers.len() as u64, &[]);
        meters.queue_settling.record(self.settling as u64, &[]);
        let is_leaving = self.draining.is_some() || self.has_drained;
        meters.queue_dispatching.record(u64::from(!is_leaving && self.fence.is_open()), &[]);
        meters.queue_suspensions.record(self.scheduler.suspended().count() as u64, &[]);
        meters.queue_shards_spilled.record(self.scheduler.spilled_shards().count() as u64, &[]);
        meters.queue_depth.record(counts.waiting as u64, &self.gauges.waiting);
        meters.queue_depth.record(counts.in_flight as u64, &self.gauges.in_flight);
        if now >= self.gauges.next_look {
            let backlog = self.scheduler.backlog();
            self.gauge_backlog(&backlog);
            self.gauge_providers();
            meters.queue_sources_blocked.record(self.avoidance.all(clock::now()).len() as u64, &[]);
            self.gauges.next_look = now + LOOK_EVERY.max(now.elapsed() * MOST_OF_TIME);
        }
    }

    /// Which providers there are has changed: of those before, nothing is left. The next look has what is now.
    pub(super) fn renew_gauges(&mut self, now: Instant) {
        for provider in &self.gauges.providers {
            self.meters.queue_provider_ready.record(0, provider);
            self.meters.queue_provider_in_flight.record(0, provider);
        }
        for by in self.gauges.kept_back.iter().flatten() {
            self.meters.queue_provider_throttled.record(0, by);
        }
        self.gauges = Gauges::new(&self.settings.rules, now);
    }

    fn gauge_backlog(&self, backlog: &Backlog) {
        let (meters, wall) = (&self.meters, clock::now());
        let ready = self.scheduler.counts().ready.saturating_sub(backlog.resting);
        meters.queue_depth.record(ready as u64, &self.gauges.ready);
        meters.queue_depth.record(backlog.resting as u64, &self.gauges.resting);
        meters.queue_destinations_dead.record(backlog.dead as u64, &[]);
        let age = |since: Option<_>| since.map_or(0.0, |since| wall.since(since).as_secs_f64());
        meters.queue_oldest_due.record(age(backlog.due_since), &[]);
        meters.queue_oldest_ready.record(age(backlog.unserved_since), &[]);
        for (ready, provider) in backlog.of_providers.iter().zip(&self.gauges.providers) {
            meters.queue_provider_ready.record(*ready, provider);
        }
    }

    fn gauge_providers(&self) {
        let (meters, mut nobodys) = (&self.meters, self.scheduler.in_attempt());
        for ((standing, provider), kept_back) in
            self.scheduler.providers().zip(&self.gauges.providers).zip(&self.gauges.kept_back)
        {
            let ProviderStanding { in_flight, is_limited, rests, is_suspended, .. } = standing;
            nobodys = nobodys.saturating_sub(usize::try_from(in_flight).unwrap_or(usize::MAX));
            meters.queue_provider_in_flight.record(u64::from(in_flight), provider);
            for (is_kept, by) in [is_limited, rests, is_suspended].into_iter().zip(kept_back) {
                meters.queue_provider_throttled.record(u64::from(is_kept), by);
            }
        }
        if let Some(other) = self.gauges.providers.last() {
            meters.queue_provider_in_flight.record(nobodys as u64, other);
        }
    }
}
