//! Dates of RFC 5322 §3.3, and spans of time in words. Reads no clock.

use std::fmt::Write as _;
use std::time::Duration;

use mailtier_types::Timestamp;
use time::OffsetDateTime;

/// Of a date, in octets.
const DATE_OCTETS: usize = 31;
const DAY_NAMES: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MONTH_NAMES: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The `date-time` of an instant, in UTC: `Thu, 01 Jan 2026 00:00:00 +0000`. Times that no four-digit year can say are
/// given as 1970.
#[must_use]
pub fn rfc5322(at: Timestamp) -> String {
    let instant = OffsetDateTime::from_unix_timestamp(at.as_secs())
        .ok()
        .filter(|instant| (1900..=9999).contains(&instant.year()))
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let day_name = DAY_NAMES.get(usize::from(instant.weekday().number_days_from_monday())).unwrap_or(&"Mon");
    let month_name = MONTH_NAMES.get(usize::from(u8::from(instant.month())).wrapping_sub(1)).unwrap_or(&"Jan");
    let (hour, minute, second) = instant.to_hms();
    let (day, year) = (instant.day(), instant.year());
    let mut date = String::with_capacity(DATE_OCTETS);
    // Writing to a string cannot fail.
    let _ = write!(date, "{day_name}, {day:02} {month_name} {year} {hour:02}:{minute:02}:{second:02} +0000");
    date
}

/// A span of time as people say it, in its largest unit, rounded to the nearest.
pub(crate) fn in_words(span: Duration) -> String {
    let seconds = span.as_secs();
    let (count, unit) = match seconds {
        0..60 => return "less than a minute".to_owned(),
        60..5_400 => ((seconds + 30) / 60, "minute"),
        5_400..129_600 => ((seconds + 1_800) / 3_600, "hour"),
        _ => ((seconds + 43_200) / 86_400, "day"),
    };
    if count == 1 { format!("1 {unit}") } else { format!("{count} {unit}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_in_the_form_of_rfc_5322() {
        for (seconds, date) in [
            (0, "Thu, 01 Jan 1970 00:00:00 +0000"),
            (-1, "Wed, 31 Dec 1969 23:59:59 +0000"),
            (951_826_800, "Tue, 29 Feb 2000 12:20:00 +0000"),
            (1_800_000_000, "Fri, 15 Jan 2027 08:00:00 +0000"),
            (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 +0000"),
            (253_402_300_800, "Thu, 01 Jan 1970 00:00:00 +0000"),
            (i64::MIN, "Thu, 01 Jan 1970 00:00:00 +0000"),
        ] {
            assert_eq!(rfc5322(Timestamp::from_secs(seconds)), date);
        }
    }

    proptest::proptest! {
        #[test]
        fn a_parser_reads_the_same_instant(seconds in 0_i64..253_402_300_800) {
            let message = format!("Date: {}\r\n\r\n", rfc5322(Timestamp::from_secs(seconds)));
            let parsed = mail_parser::MessageParser::new().parse(message.as_bytes()).unwrap();
            proptest::prop_assert_eq!(parsed.date().unwrap().to_timestamp(), seconds);
        }
    }

    #[test]
    fn spans_in_words() {
        for (seconds, words) in [
            (3, "less than a minute"),
            (60, "1 minute"),
            (300, "5 minutes"),
            (3_600, "60 minutes"),
            (7_200, "2 hours"),
            (86_400, "24 hours"),
            (172_800, "2 days"),
            (5 * 86_400 - 20, "5 days"),
        ] {
            assert_eq!(in_words(Duration::from_secs(seconds)), words);
        }
    }
}
