//! Time, as the journal's database tells it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::from_text;

/// Milliseconds since 1970-01-01 UTC, by the journal's database clock. Travels as RFC 3339 text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// This instant moved on by a duration.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long it is from `earlier` to this instant; zero if it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => write!(f, "{at:.3}"),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

impl FromStr for Timestamp {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match as_written(text.as_bytes()) {
            Some(millis) => Ok(Self(millis)),
            None => text.parse::<jiff::Timestamp>().map(|at| Self(at.as_millisecond())),
        }
    }
}

/// A time in the one form that events are written in, `2026-01-02T03:04:05.678Z`. Each event has one, so it is read by hand.
fn as_written(text: &[u8]) -> Option<i64> {
    let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1, b'T', rest @ ..] = text else { return None };
    let [h0, h1, b':', i0, i1, b':', s0, s1, b'.', f0, f1, f2, b'Z'] = rest else { return None };
    let number = |digits: &[&u8]| {
        digits
            .iter()
            .try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| 10 * sum + i64::from(**digit - b'0')))
    };
    let (year, month, day) = (number(&[y0, y1, y2, y3])?, number(&[m0, m1])?, number(&[d0, d1])?);
    let (hour, minute, second) = (number(&[h0, h1])?, number(&[i0, i1])?, number(&[s0, s1])?);
    // Every month has 28 days. The few others, and what lies far away, are read as any text is.
    let is_plain = (1970..9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=28).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !is_plain {
        return None;
    }
    // Years begin with March here, so that a leap day is a year's last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    // From the first of March of year 0; 1970 begins 719,468 days after it.
    let days = 365 * year + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    Some(seconds * 1000 + number(&[f0, f1, f2])?)
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_library_reads_it(millis in -100_000_000_000_i64..250_000_000_000_000) {
            let text = Timestamp(millis).to_string();
            let theirs = text.parse::<jiff::Timestamp>().unwrap().as_millisecond();
            prop_assert_eq!(text.parse::<Timestamp>().unwrap(), Timestamp(theirs));
            prop_assert_eq!(theirs, millis);
        }
    }

    #[test]
    fn times_in_the_written_form_that_are_none_are_refused_and_other_forms_are_read() {
        for none in [
            "2026-02-30T00:00:00.000Z",
            "2026-13-01T00:00:00.000Z",
            "2026-01-01T24:00:00.000Z",
            "2026-0a-01T00:00:00.000Z",
        ] {
            assert!(none.parse::<Timestamp>().is_err(), "{none}");
        }
        let written: Timestamp = "2024-02-29T23:59:59.999Z".parse().unwrap();
        for same in
            ["2024-03-01T00:59:59.999+01:00", "2024-02-29T23:59:59.999000Z", "2024-02-29 23:59:59.999Z"]
        {
            assert_eq!(same.parse::<Timestamp>().unwrap(), written, "{same}");
        }
    }
}
