//! Moving a delivery between its places: waiting, ready, expired, in flight. Each move keeps the counts and the turns.
//! Not responsible for why a delivery moves.

use mailtier_types::Timestamp;

use crate::entry::Entry;
use crate::memory::{Key, List, MOST_PRIORITY, Place, Siblings, Slot, floor_tick};
use crate::scheduler::Scheduler;
use crate::scheduler::places::Queue;

/// A clock may be put back by this much without notice, in microseconds: time stands still until it is made up for.
const CLOCK_STEP_IGNORED_US: i64 = 1_000_000;

impl Scheduler {
    /// Takes note of the time. A clock that was put back (a virtual machine resumed, an operator) must neither make
    /// everything due nor keep it for longer than was meant.
    pub(super) fn observe(&mut self, now: Timestamp) {
        if now >= self.now {
            self.now = now;
        } else if now.as_micros() < self.now.as_micros().saturating_sub(CLOCK_STEP_IGNORED_US) {
            self.now = now;
            self.due.rewind(&mut self.entries, floor_tick(now));
            self.expiry.rewind(&mut self.entries, floor_tick(now));
            self.rewind_gates();
        }
    }

    /// Moves everything whose timer has gone off.
    pub(super) fn fire(&mut self) {
        self.turn_day();
        self.forget_strays();
        self.open_on_time();
        let tick = floor_tick(self.now);
        while let Some(key) = self.due.pop(&mut self.entries, tick) {
            self.note_late(key);
            self.entries[key].place = Place::Nowhere;
            self.counts.waiting -= 1;
            self.enter(key);
        }
        while let Some(key) = self.expiry.pop(&mut self.entries, tick) {
            if self.note_late(key) && self.entries[key].expires_at > self.now {
                self.expiry.insert(&mut self.entries, key);
                continue;
            }
            self.leave_queue(key);
            self.enter(key);
        }
    }

    /// Puts a delivery among those whose senders are to be told, when it is time. Says whether it was.
    fn note_late(&mut self, key: Key<Slot>) -> bool {
        let slot = &mut self.entries[key];
        let is_late = slot.warn_at().is_some_and(|warn_at| warn_at <= self.now);
        if is_late {
            slot.warning = 0;
            self.late.push_back(slot.id);
        }
        is_late
    }

    /// Makes a slot for a delivery that is not known. It is nowhere yet.
    pub(super) fn add(&mut self, destination: &str, entry: &Entry) -> Key<Slot> {
        let joined = self.places.join(&mut self.shards, destination, entry.shard, (entry.tenant, entry.class));
        self.welcome(joined);
        let queue = joined.queue;
        let key = self.entries.take();
        self.entries[key] = Slot {
            id: entry.id.as_i64(),
            due: entry.due,
            expires_at: entry.expires_at,
            queue,
            // What lies beyond counts as the last.
            priority: i8::try_from(entry.priority.clamp(-i16::from(MOST_PRIORITY), i16::from(MOST_PRIORITY)))
                .unwrap_or_default(),
            attempts: entry.attempts,
            ..Slot::default()
        };
        self.entries[key].set_warning(entry.warn_at);
        self.ids.insert(&self.entries, key);
        self.places.destinations[joined.destination].entries.push_back(&mut self.entries, key);
        key
    }

    /// Forgets a delivery, wherever it is.
    pub(super) fn remove(&mut self, key: Key<Slot>) {
        self.leave(key);
        self.ids.remove(&self.entries, key);
        let queue = self.entries[key].queue;
        let destination = self.places.queues[queue].destination;
        let siblings: &mut List<Slot, Siblings> = &mut self.places.destinations[destination].entries;
        siblings.remove(&mut self.entries, key);
        if self.places.part(queue) {
            self.farewell(queue);
        }
        self.entries.give_back(key);
    }

    /// Puts a delivery that is nowhere where it belongs now.
    pub(super) fn enter(&mut self, key: Key<Slot>) {
        let slot = &mut self.entries[key];
        if slot.expires_at <= self.now {
            slot.place = Place::Expired;
            self.expired.push_back(&mut self.entries, key);
            self.counts.ready += 1;
        } else if slot.due <= self.now {
            slot.place = Place::Ready;
            let queue = slot.queue;
            self.expiry.insert(&mut self.entries, key);
            self.counts.ready += 1;
            self.enter_queue(queue, key);
        } else {
            slot.place = Place::Waiting;
            self.due.insert(&mut self.entries, key);
            self.counts.waiting += 1;
        }
    }

