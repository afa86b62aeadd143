//! Breadth first through every state that can be reached, so that the trace of a violation is a shortest one.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use super::properties::{is_good_end, violated};
use super::state::{Budget, State};
use super::steps::{Protocol, Step};

/// More states than this are not explored; a test that needs more has the wrong bounds.
const MAX_STATES: usize = 3_000_000;

/// What an exploration came to.
#[derive(Debug)]
pub(super) struct Explored {
    pub(super) states: usize,
    /// Every state was reached whose predecessors were; nothing is left.
    pub(super) is_complete: bool,
    pub(super) violation: Option<Violation>,
}

/// A property that does not hold, and how to get there.
#[derive(Debug)]
pub(super) struct Violation {
    pub(super) property: &'static str,
    pub(super) trace: String,
}

/// Explores a protocol from a system that runs well, within the budget of faults.
pub(super) fn explore(protocol: Protocol, budget: Budget) -> Explored {
    let first = State::new(protocol.workers, budget);
    let steps = Step::all(protocol.workers);
    let mut seen: HashMap<u128, u32, BuildHasherDefault<Mixer>> = HashMap::default();
    seen.insert(fingerprint(&first, protocol.workers), 0);
    let mut explored = Space { origins: vec![(0, Step::Tick)], fair: Vec::new(), ends: Vec::new() };
    let mut frontier = VecDeque::from([(0, first)]);
    while let Some((number, state)) = frontier.pop_front() {
        if is_good_end(&state) {
            explored.ends.push(number);
            continue;
        }
        for step in &steps {
            let Some(next) = protocol.after(&state, *step) else { continue };
            let fresh = u32::try_from(explored.origins.len()).unwrap();
            let to = *seen.entry(fingerprint(&next, protocol.workers)).or_insert(fresh);
            if !step.is_fault() {
                explored.fair.push((to, number));
            }
            if to != fresh {
                continue;
            }
            explored.origins.push((number, *step));
            if let Some(property) = violated(&next, protocol.rules) {
                let violation = Some(Violation { property, trace: explored.trace(fresh, &protocol, first) });
                return Explored { states: explored.origins.len(), is_complete: false, violation };
            }
            frontier.push_back((fresh, next));
        }
        if explored.origins.len() > MAX_STATES {
            return Explored { states: explored.origins.len(), is_complete: false, violation: None };
        }
    }
    let states = explored.origins.len();
    let violation = explored.stuck().map(|stuck| Violation {
        property: "whatever has happened, a fair continuation comes to a good end",
        trace: explored.trace(stuck, &protocol, first),
    });
    Explored { states, is_complete: true, violation }
}

struct Space {
    /// For each state, the one it was first reached from, and how.
    origins: Vec<(u32, Step)>,
    /// Steps that are no faults, backwards: to, from.
    fair: Vec<(u32, u32)>,
    /// States in which everything is over.
    ends: Vec<u32>,
}

impl Space {
    /// The first state from which no good end can be reached without a further fault.
    fn stuck(&mut self) -> Option<u32> {
        let (starts, origins) = self.fair_origins();
        let mut is_good = vec![false; self.origins.len()];
        let mut open = std::mem::take(&mut self.ends);
        open.iter().for_each(|end| is_good[*end as usize] = true);
        while let Some(to) = open.pop() {
            let to = to as usize;
            for origin in &origins[starts[to] as usize..starts[to + 1] as usize] {
                if !std::mem::replace(&mut is_good[*origin as usize], true) {
                    open.push(*origin);
                }
            }
        }
        is_good.iter().position(|good| !good).map(|stuck| u32::try_from(stuck).unwrap())
    }

    /// From where fair steps lead to each state: where its part of the list begins, and the list.
    fn fair_origins(&self) -> (Vec<u32>, Vec<u32>) {
        let mut ends = vec![0_u32; self.origins.len() + 1];
        self.fair.iter().for_each(|(to, _)| ends[*to as usize] += 1);
        let mut sum = 0;
        for end in &mut ends {
            sum += *end;
            *end = sum;
        }
        let mut origins = vec![0; self.fair.len()];
        for (to, origin) in &self.fair {
            ends[*to as usize] -= 1;
            origins[ends[*to as usize] as usize] = *origin;
        }
        (ends, origins)
    }

    /// The steps from the first state to this one, and what it looks like.
    fn trace(&self, mut state: u32, protocol: &Protocol, first: State) -> String {
        let mut steps = Vec::new();
        while state != 0 {
            let (origin, step) = self.origins[state as usize];
            steps.push(step);
            state = origin;
        }
        let (mut text, mut world) = (String::new(), first);
        for (number, step) in steps.iter().rev().enumerate() {
            let _ = writeln!(text, "{:>3}. {step}", number + 1);
            world = protocol.after(&world, *step).unwrap();
        }
        let _ = writeln!(text, "{:#?} {:#?}", world.delivery, world.shard);
        for (r, replica) in world.replicas.iter().enumerate() {
            let _ = writeln!(text, "replica {r}: {replica:?}");
        }
        for (w, worker) in world.workers.iter().enumerate().take(protocol.workers) {
            let _ = writeln!(text, "worker {w}: {worker:?}");
            for links in &world.links {
                let link = links[w];
                let (down, up): (Vec<_>, Vec<_>) = (link.down.iter().collect(), link.up.iter().collect());
                let _ =
                    writeln!(text, "  up {} seen {} silent {} {down:?} {up:?}", link.is_up, link.is_seen, link.silent);
            }
        }
        text
    }
}

/// Of a few million states no two have the same by chance.
fn fingerprint(state: &State, workers: usize) -> u128 {
    let mut mixer = Mixer::default();
    state.delivery.hash(&mut mixer);
    state.shard.hash(&mut mixer);
    state.budget.hash(&mut mixer);
    state.replicas.hash(&mut mixer);
    for w in 0..workers {
        state.workers[w].hash(&mut mixer);
        state.links.iter().for_each(|links| links[w].hash(&mut mixer));
    }
    mixer.write_u8(state.windows);
    mixer.write_u8(u8::from(state.has_strange_dispatch));
    (u128::from(mixer.0) << 64) | u128::from(mixer.1)
}

/// A quick hash, twice: what is hashed was not chosen by anybody.
#[derive(Default)]
struct Mixer(u64, u64);

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u8(*byte));
    }

    fn write_u8(&mut self, value: u8) {
        self.0 = (self.0.rotate_left(5) ^ u64::from(value)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.1 = (self.1.rotate_left(7) ^ u64::from(value)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    }

    /// The lengths of arrays and the variants of enums: all small.
    fn write_usize(&mut self, value: usize) {
        self.write_u8(u8::try_from(value).unwrap());
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u8(u8::try_from(value).unwrap());
    }

    /// A fingerprint is mixed already.
    fn write_u128(&mut self, value: u128) {
        self.0 = u64::try_from(value >> 64).unwrap();
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}
