//! Who leases: an account of what each replica holds of each group, from what the replicas say themselves. Not responsible
//! for what a replica does with its slice (`lessee`).

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use mailtier_types::{Group, ReplicaId, Slice, SliceLease, SliceReport, SliceWish, Timestamp};

use super::View;
use super::share::share;
use crate::rate::{Meter, Rate};
use crate::rules::GroupLimits;

/// What cannot be divided is another's after this.
const TURN: Duration = Duration::from_secs(1);
/// Of how many groups it keeps account.
const MAX_GROUPS: usize = 100_000;

/// Leases the limits of the groups that are its own.
#[derive(Debug)]
pub struct Lessor {
    me: ReplicaId,
    /// How long membership lasts unless it is renewed.
    lease: Duration,
    view: View,
    term: u64,
    /// When the view became this one.
    since: Instant,
    /// Since when all that anybody holds is known.
    settled_at: Option<Instant>,
    /// When this replica last saw who lives.
    met_at: Instant,
    origin: Instant,
    heard: HashMap<ReplicaId, Heard>,
    /// Members of an earlier version: they report nothing and keep to equal parts.
    foreign: HashSet<ReplicaId>,
    ledgers: HashMap<Group, Ledger>,
}

/// The last that a replica said.
#[derive(Clone, Copy, Debug)]
struct Heard {
    sequence: u64,
    /// It has said everything that it holds since both see the same.
    is_whole: bool,
    at: Instant,
}

/// The account of one group.
#[derive(Debug, Default)]
struct Ledger {
    holders: Vec<Holder>,
    /// Absent before the first attempt is leased.
    meter: Option<Meter>,
    /// As it was last asked for: replicas may be configured differently while that changes.
    rate: Option<Rate>,
}

#[derive(Debug)]
struct Holder {
    replica: ReplicaId,
    /// It may have so many at a time under way.
    concurrency: u32,
    /// So many it could have under way.
    demand: u32,
    /// So many it could begin.
    wanted: u32,
}

impl Lessor {
    /// One that knows nobody, and leases nothing before it does.
    #[must_use]
    pub fn new(me: ReplicaId, lease: Duration, now: Instant) -> Self {
        Self {
            me,
            lease,
            view: View::default(),
            term: 0,
            since: now,
            settled_at: None,
            met_at: now,
            origin: now,
            heard: HashMap::new(),
            foreign: HashSet::new(),
            ledgers: HashMap::new(),
        }
    }

    /// These replicas live, as was asked for at a time, and is known now; to be called as often as that is asked for.
    pub fn meet(&mut self, view: View, asked_at: Instant, now: Instant) {
        // The others may have seen this replica gone, and may have leased what was its own to lease.
        let was_away = self.has_lapsed(now);
        if was_away {
            self.ledgers.clear();
            self.heard.clear();
        }
        self.met_at = asked_at;
        if was_away || view != self.view {
            self.view = view;
            self.term += 1;
            (self.since, self.settled_at) = (asked_at, None);
            // These may have been the members before, and may have held something else then.
            self.heard.values_mut().for_each(|heard| heard.is_whole = false);
        }
        let (me, view) = (self.me, &self.view);
        self.heard.retain(|replica, _| view.members().contains(replica));
        self.foreign.retain(|replica| view.members().contains(replica));
        let at = self.elapsed(asked_at);
        self.ledgers.retain(|group, ledger| {
            // Who is no member any more dispatches nothing. Who is one has what it has even if nothing is heard of it.
            ledger.holders.retain(|holder| view.members().contains(&holder.replica) && !holder.is_idle());
            let has_passed = ledger.meter.is_some_and(|meter| !meter.is_at_rest(at));
            // Who leases it meanwhile knows better.
            (!ledger.holders.is_empty() || has_passed) && view.lessor_of(group) == Some(me)
        });
    }

    /// A replica has answered a report as one of an earlier version does, which will report nothing itself.
    pub fn note_foreign(&mut self, replica: ReplicaId) {
        if self.view.members().contains(&replica) {
            self.foreign.insert(replica);
        }
    }

