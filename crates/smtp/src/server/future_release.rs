//! FUTURERELEASE (RFC 4865): HOLDFOR and HOLDUNTIL. Not responsible for holding.

use std::time::{Duration, SystemTime};

use mailtier_types::{Reply, Timestamp, reply};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Digits of an interval (RFC 4865 §4).
const MAX_DIGITS: usize = 9;

/// HOLDFOR: seconds from `now`.
pub(super) fn hold_for(value: Option<&str>, now: Timestamp, max_seconds: u32) -> Result<Timestamp, Reply> {
    let digits = value.filter(|value| value.len() <= MAX_DIGITS && value.bytes().all(|octet| octet.is_ascii_digit()));
    let seconds: u64 = digits.and_then(|digits| digits.parse().ok()).ok_or(reply::BAD_PARAMETER)?;
    if seconds > u64::from(max_seconds) {
        return Err(reply::TIME_OUT_OF_RANGE);
    }
    Ok(now.after(Duration::from_secs(seconds)))
}

/// HOLDUNTIL: a time of day (RFC 3339). One that has passed means now.
pub(super) fn hold_until(value: Option<&str>, now: Timestamp, max_seconds: u32) -> Result<Timestamp, Reply> {
    let read = value.and_then(|value| OffsetDateTime::parse(value, &Rfc3339).ok()).ok_or(reply::BAD_PARAMETER)?;
    let until = Timestamp::from_system(SystemTime::from(read));
    if until > now.after(Duration::from_secs(u64::from(max_seconds))) {
        return Err(reply::TIME_OUT_OF_RANGE);
    }
    Ok(until.max(now))
}

/// What EHLO says: the longest interval, and when it would end.
pub(super) fn offer(now: Timestamp, max_seconds: u32) -> String {
    let latest = now.as_secs() + i64::from(max_seconds);
    let latest = OffsetDateTime::from_unix_timestamp(latest).ok().and_then(|latest| latest.format(&Rfc3339).ok());
    format!("{max_seconds} {}", latest.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_and_dates() {
        let now = Timestamp::from_secs(1_800_000_000);
        assert_eq!(hold_for(Some("60"), now, 100), Ok(now.after(Duration::from_secs(60))));
        assert_eq!(hold_for(Some("101"), now, 100), Err(reply::TIME_OUT_OF_RANGE));
        for bad in [None, Some(""), Some("-1"), Some("1234567890")] {
            assert_eq!(hold_for(bad, now, 100), Err(reply::BAD_PARAMETER));
        }
        let until = |text| hold_until(Some(text), now, 100);
        assert_eq!(offer(now, 100), "100 2027-01-15T08:01:40Z");
        assert_eq!(until("2027-01-15T08:01:40Z"), Ok(now.after(Duration::from_secs(100))));
        assert_eq!(until("2027-01-15T09:00:30+01:00"), Ok(now.after(Duration::from_secs(30))));
        assert_eq!(until("2027-01-15T08:01:41Z"), Err(reply::TIME_OUT_OF_RANGE));
        assert_eq!(until("2001-01-01T00:00:00Z"), Ok(now));
        assert_eq!(until("tomorrow"), Err(reply::BAD_PARAMETER));
    }
}
