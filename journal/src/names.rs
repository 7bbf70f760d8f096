//! The names of what Switchyard creates outside: the same whoever computes them, so that one prefix lists all.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::effect::Side;
use crate::ids::{Generation, MigrationName, PhaseName, PlanHash};

/// PostgreSQL's limit for identifiers, slots included (NAMEDATALEN − 1).
const MAX_NAME: usize = 63;

/// The way a stream runs. Source and target never swap names; directions do the swapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Source → target.
    Forward,
    /// Target → source.
    Failback,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Forward, Self::Failback];

    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Failback => "failback",
        }
    }

    /// The side it reads.
    #[must_use]
    pub const fn from(self) -> Side {
        match self {
            Self::Forward => Side::Source,
            Self::Failback => Side::Target,
        }
    }

    /// The side it writes.
    #[must_use]
    pub const fn to(self) -> Side {
        match self {
            Self::Forward => Side::Target,
            Self::Failback => Side::Source,
        }
    }

    /// The other way.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Forward => Self::Failback,
            Self::Failback => Self::Forward,
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One direction of one phase.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StreamName {
    /// The phase whose rows it carries.
    pub phase: PhaseName,
    /// The way it runs.
    pub direction: Direction,
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.phase, self.direction)
    }
}

fn fit(migration: &MigrationName, phase: &PhaseName, tail: &str) -> String {
    let stem = format!("switchyard_{migration}_{phase}").replace('-', "_");
    // `-` and `_` fall together, and long names are cut: a hash of the true names keeps two phases apart.
    let hash = PlanHash::of(format!("{migration}/{phase}").as_bytes()).short();
    let ambiguous = migration.as_str().contains('-') || phase.as_str().contains('-');
    let name = if ambiguous { format!("{stem}_{hash}_{tail}") } else { format!("{stem}_{tail}") };
    if name.len() <= MAX_NAME {
        return name;
    }
    let room = MAX_NAME.saturating_sub(hash.len() + tail.len() + 2);
    let kept: String = stem.chars().take(room).collect();
    format!("{kept}_{hash}_{tail}")
}

/// The replication slot of a phase, a generation and a direction.
#[must_use]
pub fn slot_name(
    migration: &MigrationName,
    phase: &PhaseName,
    generation: Generation,
    direction: Direction,
) -> String {
    fit(migration, phase, &format!("{generation}_{direction}"))
}

/// The publication of a phase, a generation and a direction: the same name as its slot.
#[must_use]
pub fn publication_name(
    migration: &MigrationName,
    phase: &PhaseName,
    generation: Generation,
    direction: Direction,
) -> String {
    slot_name(migration, phase, generation, direction)
}

/// The replication origin that marks what a direction's apply writes, one a lane.
#[must_use]
pub fn origin_name(migration: &MigrationName, phase: &PhaseName, direction: Direction, lane: u32) -> String {
    fit(migration, phase, &format!("{direction}_{lane}"))
}
