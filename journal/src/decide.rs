//! The rules: a command becomes facts, or is refused. Total and deterministic.
//!
//! The opening is the place that all else serves. Its intent is decided here, in the transaction that appends it, and
//! it is refused unless the journal itself shows that the other side is fenced, drained and verified, that the streams
//! have been turned round, and that two distinct persons' approvals of that very plan still stand. So nothing between
//! an executor's look at the journal and its append can slip in.
#![deny(clippy::wildcard_enum_match_arm)]

use crate::approvals::{binding_change, quorum};
use crate::command::{Actor, Command, CommandBody, EffectOutcome, RequestOptions};
use crate::due::{holds_at_deadline, in_the_window, may_undo};
use crate::effect::{Effect, EffectSpec, Expectation, Side, StreamMode, UndoPlan};
use crate::event::Fact;
use crate::evolve::is_opening;
use crate::ids::{EffectId, PersonId, PhaseName, Position};
use crate::names::Direction;
use crate::operation::{Operation, Step};
use crate::plan::{Plan, Role};
use crate::refusal::Refusal;
use crate::state::{
    ApprovalWord, EffectStatus, Finding, OperationRun, Outcome, PhaseState, Request, RequestStatus, State,
    UndoCause, VoidReason,
};
use crate::time::Timestamp;
use crate::transitions::transitions;

/// Decides a command into facts, or refuses it.
///
/// # Errors
/// The refusal says which rule, as data.
pub fn decide(state: &State, now: Timestamp, command: &Command) -> Result<Vec<Fact>, Refusal> {
    match &command.body {
        CommandBody::AdoptPlan { text } => adopt_plan(state, &command.actor, text),
        CommandBody::Request { phase, operation, options } => {
            with_role(state, &command.actor, Role::Operator)?;
            request(state, now, &Asked { phase, operation: *operation, options })
        }
        CommandBody::Approve { request } => approve(state, now, &command.actor, *request),
        CommandBody::Deny { request, reason } => deny(state, &command.actor, *request, reason),
        CommandBody::Revoke { request } => revoke(state, &command.actor, *request),
        CommandBody::Abort { phase, reason } => {
            with_role(state, &command.actor, Role::Operator)?;
            abort(state, phase, reason)
        }
        CommandBody::Pause { phase } => {
            with_role(state, &command.actor, Role::Operator)?;
            pause(running(state, phase)?)
        }
        CommandBody::Resume { phase } => {
            with_role(state, &command.actor, Role::Operator)?;
            let run = running(state, phase)?;
            if run.paused { Ok(vec![Fact::Resumed {}]) } else { Err(Refusal::NotPaused) }
        }
        CommandBody::Retry { phase } => {
            with_role(state, &command.actor, Role::Operator)?;
            let run = running(state, phase)?;
            if run.blocked.is_none() {
                return Err(Refusal::NotBlocked);
            }
            Ok(vec![Fact::Retried { step: run.step }])
        }
        CommandBody::Hold { phase, reason } => {
            with_role(state, &command.actor, Role::Operator)?;
            hold(state, phase.as_ref(), reason)
        }
        CommandBody::Release { phase } => {
            with_role(state, &command.actor, Role::Operator)?;
            if current_hold(state, phase.as_ref())? {
                Ok(vec![Fact::HoldReleased {}])
            } else {
                Err(Refusal::NotHeld)
            }
        }
        CommandBody::TakeLease { phase, epoch, holder } => {
            executor(&command.actor)?;
            let newest = known_phase(state, phase)?.epoch;
            if *epoch <= newest {
                return Err(Refusal::OldEpoch { given: *epoch, newest });
            }
            Ok(vec![Fact::LeaseTaken { epoch: *epoch, holder: holder.clone() }])
        }
        CommandBody::Begin { .. }
        | CommandBody::VoidStale { .. }
        | CommandBody::Intend { .. }
        | CommandBody::Conclude { .. }
        | CommandBody::FinishStep { .. }
        | CommandBody::Block { .. }
        | CommandBody::BeginUndo { .. }
        | CommandBody::ReportStream { .. }
        | CommandBody::ReportBreach { .. } => {
            executor(&command.actor)?;
            execute(state, now, &command.body)
        }
    }
}

