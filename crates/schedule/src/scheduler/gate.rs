//! One gate: what many queues keep to together, and how many may pass. Not responsible for what it holds back (`gates`).

use mailtier_types::{Group, ReplicaId, Slice, Timestamp};

use crate::leasing::View;
use crate::memory::List;
use crate::rate::{BURST, Meter, Rate};
use crate::rules::GroupLimits;
use crate::scheduler::places::{Queue, Turns};
use crate::scheduler::slices::Part;

/// The limits of many queues together.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    pub(crate) limits: GroupLimits,
    pub(crate) meter: Meter,
    pub(crate) is_suspended: bool,
    /// Nothing passes before then: a host has said so.
    pub(super) rests_until: Option<Timestamp>,
    /// What may pass beside the limits: of an egress pool, what workers can take and its warm-up allows.
    pub(crate) room: Option<u32>,
    pub(crate) in_flight: u32,
    /// Those whose turn came while it was closed.
    pub(crate) held: List<Queue, Turns>,
    /// Queues of a tenant; others' are not counted.
    pub(super) queues: u32,
    /// When it is looked at again because it may then let more pass.
    pub(super) opens_at: Option<Timestamp>,
    /// Whose limits they are.
    pub(crate) group: Option<Group>,
    /// Which part of them is this replica's.
    pub(crate) part: Part,
    /// Its lessor may believe that this replica has something.
    pub(crate) is_accounted: bool,
    /// Its group is asked about.
    pub(crate) is_wishing: bool,
    /// Who leases its limits, in the view of this number.
    pub(super) leased_by: Option<(u64, ReplicaId)>,
}

impl Gate {
    /// One that keeps to a group's limits.
    pub(crate) fn of(group: Group, limits: GroupLimits) -> Self {
        Self { group: Some(group), limits, ..Self::default() }
    }

    /// One has passed.
    pub(crate) fn count(&mut self, now: Timestamp) {
        if let Some(slice) = self.part.slice() {
            slice.attempts = slice.attempts.saturating_sub(1);
        } else if let Some(rate) = self.rate() {
            self.meter.count(rate, now);
        }
    }

    /// One that passed then was not attempted.
    pub(crate) fn take_back(&mut self, at: Timestamp, now: Timestamp) {
        if let Some(rate) = self.rate() {
            self.meter.take_back(rate, at);
        } else if let Some(slice) = self.part.slice().filter(|_| self.limits.rate.is_some()) {
            // Its lessor goes on: what takes its place much later would go beside what has been leased since.
            slice.attempts = slice.attempts.saturating_add(u32::from(now.since(at) <= BURST));
        }
    }

    /// The rate that this replica meters by itself.
    pub(super) fn rate(&self) -> Option<Rate> {
        self.part.of(self.limits).rate
    }

    /// Who leases its limits among these replicas.
    pub(crate) fn lessor(&mut self, view: &View) -> Option<ReplicaId> {
        if self.leased_by.is_none_or(|(number, _)| number != view.number()) {
            self.leased_by = view.lessor_of(self.group.as_ref()?).map(|lessor| (view.number(), lessor));
        }
        self.leased_by.map(|(_, lessor)| lessor)
    }

    /// Until when it has something to remember of what has passed; a slice's lessor remembers for it.
    pub(crate) fn remembers_until(&self) -> Timestamp {
        self.rate().map_or(Timestamp::EPOCH, |_| self.meter.rests_at())
    }

    pub(crate) const fn is_limited(&self) -> bool {
        self.limits.concurrency.is_some() || self.limits.rate.is_some()
    }

    /// Whether there is nothing to ask for, nor anything to give back that was not said.
    pub(crate) fn is_idle(&self) -> bool {
        let holds = match self.part {
            Part::Slice(slice) => slice,
            Part::Whole | Part::Share(_) => Slice::default(),
        };
        let has_nothing = self.in_flight == 0 && self.held.is_empty() && holds.attempts == 0 && !self.is_accounted;
        has_nothing && (holds.concurrency == 0 || self.limits.concurrency.is_none())
    }

    /// How many may pass now.
    pub(crate) fn free(&self, now: Timestamp) -> u32 {
        self.free_by_limits(now).min(self.room.unwrap_or(u32::MAX))
    }

    /// How many would pass now, whatever room there is beside the limits.
    pub(super) fn free_by_limits(&self, now: Timestamp) -> u32 {
        if self.is_suspended || self.rests_until.is_some_and(|until| now < until) {
            return 0;
        }
        let limits = self.part.of(self.limits);
        let free = limits.concurrency.map_or(u32::MAX, |limit| limit.saturating_sub(self.in_flight));
        match (self.part, self.limits.rate) {
            (Part::Slice(slice), Some(_)) => free.min(slice.attempts),
            _ => limits.rate.map_or(free, |rate| free.min(self.meter.free(rate, now))),
        }
    }
}
