//! Days as they are counted in UTC, for what is allowed by the day. Not responsible for times within a day.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::timestamp::Timestamp;

const SECONDS: i64 = 86_400;
/// The Gregorian calendar repeats itself after 400 years.
const DAYS_OF_ERA: i64 = 146_097;
/// From 0000-03-01, where its computation begins, to 1970-01-01.
const DAYS_BEFORE_1970: i64 = 719_468;

/// A day in UTC: days since 1970-01-01.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(i32);

impl Day {
    /// From days since 1970-01-01.
    #[must_use]
    pub const fn new(days: i32) -> Self {
        Self(days)
    }

    /// The day that a time belongs to.
    #[must_use]
    pub fn of(at: Timestamp) -> Self {
        Self(i32::try_from(at.as_secs().div_euclid(SECONDS)).unwrap_or(i32::MAX))
    }

    /// Days since 1970-01-01.
    #[must_use]
    pub const fn number(self) -> i32 {
        self.0
    }

    /// How many days after `earlier` this is; negative when it is before.
    #[must_use]
    pub fn days_after(self, earlier: Self) -> i64 {
        i64::from(self.0) - i64::from(earlier.0)
    }

    /// Its first moment.
    #[must_use]
    pub fn begins_at(self) -> Timestamp {
        Timestamp::from_secs(i64::from(self.0) * SECONDS)
    }

    /// The first moment of the next.
    #[must_use]
    pub fn ends_at(self) -> Timestamp {
        self.begins_at().after(Duration::from_secs(SECONDS.unsigned_abs()))
    }

    /// A date of the Gregorian calendar, where there is such a day. Howard Hinnant's `days_from_civil`: years begin in
    /// March, so that the day that comes and goes is the last.
    fn from_date(year: i64, month: i64, day: i64) -> Option<Self> {
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return None;
        }
        let from_march = year - i64::from(month <= 2);
        let year_of_era = from_march.rem_euclid(400);
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = from_march.div_euclid(400) * DAYS_OF_ERA + day_of_era - DAYS_BEFORE_1970;
        let found = Self(i32::try_from(days).ok()?);
        // The thirtieth of February becomes a day of March.
        (found.date() == (year, month, day)).then_some(found)
    }

    /// Year, month and day; `civil_from_days`.
    fn date(self) -> (i64, i64, i64) {
        let days = i64::from(self.0) + DAYS_BEFORE_1970;
        let day_of_era = days.rem_euclid(DAYS_OF_ERA);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = (month_from_march + 2) % 12 + 1;
        let year = days.div_euclid(DAYS_OF_ERA) * 400 + year_of_era + i64::from(month <= 2);
        (year, month, day_of_year - (153 * month_from_march + 2) / 5 + 1)
    }
}

/// The text is no day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a day such as 2026-11-20")]
pub struct InvalidDay;

impl FromStr for Day {
    type Err = InvalidDay;

    /// `YYYY-MM-DD` (RFC 3339 §5.6 `full-date`).
    fn from_str(text: &str) -> Result<Self, InvalidDay> {
        let mut parts = text.split('-').map(|part| match part.bytes().all(|octet| octet.is_ascii_digit()) {
            true => Some((part.len(), part.parse::<i64>().ok()?)),
            false => None,
        });
        let mut part = |digits| parts.next().flatten().filter(|(len, _)| *len == digits).map(|(_, value)| value);
        let date = (part(4), part(2), part(2));
        match (date, parts.next()) {
            ((Some(year), Some(month), Some(day)), None) => Self::from_date(year, month, day).ok_or(InvalidDay),
            _ => Err(InvalidDay),
        }
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.date();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_and_written() {
        for (text, number) in [
            ("1970-01-01", 0),
            ("1969-12-31", -1),
            ("2000-02-29", 11_016),
            ("2026-11-20", 20_777),
            ("2100-03-01", 47_541),
            ("0000-03-01", -719_468),
        ] {
            let day: Day = text.parse().unwrap();
            assert_eq!((day.number(), day.to_string().as_str()), (number, text));
        }
        for bad in [
            "",
            "2026",
            "2026-11",
            "2026-11-20-1",
            "2026-13-01",
            "2026-00-10",
            "2026-11-31",
            "2100-02-29",
            "26-11-20",
            "2026-1-2",
            "+026-11-20",
            "2026-11-20T00:00:00Z",
            "2026/11/20",
            "2026-11-2x",
        ] {
            assert_eq!(bad.parse::<Day>(), Err(InvalidDay), "{bad}");
        }
    }

    #[test]
    fn every_day_has_one_date_and_one_beginning() {
        let mut last = Day::new(-800_000);
        for number in -799_999..800_000 {
            let day = Day::new(number);
            assert_eq!(last.ends_at(), day.begins_at());
            last = day;
            if day.date().0 >= 0 {
                assert_eq!(day.to_string().parse(), Ok(day), "{day}");
            }
        }
        let day = Day::new(20_777);
        assert_eq!((Day::of(day.begins_at()), Day::of(day.ends_at()).days_after(day)), (day, 1));
        assert_eq!(Day::of(Timestamp::from_micros(day.begins_at().as_micros() - 1)).days_after(day), -1);
    }
}