/// What executors ask. They come with a claim on the phase, which the store has checked.
fn execute(state: &State, now: Timestamp, body: &CommandBody) -> Result<Vec<Fact>, Refusal> {
    match body {
        CommandBody::Begin { phase, request } => begin(state, now, phase, *request),
        CommandBody::VoidStale { phase } => Ok(void_stale(state, now, phase)),
        CommandBody::Intend { phase, step, effect, undo } => {
            let run = running(state, phase)?;
            intend(state, now, run, &Intent { phase, step: *step, effect, undo })
        }
        CommandBody::Conclude { phase, effect, outcome } => {
            conclude(running(state, phase)?, *effect, outcome)
        }
        CommandBody::FinishStep { phase, step } => finish_step(running(state, phase)?, *step),
        CommandBody::Block { phase, step, finding } => block(running(state, phase)?, *step, finding),
        CommandBody::BeginUndo { phase, cause } => begin_undo(now, running(state, phase)?, cause),
        CommandBody::ReportStream { phase, direction, mode, health } => {
            let known = known_phase(state, phase)?.streams.get(direction);
            if known.is_none_or(|stream| stream.health.as_ref() == Some(health)) {
                return Ok(Vec::new());
            }
            Ok(vec![Fact::StreamChanged { direction: *direction, mode: *mode, health: health.clone() }])
        }
        CommandBody::ReportBreach { phase, direction, table, at, changes } => {
            let known = known_phase(state, phase)?;
            let said = |breach: &crate::state::Breach| {
                breach.direction == *direction && breach.table == *table && breach.at == *at
            };
            if known.breaches.iter().any(said) {
                return Ok(Vec::new());
            }
            let changes = changes.to_string();
            let (table, at) = (table.clone(), at.clone());
            Ok(vec![Fact::FenceBreached { direction: *direction, table, at, changes }])
        }
        CommandBody::AdoptPlan { .. }
        | CommandBody::Request { .. }
        | CommandBody::Approve { .. }
        | CommandBody::Deny { .. }
        | CommandBody::Revoke { .. }
        | CommandBody::Abort { .. }
        | CommandBody::Pause { .. }
        | CommandBody::Resume { .. }
        | CommandBody::Retry { .. }
        | CommandBody::Hold { .. }
        | CommandBody::Release { .. }
        | CommandBody::TakeLease { .. } => Err(Refusal::NotAPerson),
    }
}

// ---- who ----

const fn executor(actor: &Actor) -> Result<(), Refusal> {
    match actor {
        Actor::Executor(_) => Ok(()),
        Actor::Person(_) | Actor::Operator => Err(Refusal::NotAnExecutor),
    }
}

fn known_person<'a>(state: &State, actor: &'a Actor) -> Result<&'a PersonId, Refusal> {
    let Actor::Person(person) = actor else { return Err(Refusal::NotAPerson) };
    if current_plan(state)?.people.contains_key(person) {
        Ok(person)
    } else {
        Err(Refusal::UnknownPerson { person: person.clone() })
    }
}

fn with_role<'a>(state: &State, actor: &'a Actor, role: Role) -> Result<&'a PersonId, Refusal> {
    let person = known_person(state, actor)?;
    let known = current_plan(state)?.people.get(person);
    if known.is_some_and(|known| known.roles.contains(&role)) {
        Ok(person)
    } else {
        Err(Refusal::LacksRole { person: person.clone(), role })
    }
}

// ---- where ----

fn current_plan(state: &State) -> Result<&Plan, Refusal> {
    state.plan.as_ref().map(|(plan, _)| &**plan).ok_or(Refusal::NoPlan)
}

