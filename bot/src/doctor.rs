//! What two databases and a lever say of a phase, without the journal, and where they disagree. Pure.

use std::collections::BTreeMap;

use executors::TrafficState;
use executors::postgres::doctor::{SideSeen, SlotSeen};
use journal::{Direction, Finding, Side};
use serde::Serialize;

use crate::words;

/// How fast a backlog is taken to be carried over, in bytes a second: slower than an idle pair does it.
const CARRIED: i64 = 5 * 1024 * 1024;

/// What was seen of a phase.
#[derive(Debug)]
pub struct Seen {
    /// The phase.
    pub phase: String,
    /// The source, or why it cannot be seen.
    pub source: Result<SideSeen, String>,
    /// The target, or why it cannot be seen.
    pub target: Result<SideSeen, String>,
    /// The lever, or why it cannot be looked at.
    pub lever: Result<LeverSeen, String>,
    /// Why streams are down, by the journal's last word of them, where it could be asked.
    pub down: BTreeMap<Direction, String>,
    /// What shows the journal to be an old copy, where it could be asked.
    pub behind: Vec<Finding>,
}

/// A lever, as one look found it.
#[derive(Debug, Clone)]
pub struct LeverSeen {
    /// Where the traffic is, or why it does not say.
    pub state: Result<TrafficState, String>,
    /// What would make a switch fail, or sends the application elsewhere.
    pub problems: Vec<Finding>,
    /// What cannot be told from here.
    pub warnings: Vec<String>,
}

/// Whether a side accepts the application's writes to a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Accepts {
    /// Every write is refused.
    No,
    /// Writes pass.
    Yes,
    /// Some may pass: the fence is not whole.
    Perhaps,
    /// There is nothing to write.
    NoTables,
    /// It was not seen.
    Unknown,
}

/// What is wrong, as data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// A side or the lever cannot be seen.
    Unseen {
        /// Which.
        what: String,
        /// Why.
        why: String,
    },
    /// A side is a standby.
    Standby(Side),
    /// Both sides accept writes.
    BothAccept,
    /// A gate is closed, and writes pass.
    ClosedAndPassing(Side),
    /// A gate is open, and its fence refuses.
    OpenAndRefusing(Side),
    /// A fence is not whole.
    Fence {
        /// Where.
        side: Side,
        /// What is wrong.
        defect: String,
    },
    /// No side accepts writes.
    NobodyAccepts,
    /// A stream's slot is lost.
    SlotLost(Direction),
    /// A stream's slot is not there.
    SlotMissing(Direction),
    /// Nobody reads a slot.
    SlotUnread {
        /// Its name.
        slot: String,
        /// Whose.
        direction: Direction,
        /// Why, as far as it is known.
        why: Option<String>,
        /// What it retains.
        retained_bytes: i64,
    },
    /// The lever leads where writes are refused.
    LeverElsewhere(Side),
    /// The lever holds the traffic.
    LeverHolds(Side),
    /// The lever is not as a switch needs it.
    Lever(Finding),
    /// The journal is an old copy.
    Behind(Finding),
}

/// Everything about one phase.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The phase.
    pub phase: String,
    /// Who accepts writes: the source.
    pub source_accepts: Accepts,
    /// Who accepts writes: the target.
    pub target_accepts: Accepts,
    /// `about n s`, `one-way`, `none`, or that it is not needed or not known.
    pub way_back: String,
    /// The lever: `source`, `target`, `held at …`; null if it was not seen.
    pub lever: Option<String>,
    /// What cannot be told from here of the lever.
    pub lever_warnings: Vec<String>,
    /// The source.
    pub source: Option<SideSeen>,
    /// The target.
    pub target: Option<SideSeen>,
    /// What disagrees, and what to do.
    pub findings: Vec<Finding>,
}

