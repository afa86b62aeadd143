//! Thirty days of everything at once, in milliseconds: destinations that are away, greylist, throttle or have full
//! mailboxes, providers and tenants with limits, clocks that jump, shards that are lost and come back. Whatever happens, no
//! limit is exceeded, nothing is attempted twice at a time or after its time, expiry is exact, and every delivery ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mailtier_schedule::{
    Classification, Entry, GroupLimits, Limits, Next, PoolClass, Provider, Ready, RetryPolicy, RetryRules, Rules,
    Scheduler, classify, feedback,
};
use mailtier_types::{
    Cause, Class, DeliveryId, Outcome, RemoteHost, Reply, ShardId, Stage, TenantId, Timestamp, Trouble, TroubleKind,
};
use proptest::prelude::*;

const START: Timestamp = Timestamp::from_secs(1_800_000_000);
const MINUTE_US: i64 = 60_000_000;
const MONTH: i64 = 30 * 24 * 60;
/// Within it everything arrives and everything that disturbs happens, in minutes.
const BUSY: i64 = 20 * 24 * 60;
const DESTINATIONS: usize = 6;
const CONCURRENCY: u32 = 2;
const OF_PROVIDER: u32 = 3;
const OF_TENANT: u32 = 4;

thread_local! {
    /// Made once for all runs: it is the same for all, and takes a while.
    static MEANINGS: Arc<Classification> = Arc::new(Classification::new(None).unwrap());
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mood {
    Away,
    Greylisting,
    Throttling,
    Full,
}

#[derive(Clone, Debug)]
enum Disturbance {
    /// A destination is in a mood for some minutes.
    Mood(usize, Mood, i64),
    /// The clock jumps by so many seconds.
    Jump(i64),
    /// The shard of a destination is another's for some minutes.
    Loss(usize, i64),
}

#[derive(Clone, Copy, Debug)]
struct Letter {
    destination: usize,
    tenant: i32,
    priority: i16,
    lives_minutes: i64,
    permanent: bool,
}

fn letters() -> impl Strategy<Value = Vec<(i64, Letter)>> {
    let lives = prop_oneof![3 => Just(5 * 24 * 60_i64), 1 => 1..600_i64];
    let letter = (0..DESTINATIONS, 0..3_i32, -9..10_i16, lives, prop::bool::weighted(0.05)).prop_map(
        |(destination, tenant, priority, lives_minutes, permanent)| Letter {
            destination,
            tenant,
            priority,
            lives_minutes,
            permanent,
        },
    );
    // Some come in floods, at the same minute.
    let at = prop_oneof![1 => prop::sample::select(vec![60_i64, 5_000, 15_000]), 1 => 0..BUSY];
    prop::collection::vec((at, letter), 1..80)
}

fn disturbances() -> impl Strategy<Value = Vec<(i64, Disturbance)>> {
    let mood = prop_oneof![3 => Just(Mood::Away), 1 => Just(Mood::Greylisting), 1 => Just(Mood::Throttling), 1 => Just(Mood::Full)];
    let one = prop_oneof![
        6 => (0..DESTINATIONS, mood, 1..10_000_i64).prop_map(|(at, mood, long)| Disturbance::Mood(at, mood, long)),
        1 => (-7200..7200_i64).prop_map(Disturbance::Jump),
        3 => (0..DESTINATIONS, 0..300_i64).prop_map(|(of, long)| Disturbance::Loss(of, long)),
    ];
    prop::collection::vec((0..BUSY, one), 0..20)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Resting,
    Asking,
    Attempted,
    Delivered,
    Failed,
    Expired,
}

#[derive(Debug)]
enum Happening {
    Arrives(Letter),
    Answered(i64),
    Ended(i64),
    Disturbed(Disturbance),
    Calms(usize),
    Regained(usize),
}

/// A row of the table: what survives every owner.
struct Row {
    letter: Letter,
    entry: Entry,
    state: State,
    /// Since when, by the clock, its scheduler could have given it up.
    resting_since: Timestamp,
}

struct World {
    scheduler: Scheduler,
    waits: RetryRules,
    meanings: Arc<Classification>,
    /// True time in microseconds since the start, and how far the clock is off.
    time_us: i64,
    skew_us: i64,
    has_jumped: bool,
    events: BTreeMap<(i64, u64), Happening>,
    sequence: u64,
    rows: BTreeMap<i64, Row>,
    moods: [Option<Mood>; DESTINATIONS],
    lost: [u32; DESTINATIONS],
    was_disturbed: [bool; DESTINATIONS],
    random: u64,
}

fn name(destination: usize) -> String {
    format!("{destination}.example")
}

/// The first three destinations are one provider's.
fn exchanger(destination: usize) -> String {
    if destination < 3 { "mx.big.example".to_owned() } else { format!("mx.{destination}.example") }
}

impl World {
    fn new(random: u64) -> Self {
        let mut rules = Rules::plain(CONCURRENCY);
        rules.providers = vec![Provider {
            name: "big".into(),
            exchangers: vec!["big.example".into()],
            limits: GroupLimits { concurrency: Some(OF_PROVIDER), rate: None },
        }];
        rules.tenants = [(TenantId(1), GroupLimits { concurrency: Some(OF_TENANT), rate: None })].into();
        rules.dead_after = 3;
        let limits = Limits { max_entries: 10_000, max_entries_per_destination: 10_000 };
        Self {
            scheduler: Scheduler::new(limits, rules),
            waits: RetryRules::new(RetryPolicy::default()),
            meanings: MEANINGS.with(Arc::clone),
            time_us: 0,
            skew_us: 0,
            has_jumped: false,
            events: BTreeMap::new(),
            sequence: 0,
            rows: BTreeMap::new(),
            moods: [None; DESTINATIONS],
            lost: [0; DESTINATIONS],
            was_disturbed: [false; DESTINATIONS],
            random: random | 1,
        }
    }

    fn clock(&self) -> Timestamp {
        Timestamp::from_micros(START.as_micros() + self.time_us + self.skew_us)
    }

    /// A number from 0 to 1 (Marsaglia's xorshift).
    fn chance(&mut self) -> f32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 40) as f32 / (1_u64 << 24) as f32
    }

    fn plan(&mut self, at_us: i64, what: Happening) {
        self.sequence += 1;
        self.events.insert((at_us, self.sequence), what);
    }

    fn is_owned(&self, destination: usize) -> bool {
        let shard = ShardId::of(&name(destination));
        (0..DESTINATIONS).all(|other| self.lost[other] == 0 || ShardId::of(&name(other)) != shard)
    }

    /// Those in hand whose shard is ours.
    fn in_hand(&self, is_it: impl Fn(&Row) -> bool) -> u32 {
        let out = |row: &&Row| matches!(row.state, State::Asking | State::Attempted);
        let ours = |row: &&Row| self.is_owned(row.letter.destination);
        self.rows.values().filter(out).filter(ours).filter(|row| is_it(row)).count() as u32
    }

    fn run(&mut self) {
        for _ in 0..3_000_000 {
            self.work();
            let due = self.scheduler.next_due().map(|due| due.as_micros() - START.as_micros() - self.skew_us);
            let event = self.events.keys().next().map(|(at, _)| *at);
            let Some(next) = due.into_iter().chain(event).min() else { return };
            assert!(next < 2 * MONTH * MINUTE_US, "something is left for ever: {:?}", self.scheduler);
            self.time_us = next.max(self.time_us);
            while let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= self.time_us) {
                let what = entry.remove();
                self.happens(what);
            }
        }
        panic!("it never comes to rest");
    }

    fn work(&mut self) {
        while let Some(ready) = self.scheduler.next(self.clock()) {
            match ready {
                Ready::Attempt(entry) => self.begin(entry),
                Ready::Expired(entry) => self.expire(entry),
            }
        }
    }

    fn begin(&mut self, entry: Entry) {
        let (id, now) = (entry.id.as_i64(), self.clock());
        let row = &self.rows[&id];
        let Letter { destination, tenant, .. } = row.letter;
        assert_eq!(row.state, State::Resting, "{id} is in hand, or over");
        // While a clock that was put back by less than a second catches up, time stands still.
        let latest = if self.has_jumped { now.after(Duration::from_secs(1)) } else { now };
        assert_eq!((row.entry.attempts, row.entry.due <= latest), (entry.attempts, true));
        assert!(now < row.entry.expires_at && self.is_owned(destination));
        assert!(self.in_hand(|row| row.letter.destination == destination) < CONCURRENCY);
        assert!(tenant != 1 || self.in_hand(|row| row.letter.tenant == 1) < OF_TENANT);
        let asks = self.scheduler.asks(entry.id);
        if asks {
            assert_eq!(self.in_hand(|row| row.letter.destination == destination), 0, "one question at a time");
        } else if destination < 3 {
            let of_provider = |row: &Row| row.letter.destination < 3 && row.state == State::Attempted;
            assert!(self.in_hand(of_provider) < OF_PROVIDER, "the provider has too many");
        }
        let row = self.rows.get_mut(&id).unwrap();
        row.state = if asks { State::Asking } else { State::Attempted };
        let takes_us = if asks { 20_000 } else { 1_000_000 + (self.chance() * 60.0) as i64 * 1_000_000 };
        let what = if asks { Happening::Answered(id) } else { Happening::Ended(id) };
        self.plan(self.time_us + takes_us, what);
    }

    fn expire(&mut self, entry: Entry) {
        let now = self.clock();
        let row = self.rows.get_mut(&entry.id.as_i64()).unwrap();
        assert_eq!(row.state, State::Resting);
        let expires_at = row.entry.expires_at;
        assert!(now >= expires_at, "too early");
        if row.resting_since <= expires_at && !self.has_jumped {
            assert!(now.since(expires_at) < Duration::from_millis(1), "{:?} late", now.since(expires_at));
        }
        row.state = State::Expired;
        assert!(self.scheduler.finish(entry.id));
    }

    fn happens(&mut self, what: Happening) {
        match what {
            Happening::Arrives(letter) => self.arrives(letter),
            Happening::Answered(id) => self.answered(id),
            Happening::Ended(id) => self.ended(id),
            Happening::Calms(destination) => self.moods[destination] = None,
            Happening::Regained(destination) => {
                self.lost[destination] -= 1;
                self.load();
            }
            Happening::Disturbed(Disturbance::Mood(destination, mood, long)) => {
                self.was_disturbed[destination] = true;
                if self.moods[destination].is_none() {
                    self.moods[destination] = Some(mood);
                    self.plan(self.time_us + long * MINUTE_US, Happening::Calms(destination));
                }
            }
            Happening::Disturbed(Disturbance::Jump(seconds)) => {
                let before = self.clock();
                self.skew_us += seconds * 1_000_000;
                self.has_jumped = true;
                // What was due stays so: it waits for something else, such as a probe.
                let now = self.clock();
                for row in self.rows.values_mut().filter(|row| row.entry.due <= before) {
                    row.entry.due = row.entry.due.min(now);
                }
            }
            Happening::Disturbed(Disturbance::Loss(destination, long)) => {
                self.was_disturbed[destination] = true;
                self.lost[destination] += 1;
                self.scheduler.drop_shard(ShardId::of(&name(destination)));
                self.plan(self.time_us + long * MINUTE_US, Happening::Regained(destination));
            }
        }
    }

    fn arrives(&mut self, letter: Letter) {
        let (id, now) = (self.rows.len() as i64 + 1, self.clock());
        let entry = Entry {
            id: DeliveryId::from_i64(id).unwrap(),
            shard: ShardId::of(&name(letter.destination)),
            tenant: TenantId(letter.tenant),
            class: PoolClass::default(),
            priority: letter.priority,
            attempts: 0,
            due: now,
            expires_at: now.after(Duration::from_secs(60 * letter.lives_minutes.unsigned_abs())),
            warn_at: None,
        };
        self.rows.insert(id, Row { letter, entry, state: State::Resting, resting_since: now });
        if self.is_owned(letter.destination) {
            self.scheduler.insert(&name(letter.destination), entry, now);
        }
    }

    /// The shard of some destination is ours again: everything is read, and workers say what they have in hand.
    fn load(&mut self) {
        let now = self.clock();
        let ids: Vec<i64> = self.rows.keys().copied().collect();
        for id in ids {
            let row = &self.rows[&id];
            let is_out = matches!(row.state, State::Asking | State::Attempted);
            if !self.is_owned(row.letter.destination) || !(is_out || row.state == State::Resting) {
                continue;
            }
            if self.scheduler.is_known(row.entry.id) {
                continue;
            }
            if is_out {
                self.scheduler.mark_in_flight(&name(row.letter.destination), row.entry);
            } else {
                self.scheduler.insert(&name(row.letter.destination), row.entry, now);
                self.rows.get_mut(&id).unwrap().resting_since = now;
            }
        }
    }

    fn answered(&mut self, id: i64) {
        let now = self.clock();
        let row = self.rows.get_mut(&id).unwrap();
        (row.state, row.resting_since) = (State::Resting, now);
        let (delivery, destination) = (row.entry.id, row.letter.destination);
        // Where another owns the shard it reads the delivery from the table.
        if self.is_owned(destination) {
            assert!(self.scheduler.resolved(delivery, &exchanger(destination), now));
        }
    }

    fn ended(&mut self, id: i64) {
        let (now, chance) = (self.clock(), self.chance());
        let Row { letter, entry, .. } = self.rows[&id];
        let outcome = outcome(letter, self.moods[letter.destination], entry.attempts, now);
        let meanings = Arc::clone(&self.meanings);
        let judgement = meanings.judge(&outcome);
        let owned = self.is_owned(letter.destination);
        if owned {
            let met = outcome.remote.as_ref().map(|remote| remote.name.as_str());
            self.scheduler.learn(entry.id, feedback([(&outcome, judgement)]), met, chance, now);
        }
        let class = judgement.map_or(Class::Other, |judgement| judgement.class.class());
        let waits = self.waits.after(class, &name(letter.destination));
        let next = classify(
            judgement.map(|judgement| judgement.verdict),
            entry.attempts + 1,
            waits,
            entry.expires_at,
            now,
            chance,
        );
        let row = self.rows.get_mut(&id).unwrap();
        row.state = match next {
            Next::Delivered => State::Delivered,
            Next::Fail => State::Failed,
            Next::Expire => State::Expired,
            Next::Retry(due) => {
                (row.entry.attempts, row.entry.due, row.resting_since) = (entry.attempts + 1, due, now);
                State::Resting
            }
        };
        let row = &self.rows[&id];
        match row.state {
            _ if !owned => {}
            State::Resting => assert!(self.scheduler.defer(entry.id, row.entry.attempts, row.entry.due)),
            _ => assert!(self.scheduler.finish(entry.id)),
        }
    }

    fn check_end(&self) {
        assert!(self.scheduler.is_empty());
        for (id, row) in &self.rows {
            assert!(matches!(row.state, State::Delivered | State::Failed | State::Expired), "{id}: {:?}", row.state);
            if !self.was_disturbed[row.letter.destination] && row.letter.lives_minutes > 2 * 24 * 60 {
                let expected = if row.letter.permanent { State::Failed } else { State::Delivered };
                assert_eq!(row.state, expected, "nothing stood in the way of {id}");
            }
        }
    }
}

