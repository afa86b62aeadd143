//! Who holds: asks the lessors for what this replica's queues need, keeps to what it was leased, and gives it up when it
//! was not renewed. Not responsible for leasing (`lessor`).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mailtier_types::{Group, ReplicaId, Slice, SliceLease, SliceReport};

use super::View;
use crate::memory::Key;
use crate::scheduler::{Gate, Part, Scheduler};

/// Between two reports, while there is something to say.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// A lessor that has not answered for so many leases is not waited for any longer: an equal part of the limits is this
/// replica's then.
const PATIENCE: u32 = 3;

/// What came of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// In the order of its wishes.
    Leased(SliceLease),
    /// Nothing, or nothing in time.
    Lost,
    /// The other does not lease: it is of an earlier version.
    Unknown,
}

/// One replica's side.
#[derive(Debug)]
pub struct Lessee {
    me: ReplicaId,
    lease: Duration,
    view: View,
    contacts: BTreeMap<ReplicaId, Contact>,
    /// Of the last report.
    sequence: u64,
    asked_at: Option<Instant>,
    /// When it was last asked who lives.
    met_at: Option<Instant>,
}

/// How it stands with one lessor.
#[derive(Debug)]
struct Contact {
    /// A report that was not answered yet.
    asked: Option<Asked>,
    /// When that report was made that was answered last.
    answered_at: Instant,
    /// Its term; 0: not known since these are the replicas.
    term: u64,
    /// It has not heard everything in its term.
    is_owed: bool,
    state: State,
    /// Of more groups than a report has room for, those before this one had their turn.
    next: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Answers,
    /// What it leased is over.
    Silent,
    /// It is not waited for.
    GivenUp,
    /// It is of an earlier version, and leases nothing.
    Foreign,
}

#[derive(Debug)]
struct Asked {
    sequence: u64,
    at: Instant,
    /// Groups, and what was said to be held of each.
    groups: Vec<(Group, u32)>,
}

impl Lessee {
    /// One that knows nobody else: all limits are this replica's.
    #[must_use]
    pub fn new(me: ReplicaId, lease: Duration) -> Self {
        Self {
            me,
            lease,
            view: View::of(vec![me]),
            contacts: BTreeMap::new(),
            sequence: 0,
            asked_at: None,
            met_at: None,
        }
    }

    /// These replicas live, as was asked for at a time, and is known now; to be called as often as that is asked for.
    pub fn meet(&mut self, view: View, scheduler: &mut Scheduler, asked_at: Instant, now: Instant) {
        let met_at = self.met_at.replace(asked_at);
        // The others may have seen this replica gone, and may have what was leased to it.
        let was_away = met_at.is_some_and(|met_at| now.duration_since(met_at) >= self.lease);
        if !was_away && view == self.view {
            return;
        }
        self.view = view;
        scheduler.set_replicas(u32::try_from(self.view.members().len()).unwrap_or(u32::MAX));
        if was_away {
            let wishing = scheduler.wishing(&self.view);
            wishing.values().flatten().for_each(|gate| scheduler.take_part(*gate, Part::Slice(Slice::default())));
        }
        self.contacts.retain(|lessor, _| self.view.members().contains(lessor));
        for lessor in self.view.members() {
            let contact = self.contacts.entry(*lessor).or_insert_with(|| Contact {
                asked: None,
                answered_at: now,
                term: 0,
                is_owed: true,
                state: State::Answers,
                next: 0,
            });
            // An answer that is under way was given to one of other replicas, or to one that was none of them meanwhile.
            (contact.asked, contact.term, contact.is_owed) = (None, 0, contact.state != State::Foreign);
        }
    }

    /// When there may be something to report; absent where there is nothing.
    #[must_use]
    pub fn next_report(&self, scheduler: &Scheduler, now: Instant) -> Option<Instant> {
        let has_something = scheduler.has_wishes() || self.contacts.values().any(|contact| contact.is_owed);
        let at = || self.asked_at.map_or(now, |at| at + ASK_EVERY);
        (self.is_one_of_many() && has_something).then(at)
    }