fn known_phase<'s>(state: &'s State, phase: &PhaseName) -> Result<&'s PhaseState, Refusal> {
    let plan = current_plan(state)?;
    state.phases.get(phase).ok_or_else(|| Refusal::NoPhase {
        phase: phase.clone(),
        known: plan.phases.iter().map(|phase| phase.name.clone()).collect(),
    })
}

fn running<'s>(state: &'s State, phase: &PhaseName) -> Result<&'s OperationRun, Refusal> {
    known_phase(state, phase)?.operation.as_ref().ok_or_else(|| Refusal::NothingRuns { phase: phase.clone() })
}

fn known_request(state: &State, request: Position) -> Result<&Request, Refusal> {
    state.requests.get(&request).ok_or(Refusal::NoRequest { request })
}

fn current_hold(state: &State, phase: Option<&PhaseName>) -> Result<bool, Refusal> {
    match phase {
        Some(phase) => Ok(known_phase(state, phase)?.hold.is_some()),
        None => current_plan(state).map(|_| state.hold.is_some()),
    }
}

fn reason_given(reason: &str) -> Result<String, Refusal> {
    let reason = reason.trim();
    if reason.is_empty() { Err(Refusal::ReasonNeeded) } else { Ok(reason.to_owned()) }
}

// ---- people ----

fn adopt_plan(state: &State, actor: &Actor, text: &str) -> Result<Vec<Fact>, Refusal> {
    let plan = Plan::parse(text).map_err(Refusal::BadPlan)?;
    match actor {
        // The first plan makes the first persons, so nobody can be asked for a role yet.
        Actor::Operator if state.plan.is_none() => {}
        Actor::Operator | Actor::Person(_) | Actor::Executor(_) => {
            with_role(state, actor, Role::Operator)?;
        }
    }
    if state.migration.as_ref().is_some_and(|name| *name != plan.migration) {
        return Err(Refusal::OtherMigration);
    }
    let hash = plan.hash();
    if state.plan.as_ref().is_some_and(|(_, current)| *current == hash) {
        return Err(Refusal::SamePlan);
    }
    for (name, phase) in &state.phases {
        let changed =
            state.plan.as_ref().is_none_or(|(current, _)| current.hash_for(name) != plan.hash_for(name));
        if phase.operation.is_some() && changed {
            return Err(Refusal::PhaseFrozen { phase: name.clone() });
        }
    }
    let mut facts = vec![Fact::PlanAdopted { text: text.to_owned(), plan_hash: hash }];
    for request in state.requests.values().filter(|request| request.status == RequestStatus::Open) {
        let plan_hash = plan.hash_for(&request.phase);
        if plan_hash != request.plan_hash {
            let reason = VoidReason::PlanChanged { plan_hash };
            facts.push(Fact::RequestVoided { request: request.position, reason });
        }
    }
    Ok(facts)
}

struct Asked<'c> {
    phase: &'c PhaseName,
    operation: Operation,
    options: &'c RequestOptions,
}

fn request(state: &State, now: Timestamp, asked: &Asked<'_>) -> Result<Vec<Fact>, Refusal> {
    let Asked { phase, operation, options } = *asked;
    let plan = current_plan(state)?;
    let phase_state = known_phase(state, phase)?;
    if plan.phase(phase).is_none() {
        let known = plan.phases.iter().map(|phase| phase.name.clone()).collect();
        return Err(Refusal::NoPhase { phase: phase.clone(), known });
    }
    if operation == Operation::FailbackTargetLost {
        return Err(Refusal::NotAvailable { operation });
    }
    let plan_hash = plan.hash_for(phase);
    if let Some(seen) = &options.plan
        && (seen.len() < 8 || !plan_hash.to_string().starts_with(seen.as_str()))
    {
        return Err(Refusal::OtherPlan { current: plan_hash });
    }
    if let Some(run) = &phase_state.operation {
        return Err(Refusal::Busy { operation: run.operation, request: run.request });
    }
    let status = phase_state.status;
    if !transitions().iter().any(|row| row.from == status && row.operation == operation) {
        return Err(Refusal::WrongStatus { operation, status });
    }
    if let Some(hold) = phase_state.hold.as_ref().or(state.hold.as_ref()) {
        return Err(Refusal::Held { reason: hold.reason.clone() });
    }
    let same = |other: &&Request| {
        other.phase == *phase && other.operation == operation && other.status == RequestStatus::Open
    };
    if let Some(open) =
        state.requests.values().find(same).filter(|open| binding_change(state, open, now).is_none())
    {
        return Err(Refusal::AskedAlready { request: open.position });
    }
    let expires_at = now.plus(plan.policy(operation).expires);
    let mut facts = void_stale(state, now, phase);
    facts.push(Fact::Requested {
        operation,
        plan_hash,
        expires_at,
        confirmed_loss: options.confirmed_loss.clone(),
    });
    Ok(facts)
}