    /// What a replica may have from now on of what it has reported, in the order of its wishes. Nothing where it has said
    /// something newer since.
    pub fn lease(&mut self, report: &SliceReport, now: Instant) -> Option<SliceLease> {
        let known = self.heard.get(&report.replica);
        if known.is_some_and(|heard| heard.sequence >= report.sequence) {
            return None;
        }
        let is_member = self.view.members().contains(&report.replica);
        if self.has_lapsed(now) || !is_member {
            let slices = vec![Slice::default(); report.wishes.len()];
            return Some(SliceLease { view: self.view.number(), term: self.term, slices });
        }
        // Both see the same, and neither has seen anything else since they last agreed on that.
        let is_agreed = report.view == self.view.number() && report.term == self.term;
        let was_whole = is_agreed && known.is_some_and(|heard| heard.is_whole);
        let is_whole = was_whole || is_agreed && report.is_whole;
        if is_whole && !was_whole {
            // Of what it does not name it has nothing, whatever it had when the replicas were others.
            self.ledgers.values_mut().for_each(|ledger| ledger.holders.retain(|one| one.replica != report.replica));
        }
        let heard = Heard { sequence: report.sequence, is_whole, at: now };
        self.heard.insert(report.replica, heard);
        self.settled_at = self.is_settled(now).then(|| self.settled_at.unwrap_or(now));
        let settled_at = self.settled_at.filter(|_| is_agreed).map(|at| self.elapsed(at));
        let turn = now.duration_since(self.origin).as_secs() / TURN.as_secs();
        let terms = Terms {
            is_agreed,
            settled_at,
            now: self.elapsed(now),
            turn: usize::try_from(turn).unwrap_or_default(),
            members: u32::try_from(self.view.members().len()).unwrap_or(u32::MAX),
            silent: self.silent(now),
        };
        let slices = report.wishes.iter().map(|wish| self.grant(report.replica, wish, &terms)).collect();
        Some(SliceLease { view: self.view.number(), term: self.term, slices })
    }

    /// Whether everything that anybody holds is in the ledgers: all have said what they hold since they are these, or
    /// whatever was not said is over. Whoever sees other replicas yet sees these when a lease is over, or dispatches
    /// nothing any more; after another, what it may have been leased until then is over, too.
    fn is_settled(&self, now: Instant) -> bool {
        let has_said =
            |member| self.foreign.contains(member) || self.heard.get(member).is_some_and(|heard| heard.is_whole);
        self.view.members().iter().all(has_said) || now.duration_since(self.since) >= self.lease * 2
    }

    fn has_lapsed(&self, now: Instant) -> bool {
        now.duration_since(self.met_at) >= self.lease
    }

    /// Members that have said nothing for a while, though each says something in every half of a lease. One that cannot
    /// reach this replica takes an equal part of the limits in the end (see `Lessee`): it is kept for it.
    fn silent(&self, now: Instant) -> Vec<ReplicaId> {
        let since = |member: &ReplicaId| self.heard.get(member).map_or(self.since, |heard| heard.at);
        let is_silent =
            |member: &ReplicaId| self.foreign.contains(member) || now.duration_since(since(member)) >= self.lease * 2;
        self.view.members().iter().copied().filter(is_silent).collect()
    }

    fn elapsed(&self, now: Instant) -> Timestamp {
        Timestamp::EPOCH.after(now.duration_since(self.origin))
    }

    fn grant(&mut self, replica: ReplicaId, wish: &SliceWish, terms: &Terms) -> Slice {
        if self.ledgers.len() >= MAX_GROUPS && !self.ledgers.contains_key(&wish.group) {
            return Slice::default();
        }
        if !terms.is_agreed && !self.ledgers.contains_key(&wish.group) {
            return Slice { concurrency: wish.holds, attempts: 0 };
        }
        let ledger = self.ledgers.entry(wish.group.clone()).or_default();
        ledger.note(replica, wish);
        let limits = GroupLimits::from(wish);
        Slice {
            concurrency: limits.concurrency.map_or(0, |limit| ledger.concurrency(replica, wish, limit, terms)),
            attempts: limits.rate.map_or(0, |rate| ledger.attempts(replica, wish, rate, terms)),
        }
    }
}

