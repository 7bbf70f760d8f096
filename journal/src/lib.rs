//! What happened in a migration, and what may happen next.
//!
//! Pure: no I/O, no clock, no randomness. Time, positions, epochs and ids arrive from the store. A state is
//! only ever made by replaying events through [`evolve`]; a new fact is only ever made by [`decide`], or, where a newer
//! schema version begins, by [`barrier`].

mod approvals;
mod behind;
mod canonical;
mod command;
mod decide;
mod due;
mod effect;
mod event;
mod evolve;
mod ids;
pub mod log_checkpoint;
mod loss;
pub mod merkle;
mod names;
pub mod note;
mod operation;
mod origin;
pub mod plan;
pub mod predicate;
pub mod quote;
mod refusal;
mod schema;
mod shared;
mod state;
mod streams;
mod time;
mod transitions;
mod windows;
mod witnessed;

pub use approvals::{Wait, approvers, is_confirmed, memberships, waits};
pub use behind::{GateRow, behind};
pub use canonical::{CanonicalError, to_canonical, to_canonical_texts};
pub use command::{Actor, Command, CommandBody, EffectOutcome, Found, RequestOptions};
pub use decide::decide;
pub use due::{
    Due, UNANSWERED, due, is_past_return, must_answer, never_returns, unanswered, waits_for_a_person,
};
pub use effect::{
    Effect, EffectClass, EffectSpec, Evidence, Expectation, GateMode, Party, SchemaObject, Side, StreamCheck,
    StreamMode, TableDefinition, UndoPlan,
};
pub use event::{DecodeError, Envelope, Fact, Recorded};
pub use evolve::{evolve, replay};
pub use ids::{
    CommandId, EffectId, Epoch, EventId, Generation, Holder, Lsn, LsnError, MigrationName, NameError,
    PersonId, PhaseName, PlanHash, Position, TableName, Timeline,
};
pub use log_checkpoint::LogCheckpoint;
pub use loss::{Down, KnownLoss, UNCARRIED, WayBack, known_loss, may_be_replaced};
pub use names::{Direction, StreamName, origin_name, publication_name, slot_name};
pub use operation::{Operation, PhaseStatus, Step};
pub use origin::{Bound, Membership, Origin, SeenBinding};
pub use plan::{
    ApprovalPolicy, BreakGlass, FailbackDeadline, Group, LeverSettings, LoadSettings, Person, PhasePlan,
    Plan, PlanProblem, PlanProblems, Role, SecretRef, Window, WindowKind,
};
pub use predicate::{Predicate, PredicateProblem};
pub use refusal::Refusal;
pub use schema::{SCHEMA, SCHEMA_VERSION, Schema, Upcast, barrier};
pub use shared::Shared;
pub use state::{
    Approval, ApprovalWord, Breach, Confirmed, DISPLACED, EffectRecord, EffectStatus, Finding, Glass,
    GlassReview, Hold, OperationRun, Outcome, PhaseState, Quarantine, Request, RequestStatus, Rest, State,
    StreamHealth, StreamState, TimelineChange, UndoCause, UndoRun, VoidReason, Writer,
};
pub use streams::{StreamSpec, desired_streams, stream_in_the_way};
pub use time::Timestamp;
pub use transitions::{Transition, diagram, transitions};
pub use windows::{Closed, closed, next_open};
pub use witnessed::{LeftCheckpoint, Root, awaits_witness, unwitnessed};
