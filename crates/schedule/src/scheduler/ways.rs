//! Ways: what an operator sends elsewhere has a place of its own in the schedule, beside its destination's. What is met
//! there says nothing of the destination's own hosts, and the other way round: neither waits because the other is dead,
//! and nobody asks whose exchangers it meets. Limits and suspensions are those of the destination.

use std::borrow::Cow;

/// Between a destination and the hosts of a way; neither has it in its name.
const SEPARATOR: char = ' ';

/// The name in the schedule of what goes to a destination by these hosts; by its own way where there are none.
#[must_use]
pub fn place_name<'a>(destination: &'a str, hosts: &[String]) -> Cow<'a, str> {
    if hosts.is_empty() {
        return Cow::Borrowed(destination);
    }
    let hosts = hosts.iter().map(String::as_str);
    Cow::Owned(std::iter::once(destination).chain(hosts).collect::<Vec<_>>().join(&SEPARATOR.to_string()))
}

/// The destination of a name in the schedule.
pub(super) fn destination_of(name: &str) -> &str {
    name.split_once(SEPARATOR).map_or(name, |(destination, _)| destination)
}

/// The hosts of a way.
pub(super) fn hosts_of(name: &str) -> Hosts<'_> {
    name.split(SEPARATOR).skip(1)
}

/// As an operator wrote them.
pub type Hosts<'a> = std::iter::Skip<std::str::Split<'a, char>>;

/// Whether what has this name in the schedule goes another way than its destination's own.
pub(super) fn is_way(name: &str) -> bool {
    name.contains(SEPARATOR)
}
