//! When operations may begin: the plan's recurring windows.
//!
//! A window opens at each firing of its cron expression, in its time zone, and stays open for its length. Frozen windows
//! keep the operations they name from beginning; as soon as an operation has an allowed window at all, it begins inside
//! one only. A window is looked at when an operation begins and never later: what has begun is finished.
//!
//! A window's times are those of the clock on the wall, whatever the expression looks like. One that the clock jumps over
//! fires at the first moment after the gap; one that comes twice fires at its first pass. So the firings are looked for on the
//! wall, where there is no zone, and each is then taken to its moment: later ones never to an earlier moment. The length is
//! counted in real time. The zones are those that are built in, so that two programs of one version agree.

use std::cmp::Ordering;
use std::time::Duration;

use croner::errors::CronError;
use croner::parser::{CronParser, Seconds};
use croner::{CivilDate, CivilDateTime, CivilTime, Cron, CronDateTime, Resolution, Weekday};
use jiff::SignedDuration;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::ids::PhaseName;
use crate::operation::Operation;
use crate::plan::{Plan, Window, WindowKind};
use crate::time::Timestamp;

/// How far ahead an open moment is looked for.
const HORIZON: Duration = Duration::from_secs(366 * 86_400);

/// How many firings are looked at before nothing is said to be open: more than one an hour for the horizon.
const MOST_FIRINGS: usize = 10_000;

/// Why an operation may not begin now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// When it may; none if it may not within a year.
    pub until: Option<Timestamp>,
    /// What kind of window keeps it: inside a frozen one, or outside the allowed ones.
    pub kind: WindowKind,
    /// What the plan says of it.
    pub why: Option<String>,
}

/// Whether the plan's windows keep an operation of a phase from beginning at this moment.
#[must_use]
pub fn closed(plan: &Plan, phase: &PhaseName, operation: Operation, now: Timestamp) -> Option<Closed> {
    let mine = Mine::of(plan, phase, operation);
    let (kind, why) = mine.keeps(now)?;
    Some(Closed { until: mine.next_open(now), kind, why })
}

/// The first moment, from this one on, at which an operation of a phase may begin; none if there is none within a year.
#[must_use]
pub fn next_open(plan: &Plan, phase: &PhaseName, operation: Operation, from: Timestamp) -> Option<Timestamp> {
    Mine::of(plan, phase, operation).next_open(from)
}

/// The windows that are about one operation of one phase.
struct Mine<'p> {
    frozen: Vec<Times<'p>>,
    allowed: Vec<Times<'p>>,
}

impl<'p> Mine<'p> {
    fn of(plan: &'p Plan, phase: &PhaseName, operation: Operation) -> Self {
        let about = |window: &&Window| {
            window.operations.contains(&operation)
                && (window.phases.is_empty() || window.phases.contains(phase))
        };
        let of = |kind| {
            plan.windows.iter().filter(about).filter(|window| window.kind == kind).map(Times::of).collect()
        };
        Self { frozen: of(WindowKind::Frozen), allowed: of(WindowKind::Allowed) }
    }

    fn keeps(&self, at: Timestamp) -> Option<(WindowKind, Option<String>)> {
        if let Some(frozen) = self.frozen.iter().find(|times| times.covers(at)) {
            return Some((WindowKind::Frozen, frozen.window.why.clone()));
        }
        let is_open = self.allowed.is_empty() || self.allowed.iter().any(|times| times.covers(at));
        (!is_open).then(|| {
            let why = self.allowed.iter().find_map(|times| times.window.why.clone());
            (WindowKind::Allowed, why)
        })
    }

    fn next_open(&self, from: Timestamp) -> Option<Timestamp> {
        let horizon = from.plus(HORIZON);
        let mut at = from;
        for _ in 0..MOST_FIRINGS {
            if at > horizon {
                return None;
            }
            if let Some(frozen) = self.frozen.iter().find(|times| times.covers(at)) {
                // The end of the newest firing: an earlier one that still lasts ends before it.
                at = frozen.ends(at)?;
            } else if self.keeps(at).is_some() {
                at = self.allowed.iter().filter_map(|times| times.opens(at)).min()?;
            } else {
                return Some(at);
            }
        }
        None
    }
}

/// A window, read. One that cannot be read (no plan that was checked has one) never fires: an allowed one never opens,
/// a frozen one never ends.
struct Times<'p> {
    window: &'p Window,
    read: Option<(Cron, TimeZone)>,
}