    /// What is to be reported now, and to whom. Also gives up what was not renewed in time.
    pub fn reports(&mut self, scheduler: &mut Scheduler, now: Instant) -> Vec<(ReplicaId, SliceReport)> {
        if !self.is_one_of_many() || self.asked_at.is_some_and(|at| now.duration_since(at) < ASK_EVERY) {
            return Vec::new();
        }
        self.asked_at = Some(now);
        let mut by_lessor = scheduler.wishing(&self.view);
        self.give_up(&by_lessor, scheduler, now);
        let mut reports = Vec::new();
        for (&lessor, contact) in &mut self.contacts {
            let mut gates = by_lessor.remove(&lessor).unwrap_or_default();
            let has_something = contact.state != State::Foreign && (!gates.is_empty() || contact.is_owed);
            // A lessor keeps something for those that it does not hear of.
            let is_due = now.saturating_duration_since(contact.answered_at) >= self.lease / 2;
            if contact.asked.is_some() || !has_something && !is_due {
                continue;
            }
            if gates.len() > SliceReport::MAX_WISHES {
                let from = contact.next % gates.len();
                gates.rotate_left(from);
                contact.next = from + SliceReport::MAX_WISHES;
            }
            let wishes: Vec<_> =
                gates.iter().take(SliceReport::MAX_WISHES).filter_map(|gate| scheduler.wish(*gate)).collect();
            let asked = wishes.iter().map(|wish| (wish.group.clone(), wish.holds.max(wish.in_use))).collect();
            self.sequence += 1;
            let (sequence, view, is_whole) =
                (self.sequence, self.view.number(), gates.len() <= SliceReport::MAX_WISHES);
            let term = contact.term;
            contact.asked = Some(Asked { sequence, at: now, groups: asked });
            reports.push((lessor, SliceReport { replica: self.me, view, term, sequence, is_whole, wishes }));
        }
        reports
    }

    /// A report was answered, or will not be.
    pub fn answered(&mut self, lessor: ReplicaId, sequence: u64, answer: Answer, scheduler: &mut Scheduler) {
        let Some(contact) = self.contacts.get_mut(&lessor) else { return };
        let Some(asked) = contact.asked.take_if(|asked| asked.sequence == sequence) else { return };
        match answer {
            Answer::Leased(lease) => {
                contact.answered_at = contact.answered_at.max(asked.at);
                contact.state = State::Answers;
                contact.is_owed = (lease.view, lease.term) != (self.view.number(), contact.term);
                contact.term = lease.term;
                for ((group, said), slice) in asked.groups.iter().zip(lease.slices) {
                    scheduler.take_answer(group, Part::Slice(slice), (*said).max(slice.concurrency) > 0);
                }
            }
            Answer::Lost => {}
            Answer::Unknown => {
                contact.answered_at = contact.answered_at.max(asked.at);
                (contact.state, contact.is_owed) = (State::Foreign, false);
                let part = self.equal_part();
                asked.groups.iter().for_each(|(group, _)| scheduler.take_answer(group, part, false));
            }
        }
    }

    /// Lessors that do not answer: what they leased is over.
    pub fn silent(&self) -> impl Iterator<Item = ReplicaId> + '_ {
        let is_silent = |contact: &Contact| matches!(contact.state, State::Silent | State::GivenUp);
        self.contacts.iter().filter(move |(_, contact)| is_silent(contact)).map(|(lessor, _)| *lessor)
    }

    fn is_one_of_many(&self) -> bool {
        self.view.members().len() > 1
    }

    /// A slice is over some time before its lessor leases it to others.
    fn give_up(&mut self, by_lessor: &BTreeMap<ReplicaId, Vec<Key<Gate>>>, scheduler: &mut Scheduler, now: Instant) {
        let (lease, equal_part) = (self.lease, self.equal_part());
        for (lessor, contact) in &mut self.contacts {
            let silent = now.saturating_duration_since(contact.answered_at);
            let (state, part) = match contact.state {
                State::Foreign => (State::Foreign, equal_part),
                _ if silent >= lease * PATIENCE => (State::GivenUp, equal_part),
                State::Answers if silent >= lease * 3 / 4 => (State::Silent, Part::Slice(Slice::default())),
                _ => continue,
            };
            contact.state = state;
            by_lessor.get(lessor).into_iter().flatten().for_each(|gate| scheduler.take_part(*gate, part));
        }
    }

    fn equal_part(&self) -> Part {
        Part::Share(u32::try_from(self.view.members().len()).unwrap_or(u32::MAX))
    }
}
