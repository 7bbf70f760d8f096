//! Whether the tables are those that were compared, and whether their changes are carried.
//!
//! A proof of a whole table holds as long as the streams name everything that changes in it. What makes that untrue is told
//! in [`crate::postgres::identity`]; here both sides are looked at, at the comparison and again behind the closed gate.
//!
//! On the way back to the source it does not matter whether the source's tables are in the publication of the stream that
//! guards: without it there is no way forth again, which is no reason not to go back.

use std::collections::BTreeMap;
use std::time::Duration;

use journal::{
    Direction, Evidence, Finding, GateMode, PhaseName, Side, StreamName, StreamSpec, TableName, UNCARRIED,
};
use runtime::Clock;

use crate::native::plane::Plane;
use crate::postgres::columns::named;
use crate::postgres::database::{Database, Session};
use crate::postgres::fence;
use crate::postgres::identity::{Identity, carried, identities};
use crate::postgres::proof::newest_verdicts;
use crate::postgres::quote::{ident, table as quoted};
use crate::seams::Cause;

/// How often it is looked whether a stream carries its tables.
const LOOK: Duration = Duration::from_secs(2);

/// The tables of both sides as they were found.
pub(super) struct Tables<'p> {
    plane: &'p Plane,
    /// The stream that applies.
    stream: &'p StreamName,
    names: &'p [TableName],
    found: [BTreeMap<TableName, Identity>; 2],
}

/// The evidence's key of what a table was on a side.
fn key(side: Side) -> String {
    format!("{side}_is")
}

impl<'p> Tables<'p> {
    /// Looks with a transaction on each side, source first.
    ///
    /// # Errors
    /// A catalog cannot be read.
    pub(super) async fn look(
        plane: &'p Plane,
        [source, target]: [&Session; 2],
        (stream, names): (&'p StreamName, &'p [TableName]),
    ) -> Result<Self, Cause> {
        let published = |direction| publication(plane, &stream.phase, direction);
        let fault = |side| move |error| plane.side(side).cause("does not show its tables", &error);
        let (forward, failback) = (published(Direction::Forward), published(Direction::Failback));
        let (source, target) = futures::try_join!(
            async { identities(&**source, names, forward.as_deref()).await.map_err(fault(Side::Source)) },
            async { identities(&**target, names, failback.as_deref()).await.map_err(fault(Side::Target)) },
        )?;
        Ok(Self { plane, stream, names, found: [source, target] })
    }

    fn on(&self, side: Side, table: &TableName) -> Option<&Identity> {
        let [source, target] = &self.found;
        match side {
            Side::Source => source.get(table),
            Side::Target => target.get(table),
        }
    }

    /// Whether a side's changes must be carried for the operation to be safe.
    fn must_carry(&self, side: Side) -> bool {
        must_carry(self.stream, side)
    }

    /// A table's part of a verdict.
    pub(super) fn evidence(&self, table: &TableName) -> Evidence {
        Side::ALL
            .into_iter()
            .filter_map(|side| Some((key(side), serde_json::to_string(self.on(side, table)?).ok()?)))
            .collect()
    }

    /// What is not there, or is not carried by the stream that reads it.
    pub(super) fn lacking(&self) -> Option<Finding> {
        let mut lacking = Lacking::default();
        for direction in Direction::ALL {
            let side = direction.from();
            let publication = publication(self.plane, &self.stream.phase, direction).unwrap_or_default();
            for table in self.names {
                let carried =
                    self.on(side, table).map(|found| !(found.is_unpublished() && self.must_carry(side)));
                lacking.add(table, side, (&publication, carried));
            }
        }
        lacking.finding()
    }

    /// What is another than it was when the whole table was compared last.
    ///
    /// # Errors
    /// The verdicts cannot be read.
    pub(super) async fn changed(&self) -> Result<Option<Finding>, Cause> {
        let verdicts = newest_verdicts(&self.plane.target, &self.stream.phase, self.names).await?;
        let mut changed = Vec::new();
        for table in self.names {
            for side in Side::ALL {
                let compared: Option<Identity> = verdicts
                    .get(table)
                    .and_then(|verdict| verdict.get(&key(side)))
                    .and_then(|text| serde_json::from_str(text).ok());
                let how = match (compared, self.on(side, table)) {
                    (Some(then), Some(now)) => then.change(now, self.must_carry(side)),
                    (None, _) => Some("was compared by a version that did not look at it".to_owned()),
                    (Some(_), None) => Some("is not there any more".to_owned()),
                };
                changed.extend(how.map(|how| format!("{table} on the {side} {how}")));
            }
        }
        Ok((!changed.is_empty()).then(|| Finding {
            code: "SW-0410".to_owned(),
            what: format!("tables are not those that were compared: {}", named(&changed)),
            remedy: "Somebody changed them while the switch was prepared, so rows may differ that no stream has named. See that \
                     such changes rest, then ask again: everything is compared anew."
                .to_owned(),
        }))
    }