impl<'p> Times<'p> {
    fn of(window: &'p Window) -> Self {
        let cron = CronParser::builder().seconds(Seconds::Disallowed).build().parse(&window.cron).ok();
        let zone = TimeZone::get(&window.time_zone).ok();
        Self { window, read: cron.zip(zone) }
    }

    fn covers(&self, at: Timestamp) -> bool {
        match (&self.read, self.ends(at)) {
            (Some(_), ends) => ends.is_some_and(|ends| at < ends),
            (None, _) => self.window.kind == WindowKind::Frozen,
        }
    }

    /// When the newest firing at or before this moment ends.
    fn ends(&self, at: Timestamp) -> Option<Timestamp> {
        let (cron, zone) = self.read.as_ref()?;
        let fired = cron.find_previous_occurrence(&Wall::at(at, zone)?, true).ok()?;
        Some(fired.moment(zone)?.plus(self.window.lasts))
    }

    /// The first firing after this moment.
    fn opens(&self, at: Timestamp) -> Option<Timestamp> {
        let (cron, zone) = self.read.as_ref()?;
        let next = cron.find_next_occurrence(&Wall::at(at, zone)?, false).ok()?;
        next.moment(zone)
    }
}

/// What a clock on the wall shows.
#[derive(Debug, Clone)]
struct Wall(DateTime);

impl Wall {
    /// The latest time whose moment is not after this one. Whole seconds: a firing has no smaller parts, and one within this
    /// second counts.
    fn at(at: Timestamp, zone: &TimeZone) -> Option<Self> {
        let moment = jiff::Timestamp::from_second(at.millis().div_euclid(1000)).ok()?;
        let shown = zone.to_datetime(moment);
        let AmbiguousOffset::Fold { after, .. } = zone.to_ambiguous_timestamp(shown).offset() else {
            return Some(Self(shown));
        };
        if zone.to_offset(moment) != after {
            return Some(Self(shown));
        }
        // In the second pass all times of the first one are over.
        let turned_back =
            zone.preceding(moment.checked_add(SignedDuration::from_secs(1)).ok()?).next()?.timestamp();
        let last = turned_back.checked_sub(SignedDuration::from_secs(1)).ok()?;
        Some(Self(zone.to_datetime(last)))
    }

    /// When it shows this.
    fn moment(&self, zone: &TimeZone) -> Option<Timestamp> {
        let ambiguous = zone.to_ambiguous_timestamp(self.0);
        let found = match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => ambiguous.earlier().ok()?,
            // Before the gap's times there is the moment at which they would begin.
            AmbiguousOffset::Gap { .. } => zone.following(ambiguous.earlier().ok()?).next()?.timestamp(),
        };
        Some(Timestamp::from_millis(found.as_millisecond()))
    }
}

fn whole(part: i8) -> u32 {
    u32::try_from(part).unwrap_or(0)
}

fn part(whole: u32) -> Result<i8, CronError> {
    i8::try_from(whole).map_err(|_| CronError::InvalidTime)
}

impl CronDateTime for Wall {
    fn to_civil(&self) -> CivilDateTime {
        let at = self.0;
        // Whatever the time library holds is a date and a time that there is.
        CivilDateTime::new(
            CivilDate::from_parts_unchecked(i32::from(at.year()), whole(at.month()), whole(at.day())),
            CivilTime::from_parts_unchecked(whole(at.hour()), whole(at.minute()), whole(at.second())),
        )
    }

    fn civil_weekday(&self) -> Weekday {
        Weekday::from_days_from_sunday(whole(self.0.weekday().to_sunday_zero_offset()))
    }

    fn resolve_civil(&self, civil: CivilDateTime) -> Result<Resolution<Self>, CronError> {
        let year = i16::try_from(civil.year()).map_err(|_| CronError::InvalidDate)?;
        let civil = DateTime::new(
            year,
            part(civil.month())?,
            part(civil.day())?,
            part(civil.hour())?,
            part(civil.minute())?,
            part(civil.second())?,
            0,
        );
        civil.map(|civil| Resolution::Single(Self(civil))).map_err(|_| CronError::InvalidDate)
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        self.0.checked_add(SignedDuration::from_secs(seconds)).ok().map(Self)
    }

    fn cmp_instant(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}