/// Whether a side accepts writes, by its fence, which is what the application meets.
fn accepts(side: &Result<SideSeen, String>, tables: usize) -> Accepts {
    let Ok(seen) = side else { return Accepts::Unknown };
    if seen.missing_tables.len() >= tables {
        return Accepts::NoTables;
    }
    let fence = &seen.fence;
    match (fence.triggers, &fence.defect, fence.function.as_deref()) {
        (0, ..) => Accepts::Yes,
        (_, Some(_), _) => Accepts::Perhaps,
        (_, None, Some("closed")) => Accepts::No,
        (_, None, _) => Accepts::Yes,
    }
}

impl Seen {
    fn side(&self, side: Side) -> &Result<SideSeen, String> {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }

    /// Where the traffic is, or why nobody can say.
    fn traffic(&self) -> Result<TrafficState, &String> {
        self.lever.as_ref().and_then(|lever| lever.state.as_ref().copied())
    }

    /// The slot that a direction reads, on the side that it reads.
    fn slot(&self, direction: Direction) -> Option<&SlotSeen> {
        self.side(direction.from()).as_ref().ok()?.slots.iter().max_by_key(|slot| slot.is_active)
    }

    /// Whether a direction has its row on the side that it writes.
    fn has_row(&self, direction: Direction) -> bool {
        let seen = self.side(direction.to()).as_ref().ok();
        seen.is_some_and(|seen| seen.streams.iter().any(|stream| stream.direction == direction))
    }

    /// Why nobody reads a direction's slot: what the journal says, or that the side it writes is away.
    fn why_down(&self, direction: Direction) -> Option<String> {
        let told = self.down.get(&direction).cloned();
        let writes = direction.to();
        told.or_else(|| self.side(writes).is_err().then(|| words::side_is_away(writes)))
    }

    /// What follows from what was seen. `tables`: how many the phase has.
    #[must_use]
    pub fn report(self, tables: usize) -> Report {
        let (source, target) = (accepts(&self.source, tables), accepts(&self.target, tables));
        let findings = self.wrong(source, target).iter().map(words::wrong).collect();
        Report {
            way_back: self.way_back(source, target),
            source_accepts: source,
            target_accepts: target,
            lever: self.traffic().ok().map(|state| match state {
                TrafficState::Source => "source".to_owned(),
                TrafficState::Target => "target".to_owned(),
                TrafficState::Held(side) => format!("held at the {side}"),
            }),
            lever_warnings: self.lever.as_ref().map(|lever| lever.warnings.clone()).unwrap_or_default(),
            phase: self.phase,
            source: self.source.ok(),
            target: self.target.ok(),
            findings,
        }
    }

    fn wrong(&self, source: Accepts, target: Accepts) -> Vec<Wrong> {
        let mut wrong: Vec<_> = self.behind.iter().cloned().map(Wrong::Behind).collect();
        for (side, accepts) in [(Side::Source, source), (Side::Target, target)] {
            match self.side(side) {
                Ok(seen) => of_side(&mut wrong, side, seen, accepts),
                Err(why) => wrong.push(Wrong::Unseen { what: format!("the {side}"), why: why.clone() }),
            }
        }
        let may = |accepts| matches!(accepts, Accepts::Yes | Accepts::Perhaps);
        if may(source) && may(target) {
            wrong.push(Wrong::BothAccept);
        }
        if source == Accepts::No && matches!(target, Accepts::No | Accepts::NoTables) {
            wrong.push(Wrong::NobodyAccepts);
        }
        for direction in Direction::ALL {
            let is_seen = self.side(direction.from()).is_ok();
            match self.slot(direction) {
                Some(slot) if slot.wal_status == "lost" => wrong.push(Wrong::SlotLost(direction)),
                Some(slot) if !slot.is_active => wrong.push(Wrong::SlotUnread {
                    slot: slot.name.clone(),
                    direction,
                    why: self.why_down(direction),
                    retained_bytes: slot.retained_bytes,
                }),
                Some(_) => {}
                None if is_seen && self.has_row(direction) => wrong.push(Wrong::SlotMissing(direction)),
                None => {}
            }
        }
        match self.traffic() {
            Err(why) => wrong.push(Wrong::Unseen { what: "the lever".to_owned(), why: why.clone() }),
            Ok(TrafficState::Held(side)) => wrong.push(Wrong::LeverHolds(side)),
            Ok(TrafficState::Source) if source == Accepts::No => {
                wrong.push(Wrong::LeverElsewhere(Side::Source));
            }
            Ok(TrafficState::Target) if matches!(target, Accepts::No | Accepts::NoTables) => {
                wrong.push(Wrong::LeverElsewhere(Side::Target));
            }
            Ok(TrafficState::Source | TrafficState::Target) => {}
        }
        if let Ok(lever) = &self.lever {
            wrong.extend(lever.problems.iter().cloned().map(Wrong::Lever));
        }
        wrong
    }

