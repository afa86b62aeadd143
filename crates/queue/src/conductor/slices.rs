//! Limits that all replicas keep to together, between the schedule and the lessors. Not responsible for what is asked for
//! and kept to: `mailtier_schedule::Lessee` is.

use std::time::{Duration, Instant};

use mailtier_schedule::{Answer, Lessee, View};
use mailtier_types::ReplicaId;

use super::task::ConductorTask;

/// What is kept of the lessors here.
#[derive(Debug)]
pub(super) struct SliceDesk {
    lessee: Lessee,
    /// Of which it was said that they do not answer.
    silent: Vec<ReplicaId>,
}

impl SliceDesk {
    pub(super) fn new(me: ReplicaId, lease: Duration) -> Self {
        Self { lessee: Lessee::new(me, lease), silent: Vec::new() }
    }
}

impl ConductorTask {
    pub(super) fn met(&mut self, view: View, asked_at: Instant) {
        self.slices.lessee.meet(view, &mut self.scheduler, asked_at, Instant::now());
    }

    pub(super) fn leased(&mut self, lessor: ReplicaId, sequence: u64, answer: Answer) {
        self.slices.lessee.answered(lessor, sequence, answer, &mut self.scheduler);
    }

    pub(super) fn next_report(&self, now: Instant) -> Option<Instant> {
        self.slices.lessee.next_report(&self.scheduler, now)
    }

    pub(super) fn report_to_lessors(&mut self, now: Instant) {
        for report in self.slices.lessee.reports(&mut self.scheduler, now) {
            let _ = self.courier.send(report);
        }
    }

    /// Says which lessors have fallen silent, and which speak again.
    pub(super) fn look_after_lessors(&mut self) {
        let silent: Vec<ReplicaId> = self.slices.lessee.silent().collect();
        for lessor in silent.iter().filter(|lessor| !self.slices.silent.contains(lessor)) {
            tracing::warn!(
                %lessor,
                "a replica does not answer: mail under limits that it leases waits, and after three leases keeps to an equal \
                 part of them; see `queue.advertise` and the network between queue replicas"
            );
        }
        for lessor in self.slices.silent.iter().filter(|lessor| !silent.contains(lessor)) {
            tracing::info!(%lessor, "a replica leases limits again, or is gone");
        }
        self.meters.queue_lessors_silent.record(silent.len() as u64, &[]);
        self.slices.silent = silent;
    }
}