fn approve(state: &State, now: Timestamp, actor: &Actor, request: Position) -> Result<Vec<Fact>, Refusal> {
    let person = known_person(state, actor)?;
    let asked = known_request(state, request)?;
    let policy = current_plan(state)?.policy(asked.operation);
    with_role(state, actor, policy.role)?;
    if asked.status != RequestStatus::Open {
        return Err(Refusal::RequestClosed { request });
    }
    match binding_change(state, asked, now) {
        None => {}
        Some(VoidReason::Expired) => return Err(Refusal::RequestExpired { request }),
        Some(VoidReason::PlanChanged { .. }) => return Err(Refusal::BindingChanged { request }),
        Some(VoidReason::PhaseMoved { .. } | VoidReason::Denied { .. } | VoidReason::Undone) => {
            return Err(Refusal::RequestClosed { request });
        }
    }
    if policy.required == 0 {
        return Err(Refusal::NoApprovalNeeded { request });
    }
    if policy.exclude_requester && *person == asked.requester {
        return Err(Refusal::RequesterExcluded);
    }
    if asked.words.get(person).is_some_and(|word| word.word == ApprovalWord::Approved) {
        return Err(Refusal::SaidAlready);
    }
    Ok(vec![Fact::Approved { request, plan_hash: asked.plan_hash }])
}

/// A denial of an open request voids it; of a running one, before its opening, it undoes the attempt.
fn deny(state: &State, actor: &Actor, request: Position, reason: &str) -> Result<Vec<Fact>, Refusal> {
    let person = known_person(state, actor)?;
    let asked = known_request(state, request)?;
    with_role(state, actor, current_plan(state)?.policy(asked.operation).role)?;
    let reason = reason_given(reason)?;
    match &asked.status {
        RequestStatus::Open => Ok(vec![
            Fact::Denied { request, reason },
            Fact::RequestVoided { request, reason: VoidReason::Denied { person: person.clone() } },
        ]),
        RequestStatus::Running => {
            undoable(state, &asked.phase)?;
            Ok(vec![Fact::Denied { request, reason }])
        }
        RequestStatus::Consumed => Err(Refusal::PointOfNoReturn),
        RequestStatus::Finished(_) | RequestStatus::Void(_) => Err(Refusal::RequestClosed { request }),
    }
}

fn revoke(state: &State, actor: &Actor, request: Position) -> Result<Vec<Fact>, Refusal> {
    let person = known_person(state, actor)?;
    let asked = known_request(state, request)?;
    if asked.words.get(person).is_none_or(|word| word.word != ApprovalWord::Approved) {
        return Err(Refusal::NothingToRevoke);
    }
    match &asked.status {
        RequestStatus::Open => {}
        RequestStatus::Running => undoable(state, &asked.phase)?,
        RequestStatus::Consumed => return Err(Refusal::PointOfNoReturn),
        RequestStatus::Finished(_) | RequestStatus::Void(_) => {
            return Err(Refusal::RequestClosed { request });
        }
    }
    Ok(vec![Fact::Revoked { request }])
}

