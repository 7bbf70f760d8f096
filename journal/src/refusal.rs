//! Why a command was not done: data with a code. The sentence a person reads is rendered elsewhere, in one module.

use crate::ids::{EffectId, Epoch, PersonId, PhaseName, PlanHash, Position};
use crate::loss::KnownLoss;
use crate::names::Direction;
use crate::operation::{Operation, PhaseStatus, Step};
use crate::plan::{PlanProblems, Role};
use crate::state::Finding;
use crate::time::Timestamp;

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No plan was adopted yet.
    #[error("SW-0101 no plan adopted")]
    NoPlan,
    /// The plan's text is wrong.
    #[error("SW-0102 plan refused: {0}")]
    BadPlan(PlanProblems),
    /// The plan is another migration's.
    #[error("SW-0103 the journal belongs to another migration")]
    OtherMigration,
    /// A phase in mid-operation cannot be revised.
    #[error("SW-0104 phase {phase} is in mid-operation")]
    PhaseFrozen {
        /// The phase.
        phase: PhaseName,
    },
    /// The very plan is adopted already.
    #[error("SW-0105 plan adopted already")]
    SamePlan,
    /// The plan that the person saw is not the adopted one.
    #[error("SW-0106 the current plan hash is {current}")]
    OtherPlan {
        /// The current hash.
        current: PlanHash,
    },
    /// No such phase in the plan.
    #[error("SW-0107 no phase {phase}")]
    NoPhase {
        /// What was asked for.
        phase: PhaseName,
        /// The phases there are.
        known: Vec<PhaseName>,
    },
    /// The person is not in the plan.
    #[error("SW-0108 {person} is not in the plan")]
    UnknownPerson {
        /// Who.
        person: PersonId,
    },
    /// The person lacks a role.
    #[error("SW-0109 {person} lacks the role {role:?}")]
    LacksRole {
        /// Who.
        person: PersonId,
        /// The role.
        role: Role,
    },
    /// Only a person can do it.
    #[error("SW-0110 only a person can do this")]
    NotAPerson,
    /// Only an executor can do it, under a lease.
    #[error("SW-0111 only an executor can do this")]
    NotAnExecutor,
    /// The operation cannot begin where the phase is.
    #[error("SW-0112 {operation} cannot begin while the phase is {status}")]
    WrongStatus {
        /// The operation.
        operation: Operation,
        /// Where the phase is.
        status: PhaseStatus,
    },
    /// Another operation runs.
    #[error("SW-0113 {operation} runs")]
    Busy {
        /// Which.
        operation: Operation,
        /// Its request.
        request: Position,
    },
    /// The same is asked for already.
    #[error("SW-0114 request #{request} asks for this already")]
    AskedAlready {
        /// The open request.
        request: Position,
    },
    /// A hold stands.
    #[error("SW-0115 held: {reason}")]
    Held {
        /// Why.
        reason: String,
    },
    /// No such request.
    #[error("SW-0116 no request #{request}")]
    NoRequest {
        /// What was asked for.
        request: Position,
    },
    /// The request is not open.
    #[error("SW-0117 request #{request} is not open")]
    RequestClosed {
        /// Which.
        request: Position,
    },
    /// The request has expired.
    #[error("SW-0118 request #{request} has expired")]
    RequestExpired {
        /// Which.
        request: Position,
    },
    /// The requester's own approval does not count.
    #[error("SW-0119 the requester may not approve")]
    RequesterExcluded,
    /// The person has said this already.
    #[error("SW-0120 said already")]
    SaidAlready,
    /// There is no approval of this person to take back.
    #[error("SW-0121 nothing to revoke")]
    NothingToRevoke,
    /// The operation needs no approvals.
    #[error("SW-0122 request #{request} needs no approval")]
    NoApprovalNeeded {
        /// Which.
        request: Position,
    },
    /// There are not enough valid approvals.
    #[error("SW-0123 {have} of {need} approvals")]
    NoQuorum {
        /// How many count.
        have: u8,
        /// How many are needed.
        need: u8,
    },
    /// The request is bound to another plan.
    #[error("SW-0124 request #{request} is bound to another plan")]
    BindingChanged {
        /// Which.
        request: Position,
    },
    /// No operation runs.
    #[error("SW-0125 no operation runs in {phase}")]
    NothingRuns {
        /// The phase.
        phase: PhaseName,
    },
    /// Not while the traffic is stopped.
    #[error("SW-0126 the traffic is stopped: abort it, or let it end")]
    InTheWindow,
    /// Nothing is undone from the opening's intent on.
    #[error("SW-0127 the opening has begun: only failback leads back")]
    PointOfNoReturn,
    /// Nothing is paused.
    #[error("SW-0128 not paused")]
    NotPaused,
    /// It is paused already.
    #[error("SW-0129 paused already")]
    PausedAlready,
    /// No step is blocked.
    #[error("SW-0130 no step is blocked")]
    NotBlocked,
    /// No hold stands.
    #[error("SW-0131 no hold to release")]
    NotHeld,
    /// A hold stands already.
    #[error("SW-0132 held already")]
    HeldAlready,
    /// The operation is being undone.
    #[error("SW-0133 the operation is being undone")]
    Undoing,
    /// The step is not due.
    #[error("SW-0134 step {step} is not due")]
    StepNotDue {
        /// Which.
        step: Step,
    },
    /// The step has effects without an outcome, or none at all.
    #[error("SW-0135 step {step} has open effects")]
    StepOpen {
        /// Which.
        step: Step,
    },
    /// No such effect, or it is concluded.
    #[error("SW-0136 effect {effect} is not open")]
    EffectNotOpen {
        /// Which.
        effect: EffectId,
    },
    /// Another effect is open: one at a time.
    #[error("SW-0137 effect {effect} is open")]
    EffectOpen {
        /// Which.
        effect: EffectId,
    },
    /// The effect is not the step's to do.
    #[error("SW-0138 {label} does not belong to step {step}")]
    ForeignEffect {
        /// Its label.
        label: String,
        /// The step.
        step: Step,
    },
    /// A gate would open before everything that must be known is known.
    #[error("SW-0139 the gate may not open: {lacks}")]
    OpeningUnproven {
        /// What is not known.
        lacks: &'static str,
    },
    /// The loss that is known was not confirmed by its word.
    #[error("SW-0140 the loss must be confirmed by {}", .loss.word)]
    LossUnconfirmed {
        /// What is known of it.
        loss: KnownLoss,
        /// What was typed instead of its word, if anything was.
        given: Option<String>,
    },
    /// The target is not known to be lost.
    #[error("SW-0157 the failback stream is not down")]
    TargetNotLost,
    /// The failback stream is down, and where it had come to is not known.
    #[error("SW-0158 where the failback stream had come to is not known")]
    LossUnknown,
    /// The source is not known to be lost.
    #[error("SW-0159 the source is not known to be lost")]
    SourceNotLost,
    /// The plan leaves out phases that are live.
    #[error("SW-0160 the plan leaves out phases that are live")]
    PhasesLive {
        /// Which.
        phases: Vec<PhaseName>,
    },
    /// An epoch must grow.
    #[error("SW-0141 epoch {given} is not newer than {newest}")]
    OldEpoch {
        /// What was given.
        given: Epoch,
        /// The newest.
        newest: Epoch,
    },
    /// A reason must be given.
    #[error("SW-0142 a reason is needed")]
    ReasonNeeded,
    /// A reason must say something.
    #[error("SW-0143 a reason of {least} characters or more is needed")]
    ReasonTooShort {
        /// The least, in characters.
        least: usize,
    },
    /// Only the publisher tells what has left the journal.
    #[error("SW-0170 only the program itself tells what has left the journal")]
    NotThePublisher,
    /// Only the bot tells what it saw in a pull request.
    #[error("SW-0174 only the program itself tells what it saw in a pull request")]
    NotTheBot,
    /// The plan wants the operation asked for in a pull request.
    #[error("SW-0175 {operation} is asked for in a pull request")]
    CommitNeeded {
        /// The operation.
        operation: Operation,
    },
    /// The approver wrote the plan.
    #[error("SW-0176 the plan's author cannot approve")]
    AuthorExcluded,
    /// The approval was given at another commit.
    #[error("SW-0177 request #{request} is bound to commit {bound}")]
    OtherCommit {
        /// The request.
        request: Position,
        /// Its commit.
        bound: String,
    },
    /// Nobody has looked at the pull request again.
    #[error("SW-0178 the pull request of request #{request} has not been looked at again")]
    Unconfirmed {
        /// The request.
        request: Position,
    },
    /// Nobody has asked the groups again.
    #[error("SW-0179 the groups that request #{request} rests on have not been asked again")]
    RolesUnconfirmed {
        /// The request.
        request: Position,
    },
    /// A log checkpoint covers what is not there.
    #[error("SW-0171 a log checkpoint of {size} events, and the journal has {head}")]
    CheckpointAhead {
        /// What it covers.
        size: Position,
        /// The newest event.
        head: Position,
    },
    /// A log checkpoint of the same size with another root has left the journal.
    #[error("SW-0172 another log checkpoint of {size} events has left the journal")]
    CheckpointDiffers {
        /// Its size.
        size: Position,
    },
    /// A log checkpoint that stands nowhere proves nothing.
    #[error("SW-0173 the log checkpoint stands nowhere")]
    LeftNowhere,
    /// It begins later.
    #[error("SW-0144 request #{request} begins at {at}")]
    TooEarly {
        /// Which.
        request: Position,
        /// When.
        at: Timestamp,
    },
    /// The plan's windows do not let it begin now.
    #[error("SW-0145 no window for request #{request} is open")]
    OutsideWindow {
        /// Which.
        request: Position,
        /// When one opens; none if none does within a year.
        until: Option<Timestamp>,
    },
    /// Other phases must be on the target first.
    #[error("SW-0146 other phases come first")]
    PhasesFirst {
        /// Which.
        phases: Vec<PhaseName>,
    },
    /// An operation of the phase ran under broken glass, and nobody has reviewed it.
    #[error("SW-0147 the broken glass of request #{request} is not reviewed")]
    GlassUnreviewed {
        /// Its request.
        request: Position,
    },
    /// Somebody broke the glass for this request already.
    #[error("SW-0148 the glass of request #{request} is broken already")]
    GlassBroken {
        /// Which.
        request: Position,
    },
    /// The request can begin without it.
    #[error("SW-0149 request #{request} needs no broken glass")]
    GlassNotNeeded {
        /// Which.
        request: Position,
    },
    /// Who broke the glass does not review it.
    #[error("SW-0150 who broke the glass of request #{request} may not review it")]
    OwnReview {
        /// Which.
        request: Position,
    },
    /// The glass was broken, its operation is not over.
    #[error("SW-0151 the operation of request #{request} is not over")]
    ReviewTooEarly {
        /// Which.
        request: Position,
    },
    /// The moment it should begin at is past.
    #[error("SW-0152 {at} is past")]
    SchedulePast {
        /// What was asked for.
        at: Timestamp,
    },
    /// The moment it should begin at is too far away.
    #[error("SW-0153 it begins at {latest} at the latest")]
    ScheduleTooFar {
        /// The latest moment.
        latest: Timestamp,
    },
    /// No window opens while it may begin.
    #[error("SW-0154 no window opens before {not_after}")]
    NeverInWindow {
        /// Its last moment.
        not_after: Timestamp,
        /// When a window opens; none if none does within a year.
        until: Option<Timestamp>,
    },
    /// The last moment at which the request might begin is past.
    #[error("SW-0155 the last moment of request #{request} is past")]
    BeginMissed {
        /// Which.
        request: Position,
    },
    /// An empty length of time.
    #[error("SW-0156 it has no time to begin in")]
    NoTimeToBegin,
    /// A stream that the operation cannot do without is down.
    #[error("SW-0540 the {direction} stream is down: {finding}")]
    StreamDown {
        /// Which.
        direction: Direction,
        /// Why.
        finding: Finding,
    },
}

impl Refusal {
    /// Its stable code.
    #[must_use]
    pub fn code(&self) -> String {
        self.to_string().chars().take(7).collect()
    }
}
