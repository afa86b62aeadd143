//! DELIVERBY (RFC 2852): the BY parameter. Not responsible for what happens when the time is over.

use mailtier_types::{ByMode, DeliverBy, Reply, Timestamp, reply};

/// Digits a time can have (RFC 2852 §4).
const MAX_DIGITS: usize = 9;

/// `by-time;by-mode[by-trace]`, counted from `now`. `least_seconds` is what EHLO said can be promised.
pub(super) fn parse(value: Option<&str>, now: Timestamp, least_seconds: u32) -> Result<DeliverBy, Reply> {
    let (time, mode) = value.and_then(|value| value.split_once(';')).ok_or(reply::BAD_PARAMETER)?;
    let digits = time.strip_prefix(['-', '+']).unwrap_or(time);
    if digits.is_empty() || digits.len() > MAX_DIGITS || !digits.bytes().all(|octet| octet.is_ascii_digit()) {
        return Err(reply::BAD_PARAMETER);
    }
    let seconds: i64 = time.parse().map_err(|_| reply::BAD_PARAMETER)?;
    let (mode, trace) = match mode.as_bytes() {
        [b'R' | b'r', trace @ ..] => (ByMode::Return, trace),
        [b'N' | b'n', trace @ ..] => (ByMode::Notify, trace),
        _ => return Err(reply::BAD_PARAMETER),
    };
    let trace = match trace {
        [] => false,
        [b'T' | b't'] => true,
        _ => return Err(reply::BAD_PARAMETER),
    };
    // RFC 2852 §4: to be returned when the time is over, there must be some; and no less than can be kept.
    if mode == ByMode::Return && (seconds <= 0 || seconds < i64::from(least_seconds)) {
        return Err(reply::TIME_OUT_OF_RANGE);
    }
    let at = Timestamp::from_micros(now.as_micros().saturating_add(seconds.saturating_mul(1_000_000)));
    Ok(DeliverBy { at, mode, trace })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_modes_and_traces() {
        let now = Timestamp::from_secs(1000);
        let by = |secs, mode, trace| Ok(DeliverBy { at: Timestamp::from_secs(secs), mode, trace });
        for (value, expected) in [
            ("120;R", by(1120, ByMode::Return, false)),
            ("+120;nT", by(1120, ByMode::Notify, true)),
            ("-120;N", by(880, ByMode::Notify, false)),
            ("0;N", by(1000, ByMode::Notify, false)),
            ("0;R", Err(reply::TIME_OUT_OF_RANGE)),
            ("-1;R", Err(reply::TIME_OUT_OF_RANGE)),
            ("59;R", Err(reply::TIME_OUT_OF_RANGE)),
            ("120", Err(reply::BAD_PARAMETER)),
            ("120;X", Err(reply::BAD_PARAMETER)),
            ("120;RTT", Err(reply::BAD_PARAMETER)),
            ("1234567890;R", Err(reply::BAD_PARAMETER)),
            (";R", Err(reply::BAD_PARAMETER)),
            ("+-1;R", Err(reply::BAD_PARAMETER)),
        ] {
            assert_eq!(parse(Some(value), now, 60), expected, "{value}");
        }
    }
}
