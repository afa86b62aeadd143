//! Which of our addresses are blocked where, and until when: an address that a host of a provider refuses is not tried with
//! all that provider's mail once more. Not responsible for what a block is (`classification`), nor for which address is
//! used instead: workers know which there are.

use std::collections::HashMap;
use std::net::IpAddr;

use mailtier_types::Timestamp;

/// Blocks known at a time. Hosts choose what they refuse, not how much memory that takes.
const MAX_BLOCKS: usize = 10_000;
/// Of these, those of one destination or provider: as many addresses as a pool can have.
const MAX_OF_ONE: usize = 1000;

/// Who blocks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Blocker {
    /// A destination.
    Destination(String),
    /// A provider, by its name.
    Provider(String),
}

/// An address, and until when it is not used there.
pub type Blocked = (IpAddr, Timestamp);

/// What is blocked, as far as one replica knows.
#[derive(Clone, Debug, Default)]
pub struct Avoidance {
    by_destination: HashMap<String, Vec<Blocked>>,
    by_provider: HashMap<String, Vec<Blocked>>,
    count: usize,
}

impl Avoidance {
    /// Whether nothing is: then nobody need look.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// An address is blocked until then. Says whether that is news.
    pub fn block(&mut self, blocker: &Blocker, address: IpAddr, until: Timestamp, now: Timestamp) -> bool {
        if until <= now {
            return false;
        }
        if self.count >= MAX_BLOCKS {
            self.forget_over(now);
        }
        let is_full = self.count >= MAX_BLOCKS;
        let (map, name) = match blocker {
            Blocker::Destination(name) => (&mut self.by_destination, name),
            Blocker::Provider(name) => (&mut self.by_provider, name),
        };
        let known = map.get_mut(name);
        if let Some((_, known)) = known.and_then(|blocked| blocked.iter_mut().find(|(blocked, _)| *blocked == address))
        {
            let was_over = *known <= now;
            *known = until.max(*known);
            return was_over;
        }
        if is_full || map.get(name).is_some_and(|blocked| blocked.len() >= MAX_OF_ONE) {
            return false;
        }
        map.entry(name.clone()).or_default().push((address, until));
        self.count += 1;
        true
    }

    /// Addresses that are blocked for mail to a destination, or by the provider whose it is.
    pub fn of<'a>(
        &'a self,
        destination: &str,
        provider: Option<&str>,
        now: Timestamp,
    ) -> impl Iterator<Item = Blocked> + 'a {
        let own = self.by_destination.get(destination);
        let theirs = provider.and_then(|provider| self.by_provider.get(provider));
        own.into_iter().chain(theirs).flatten().copied().filter(move |(_, until)| *until > now)
    }

    /// Everything, in order, for operators.
    #[must_use]
    pub fn all(&self, now: Timestamp) -> Vec<(Blocker, Blocked)> {
        let destinations = self.by_destination.iter().map(|(name, all)| (Blocker::Destination(name.clone()), all));
        let providers = self.by_provider.iter().map(|(name, all)| (Blocker::Provider(name.clone()), all));
        let each = |(blocker, all): (Blocker, &Vec<Blocked>)| {
            let current = all.iter().copied().filter(|(_, until)| *until > now);
            current.map(|blocked| (blocker.clone(), blocked)).collect::<Vec<_>>()
        };
        let mut told: Vec<(Blocker, Blocked)> = destinations.chain(providers).flat_map(each).collect();
        told.sort_unstable();
        told
    }

    /// What is over is forgotten.
    pub fn forget_over(&mut self, now: Timestamp) {
        let mut count = 0;
        for map in [&mut self.by_destination, &mut self.by_provider] {
            map.retain(|_, blocked| {
                blocked.retain(|(_, until)| *until > now);
                count += blocked.len();
                !blocked.is_empty()
            });
        }
        self.count = count;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn later(seconds: u64) -> Timestamp {
        NOW.after(Duration::from_secs(seconds))
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn at(name: &str) -> Blocker {
        Blocker::Destination(name.to_owned())
    }

    fn of(avoidance: &Avoidance, destination: &str, provider: Option<&str>, now: Timestamp) -> Vec<u8> {
        let last = |(address, _): Blocked| match address {
            IpAddr::V4(address) => address.octets()[3],
            IpAddr::V6(_) => 0,
        };
        avoidance.of(destination, provider, now).map(last).collect()
    }

    #[test]
    fn a_block_holds_for_who_said_it_and_for_its_time() {
        let mut avoidance = Avoidance::default();
        assert!(avoidance.is_empty());
        assert!(avoidance.block(&at("a.example"), address(1), later(60), NOW));
        assert!(avoidance.block(&Blocker::Provider("big".to_owned()), address(2), later(30), NOW));
        assert!(!avoidance.is_empty());
        for (destination, provider, seconds, expected) in [
            ("a.example", None, 0, &[1][..]),
            ("a.example", Some("big"), 0, &[1, 2]),
            ("b.example", Some("big"), 0, &[2]),
            ("b.example", None, 0, &[]),
            ("b.example", Some("a.example"), 0, &[]),
            ("a.example", Some("big"), 30, &[1]),
            ("a.example", Some("big"), 60, &[]),
        ] {
            assert_eq!(of(&avoidance, destination, provider, later(seconds)), expected, "{destination} {provider:?}");
        }
        assert_eq!(avoidance.all(NOW).len(), 2);
        assert_eq!(avoidance.all(later(30)), [(at("a.example"), (address(1), later(60)))]);
        avoidance.forget_over(later(60));
        assert!(avoidance.is_empty());
    }

    #[test]
    fn a_block_said_again_lasts_longer_and_is_news_once_it_was_over() {
        let mut avoidance = Avoidance::default();
        let mut block = |seconds, now| avoidance.block(&at("a.example"), address(1), later(seconds), later(now));
        assert!(block(60, 0));
        assert!(!block(90, 10));
        assert!(!block(70, 10), "one that ends earlier changes nothing");
        assert!(!block(5, 10), "over already");
        assert!(block(200, 95));
        assert_eq!(avoidance.all(NOW), [(at("a.example"), (address(1), later(200)))]);
    }

    #[test]
    fn what_hosts_refuse_takes_no_more_memory_than_it_may() {
        let mut avoidance = Avoidance::default();
        for number in 0..=u16::try_from(MAX_OF_ONE).unwrap() {
            let [high, low] = number.to_be_bytes();
            let is_news = avoidance.block(&at("a.example"), IpAddr::from([10, 0, high, low]), later(60), NOW);
            assert_eq!(is_news, usize::from(number) < MAX_OF_ONE);
        }
        for number in 0..2 * MAX_BLOCKS {
            avoidance.block(&at(&format!("{number}.example")), address(1), later(60), NOW);
        }
        assert_eq!(avoidance.all(NOW).len(), MAX_BLOCKS);
        assert!(avoidance.block(&at("late.example"), address(1), later(120), later(60)), "there is room again");
        assert_eq!(avoidance.all(later(60)).len(), 1);
    }
}