/// Whether the phase's operation can still be undone.
fn undoable(state: &State, phase: &PhaseName) -> Result<(), Refusal> {
    let run = running(state, phase)?;
    if !may_undo(run) {
        return Err(Refusal::PointOfNoReturn);
    }
    if run.undo.is_some() {
        return Err(Refusal::Undoing);
    }
    // What is dropped cannot be taken back.
    if run.effects.iter().any(|record| gives_up(&record.effect)) {
        return Err(Refusal::PointOfNoReturn);
    }
    Ok(())
}

/// Whether an effect gives up what only a new start could make again.
const fn gives_up(effect: &Effect) -> bool {
    matches!(effect, Effect::DropStream { .. } | Effect::DropSlot { .. } | Effect::RemoveFence { .. })
}

/// Who opens one side after an opening of the other that failed has first closed that one, against what comes late.
fn check_closed_first(run: &OperationRun) -> Result<(), Refusal> {
    let closed = run.effects.iter().any(|record| {
        record.step == Step::Undo
            && matches!(record.status, EffectStatus::Succeeded(_))
            && matches!(&record.effect, Effect::CloseGate { side } if run.operation.opens() == Some(*side))
    });
    if closed {
        Ok(())
    } else {
        Err(Refusal::OpeningUnproven { lacks: "the side whose opening failed is not closed" })
    }
}

fn abort(state: &State, phase: &PhaseName, reason: &str) -> Result<Vec<Fact>, Refusal> {
    undoable(state, phase)?;
    Ok(vec![Fact::AbortRequested { reason: reason_given(reason)? }])
}

fn pause(run: &OperationRun) -> Result<Vec<Fact>, Refusal> {
    if run.undo.is_some() {
        return Err(Refusal::Undoing);
    }
    if in_the_window(run) {
        return Err(Refusal::InTheWindow);
    }
    if run.opening.is_some() {
        return Err(Refusal::PointOfNoReturn);
    }
    if run.paused { Err(Refusal::PausedAlready) } else { Ok(vec![Fact::Paused {}]) }
}

fn hold(state: &State, phase: Option<&PhaseName>, reason: &str) -> Result<Vec<Fact>, Refusal> {
    if current_hold(state, phase)? {
        return Err(Refusal::HeldAlready);
    }
    Ok(vec![Fact::HoldPlaced { reason: reason_given(reason)? }])
}

// ---- executors ----

fn void_stale(state: &State, now: Timestamp, phase: &PhaseName) -> Vec<Fact> {
    let open = state
        .requests
        .values()
        .filter(|request| request.phase == *phase && request.status == RequestStatus::Open);
    open.filter_map(|request| {
        let reason = binding_change(state, request, now)?;
        Some(Fact::RequestVoided { request: request.position, reason })
    })
    .collect()
}

fn begin(state: &State, now: Timestamp, phase: &PhaseName, number: Position) -> Result<Vec<Fact>, Refusal> {
    let phase_state = known_phase(state, phase)?;
    if let Some(run) = &phase_state.operation {
        return Err(Refusal::Busy { operation: run.operation, request: run.request });
    }
    let asked = known_request(state, number)?;
    if asked.status != RequestStatus::Open || asked.phase != *phase {
        return Err(Refusal::RequestClosed { request: number });
    }
    match binding_change(state, asked, now) {
        None => {}
        Some(VoidReason::Expired) => return Err(Refusal::RequestExpired { request: number }),
        Some(_) => return Err(Refusal::BindingChanged { request: number }),
    }
    if let Some(hold) = phase_state.hold.as_ref().or(state.hold.as_ref()) {
        return Err(Refusal::Held { reason: hold.reason.clone() });
    }
    let reserved = quorum(state, asked)?;
    let Some((_, plan_hash)) = &state.plan else { return Err(Refusal::NoPlan) };
    Ok(vec![Fact::OperationStarted {
        request: number,
        operation: asked.operation,
        plan_hash: *plan_hash,
        reserved,
        generation: phase_state.generation,
    }])
}

struct Intent<'c> {
    phase: &'c PhaseName,
    step: Step,
    effect: &'c Effect,
    undo: &'c [Effect],
}

