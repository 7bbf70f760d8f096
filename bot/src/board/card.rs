//! One operation, from its request to its end, as every platform shows it.

use std::collections::BTreeMap;

use journal::{
    EffectId, Evidence, Fact, OperationRun, Outcome, PhaseName, Position, Request, RequestStatus, State,
    Step, Timestamp,
};
use journal_store::{Reported, Store, StoreError, each_event};

use super::View;
use crate::arrival::{Asks, Place};
use crate::words;

/// Where an operation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It waits for approvals.
    Asking,
    /// It has its approvals and waits for its turn.
    Waiting,
    /// It runs.
    Running,
    /// A step waits for a person.
    Blocked,
    /// It is being undone.
    Undoing,
    /// It is done.
    Completed,
    /// It was undone.
    Undone,
    /// A `failback --target-lost` took its place.
    Replaced,
    /// Its request counts no more.
    Void,
}

impl Stage {
    /// Whether nothing more comes.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::Undone | Self::Replaced | Self::Void)
    }
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// The migration's name.
    pub migration: String,
    /// The request's number.
    pub request: u64,
    /// The phase.
    pub phase: String,
    /// The operation's word.
    pub operation: &'static str,
    /// Who asked.
    pub requester: String,
    /// Where it stands.
    pub stage: Stage,
    /// The step it is at, and which of how many.
    pub step: Option<(&'static str, usize, usize)>,
    /// The plan it is bound to, in full.
    pub plan: String,
    /// The commit it is bound to.
    pub head: Option<String>,
    /// Where it was asked for; none for a terminal.
    pub origin: Option<Place>,
    /// Who approves, as long as buttons make sense.
    pub asks: Option<Asks>,
    /// The first line alone.
    pub headline: String,
    /// All that is told, the headline included: the same words in every place.
    pub text: String,
    /// What the steps left as evidence, oldest first: the step's word, what was done, what was seen.
    pub evidence: Vec<(String, String, String)>,
}

impl Card {
    /// The name of its living message, in every place.
    #[must_use]
    pub fn key(&self) -> String {
        key(self.request)
    }

    /// The card of a request; none if there is no such request.
    pub(crate) fn new(view: &View<'_>, request: Position) -> Option<Self> {
        let request = view.state.requests.get(&request)?;
        let run = view.state.operation(&request.phase).filter(|run| run.request == request.position);
        let stage = stage(view, request, run);
        let steps = request.operation.steps();
        let step = run.map(|run| {
            let at = steps.iter().position(|step| *step == run.step).map_or(0, |index| index + 1);
            (run.step.word(), at, steps.len())
        });
        let doing = run.and_then(|run| {
            let reported = view.reported.get(&request.phase)?;
            reported.progress.doing.clone().filter(|doing| doing.starts_with(run.step.word()))
        });
        let told = words::Told { stage, step, doing };
        let world = words::World { state: view.state, now: view.now };
        let (headline, text) = words::card(world, request, run, &told);
        Some(Self {
            migration: view.state.migration.as_ref().map(ToString::to_string).unwrap_or_default(),
            request: request.position.get(),
            phase: request.phase.to_string(),
            operation: request.operation.word(),
            requester: request.requester.to_string(),
            stage,
            step,
            plan: request.plan_hash.to_string(),
            head: request.bound().map(|bound| bound.head.clone()),
            origin: origin(request),
            asks: (stage == Stage::Asking)
                .then(|| Asks { request: request.position.get(), plan: request.plan_hash.short() }),
            headline,
            text,
            evidence: run.map(evidence).unwrap_or_default(),
        })
    }
}

/// What a person looks at before they give their word: the operation, and how its phase is.
#[must_use]
pub fn asked(
    state: &State,
    reported: &BTreeMap<PhaseName, Reported>,
    now: Timestamp,
    request: Position,
) -> Option<String> {
    let card = Card::new(&View { state, reported, now }, request)?;
    let phase = state.requests.get(&request).map(|request| &request.phase)?;
    let status = crate::status::Report::new(state, reported, now, Some(phase));
    Some(words::asked(&card, &status.map(|report| words::status(&report)).unwrap_or_default()))
}

/// The name of an operation's living message.
#[must_use]
pub fn key(request: u64) -> String {
    format!("request:{request}")
}

/// Where a request was made.
pub(super) fn origin(request: &Request) -> Option<Place> {
    let origin = request.origin.as_ref()?;
    Place::read(origin.platform, &origin.place)
}

fn stage(view: &View<'_>, request: &Request, run: Option<&OperationRun>) -> Stage {
    match &request.status {
        RequestStatus::Open => {
            let waits = journal::waits(view.state, request, view.now);
            let asks = waits.iter().any(journal::Wait::is_approvals);
            if asks { Stage::Asking } else { Stage::Waiting }
        }
        RequestStatus::Running | RequestStatus::Consumed => match run {
            Some(run) if run.blocked.is_some() => Stage::Blocked,
            Some(run) if run.step == Step::Undo => Stage::Undoing,
            Some(_) | None => Stage::Running,
        },
        RequestStatus::Finished(Outcome::Completed) => Stage::Completed,
        RequestStatus::Finished(Outcome::Undone) => Stage::Undone,
        RequestStatus::Finished(Outcome::Replaced) => Stage::Replaced,
        RequestStatus::Void(_) => Stage::Void,
    }
}

/// What an auditor wants to read of each effect that succeeded.
fn evidence(run: &OperationRun) -> Vec<(String, String, String)> {
    run.effects
        .iter()
        .filter_map(|record| match &record.status {
            journal::EffectStatus::Succeeded(seen) if !seen.is_empty() => {
                Some((record.step.word().to_owned(), record.effect.label(), said(seen)))
            }
            _ => None,
        })
        .collect()
}

/// The same of an operation that is over, which the state keeps no effects of: from the journal.
pub(super) async fn left_behind(
    store: &dyn Store,
    request: &Request,
) -> Result<Vec<(String, String, String)>, StoreError> {
    let mut running = None;
    let mut intended: BTreeMap<EffectId, (Step, String)> = BTreeMap::new();
    let mut found = Vec::new();
    each_event(store, request.position, |event| match &event.body {
        Fact::OperationStarted { request: began, .. } if *began == request.position => {
            running = Some(event.envelope.position);
        }
        Fact::EffectIntended { operation, step, effect, spec, .. } if Some(*operation) == running => {
            intended.insert(*effect, (*step, spec.label()));
        }
        Fact::EffectSucceeded { effect, evidence, .. } if !evidence.is_empty() => {
            let of = intended.remove(effect);
            found.extend(of.map(|(step, label)| (step.word().to_owned(), label, said(evidence))));
        }
        _ => {}
    })
    .await?;
    Ok(found)
}

fn said(seen: &Evidence) -> String {
    let pairs: Vec<String> = seen.iter().map(|(key, value)| format!("{key} {value}")).collect();
    pairs.join(", ")
}