    fn way_back(&self, source: Accepts, target: Accepts) -> String {
        let back = Direction::Failback;
        let slot = self.slot(back).filter(|slot| slot.wal_status != "lost");
        match (target, source, slot) {
            (Accepts::Unknown, ..) => words::way_back_unknown(),
            (Accepts::Yes, Accepts::No | Accepts::Unknown, Some(slot)) if !slot.is_active => {
                words::way_back_unread(slot.behind_bytes)
            }
            (Accepts::Yes, Accepts::No | Accepts::Unknown, Some(slot)) => {
                words::way_back(1 + slot.behind_bytes / CARRIED, slot.behind_bytes)
            }
            (Accepts::Yes, Accepts::No, None) if !self.has_row(back) => "none".to_owned(),
            (Accepts::Yes, Accepts::No | Accepts::Unknown, None) => "one-way".to_owned(),
            (_, _, None) if self.has_row(back) => "one-way".to_owned(),
            _ => words::way_back_not_needed(),
        }
    }
}

fn of_side(wrong: &mut Vec<Wrong>, side: Side, seen: &SideSeen, accepts: Accepts) {
    if seen.is_standby {
        wrong.push(Wrong::Standby(side));
    }
    if let Some(defect) = seen.fence.defect.clone() {
        wrong.push(Wrong::Fence { side, defect });
    }
    match (seen.gate.as_ref().map(|gate| gate.mode.as_str()), accepts) {
        (Some("closed"), Accepts::Yes) => wrong.push(Wrong::ClosedAndPassing(side)),
        (Some("open"), Accepts::No) => wrong.push(Wrong::OpenAndRefusing(side)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use executors::postgres::doctor::{FenceSeen, GateSeen, StreamSeen};

    use super::*;

    fn side(mode: &str, triggers: i64) -> SideSeen {
        SideSeen {
            gate: Some(GateSeen { mode: mode.to_owned(), epoch: 1, position: 1, changed_at: String::new() }),
            fence: FenceSeen { triggers, function: Some(mode.to_owned()), defect: None },
            ..SideSeen::default()
        }
    }

    fn slot(direction: Direction, wal_status: &str) -> SlotSeen {
        SlotSeen {
            name: "s".to_owned(),
            direction,
            is_active: true,
            wal_status: wal_status.to_owned(),
            retained_bytes: 1,
            behind_bytes: 0,
        }
    }

    fn row(direction: Direction) -> StreamSeen {
        StreamSeen { direction, mode: "apply".to_owned(), lsn: "0/1".to_owned(), epoch: 1, age_s: 1 }
    }

    /// The target is the writer, and everything is as it should be.
    fn moved() -> Seen {
        let (mut source, mut target) = (side("closed", 4), side("open", 4));
        source.slots = vec![slot(Direction::Forward, "reserved")];
        source.streams = vec![row(Direction::Failback)];
        target.slots = vec![slot(Direction::Failback, "reserved")];
        target.streams = vec![row(Direction::Forward)];
        Seen {
            phase: "a".to_owned(),
            source: Ok(source),
            target: Ok(target),
            lever: at(TrafficState::Target),
            down: BTreeMap::new(),
            behind: Vec::new(),
        }
    }

    fn at(state: TrafficState) -> Result<LeverSeen, String> {
        Ok(LeverSeen { state: Ok(state), problems: Vec::new(), warnings: Vec::new() })
    }

    fn codes(seen: Seen) -> Vec<String> {
        seen.report(1).findings.into_iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn a_phase_in_order_has_no_finding() {
        assert_eq!(codes(moved()), Vec::<String>::new());
        assert!(moved().report(1).way_back.starts_with("about 1 s"));
        let fresh = Seen {
            phase: "a".to_owned(),
            source: Ok(SideSeen::default()),
            target: Ok(SideSeen { missing_tables: vec!["t".to_owned()], ..SideSeen::default() }),
            lever: at(TrafficState::Source),
            down: BTreeMap::new(),
            behind: Vec::new(),
        };
        assert_eq!(codes(fresh), Vec::<String>::new());
    }

    #[test]
    fn what_disagrees_is_found() {
        let with = |change: &dyn Fn(&mut Seen)| {
            let mut seen = moved();
            change(&mut seen);
            codes(seen)
        };
        let change = |side: &mut Result<SideSeen, String>, how: &dyn Fn(&mut SideSeen)| {
            if let Ok(side) = side {
                how(side);
            }
        };
        let both = with(&|seen| seen.source = Ok(side("open", 4)));
        assert!(both.contains(&"SW-0543".to_owned()), "{both:?}");
        let bare = with(&|seen| change(&mut seen.source, &|side| side.fence.triggers = 0));
        assert!(bare.contains(&"SW-0544".to_owned()) && bare.contains(&"SW-0543".to_owned()), "{bare:?}");
        let nobody = with(&|seen| seen.target = Ok(side("closed", 4)));
        assert!(nobody.contains(&"SW-0548".to_owned()), "{nobody:?}");
        let lost = with(&|seen| change(&mut seen.target, &|side| side.slots.clear()));
        assert_eq!(lost, ["SW-0546"]);
        let away = with(&|seen| seen.source = Err("away".to_owned()));
        assert_eq!(away, ["SW-0542"]);
        let lever = with(&|seen| seen.lever = at(TrafficState::Source));
        assert_eq!(lever, ["SW-0549"]);
        let finding =
            Finding { code: "SW-0515".to_owned(), what: "elsewhere".to_owned(), remedy: "mend".to_owned() };
        let elsewhere = with(&|seen| {
            if let Ok(lever) = &mut seen.lever {
                lever.problems.push(finding.clone());
            }
        });
        assert_eq!(elsewhere, ["SW-0515"]);
    }

    #[test]
    fn a_way_back_that_nobody_reads_is_not_certain() {
        let mut seen = moved();
        if let Ok(target) = &mut seen.target {
            target.slots.iter_mut().for_each(|slot| slot.is_active = false);
        }
        let report = seen.report(1);
        assert!(report.way_back.starts_with("not certain"), "{}", report.way_back);
        assert!(report.findings.iter().any(|one| one.remedy.contains("`switchyard status` says why")));
    }

    #[test]
    fn why_nobody_reads_a_slot_comes_first() {
        let unread = |change: &dyn Fn(&mut Seen)| {
            let mut seen = moved();
            if let Ok(target) = &mut seen.target {
                target.slots.iter_mut().for_each(|slot| slot.is_active = false);
            }
            change(&mut seen);
            let findings = seen.report(1).findings;
            findings
                .into_iter()
                .find(|finding| finding.code == "SW-0547")
                .map(|finding| finding.what)
                .unwrap()
        };
        assert!(unread(&|_| {}).starts_with("nobody reads"));
        let away = unread(&|seen| seen.source = Err("password authentication failed".to_owned()));
        assert!(away.starts_with("the source cannot be seen, SW-0542, so nobody reads"), "{away}");
        let stopped = unread(&|seen| {
            seen.down.insert(Direction::Failback, "[SW-0306] the columns differ".to_owned());
        });
        assert!(stopped.contains("[SW-0306] the columns differ, so nobody reads"), "{stopped}");
    }

    #[test]
    fn the_way_back_is_one_way_without_its_slot() {
        let mut seen = moved();
        if let Ok(target) = &mut seen.target {
            target.slots = vec![slot(Direction::Failback, "lost")];
        }
        assert_eq!(seen.report(1).way_back, "one-way");
    }
}