fn intend(
    state: &State,
    now: Timestamp,
    run: &OperationRun,
    intent: &Intent<'_>,
) -> Result<Vec<Fact>, Refusal> {
    let Intent { phase, step, effect, undo } = *intent;
    if step != run.step {
        return Err(Refusal::StepNotDue { step });
    }
    if !belongs(run.operation, step, effect) {
        return Err(Refusal::ForeignEffect { label: effect.label(), step });
    }
    // No step without an authorisation: until the opening consumes it, the request must stand.
    if run.undo.is_none() && run.undo_asked.is_some() && may_undo(run) {
        return Err(Refusal::Undoing);
    }
    let spec = EffectSpec::new(run.plan_hash, phase, run.position, step, effect.clone());
    let open = run.effects.iter().find(|record| {
        record.step == step && matches!(record.status, EffectStatus::Intended | EffectStatus::Unknown(_))
    });
    if let Some(open) = open {
        return Err(Refusal::EffectOpen { effect: open.id });
    }
    if run.effect(spec.id).is_some_and(|record| matches!(record.status, EffectStatus::Succeeded(_))) {
        return Err(Refusal::EffectNotOpen { effect: spec.id });
    }
    let mut undo_plan = None;
    if matches!(effect, Effect::HoldTraffic { .. }) && step == Step::StopTraffic {
        let Some(plan) = run.plan.phase(phase) else { return Err(Refusal::StepNotDue { step }) };
        check_quorum_again(state, now, run)?;
        let first = run.effect(spec.id).map_or(now, |record| record.intended_at);
        let at = first.plus(plan.max_downtime.saturating_sub(plan.undo_reserve));
        undo_plan = Some(UndoPlan { at, effects: undo.to_vec() });
    }
    // What cannot be undone asks for its approvals again before its first such effect.
    let first = !run.effects.iter().any(|record| gives_up(&record.effect));
    if run.operation.opens().is_none() && step != Step::Undo && first && gives_up(effect) {
        check_quorum_again(state, now, run)?;
    }
    if step == Step::Undo && run.opening_failed && matches!(effect, Effect::OpenGate { .. }) {
        check_closed_first(run)?;
    }
    let mut consumes = Vec::new();
    if is_opening(run.operation, step, effect) {
        consumes = check_opening(state, now, run)?;
    }
    Ok(vec![Fact::EffectIntended {
        operation: run.position,
        step,
        effect: spec.id,
        spec: effect.clone(),
        undo: undo_plan,
        consumes,
    }])
}

/// Which gates a step may touch. The rest of an effect is the engine's business; gates are everybody's.
fn belongs(operation: Operation, step: Step, effect: &Effect) -> bool {
    let opening_step = matches!(step, Step::SwitchTraffic | Step::SwitchTrafficBack);
    let fence_step = |side: Side| match side {
        Side::Source => step == Step::FenceSource,
        Side::Target => step == Step::FenceTarget,
    };
    if let Effect::OpenGate { side } = effect {
        // An undo opens the side that the operation fenced, never the other.
        let undone = step == Step::Undo && operation.opens().is_some_and(|opens| *side == opens.other());
        return undone || (opening_step && operation.opens() == Some(*side));
    }
    if let Effect::CloseGate { side } = effect {
        return fence_step(*side) || step == Step::Undo;
    }
    if matches!(effect, Effect::HoldTraffic { .. }) {
        return step == Step::StopTraffic;
    }
    if matches!(effect, Effect::DropTables { .. }) {
        return step == Step::Undo && operation == Operation::Start;
    }
    true
}

