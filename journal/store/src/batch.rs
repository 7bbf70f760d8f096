//! Deciding a batch: pure, on what the database said under the head's lock.
//!
//! Each member is decided against the state with the earlier members of its batch in it, so two that cannot both be
//! right are not both accepted. A member that is refused has written nothing and the others stand. A repeated command
//! id is answered before anything else: also if the lease was lost since. The whole outcome is a [`Written`], which a
//! backend writes in the same transaction, or not at all.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use journal::{
    Actor, Command, CommandBody, CommandId, Envelope, Epoch, Fact, Holder, MigrationName, Origin, PhaseName,
    Position, Recorded, SCHEMA_VERSION, State, Timestamp, barrier, decide, evolve,
};
use sha2::Digest as _;
use tokio::sync::oneshot;

use crate::backend::{Fence, LeaseRow, NewEvent, Wanted, Written, lease_row};
use crate::phase::phase_of;
use crate::record::{Digest, digest, event_id};
use crate::{Claim, ExecuteError, Lease, StoreError};

/// A command to append.
#[derive(Debug)]
pub struct Member {
    /// Its id.
    pub id: CommandId,
    /// Its identity beside its id.
    pub digest: Digest,
    /// The claim it is made under.
    pub claim: Option<Claim>,
    /// What is asked.
    pub command: Command,
}

/// Where an answer goes.
type Reply<T, E = StoreError> = oneshot::Sender<Result<T, E>>;

/// What the appender is asked for.
#[derive(Debug)]
pub enum Job {
    /// To decide a command and append its facts.
    Append {
        /// The command.
        member: Box<Member>,
        /// The caller.
        reply: Reply<Vec<Recorded>, ExecuteError>,
    },
    /// To take a lease.
    Take {
        /// The id of the command that takes it.
        id: CommandId,
        /// The phase.
        phase: PhaseName,
        /// For whom.
        holder: Holder,
        /// For how long.
        term: Duration,
        /// The caller.
        reply: Reply<Option<Lease>>,
    },
    /// To extend a lease.
    Renew {
        /// Which.
        lease: Lease,
        /// The caller.
        reply: Reply<bool>,
    },
    /// To give a lease up.
    Release {
        /// Which.
        lease: Lease,
        /// The caller.
        reply: Reply<()>,
    },
    /// To write progress.
    Report {
        /// The phase.
        phase: PhaseName,
        /// The report, as JSON.
        body: String,
        /// The caller.
        reply: Reply<()>,
    },
}

/// What a job came to, kept until the commit.
#[derive(Debug)]
pub enum Answer {
    /// To [`Job::Append`].
    Appended(Result<Vec<Recorded>, ExecuteError>),
    /// To [`Job::Take`].
    Taken(Result<Option<Lease>, StoreError>),
    /// To [`Job::Renew`].
    Renewed(bool),
    /// To the others.
    Done,
}

impl Job {
    /// Answers it.
    pub fn answer(self, answer: Answer) {
        // A caller that has gone away does not hear it.
        let _heard = match (self, answer) {
            (Self::Append { reply, .. }, Answer::Appended(result)) => reply.send(result).is_ok(),
            (Self::Take { reply, .. }, Answer::Taken(result)) => reply.send(result).is_ok(),
            (Self::Renew { reply, .. }, Answer::Renewed(is_held)) => reply.send(Ok(is_held)).is_ok(),
            (Self::Release { reply, .. } | Self::Report { reply, .. }, Answer::Done) => {
                reply.send(Ok(())).is_ok()
            }
            // Dropping the sender tells the caller that there is no answer.
            (_job, _answer) => false,
        };
    }

    /// Tells that it came to nothing, or that nobody knows.
    pub fn fail(self, error: StoreError) {
        let _heard = match self {
            Self::Append { reply, .. } => reply.send(Err(error.into())).is_ok(),
            Self::Take { reply, .. } => reply.send(Err(error)).is_ok(),
            Self::Renew { reply, .. } => reply.send(Err(error)).is_ok(),
            Self::Release { reply, .. } | Self::Report { reply, .. } => reply.send(Err(error)).is_ok(),
        };
    }

