//! What GitHub shows of operations: a living comment where it was asked for, a check run at the commit that it is bound
//! to, and a deployment in the environment that is named after the phase.

use std::fmt::Write as _;
use std::time::Duration;

use journal::plan::Platform;
use journal_store::Draft;
use serde::Serialize;

use super::desk::once;
use super::send::{Deployed, Run, Shown, Superseded, Target, Told};
use crate::arrival::Place;
use crate::board::{Audience, Card, LEAST_BETWEEN_EDITS, Notice, Stage, URGENT};

/// Between two states of an operation that only goes on. GitHub wants no more than five hundred changes an hour from an
/// App, and an operation shows itself in three places.
const WHILE_RUNNING: Duration = Duration::from_secs(15);

/// GitHub's readers.
#[derive(Debug, Clone, Copy, Default)]
pub struct GithubAudience;

/// Where an operation was asked for, if that is a pull request.
const fn pull(place: Option<&Place>) -> Option<(&Place, u64)> {
    match place {
        Some(place) => match place {
            Place::PullRequest { number, .. } => Some((place, *number)),
            Place::SlackChannel { .. } | Place::SlackHome { .. } | Place::DiscordChannel { .. } => None,
        },
        None => None,
    }
}

fn draft(target: &Target, key: String, body: impl Serialize) -> Draft {
    Draft {
        platform: Platform::Github,
        destination: serde_json::to_string(target).unwrap_or_default(),
        living: Some(key),
        priority: 0,
        body: serde_json::to_value(body).unwrap_or_default(),
        wait: Duration::ZERO,
    }
}

/// How long a state may wait for a newer one.
const fn pace(stage: Stage) -> Duration {
    match stage {
        Stage::Completed | Stage::Undone | Stage::Replaced | Stage::Void | Stage::Blocked => Duration::ZERO,
        Stage::Asking | Stage::Waiting => LEAST_BETWEEN_EDITS,
        Stage::Running | Stage::Undoing => WHILE_RUNNING,
    }
}

fn comment(card: &Card, place: &Place) -> Draft {
    let told = Told { text: card.text.clone(), phase: Some(card.phase.clone()), markdown: None };
    Draft {
        body: serde_json::to_value(told).unwrap_or_default(),
        wait: pace(card.stage),
        ..once(place, &card.key(), String::new())
    }
}

fn check(card: &Card, head: &str, number: u64) -> Draft {
    let (status, conclusion) = match card.stage {
        Stage::Asking | Stage::Waiting => ("queued", None),
        Stage::Running | Stage::Blocked | Stage::Undoing => ("in_progress", None),
        Stage::Completed => ("completed", Some("success")),
        Stage::Undone | Stage::Replaced => ("completed", Some("failure")),
        Stage::Void => ("completed", Some("cancelled")),
    };
    let mut evidence = String::new();
    for (step, done, seen) in &card.evidence {
        let _written = writeln!(evidence, "{step}: {done}  {seen}");
    }
    let run = Run {
        name: format!("{} {} #{}", card.phase, card.operation, card.request),
        shown: Shown { request: card.request, plan: card.plan.chars().take(8).collect(), number },
        status: status.to_owned(),
        conclusion: conclusion.map(str::to_owned),
        title: card.headline.clone(),
        summary: summary(card),
        text: evidence,
        asks: card.asks.as_ref().map(|asks| asks.request),
    };
    let target = Target::Commit { head: head.to_owned() };
    Draft { wait: LEAST_BETWEEN_EDITS, ..draft(&target, format!("check:{}", card.request), run) }
}

/// What a check run says: while an operation only goes on, what changes with its steps and not with its progress.
fn summary(card: &Card) -> String {
    if matches!(card.stage, Stage::Running | Stage::Undoing) {
        card.headline.clone()
    } else {
        card.text.clone()
    }
}

/// The deployment of an operation that has begun; looking alone is none.
fn deployment(card: &Card) -> Option<Draft> {
    let state = match card.stage {
        Stage::Running | Stage::Blocked | Stage::Undoing => "in_progress",
        Stage::Completed => "success",
        Stage::Undone | Stage::Replaced => "failure",
        Stage::Asking | Stage::Waiting | Stage::Void => return None,
    };
    if card.operation == "verify" {
        return None;
    }
    let deployed = Deployed {
        request: card.request,
        operation: card.operation.to_owned(),
        plan: card.plan.clone(),
        head: card.head.clone(),
        state: state.to_owned(),
        description: card.headline.clone(),
    };
    let target = Target::Environment { phase: card.phase.clone() };
    let wait = if card.stage.is_over() { Duration::ZERO } else { LEAST_BETWEEN_EDITS };
    Some(Draft { wait, ..draft(&target, format!("deployment:{}", card.request), deployed) })
}

