//! Exact decimal numbers: only compared, never reckoned with.

use std::cmp::Ordering;
use std::fmt;

/// A decimal number as PostgreSQL's `numeric` has them, its infinities and NaN included. NaN equals itself and is
/// greater than every number, as there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decimal {
    NegativeInfinity,
    Finite(Finite),
    Infinity,
    NotANumber,
}

/// Its digits, without leading zeros before and trailing zeros behind the point; zero is never negative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finite {
    negative: bool,
    whole: String,
    fraction: String,
}

impl Finite {
    /// Reads `12`, `-0.50`, `.5`, `5.`: a sign, digits and a point, nothing else.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) {
            return None;
        }
        let whole = whole.trim_start_matches('0').to_owned();
        let fraction = fraction.trim_end_matches('0').to_owned();
        let negative = negative && !(whole.is_empty() && fraction.is_empty());
        Some(Self { negative, whole, fraction })
    }

    /// The same number as an `i64`, if it is whole and fits.
    pub(super) fn integer(&self) -> Option<i64> {
        if self.fraction.is_empty() { self.to_string().parse().ok() } else { None }
    }

    fn magnitude(&self, other: &Self) -> Ordering {
        self.whole
            .len()
            .cmp(&other.whole.len())
            .then_with(|| self.whole.cmp(&other.whole))
            .then_with(|| self.fraction.cmp(&other.fraction))
    }
}

impl Ord for Finite {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => self.magnitude(other),
            (true, true) => other.magnitude(self),
        }
    }
}

impl PartialOrd for Finite {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Finite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.negative {
            f.write_str("-")?;
        }
        f.write_str(if self.whole.is_empty() { "0" } else { &self.whole })?;
        if self.fraction.is_empty() { Ok(()) } else { write!(f, ".{}", self.fraction) }
    }
}

impl Decimal {
    /// Reads what PostgreSQL prints for a `numeric`.
    pub(super) fn read(text: &str) -> Option<Self> {
        match text {
            "NaN" => Some(Self::NotANumber),
            "Infinity" => Some(Self::Infinity),
            "-Infinity" => Some(Self::NegativeInfinity),
            _ => Finite::read(text).map(Self::Finite),
        }
    }

    const fn rank(&self) -> u8 {
        match self {
            Self::NegativeInfinity => 0,
            Self::Finite(_) => 1,
            Self::Infinity => 2,
            Self::NotANumber => 3,
        }
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Finite(one), Self::Finite(other)) => one.cmp(other),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