    /// Whether it can be decided without having seen the leases' rows.
    pub const fn is_append(&self) -> bool {
        matches!(self, Self::Append { .. })
    }

    /// Adds what it needs to see.
    pub fn want(&self, wanted: &mut Wanted) {
        match self {
            Self::Append { member, .. } => {
                wanted.commands.push(member.id.clone());
                wanted.phases.extend(member.claim.as_ref().map(|claim| claim.phase.clone()));
            }
            Self::Take { id, phase, .. } => {
                wanted.commands.push(id.clone());
                wanted.phases.push(phase.clone());
            }
            Self::Renew { lease, .. } | Self::Release { lease, .. } => {
                wanted.phases.push(lease.phase.clone());
            }
            Self::Report { .. } => {}
        }
    }
}

/// The leases, as a batch may know them.
#[derive(Debug)]
pub enum Leases {
    /// Read under the head's lock.
    Seen(BTreeMap<PhaseName, LeaseRow>),
    /// Not read: claims are taken to be good, and the transaction that writes looks.
    Assumed,
}

/// The members decided so far.
#[derive(Debug)]
pub struct Batch<'m> {
    /// The journal's migration.
    pub migration: &'m MigrationName,
    /// The state with all that was decided so far.
    pub state: Arc<State>,
    /// The commands seen before, with their events.
    pub known: BTreeMap<CommandId, (Digest, Vec<Recorded>)>,
    /// The commands of this batch, and which of its events are theirs.
    made: BTreeMap<CommandId, (Digest, Range<usize>)>,
    /// The leases.
    pub leases: Leases,
    /// What it comes to.
    pub written: Written,
    /// The schema version that events are written by.
    pub schema_version: u32,
}

/// A command to decide, as it goes into the envelopes of its facts.
struct Asked<'c> {
    id: &'c CommandId,
    digest: Digest,
    epoch: Option<Epoch>,
    command: &'c Command,
}

/// What the envelopes of one command's facts have in common.
struct About<'c> {
    id: &'c CommandId,
    digest: Digest,
    epoch: Option<Epoch>,
    actor: &'c Actor,
    origin: Option<&'c Origin>,
    schema_version: u32,
}

impl<'m> Batch<'m> {
    /// Begins one.
    pub fn new(migration: &'m MigrationName, state: Arc<State>, now: Timestamp, leases: Leases) -> Self {
        let written = Written { head: state.head, now, ..Written::default() };
        let (known, made) = (BTreeMap::new(), BTreeMap::new());
        Self { migration, state, known, made, leases, written, schema_version: SCHEMA_VERSION }
    }

    const fn now(&self) -> Timestamp {
        self.written.now
    }

    /// Decides one job. The error is the batch's; a member's own stands in its answer.
    pub fn serve(&mut self, job: &Job) -> Result<Answer, StoreError> {
        Ok(match job {
            Job::Append { member, .. } => Answer::Appended(self.execute(member)?),
            Job::Take { id, phase, holder, term, .. } => Answer::Taken(self.take(id, phase, holder, *term)?),
            Job::Renew { lease, .. } => Answer::Renewed(self.extend(lease, lease.term)),
            Job::Release { lease, .. } => {
                // Lost already is as good as released.
                let _was_held = self.extend(lease, Duration::ZERO);
                Answer::Done
            }
            Job::Report { phase, body, .. } => {
                self.written.reports.insert(phase.clone(), body.clone());
                Answer::Done
            }
        })
    }

    /// The outer error is the batch's, the inner one the member's.
    fn execute(&mut self, member: &Member) -> Result<Result<Vec<Recorded>, ExecuteError>, StoreError> {
        if let Some((digest, events)) = self.events_of(&member.id)? {
            return Ok(if digest == member.digest {
                Ok(events)
            } else {
                Err(ExecuteError::IdReused(member.id.clone()))
            });
        }
        if let Some(claim) = &member.claim
            && !self.is_good(claim, &member.command.body)
        {
            return Ok(Err(ExecuteError::LeaseLost { phase: claim.phase.clone(), epoch: claim.epoch }));
        }
        let epoch = member.claim.as_ref().map(Claim::epoch);
        let asked = Asked { id: &member.id, digest: member.digest, epoch, command: &member.command };
        self.append(&asked)
    }

