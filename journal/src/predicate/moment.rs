//! Dates and times as PostgreSQL prints them under `DateStyle = ISO`, as numbers that keep their order.

/// The last year of PostgreSQL's `date`.
const LAST_DATE: i64 = 5_874_897;
/// The last whole year of PostgreSQL's timestamps, whatever the offset.
const LAST_TIMESTAMP: i64 = 294_275;

const MICROS_A_SECOND: i128 = 1_000_000;
const MICROS_A_DAY: i128 = 86_400 * MICROS_A_SECOND;

/// Days since 1970-01-01, in the Gregorian calendar at all times, as PostgreSQL reckons. The infinities are the ends
/// of the range.
pub(super) fn date(text: &str) -> Option<i64> {
    match text {
        "infinity" => Some(i64::MAX),
        "-infinity" => Some(i64::MIN),
        _ => {
            let (text, before_christ) = era(text);
            day(text, before_christ)
        }
    }
}

/// A literal for a `date`: an infinity, or year, month and day, of our era.
pub(super) fn date_literal(text: &str) -> Option<i64> {
    (of_our_era(text, LAST_DATE)).then(|| date(text)).flatten()
}

/// Microseconds since 1970-01-01 00:00:00, of a `timestamp`.
pub(super) fn timestamp(text: &str) -> Option<i128> {
    infinity(text).or_else(|| {
        let (text, before_christ) = era(text);
        let (day_text, time_text) = text.split_once(' ')?;
        Some(i128::from(day(day_text, before_christ)?) * MICROS_A_DAY + time(time_text)?)
    })
}

/// A literal for a `timestamp`: an infinity, a day, or a day and a time, without an offset, of our era.
pub(super) fn timestamp_literal(text: &str) -> Option<i128> {
    let whole =
        if text.contains([' ', 'T']) { text.replacen('T', " ", 1) } else { format!("{text} 00:00:00") };
    of_our_era(text, LAST_TIMESTAMP).then(|| infinity(text).or_else(|| timestamp(&whole))).flatten()
}

/// Microseconds since 1970-01-01 00:00:00 UTC, of a `timestamptz` printed with its offset.
pub(super) fn timestamp_with_zone(text: &str) -> Option<i128> {
    infinity(text).or_else(|| {
        let (text, before_christ) = era(text);
        let (day_text, rest) = text.split_once(' ')?;
        let (time_text, offset) = match rest.strip_suffix('Z') {
            Some(time) => (time, 0),
            None => {
                let at = rest.rfind(['+', '-'])?;
                (rest.get(..at)?, east(rest.get(at..)?)?)
            }
        };
        let days = i128::from(day(day_text, before_christ)?);
        Some(days * MICROS_A_DAY + time(time_text)? - offset * MICROS_A_SECOND)
    })
}

/// A literal for a `timestamptz`: an infinity, or day, time and offset, of our era. Without an offset it would mean
/// another moment in every session.
pub(super) fn timestamp_with_zone_literal(text: &str) -> Option<i128> {
    let whole = text.replacen('T', " ", 1);
    of_our_era(text, LAST_TIMESTAMP).then(|| timestamp_with_zone(&whole)).flatten()
}

fn infinity(text: &str) -> Option<i128> {
    match text {
        "infinity" => Some(i128::MAX),
        "-infinity" => Some(i128::MIN),
        _ => None,
    }
}

fn era(text: &str) -> (&str, bool) {
    text.strip_suffix(" BC").map_or((text, false), |text| (text, true))
}

fn of_our_era(text: &str, last: i64) -> bool {
    if text.ends_with("infinity") {
        return true;
    }
    let year = text.split('-').next().and_then(|year| year.parse::<i64>().ok());
    !text.ends_with("BC") && year.is_some_and(|year| year <= last)
}

/// `digits`, if they are so many digits and nothing else.
fn digits(text: &str, from: usize, to: usize) -> Option<i64> {
    let plain = (from..=to).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

fn day(text: &str, before_christ: bool) -> Option<i64> {
    let mut parts = text.split('-');
    let year = digits(parts.next()?, 4, 7)?;
    let month = digits(parts.next()?, 2, 2)?;
    let day = digits(parts.next()?, 2, 2)?;
    if parts.next().is_some() || year == 0 {
        return None;
    }
    // The year before 1 is 1 BC; reckoning calls it 0.
    let year = if before_christ { 1 - year } else { year };
    let leap = year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0);
    let last = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    (1..=last).contains(&day).then(|| days(year, month, day))
}

/// Days since 1970-01-01 of a proleptic Gregorian day. Years begin in March here, so that the leap day is the last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // 719,468 days lie between 0000-03-01 and 1970-01-01.
    year * 365 + leap_days + day_of_year - 719_468
}

/// Microseconds since midnight.
fn time(text: &str) -> Option<i128> {
    let (clock, fraction) = text.split_once('.').map_or((text, None), |(clock, part)| (clock, Some(part)));
    let mut parts = clock.split(':');
    let hours = digits(parts.next()?, 2, 2)?;
    let minutes = digits(parts.next()?, 2, 2)?;
    let seconds = match parts.next() {
        Some(seconds) => digits(seconds, 2, 2)?,
        None => 0,
    };
    if parts.next().is_some() || hours > 23 || minutes > 59 || seconds > 59 {
        return None;
    }
    let micros = match fraction {
        None => 0,
        Some(part) => {
            digits(part, 1, 6)?;
            digits(&format!("{part:0<6}"), 6, 6)?
        }
    };
    Some(i128::from(hours * 3600 + minutes * 60 + seconds) * MICROS_A_SECOND + i128::from(micros))
}

/// Seconds east of UTC: `+05:30`, `-08`.
fn east(text: &str) -> Option<i128> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+')?),
    };
    let mut parts = rest.split(':');
    let hours = digits(parts.next()?, 2, 2)?;
    let mut sixtieths = || parts.next().map_or(Some(0), |part| digits(part, 2, 2).filter(|part| *part < 60));
    let (minutes, seconds) = (sixtieths()?, sixtieths()?);
    (parts.next().is_none() && hours <= 15)
        .then(|| i128::from(sign * (hours * 3600 + minutes * 60 + seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_as_the_calendar_has_them() {
        assert_eq!(date("1970-01-01"), Some(0));
        assert_eq!(date("2000-03-01"), Some(11_017));
        assert_eq!(date("0001-01-01").zip(date("0001-12-31 BC")).map(|(one, other)| one - other), Some(1));
        assert_eq!(date("2023-02-29"), None);
        assert!(date("0001-02-29 BC").is_some());
        assert_eq!(date_literal("0044-03-15 BC"), None);
    }

    #[test]
    fn moments_are_one_whatever_their_offset() {
        let utc = timestamp_with_zone_literal("2024-05-01 12:00:00Z");
        assert!(utc.is_some());
        assert_eq!(utc, timestamp_with_zone_literal("2024-05-01T14:00:00.000+02"));
        assert_eq!(utc, timestamp_with_zone("2024-05-01 06:30:00-05:30"));
        assert_eq!(timestamp_with_zone_literal("2024-05-01 12:00:00"), None);
        assert_eq!(timestamp_literal("2024-05-01 12:00:00+02"), None);
        assert_eq!(timestamp_literal("2024-05-01"), timestamp("2024-05-01 00:00:00"));
        assert_eq!(timestamp_literal("2024-05-01 24:00:00"), None);
    }
}