    /// What the fence lacks on either side, both gates being closed.
    ///
    /// # Errors
    /// A catalog cannot be read.
    pub(super) async fn unfenced(&self, sessions: [&Session; 2]) -> Result<Option<Finding>, Cause> {
        for (side, session) in Side::ALL.into_iter().zip(sessions) {
            let database = self.plane.side(side);
            let asked = (self.names, GateMode::Closed);
            let defect = fence::defect(&**session, database, &self.stream.phase, asked)
                .await
                .map_err(|error| database.cause("does not show its fence", &error))?;
            if let Some(what) = defect {
                return Ok(Some(fence::not_whole(database, &self.stream.phase, &what)));
            }
        }
        Ok(None)
    }
}

/// The publication that a direction's stream reads, if the stream is known here.
fn publication(plane: &Plane, phase: &PhaseName, direction: Direction) -> Option<String> {
    plane.streams.publication(&StreamName { phase: phase.clone(), direction })
}

/// Tables that are not there or not carried, in words.
#[derive(Debug, Default)]
struct Lacking {
    gone: Vec<String>,
    uncarried: Vec<String>,
    statements: Vec<String>,
}

impl Lacking {
    /// A table as it was found on a side: none if it is not there, else whether its changes are carried.
    fn add(&mut self, table: &TableName, side: Side, (publication, carried): (&str, Option<bool>)) {
        match carried {
            None => self.gone.push(format!("{table} on the {side}")),
            Some(true) => {}
            Some(false) => {
                self.uncarried.push(format!("{table} on the {side} (publication {publication})"));
                self.statements.push(format!(
                    "`alter publication {} add table {}` on the {side}",
                    ident(publication),
                    quoted(table)
                ));
            }
        }
    }

    fn finding(&self) -> Option<Finding> {
        if !self.gone.is_empty() {
            return Some(Finding {
                code: "SW-0412".to_owned(),
                what: format!("tables of the phase are not there: {}", named(&self.gone)),
                remedy:
                    "Somebody dropped, renamed or moved them. Give them their names back, then ask again."
                        .to_owned(),
            });
        }
        (!self.uncarried.is_empty()).then(|| Finding {
            code: UNCARRIED.to_owned(),
            what: format!(
                "what is written to these tables is not replicated, since they are not in their publication: {}",
                named(&self.uncarried)
            ),
            remedy: format!(
                "Somebody replaced the table under its name, or changed the publication. Say {}. What was written meanwhile \
                 is not on the other side: `verify` names the rows; make them equal there, then ask again.",
                named(&self.statements)
            ),
        })
    }
}

/// Waits until a stream that was just seen to carry the tables of its phase is seen not to. A side that does not answer says
/// nothing of it; nor does a publication that is gone, which the server refuses by itself.
pub(super) async fn until_uncarried((from, clock): (&Database, &dyn Clock), spec: &StreamSpec) -> Finding {
    loop {
        clock.sleep(LOOK).await;
        if let Some(finding) = uncarried(from, spec).await {
            return finding;
        }
    }
}

/// What a stream is seen not to carry at this moment.
pub(super) async fn uncarried(from: &Database, spec: &StreamSpec) -> Option<Finding> {
    let session = from.session().await.ok()?;
    let found = carried(&*session, &spec.tables, Some(&spec.publication)).await.ok()?;
    session.done();
    let mut lacking = Lacking::default();
    for (table, carried) in spec.tables.iter().zip(found.tables) {
        lacking.add(table, spec.name.direction.from(), (&spec.publication, carried));
    }
    lacking.finding().filter(|_| found.is_published)
}

/// What of the tables is not there at this moment, or is not carried by the stream that reads it.
///
/// # Errors
/// A catalog cannot be read.
pub(super) async fn lacking_now(
    plane: &Plane,
    (stream, names): (&StreamName, &[TableName]),
) -> Result<Option<Finding>, Cause> {
    let look = async |direction: Direction| {
        let (side, publication) = (direction.from(), publication(plane, &stream.phase, direction));
        let session = plane.side(side).session().await?;
        let found = carried(&*session, names, publication.as_deref()).await;
        let found = found.map_err(|error| plane.side(side).cause("does not show its tables", &error))?;
        session.done();
        Ok::<_, Cause>((side, publication, found))
    };
    let [one, other] = Direction::ALL;
    let found: [_; 2] = futures::try_join!(look(one), look(other))?.into();
    let mut lacking = Lacking::default();
    for (side, publication, found) in found {
        let may_lack = publication.is_none() || !must_carry(stream, side);
        let publication = publication.unwrap_or_default();
        for (table, carried) in names.iter().zip(found.tables) {
            lacking.add(table, side, (&publication, carried.map(|carried| carried || may_lack)));
        }
    }
    Ok(lacking.finding())
}

/// Whether a side's changes must be carried for an operation of this applying stream to be safe.
fn must_carry(stream: &StreamName, side: Side) -> bool {
    side == Side::Target || stream.direction == Direction::Forward
}
