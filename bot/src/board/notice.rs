//! What a person is called for: a new message, said once.

use std::time::Duration;

use journal::{Fact, Position, Recorded, Request, RequestStatus, Timestamp, VoidReason};

use super::{View, card};
use crate::arrival::Place;
use crate::words;

/// Something that needs a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Its name: what is said under it is said once.
    pub key: String,
    /// Where the operation was asked for, if it is about one; none for a terminal.
    pub origin: Option<Place>,
    /// Whether every configured channel hears it, wherever it was asked for.
    pub is_for_all: bool,
    /// What is told.
    pub text: String,
}

impl Notice {
    /// What an event calls people for; none for most.
    pub(crate) fn of_event(view: &View<'_>, event: &Recorded) -> Option<Self> {
        let request = request_of(view, event);
        let (is_for_all, text) = match &event.body {
            Fact::StepBlocked { finding, step, .. } => {
                (true, words::called_blocked(request?, finding, *step))
            }
            Fact::UndoStarted { cause, .. } => (true, words::called_undo(request?, cause)),
            Fact::GlassBroken { reason, .. } => {
                (true, words::called_glass(request?, &event.envelope.actor, reason))
            }
            Fact::FenceBreached { table, changes, .. } => {
                (true, words::called_breach(event.envelope.phase.as_ref()?, table, changes))
            }
            Fact::RolesConfirmed { lost, .. } if !lost.is_empty() => {
                let (plan, _) = view.state.plan.as_ref()?;
                (false, words::called_roles(plan, request?, lost))
            }
            // Who denied it, or undid it, knows; the card shows it to the others.
            Fact::RequestVoided { reason: VoidReason::Denied { .. } | VoidReason::Undone, .. } => {
                return None;
            }
            Fact::RequestVoided { reason, .. } => (false, words::called_void(request?, reason)),
            _ => return None,
        };
        let origin = request.and_then(card::origin);
        Some(Self { key: format!("event:{}", event.envelope.position), origin, is_for_all, text })
    }

    /// What the time calls people for.
    pub(crate) fn of_time(view: &View<'_>) -> Vec<Self> {
        let mut notices = Vec::new();
        for request in view.state.requests.values() {
            let number = request.position;
            let mut call = |key: String, is_for_all, text| {
                notices.push(Self { key, origin: card::origin(request), is_for_all, text });
            };
            if let Some(last) = runs_out(view, request) {
                call(format!("expires:{number}"), false, words::called_expires(view.world(), request, last));
            }
            if let Some(at) = is_due_soon(view, request) {
                // Whoever could approve it may read elsewhere than where it was asked for.
                call(format!("due:{number}"), true, words::called_due(view.world(), request, at));
            }
            if let Some(glass) =
                request.unreviewed_glass().filter(|glass| glass.used && glass.review_by < view.now)
            {
                // Once a day, until somebody has looked.
                let days = view.now.since(glass.review_by).as_secs() / 86_400;
                call(format!("review:{number}:{days}"), true, words::called_review(request, glass));
            }
        }
        notices
    }
}

impl View<'_> {
    /// The view as sentences need it.
    pub(crate) const fn world(&self) -> words::World<'_> {
        words::World { state: self.state, now: self.now }
    }
}

/// How long before its time a scheduled request that lacks approvals calls for them.
const BEFORE_DUE: Duration = Duration::from_secs(600);

/// Whether a request is open and lacks approvals.
fn is_asking(view: &View<'_>, request: &Request) -> bool {
    request.status == RequestStatus::Open
        && journal::waits(view.state, request, view.now).iter().any(journal::Wait::is_approvals)
}

/// Until when an open request that lacks approvals counts, when three quarters of its time are over.
fn runs_out(view: &View<'_>, request: &Request) -> Option<Timestamp> {
    let last = request.not_after.map_or(request.expires_at, |last| last.min(request.expires_at));
    let whole = last.since(request.requested_at);
    let is_near = view.now < last && last.since(view.now) <= whole / 4;
    (is_near && is_asking(view, request)).then_some(last)
}

/// When a scheduled request that lacks approvals is to begin, from ten minutes before that until it counts no more. Whoever
/// asks for it later than that has just been told what it needs.
fn is_due_soon(view: &View<'_>, request: &Request) -> Option<Timestamp> {
    let at = request.not_before?;
    let is_near = view.now < at && at.since(view.now) <= BEFORE_DUE || at <= view.now;
    let was_told = at.since(request.requested_at) <= BEFORE_DUE;
    let counts = request.not_after.is_none_or(|last| view.now <= last) && view.now < request.expires_at;
    (is_near && counts && !was_told && is_asking(view, request)).then_some(at)
}

/// The request that an event is about: the one it names, or the one whose operation it belongs to.
fn request_of<'v>(view: &View<'v>, event: &Recorded) -> Option<&'v Request> {
    let of_phase = || -> Option<Position> {
        let phase = event.envelope.phase.as_ref()?;
        let running = view.state.operation(phase).map(|run| run.request);
        running.or_else(|| super::last_ended(view.state, phase))
    };
    view.state.requests.get(&event.body.request().or_else(of_phase)?)
}
