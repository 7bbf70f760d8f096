//! The rules of requests that were asked for in a pull request: each test is named as its rule in `docs/rules.md`.

use crate::support::{Journal, PLAN, executor, person, phase};
use journal::plan::Platform;
use journal::*;

const HEAD: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c";
const PUSHED: &str = "ffffffffffffffffffffffffffffffffffffffff";

fn from(head: &str) -> Origin {
    Origin {
        platform: Platform::Github,
        account: "583231".to_owned(),
        place: "acme/shop#7".to_owned(),
        message: Some("99".to_owned()),
        bound: Some(Bound {
            repository: "acme/shop".to_owned(),
            pull_request: "7".to_owned(),
            head: head.to_owned(),
        }),
        groups: Vec::new(),
    }
}

fn said(journal: &mut Journal, who: &str, body: CommandBody, head: &str) -> Result<Position, Refusal> {
    let command = Command { origin: Some(from(head)), ..Command::new(person(who), body) };
    Ok(journal.give_from(command)?.last().unwrap().envelope.position)
}

fn cutover() -> CommandBody {
    CommandBody::Request { phase: phase(), operation: Operation::Cutover, options: RequestOptions::default() }
}

/// A cutover that was asked for and approved twice in a pull request.
fn approved() -> (Journal, Position) {
    let mut journal = Journal::under(PLAN);
    journal.live(Operation::Start);
    let request = said(&mut journal, "ana", cutover(), HEAD).unwrap();
    said(&mut journal, "ana", CommandBody::Approve { request, reason: None }, HEAD).unwrap();
    said(&mut journal, "ben", CommandBody::Approve { request, reason: None }, HEAD).unwrap();
    (journal, request)
}

fn seen(journal: &mut Journal, request: Position, seen: SeenBinding) -> usize {
    journal.give(Actor::Operator, CommandBody::ReportBinding { request, seen }).unwrap().len()
}

fn stands() -> SeenBinding {
    SeenBinding::Stands { head: HEAD.to_owned() }
}

fn begin(journal: &mut Journal, request: Position) -> Result<(), Refusal> {
    journal.give(executor(), CommandBody::Begin { phase: phase(), request }).map(drop)
}

fn status(journal: &Journal, request: Position) -> &RequestStatus {
    &journal.state.requests[&request].status
}

#[test]
fn a_bound_request_begins_only_after_a_second_look_at_its_pull_request() {
    let (mut journal, request) = approved();
    assert_eq!(journal.due(), Due::Idle);
    assert_eq!(begin(&mut journal, request), Err(Refusal::Unconfirmed { request }));
    assert_eq!(seen(&mut journal, request, stands()), 1);
    assert_eq!(seen(&mut journal, request, stands()), 0, "what is known is not said again");
    assert_eq!(journal.due(), Due::Begin(request));
    begin(&mut journal, request).unwrap();
}

#[test]
fn a_second_look_counts_for_a_minute_and_not_for_later_words() {
    let (mut journal, request) = approved();
    seen(&mut journal, request, stands());
    journal.wait(61);
    assert_eq!(begin(&mut journal, request), Err(Refusal::Unconfirmed { request }));
    seen(&mut journal, request, stands());
    journal.revoke("ben", request).unwrap();
    journal.approve("ben", request).unwrap();
    assert_eq!(begin(&mut journal, request), Err(Refusal::Unconfirmed { request }));
    assert_eq!(seen(&mut journal, request, stands()), 1);
    begin(&mut journal, request).unwrap();
}

#[test]
fn a_push_a_close_and_another_plan_at_the_head_void_a_bound_request() {
    let moved = VoidReason::CommitMoved { head: PUSHED.to_owned() };
    for (report, reason) in [
        (SeenBinding::Moved { head: PUSHED.to_owned() }, moved.clone()),
        (SeenBinding::Stands { head: PUSHED.to_owned() }, moved),
        (SeenBinding::Closed, VoidReason::PullRequestClosed),
        (SeenBinding::OtherPlan, VoidReason::OtherPlanAtHead),
    ] {
        let (mut journal, request) = approved();
        assert_eq!(seen(&mut journal, request, report.clone()), 1);
        assert_eq!(*status(&journal, request), RequestStatus::Void(reason));
        assert_eq!(seen(&mut journal, request, report), 0, "it is said once");
        // The old commit put back does not bring it back.
        assert_eq!(seen(&mut journal, request, stands()), 0);
        assert_eq!(begin(&mut journal, request), Err(Refusal::RequestClosed { request }));
    }
}

#[test]
fn a_push_after_the_beginning_changes_nothing() {
    let (mut journal, request) = approved();
    seen(&mut journal, request, stands());
    begin(&mut journal, request).unwrap();
    assert_eq!(seen(&mut journal, request, SeenBinding::Moved { head: PUSHED.to_owned() }), 0);
    assert_eq!(*status(&journal, request), RequestStatus::Running);
}

#[test]
fn an_approval_at_another_commit_does_not_count() {
    let (mut journal, request) = approved();
    journal.revoke("ben", request).unwrap();
    let late = said(&mut journal, "ben", CommandBody::Approve { request, reason: None }, PUSHED);
    assert_eq!(late, Err(Refusal::OtherCommit { request, bound: HEAD.to_owned() }));
    // A word from elsewhere is about the request, which names its commit.
    journal.approve("ben", request).unwrap();
}

#[test]
fn a_request_from_elsewhere_is_bound_to_no_commit() {
    let mut journal = Journal::under(PLAN);
    journal.live(Operation::Start);
    let request = journal.ask("ana", Operation::Cutover).unwrap();
    journal.approve("ana", request).unwrap();
    journal.approve("ben", request).unwrap();
    assert_eq!(journal.due(), Due::Begin(request));
    assert_eq!(seen(&mut journal, request, SeenBinding::Closed), 0);
}

#[test]
fn a_plan_may_let_an_operation_be_asked_for_in_a_pull_request_alone() {
    let bound = PLAN.replace("[[phase]]", "[approvals.cutover]\nbind_commit = true\n[[phase]]");
    let mut journal = Journal::under(&bound);
    journal.live(Operation::Start);
    let refused = Refusal::CommitNeeded { operation: Operation::Cutover };
    assert_eq!(journal.ask("ana", Operation::Cutover), Err(refused));
    said(&mut journal, "ana", cutover(), HEAD).unwrap();
}

#[test]
fn the_plans_author_may_be_excluded() {
    let text = PLAN.replace(
        "[[phase]]",
        "[approvals.cutover]\nexclude_author = true\n[[person]]\nid = \"dee\"\nroles = [\"approver\"]\n[[phase]]",
    );
    let authors = vec![PersonId::new("ben").unwrap()];
    let mut journal = Journal::default();
    journal.give(Actor::Operator, CommandBody::AdoptPlan { text, authors }).unwrap();
    journal.live(Operation::Start);
    let request = journal.ask("ana", Operation::Cutover).unwrap();
    journal.approve("ana", request).unwrap();
    assert_eq!(journal.approve("ben", request), Err(Refusal::AuthorExcluded));
    journal.approve("dee", request).unwrap();
    assert_eq!(journal.due(), Due::Begin(request));
}

#[test]
fn only_the_program_itself_tells_what_it_saw() {
    let (mut journal, request) = approved();
    let report = CommandBody::ReportBinding { request, seen: stands() };
    assert_eq!(journal.give(person("ana"), report.clone()).unwrap_err(), Refusal::NotTheBot);
    assert_eq!(journal.give(executor(), report).unwrap_err(), Refusal::NotTheBot);
}
