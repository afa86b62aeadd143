//! Least and greatest values, and what is said of one beyond them.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use bytesize::ByteSize;

use crate::ConfigError;
use crate::keys::quote;

/// No wait and no memory of anything is longer: what is written so is a slip, and adding it to a time may overflow.
pub(crate) const YEAR: Duration = Duration::from_secs(365 * 86_400);
pub(crate) const DAY: Duration = Duration::from_secs(86_400);
pub(crate) const SECOND: Duration = Duration::from_secs(1);
/// More is no memory of one machine.
pub(crate) const MOST_MEMORY: ByteSize = ByteSize::tib(1);
/// Threads of one program.
pub(crate) const MOST_THREADS: u64 = 1024;

/// A duration within bounds.
pub(crate) fn duration(
    key: impl Into<String>,
    value: Duration,
    bounds: RangeInclusive<Duration>,
) -> Result<(), ConfigError> {
    within(key, &value, &bounds, |value| duration_text(*value))
}

/// A size within bounds.
pub(crate) fn size(
    key: impl Into<String>,
    value: ByteSize,
    bounds: RangeInclusive<ByteSize>,
) -> Result<(), ConfigError> {
    within(key, &value, &bounds, |value| size_text(*value))
}

/// The greatest number for a key that has no bound of its own.
pub(crate) const ANY: u64 = u64::MAX;

/// A number within bounds.
pub(crate) fn count(
    key: impl Into<String>,
    value: impl TryInto<u64>,
    bounds: RangeInclusive<u64>,
) -> Result<(), ConfigError> {
    let value = value.try_into().unwrap_or(ANY);
    match (value < *bounds.start(), *bounds.end()) {
        (true, ANY) => Err(ConfigError::bad(key, format!("is {value}; give at least {}", bounds.start()))),
        _ => within(key, &value, &bounds, u64::to_string),
    }
}

/// A number from 0 to 1.
pub(crate) fn fraction(key: &str, value: f64) -> Result<(), ConfigError> {
    within(key, &value, &(0.0..=1.0), f64::to_string)
}

fn within<T: PartialOrd>(
    key: impl Into<String>,
    value: &T,
    bounds: &RangeInclusive<T>,
    show: impl Fn(&T) -> String,
) -> Result<(), ConfigError> {
    if bounds.contains(value) {
        return Ok(());
    }
    let problem = format!("is {}; give {} to {}", show(value), show(bounds.start()), show(bounds.end()));
    Err(ConfigError::bad(key, problem))
}

/// As it would be written in the file, in the largest unit that fits.
pub(crate) fn duration_text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match duration.subsec_nanos() {
        0 => {
            let units = [(86_400, "d"), (3600, "h"), (60, "m")];
            let whole = units.into_iter().find(|(unit, _)| seconds >= *unit && seconds.is_multiple_of(*unit));
            whole.map_or_else(|| format!("{seconds}s"), |(unit, name)| format!("{}{name}", seconds / unit))
        }
        nanos if nanos % 1_000_000 == 0 => format!("{}ms", duration.as_millis()),
        _ => format!("{}ns", duration.as_nanos()),
    }
}

/// As it would be written in the file, where it has such a form.
pub(crate) fn size_text(size: ByteSize) -> String {
    let octets = size.as_u64();
    let units = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let whole = units.into_iter().find(|(unit, _)| octets >= *unit && octets.is_multiple_of(*unit));
    whole.map_or_else(|| size.to_string(), |(unit, name)| format!("{}{name}", octets / unit))
}

/// A text that people will read: not empty, on one line.
pub(crate) fn line(key: impl Into<String>, text: &str) -> Result<(), ConfigError> {
    match text.trim().is_empty() || text.chars().any(char::is_control) {
        true => Err(ConfigError::bad(key, format!("is {}; give a text of one line", quote(text)))),
        false => Ok(()),
    }
}

/// The first that occurs again.
pub(crate) fn twice<T: PartialEq + Display>(key: &str, values: &[T]) -> Result<(), ConfigError> {
    let again = values.iter().enumerate().find(|(at, value)| values.iter().take(*at).any(|before| before == *value));
    match again {
        Some((_, value)) => Err(ConfigError::bad(key, format!("holds `{value}` twice; name it once"))),
        None => Ok(()),
    }
}