    /// What a command was and made, if it is no new one.
    fn events_of(&self, id: &CommandId) -> Result<Option<(Digest, Vec<Recorded>)>, StoreError> {
        if let Some(known) = self.known.get(id) {
            return Ok(Some(known.clone()));
        }
        let Some((digest, range)) = self.made.get(id) else { return Ok(None) };
        let events = self.written.events.get(range.clone()).unwrap_or_default();
        let read = |event: &NewEvent| {
            Recorded::from_bytes(&event.bytes).map_err(|error| StoreError::Foreign(error.to_string()))
        };
        Ok(Some((*digest, events.iter().map(read).collect::<Result<_, _>>()?)))
    }

    /// Whether the claim is the phase's newest epoch, its term runs, and the command is about that phase.
    fn is_good(&mut self, claim: &Claim, body: &CommandBody) -> bool {
        if body.phase().is_some_and(|phase| *phase != claim.phase) {
            return false;
        }
        match &self.leases {
            Leases::Seen(rows) => rows
                .get(&claim.phase)
                .is_some_and(|row| row.epoch == claim.epoch && self.written.now.millis() < row.expires_at),
            Leases::Assumed => {
                let fence = Fence { phase: claim.phase.clone(), epoch: claim.epoch };
                if !self.written.fences.contains(&fence) {
                    self.written.fences.push(fence);
                }
                true
            }
        }
    }

    fn append(&mut self, asked: &Asked<'_>) -> Result<Result<Vec<Recorded>, ExecuteError>, StoreError> {
        let mut facts = match decide(&self.state, self.now(), asked.command) {
            Ok(facts) => facts,
            Err(refusal) => return Ok(Err(refusal.into())),
        };
        // A command without facts leaves nothing, and a repeat of it is decided anew.
        if facts.is_empty() {
            return Ok(Ok(Vec::new()));
        }
        if let Some((fact, written_by)) = barrier(&self.state, self.schema_version) {
            self.raise(fact, written_by)?;
            facts = match decide(&self.state, self.now(), asked.command) {
                Ok(facts) => facts,
                Err(refusal) => return Ok(Err(refusal.into())),
            };
        }
        let phases: Vec<_> =
            facts.iter().map(|fact| phase_of(&self.state, &asked.command.body, fact)).collect();
        let about = About {
            id: asked.id,
            digest: asked.digest,
            epoch: asked.epoch,
            actor: &asked.command.actor,
            origin: asked.command.origin.as_ref(),
            schema_version: self.schema_version,
        };
        self.record(&about, facts.into_iter().zip(phases))
    }

    /// Appends the barrier before the first event of a newer schema version, as an older program reads it.
    fn raise(&mut self, fact: Fact, written_by: u32) -> Result<(), StoreError> {
        let id = CommandId::new(format!("schema/{}", self.schema_version))
            .map_err(|error| StoreError::Foreign(error.to_string()))?;
        let about = About {
            id: &id,
            digest: sha2::Sha256::digest(id.as_str()).into(),
            epoch: None,
            actor: &Actor::Operator,
            origin: None,
            schema_version: written_by,
        };
        match self.record(&about, std::iter::once((fact, None)))? {
            Ok(_barrier) => Ok(()),
            Err(ExecuteError::Store(error)) => Err(error),
            Err(error) => Err(StoreError::Foreign(error.to_string())),
        }
    }

