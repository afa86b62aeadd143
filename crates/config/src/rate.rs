//! Rates as operators write them: `10/s`, `600/m`, `1000/h`, `50000/d`. Not responsible for keeping to them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// So many in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateConfig {
    /// How many, at least 1.
    pub count: u32,
    unit: Unit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Second,
    Minute,
    Hour,
    Day,
}

impl Unit {
    const ALL: [Self; 4] = [Self::Second, Self::Minute, Self::Hour, Self::Day];

    const fn letter(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "m",
            Self::Hour => "h",
            Self::Day => "d",
        }
    }

    const fn seconds(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
            Self::Day => 86_400,
        }
    }
}

impl RateConfig {
    /// In which time.
    #[must_use]
    pub const fn per(self) -> Duration {
        Duration::from_secs(self.unit.seconds())
    }
}

/// The text is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a rate such as 10/s, 600/m, 1000/h or 50000/d")]
pub struct InvalidRate;

impl FromStr for RateConfig {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let (count, letter) = text.split_once('/').ok_or(InvalidRate)?;
        let unit = Unit::ALL.into_iter().find(|unit| unit.letter() == letter.trim()).ok_or(InvalidRate)?;
        let count = count.trim().parse().ok().filter(|count| *count > 0).ok_or(InvalidRate)?;
        Ok(Self { count, unit })
    }
}

impl fmt::Display for RateConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.unit.letter())
    }
}

impl serde::Serialize for RateConfig {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for RateConfig {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <String as serde::Deserialize>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_written() {
        for (text, count, seconds) in
            [("10/s", 10, 1), ("600/m", 600, 60), ("1/h", 1, 3600), ("50000/d", 50_000, 86_400)]
        {
            let rate: RateConfig = text.parse().unwrap();
            assert_eq!((rate.count, rate.per().as_secs(), rate.to_string().as_str()), (count, seconds, text));
        }
        for bad in ["", "10", "0/s", "-1/s", "10/", "10/w", "/s", "1.5/s", "99999999999/s"] {
            assert_eq!(bad.parse::<RateConfig>(), Err(InvalidRate), "{bad}");
        }
    }
}