/// The quorum, the roles, the expiry and the binding, once more, of a request whose operation runs.
fn check_quorum_again(state: &State, now: Timestamp, run: &OperationRun) -> Result<Vec<PersonId>, Refusal> {
    let asked = known_request(state, run.request)?;
    // An opening that was proven absent consumed the approvals for this very operation, which may try it again.
    let spent = asked.status == RequestStatus::Consumed && run.opening_failed;
    if asked.status != RequestStatus::Running && !spent {
        return Err(Refusal::RequestClosed { request: run.request });
    }
    match binding_change(state, asked, now) {
        None => {}
        Some(VoidReason::Expired) => return Err(Refusal::RequestExpired { request: run.request }),
        Some(_) => return Err(Refusal::BindingChanged { request: run.request }),
    }
    let valid = quorum(state, asked)?;
    let reserved: Vec<PersonId> = valid.into_iter().filter(|person| run.reserved.contains(person)).collect();
    let need = run.plan.policy(run.operation).required;
    let have = u8::try_from(reserved.len()).unwrap_or(u8::MAX);
    if have < need { Err(Refusal::NoQuorum { have, need }) } else { Ok(reserved) }
}

type Pick<'p> = &'p dyn Fn(&Effect) -> bool;

/// What must be known before the other side may open, each as a success in this very operation.
fn check_opening(state: &State, now: Timestamp, run: &OperationRun) -> Result<Vec<PersonId>, Refusal> {
    let lacks = |lacks| Refusal::OpeningUnproven { lacks };
    let Some(to) = run.operation.opens() else { return Err(lacks("the operation opens nothing")) };
    let from = to.other();
    let (applying, guarding) = match to {
        Side::Target => (Direction::Forward, Direction::Failback),
        Side::Source => (Direction::Failback, Direction::Forward),
    };
    let Some((_, undo)) = &run.stopped else { return Err(lacks("the traffic was not stopped")) };
    if now >= undo.at && !run.overtime {
        return Err(lacks("the time that the downtime allows is over"));
    }
    if run.undo.is_some() {
        return Err(Refusal::Undoing);
    }
    let breached = state
        .phases
        .get(&run.phase)
        .is_some_and(|phase| phase.breaches.iter().any(|breach| breach.position > run.position));
    if breached {
        return Err(lacks("a write passed a fence since this operation began"));
    }
    let done = |pick: Pick<'_>| {
        run.effects.iter().any(|record| {
            matches!(record.status, EffectStatus::Succeeded(_))
                && record.step != Step::Undo
                && pick(&record.effect)
        })
    };
    let needed: [(Pick<'_>, &'static str); 9] = [
        (
            &|e| matches!(e, Effect::TrialWrite { side, expect: Expectation::Refused, .. } if *side == to),
            "the other side's fence was not tried",
        ),
        (&|e| matches!(e, Effect::HoldTraffic { .. }), "the traffic is not held"),
        (&|e| matches!(e, Effect::CloseGate { side } if *side == from), "the gate being left is not closed"),
        (
            &|e| matches!(e, Effect::AwaitWriters { side, .. } if *side == from),
            "open writers were not waited out",
        ),
        (&|e| matches!(e, Effect::VerifyChanged { .. }), "what changed was not verified"),
        (
            &|e| matches!(e, Effect::SetStreamMode { stream, mode: StreamMode::Guard } if stream.direction == applying),
            "the stream that applied does not guard",
        ),
        (
            &|e| matches!(e, Effect::SetStreamMode { stream, mode: StreamMode::Apply } if stream.direction == guarding),
            "the stream that guarded does not apply",
        ),
        (
            &|e| matches!(e, Effect::AdvanceSequences { side, .. } if *side == to),
            "the sequences were not moved forward",
        ),
        (
            &|e| matches!(e, Effect::RouteTraffic { to: side } if *side == to),
            "the lever does not point there",
        ),
    ];
    for (pick, missing) in needed {
        if !done(pick) {
            return Err(lacks(missing));
        }
    }
    let drained = run.effects.iter().any(|record| {
        matches!(record.status, EffectStatus::Succeeded(_))
            && matches!(record.step, Step::Drain | Step::DrainFailback)
            && matches!(&record.effect, Effect::AwaitMarker { stream, .. } if stream.direction == applying)
    });
    if !drained {
        return Err(lacks("the stream is not drained"));
    }
    check_quorum_again(state, now, run)
}