    /// Puts facts into their envelopes, and into the state, the batch and what is known.
    fn record(
        &mut self,
        about: &About<'_>,
        facts: impl Iterator<Item = (Fact, Option<PhaseName>)>,
    ) -> Result<Result<Vec<Recorded>, ExecuteError>, StoreError> {
        // All bytes before the first row: what cannot be written must not leave a part behind.
        let mut events = Vec::new();
        let mut position = self.state.head;
        for (fact, phase) in facts {
            position = position.next();
            let event = Recorded { envelope: self.envelope(position, about, phase)?, body: fact };
            match event.to_bytes() {
                Ok(bytes) => events.push((event, bytes)),
                Err(error) => return Ok(Err(StoreError::from(error).into())),
            }
        }
        let first = self.written.events.len();
        let mut recorded = Vec::with_capacity(events.len());
        for (event, bytes) in events {
            evolve(Arc::make_mut(&mut self.state), &event);
            self.written.events.push(NewEvent {
                bytes,
                event_id: event.envelope.event_id.as_str().to_owned(),
                command_id: event.envelope.command_id.clone(),
                digest: recorded.is_empty().then_some(about.digest),
                kind: event.body.kind(),
                phase: event.envelope.phase.clone(),
                recorded_at: event.envelope.recorded_at.millis(),
            });
            recorded.push(event);
        }
        if self.state.head != position {
            return Err(StoreError::Foreign(format!(
                "the state stands at event {} after event {position} was replayed",
                self.state.head
            )));
        }
        self.made.insert(about.id.clone(), (about.digest, first..self.written.events.len()));
        Ok(Ok(recorded))
    }

    fn envelope(
        &self,
        position: Position,
        about: &About<'_>,
        phase: Option<PhaseName>,
    ) -> Result<Envelope, StoreError> {
        Ok(Envelope {
            position,
            migration: self.migration.clone(),
            phase,
            event_id: event_id(self.now())?,
            schema_version: about.schema_version.to_string(),
            actor: about.actor.clone(),
            recorded_at: self.now(),
            command_id: about.id.clone(),
            epoch: about.epoch,
            origin: about.origin.cloned(),
        })
    }

    fn take(
        &mut self,
        id: &CommandId,
        phase: &PhaseName,
        holder: &Holder,
        term: Duration,
    ) -> Result<Result<Option<Lease>, StoreError>, StoreError> {
        let row = self.lease(phase).cloned();
        if self.known.contains_key(id) || self.made.contains_key(id) {
            // Taken by an earlier try whose commit was not answered. Only this holder's process takes under its
            // name, one lease at a time: if the row is its own, it is the one taken then.
            let own = row.filter(|row| row.holder == holder.as_str());
            return Ok(Ok(own.map(|row| lease(phase, row.epoch, holder, term))));
        }
        let now = self.now();
        if row.as_ref().is_some_and(|row| row.holder != holder.as_str() && now.millis() < row.expires_at) {
            return Ok(Ok(None));
        }
        let in_row = row.map_or_else(Epoch::default, |row| row.epoch);
        let in_state = self.state.phases.get(phase).map_or_else(Epoch::default, |phase| phase.epoch);
        let epoch = in_row.max(in_state).next();
        let body = CommandBody::TakeLease { phase: phase.clone(), epoch, holder: holder.clone() };
        let command = Command::new(Actor::Executor(holder.clone()), body);
        let digest = match digest(&command) {
            Ok(digest) => digest,
            Err(error) => return Ok(Err(error.into())),
        };
        match self.append(&Asked { id, digest, epoch: Some(epoch), command: &command })? {
            Ok(_events) => {}
            Err(ExecuteError::Refused(refusal)) => return Ok(Err(StoreError::Refused(refusal))),
            Err(ExecuteError::Store(error)) => return Ok(Err(error)),
            Err(ExecuteError::LeaseLost { .. } | ExecuteError::IdReused(_)) => return Ok(Ok(None)),
        }
        self.set_lease(phase, lease_row(epoch, holder, now.plus(term)));
        Ok(Ok(Some(lease(phase, epoch, holder, term))))
    }

    /// Lets the lease end at this time from now, if it is still held. An expired one is lost for good, also if nobody
    /// has taken it: its holder has stopped.
    fn extend(&mut self, lease: &Lease, by: Duration) -> bool {
        let now = self.now();
        let is_held = self.lease(&lease.phase).is_some_and(|row| {
            row.epoch == lease.epoch && row.holder == lease.holder.as_str() && row.expires_at > now.millis()
        });
        if is_held {
            self.set_lease(&lease.phase, lease_row(lease.epoch, &lease.holder, now.plus(by)));
        }
        is_held
    }