impl Audience for GithubAudience {
    fn platform(&self) -> Platform {
        Platform::Github
    }

    fn card(&self, card: &Card) -> Vec<Draft> {
        let mut drafts = Vec::from_iter(deployment(card));
        let Some((place, number)) = pull(card.origin.as_ref()) else { return drafts };
        drafts.push(comment(card, place));
        if let Some(head) = &card.head {
            drafts.push(check(card, head, number));
        }
        if card.stage == Stage::Running {
            let superseded = Superseded { phase: card.phase.clone(), request: card.request };
            drafts.push(draft(&Target::Older { number }, format!("older:{}", card.request), superseded));
        }
        drafts
    }

    fn notice(&self, notice: &Notice) -> Vec<Draft> {
        let Some((place, _)) = pull(notice.origin.as_ref()) else { return Vec::new() };
        vec![Draft { priority: URGENT, ..once(place, &notice.key, notice.text.clone()) }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrival::Asks;

    fn card(stage: Stage) -> Card {
        Card {
            migration: "shop".to_owned(),
            request: 41,
            phase: "region-a".to_owned(),
            operation: "cutover",
            requester: "ana".to_owned(),
            stage,
            step: Some(("drain", 4, 6)),
            plan: "12345678abcdef".to_owned(),
            head: Some("c0ffee".to_owned()),
            origin: Some(Place::PullRequest { repository: "acme/shop".to_owned(), number: 7 }),
            asks: (stage == Stage::Asking).then(|| Asks { request: 41, plan: "12345678".to_owned() }),
            headline: "Request #41 (cutover of region-a) runs: drain, 4 of 6".to_owned(),
            text: "all of it".to_owned(),
            evidence: vec![("drain".to_owned(), "drained".to_owned(), "lsn 0/1".to_owned())],
        }
    }

    fn run(stage: Stage) -> Run {
        let drafts = GithubAudience.card(&card(stage));
        let body = drafts.into_iter().find(|draft| draft.living.as_deref() == Some("check:41")).unwrap().body;
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn a_check_run_is_queued_with_buttons_then_in_progress_then_concluded() {
        let asking = run(Stage::Asking);
        assert_eq!((asking.status.as_str(), asking.asks), ("queued", Some(41)));
        assert_eq!(asking.name, "region-a cutover #41");
        let running = run(Stage::Running);
        assert_eq!((running.status.as_str(), running.conclusion, running.asks), ("in_progress", None, None));
        for (stage, conclusion) in
            [(Stage::Completed, "success"), (Stage::Undone, "failure"), (Stage::Void, "cancelled")]
        {
            assert_eq!(run(stage).conclusion.as_deref(), Some(conclusion));
        }
    }

    #[test]
    fn progress_within_a_step_changes_the_comment_alone() {
        let mut later = card(Stage::Running);
        "all of it, and more".clone_into(&mut later.text);
        let (before, after) = (GithubAudience.card(&card(Stage::Running)), GithubAudience.card(&later));
        let changed: Vec<_> =
            before.iter().zip(&after).filter(|(one, other)| one.body != other.body).collect();
        assert_eq!(changed.len(), 1);
        assert_eq!(changed[0].0.living.as_deref(), Some("request:41"));
    }

    #[test]
    fn an_operation_from_elsewhere_has_its_deployment_and_nothing_else() {
        let card = Card { origin: None, head: None, ..card(Stage::Running) };
        let drafts = GithubAudience.card(&card);
        let keys: Vec<_> = drafts.iter().filter_map(|draft| draft.living.as_deref()).collect();
        assert_eq!(keys, ["deployment:41"]);
    }

    #[test]
    fn what_was_only_asked_for_is_no_deployment() {
        for stage in [Stage::Asking, Stage::Waiting, Stage::Void] {
            assert!(deployment(&card(stage)).is_none(), "{stage:?}");
        }
        assert!(deployment(&Card { operation: "verify", ..card(Stage::Running) }).is_none());
    }
}