fn conclude(run: &OperationRun, effect: EffectId, outcome: &EffectOutcome) -> Result<Vec<Fact>, Refusal> {
    let open = run
        .effect(effect)
        .filter(|record| matches!(record.status, EffectStatus::Intended | EffectStatus::Unknown(_)));
    let Some(open) = open else { return Err(Refusal::EffectNotOpen { effect }) };
    if run.undo.is_some() && open.step != Step::Undo {
        return Err(Refusal::Undoing);
    }
    let fact = match outcome {
        EffectOutcome::Succeeded { adopted, evidence } => {
            Fact::EffectSucceeded { effect, adopted: *adopted, evidence: evidence.clone() }
        }
        EffectOutcome::Failed { finding } => {
            // In one transaction: a failure without its finding would be tried again by itself, and a finding without
            // its failure would leave an opening neither there nor undone.
            let mut facts = vec![Fact::EffectFailed { effect, error: finding.to_string() }];
            facts.extend(block(run, open.step, finding)?);
            return Ok(facts);
        }
        EffectOutcome::Unknown { .. } if matches!(open.status, EffectStatus::Unknown(_)) => {
            return Ok(Vec::new());
        }
        EffectOutcome::Unknown { error } => Fact::EffectUnknown { effect, error: error.clone() },
    };
    Ok(vec![fact])
}

fn finish_step(run: &OperationRun, step: Step) -> Result<Vec<Fact>, Refusal> {
    if step != run.step || run.blocked.is_some() {
        return Err(Refusal::StepNotDue { step });
    }
    if run.undo.is_none() && run.undo_asked.is_some() && may_undo(run) {
        return Err(Refusal::Undoing);
    }
    let mut of_step = run.effects.iter().filter(|record| record.step == step).peekable();
    let none = of_step.peek().is_none();
    // An index or constraint that failed may have been changed or dropped on the source since: it is not there.
    let all_done = of_step.all(|record| match record.status {
        EffectStatus::Succeeded(_) => true,
        EffectStatus::Failed(_) => matches!(record.effect, Effect::AddSchemaObject { .. }),
        EffectStatus::Intended | EffectStatus::Unknown(_) => false,
    });
    // An undo may have nothing to undo, and finalize_schema may have nothing to make; every other step does something.
    if !all_done || (none && !matches!(step, Step::Undo | Step::FinalizeSchema)) {
        return Err(Refusal::StepOpen { step });
    }
    let operation = run.position;
    let mut facts = vec![Fact::StepFinished { operation, step }];
    if step == Step::Undo {
        facts.push(Fact::OperationFinished { operation, outcome: Outcome::Undone });
    } else if run.operation.steps().last() == Some(&step) {
        facts.push(Fact::OperationFinished { operation, outcome: Outcome::Completed });
    }
    Ok(facts)
}

fn block(run: &OperationRun, step: Step, finding: &Finding) -> Result<Vec<Fact>, Refusal> {
    if step != run.step {
        return Err(Refusal::StepNotDue { step });
    }
    if run.blocked.as_ref() == Some(finding) {
        return Ok(Vec::new());
    }
    Ok(vec![Fact::StepBlocked { operation: run.position, step, finding: finding.clone() }])
}

fn begin_undo(now: Timestamp, run: &OperationRun, cause: &UndoCause) -> Result<Vec<Fact>, Refusal> {
    if !may_undo(run) {
        return Err(Refusal::PointOfNoReturn);
    }
    if run.undo.is_some() {
        return Err(Refusal::Undoing);
    }
    let founded = match cause {
        UndoCause::Deadline => {
            !holds_at_deadline(run) && run.stopped.as_ref().is_some_and(|(_, undo)| now >= undo.at)
        }
        UndoCause::StepFailed { .. } => in_the_window(run) && !holds_at_deadline(run),
        UndoCause::Aborted { .. } | UndoCause::ApprovalLost { .. } => run.undo_asked.as_ref() == Some(cause),
    };
    if !founded {
        return Err(Refusal::StepNotDue { step: Step::Undo });
    }
    Ok(vec![Fact::UndoStarted { operation: run.position, cause: cause.clone() }])
}