    fn lease(&self, phase: &PhaseName) -> Option<&LeaseRow> {
        match &self.leases {
            Leases::Seen(rows) => rows.get(phase),
            Leases::Assumed => None,
        }
    }

    fn set_lease(&mut self, phase: &PhaseName, row: LeaseRow) {
        if let Leases::Seen(rows) = &mut self.leases {
            rows.insert(phase.clone(), row.clone());
        }
        self.written.leases.insert(phase.clone(), row);
    }
}

fn lease(phase: &PhaseName, epoch: Epoch, holder: &Holder, term: Duration) -> Lease {
    Lease { phase: phase.clone(), epoch, holder: holder.clone(), term }
}

#[cfg(test)]
mod tests {
    use journal::{PersonId, Recorded};

    use super::*;

    fn adopt(number: u32) -> Member {
        let text = format!(
            "[migration]\nname = \"shop\"\nsource = \"env:S\"\ntarget = \"env:T\"\n[journal]\nurl = \"sqlite:s.db\"\n\
             [load]\nchunk_bytes = {}\n[[person]]\nid = \"ana\"\nroles = [\"operator\", \"approver\"]\n\
             [[person]]\nid = \"ben\"\nroles = [\"approver\"]\n\
             [[phase]]\nname = \"a\"\ntables = [\"s.t\"]\n[phase.lever]\nkind = \"command\"\nstop = [\"x\"]\n\
             observe = [\"x\"]\nroute = [\"x\"]\nresume = [\"x\"]\n",
            8192 + number
        );
        let actor = match number {
            0 => Actor::Operator,
            _ => Actor::Person(PersonId::new("ana").unwrap()),
        };
        let id = CommandId::new(format!("c{number}")).unwrap();
        let command = Command::new(actor, CommandBody::AdoptPlan { text, authors: Vec::new() });
        Member { id, digest: digest(&command).unwrap(), claim: None, command }
    }

    fn versions(events: &[NewEvent]) -> Vec<(String, &'static str)> {
        let version = |event: &NewEvent| {
            let value: serde_json::Value = serde_json::from_slice(&event.bytes).unwrap();
            value["schema_version"].as_str().unwrap().to_owned()
        };
        events.iter().map(|event| (version(event), event.kind)).collect()
    }

    #[test]
    fn a_newer_version_appends_its_barrier_first_as_older_ones_write_and_only_with_something_behind_it() {
        let migration = "shop".parse().unwrap();
        let now = Timestamp::from_millis(1);
        let mut batch = Batch::new(&migration, Arc::default(), now, Leases::Seen(BTreeMap::new()));
        batch.execute(&adopt(0)).unwrap().unwrap();
        let old = Arc::clone(&batch.state);
        assert_eq!(versions(&batch.written.events), [("1".to_owned(), "plan_adopted")]);

        let mut batch = Batch::new(&migration, old, now, Leases::Seen(BTreeMap::new()));
        batch.schema_version = 2;
        // What is refused leaves nothing, not even the barrier.
        let mut nobody = adopt(1);
        nobody.command.actor = Actor::Person(PersonId::new("eve").unwrap());
        batch.execute(&nobody).unwrap().unwrap_err();
        assert!(batch.written.is_empty());
        let made = batch.execute(&adopt(1)).unwrap().unwrap();
        assert_eq!(made.len(), 1, "the caller's own");
        batch.execute(&adopt(2)).unwrap().unwrap();
        let two = |kind| ("2".to_owned(), kind);
        let barrier = ("1".to_owned(), "version_barrier");
        assert_eq!(versions(&batch.written.events), [barrier, two("plan_adopted"), two("plan_adopted")]);
        assert_eq!(batch.state.schema_version(), 2);
        let error = Recorded::from_bytes(&batch.written.events.first().unwrap().bytes).unwrap_err();
        assert!(error.to_string().contains("schema version 2"), "{error}");
    }
}