    /// Gives a delivery that is not handed out other times. One that stays ready keeps its place and its queue's turn.
    pub(super) fn retime(&mut self, key: Key<Slot>, due: Timestamp, expires_at: Timestamp) {
        if self.entries[key].place == Place::Ready && due <= self.now && self.now < expires_at {
            self.expiry.remove(&mut self.entries, key);
            self.entries[key].expires_at = expires_at;
            self.expiry.insert(&mut self.entries, key);
            return;
        }
        self.leave(key);
        let slot = &mut self.entries[key];
        (slot.due, slot.expires_at) = (due, expires_at);
        self.enter(key);
    }

    fn enter_queue(&mut self, key: Key<Queue>, entry: Key<Slot>) {
        let queue = &mut self.places.queues[key];
        let was_empty = queue.heap.is_empty();
        queue.heap.insert(&mut self.entries, self.ageing, entry);
        self.places.destinations[queue.destination].busy += 1;
        self.count_ready(key);
        if was_empty {
            self.begin_turns(key);
        }
    }

    /// Takes a ready delivery out of its queue, other than by the queue's turn; its timer is off already.
    fn leave_queue(&mut self, entry: Key<Slot>) {
        self.entries[entry].place = Place::Nowhere;
        self.counts.ready -= 1;
        let key = self.entries[entry].queue;
        let queue = &mut self.places.queues[key];
        let destination = queue.destination;
        queue.heap.remove(&mut self.entries, self.ageing, entry);
        let is_empty = queue.heap.is_empty();
        self.discount_ready(key);
        if is_empty {
            self.end_turns(key);
        }
        self.calm(destination);
    }

    /// Takes the first ready delivery out of its queue, whose turn it is, and into flight.
    pub(super) fn dispatch_from(&mut self, key: Key<Queue>) -> Option<Key<Slot>> {
        let queue = &mut self.places.queues[key];
        let entry = queue.heap.pop(&mut self.entries, self.ageing)?;
        let destination = queue.destination;
        self.discount_ready(key);
        self.expiry.remove(&mut self.entries, entry);
        self.entries[entry].place = Place::InFlight;
        self.places.destinations[destination].in_flight += 1;
        self.pass_gates(key, entry);
        self.counts.ready -= 1;
        self.counts.in_flight += 1;
        self.in_attempt += 1;
        Some(entry)
    }

    /// Puts a delivery that is nowhere into flight, whatever the limits say.
    pub(super) fn enter_flight(&mut self, entry: Key<Slot>) {
        self.entries[entry].place = Place::InFlight;
        let queue = self.entries[entry].queue;
        let destination = &mut self.places.destinations[self.places.queues[queue].destination];
        destination.in_flight += 1;
        destination.busy += 1;
        for gate in self.gates_of(queue) {
            self.enter_gate(gate);
        }
        self.join_pool(queue, entry);
        self.counts.in_flight += 1;
        self.in_attempt += 1;
    }

    /// The first of those to be given up, handed out.
    pub(super) fn give_up_next(&mut self) -> Option<Key<Slot>> {
        let key = self.expired.pop_front(&mut self.entries)?;
        self.entries[key].place = Place::Settling;
        self.counts.ready -= 1;
        self.counts.in_flight += 1;
        Some(key)
    }

    /// Takes a delivery from where it is, to nowhere.
    pub(super) fn leave(&mut self, key: Key<Slot>) {
        match self.entries[key].place {
            Place::Nowhere => {}
            Place::Waiting => {
                self.due.remove(&mut self.entries, key);
                self.counts.waiting -= 1;
            }
            Place::Ready => {
                self.expiry.remove(&mut self.entries, key);
                self.leave_queue(key);
            }
            Place::Expired => {
                self.expired.remove(&mut self.entries, key);
                self.counts.ready -= 1;
            }
            Place::InFlight => self.leave_flight(key),
            Place::Settling => self.counts.in_flight -= 1,
        }
        self.entries[key].place = Place::Nowhere;
        self.desaturate();
    }

    pub(super) fn leave_flight(&mut self, entry: Key<Slot>) {
        self.keep_toll(entry);
        let queue = self.entries[entry].queue;
        let destination = self.places.queues[queue].destination;
        let left = &mut self.places.destinations[destination];
        left.in_flight -= 1;
        if left.asking == entry {
            left.asking = Key::NONE;
        }
        self.counts.in_flight -= 1;
        self.in_attempt -= 1;
        self.unpark(destination);
        for gate in self.gates_of(queue) {
            self.gates[gate].in_flight -= 1;
            self.open(gate);
        }
        self.leave_pool(entry);
        self.calm(destination);
    }
}