/// What holds for all wishes of a report.
struct Terms {
    is_agreed: bool,
    /// Present where more may be leased: all that was leased until then is known.
    settled_at: Option<Timestamp>,
    now: Timestamp,
    /// Whose turn it is to have what cannot be divided.
    turn: usize,
    members: u32,
    silent: Vec<ReplicaId>,
}

impl Holder {
    const fn is_idle(&self) -> bool {
        self.concurrency == 0 && self.demand == 0
    }
}

impl Ledger {
    /// Takes down what a replica says of itself.
    fn note(&mut self, replica: ReplicaId, wish: &SliceWish) {
        self.holders.retain(|holder| holder.replica != replica);
        let holder = Holder {
            replica,
            concurrency: wish.holds.max(wish.in_use),
            demand: wish.in_use.saturating_add(wish.wanted),
            wanted: wish.wanted,
        };
        let place = self.holders.partition_point(|known| known.replica < replica);
        self.holders.insert(place, holder);
    }

    /// The part of a replica of what there is, by what each of them says of itself.
    fn part(&self, replica: ReplicaId, total: u32, terms: &Terms, needs: impl Fn(&Holder) -> u32) -> u32 {
        let wanted: Vec<u32> = self.heard(terms).map(needs).collect();
        let shares = share(total, &wanted, terms.turn);
        self.heard(terms).zip(shares).find(|(holder, _)| holder.replica == replica).map_or(0, |(_, share)| share)
    }

    fn heard<'a>(&'a self, terms: &'a Terms) -> impl Iterator<Item = &'a Holder> {
        self.holders.iter().filter(|holder| !terms.silent.contains(&holder.replica))
    }

    /// Less at once, though what is under way goes on; more as far as others have said that they keep less.
    fn concurrency(&mut self, replica: ReplicaId, wish: &SliceWish, limit: u32, terms: &Terms) -> u32 {
        let share = GroupLimits::from(wish).shared_by(terms.members).concurrency.unwrap_or_default();
        let held_by = |silent| self.holders.iter().find(|one| one.replica == silent).map_or(0, |one| one.concurrency);
        let reserved = terms.silent.iter().fold(0, |sum: u32, one| sum.saturating_add(share.max(held_by(*one))));
        let limit = limit.saturating_sub(reserved);
        let due = self.part(replica, limit, terms, |holder| holder.demand.min(limit));
        if due <= wish.holds || terms.settled_at.is_none() {
            return due.min(wish.holds);
        }
        let others = self.heard(terms).filter(|holder| holder.replica != replica);
        let held_by_others = others.fold(0, |held: u32, one| held.saturating_add(one.concurrency));
        let granted = due.min(limit.saturating_sub(held_by_others)).max(wish.holds);
        if let Some(holder) = self.holders.iter_mut().find(|holder| holder.replica == replica) {
            holder.concurrency = holder.concurrency.max(granted);
        }
        granted
    }

    fn attempts(&mut self, replica: ReplicaId, wish: &SliceWish, rate: Rate, terms: &Terms) -> u32 {
        let has_changed = self.rate.replace(rate).is_some_and(|known| known != rate);
        if let Some(meter) = &mut self.meter {
            if has_changed {
                // What passed under a slower one does not hold up a faster one for longer than that would itself.
                meter.rewind(rate, terms.now);
            }
            meter.give_back(rate, wish.unused);
        }
        let Some(settled_at) = terms.settled_at else { return 0 };
        // What was begun until then is not known here.
        let mut meter = self.meter.unwrap_or_else(|| Meter::exhausted(rate, settled_at));
        let rate = rate.without(u32::try_from(terms.silent.len()).unwrap_or(u32::MAX), terms.members);
        let granted = self.part(replica, meter.free(rate, terms.now), terms, |holder| holder.wanted);
        meter.count_many(rate, granted, terms.now);
        self.meter = Some(meter);
        granted
    }
}