fn outcome(letter: Letter, mood: Option<Mood>, attempts: u16, at: Timestamp) -> Outcome {
    let reply = |code, text: &str| Cause::Reply(Reply::received(code, None, text.to_owned()));
    let (stage, cause) = match mood {
        Some(Mood::Away) => {
            let trouble = Trouble { kind: TroubleKind::Connect, text: "refused".to_owned() };
            (Stage::Connect, Cause::Trouble(trouble))
        }
        Some(Mood::Greylisting) if attempts == 0 => (Stage::Rcpt, reply(451, "Greylisted")),
        Some(Mood::Throttling) => (Stage::Banner, reply(421, "Too many connections")),
        Some(Mood::Full) => (Stage::Rcpt, reply(452, "Mailbox full")),
        _ if letter.permanent => (Stage::Rcpt, reply(550, "Nobody")),
        _ => (Stage::Final, reply(250, "Taken")),
    };
    Outcome {
        remote: Some(RemoteHost { name: exchanger(letter.destination), address: None }),
        ..Outcome::new(stage, cause, at)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_time: 20_000, ..ProptestConfig::default() })]
    #[test]
    fn a_month_with_everything_that_happens(
        letters in letters(),
        disturbances in disturbances(),
        random in any::<u64>(),
    ) {
        let mut world = World::new(random);
        for (minute, letter) in letters {
            world.plan(minute * MINUTE_US, Happening::Arrives(letter));
        }
        for (minute, disturbance) in disturbances {
            world.plan(minute * MINUTE_US, Happening::Disturbed(disturbance));
        }
        world.run();
        world.check_end();
    }
}
