//! The rules of roles that come from groups: each test is named as its rule in `docs/rules.md`.

use crate::support::{Journal, PLAN, executor, person, phase};
use journal::plan::Platform;
use journal::*;

/// Eve approves and fay asks by a team, dan has no account that it could hold.
fn plan() -> String {
    let more = "[[person]]\nid = \"eve\"\ngithub = 5\n[[person]]\nid = \"fay\"\ngithub = 6\n[[person]]\nid = \"dan\"\nroles = [\"operator\"]\n\
                [[group]]\nrole = \"approver\"\ngithub_team = \"acme/dba\"\ngithub_team_id = 71\n\
                [[group]]\nrole = \"operator\"\ngithub_team = \"acme/ops\"\ngithub_team_id = 72\n[[phase]]";
    PLAN.replacen("[[phase]]", more, 1)
}

fn in_team(team: &str, account: &str) -> Membership {
    Membership { platform: Platform::Github, group: team.to_owned(), account: account.to_owned() }
}

fn said(
    journal: &mut Journal,
    who: &str,
    body: CommandBody,
    groups: &[Membership],
) -> Result<Position, Refusal> {
    let origin = Origin {
        platform: Platform::Github,
        account: "0".to_owned(),
        place: "acme/shop#7".to_owned(),
        message: None,
        bound: None,
        groups: groups.to_vec(),
    };
    let command = Command { origin: Some(origin), ..Command::new(person(who), body) };
    Ok(journal.give_from(command)?.last().unwrap().envelope.position)
}

fn cutover() -> CommandBody {
    CommandBody::Request { phase: phase(), operation: Operation::Cutover, options: RequestOptions::default() }
}

fn approve(request: Position) -> CommandBody {
    CommandBody::Approve { request, reason: None }
}

fn report(journal: &mut Journal, request: Position, lost: &[Membership]) -> Vec<Fact> {
    let body = CommandBody::ReportRoles { request, lost: lost.to_vec() };
    journal.give(Actor::Operator, body).unwrap().into_iter().map(|event| event.body).collect()
}

fn begin(journal: &mut Journal, request: Position) -> Result<(), Refusal> {
    journal.give(executor(), CommandBody::Begin { phase: phase(), request }).map(drop)
}

fn lacks(who: &str, role: Role) -> Result<Position, Refusal> {
    Err(Refusal::LacksRole { person: PersonId::new(who).unwrap(), role })
}

/// Asked for by ana, who needs no group, and approved by her and by eve, who needs one.
fn approved() -> (Journal, Position) {
    let mut journal = Journal::under(&plan());
    journal.live(Operation::Start);
    let request = said(&mut journal, "ana", cutover(), &[]).unwrap();
    said(&mut journal, "ana", approve(request), &[]).unwrap();
    said(&mut journal, "eve", approve(request), &[in_team("71", "5")]).unwrap();
    (journal, request)
}

#[test]
fn a_group_gives_its_role_to_a_person_whose_own_account_was_seen_in_it() {
    let mut journal = Journal::under(&plan());
    journal.live(Operation::Start);
    let request = said(&mut journal, "fay", cutover(), &[in_team("72", "6")]).unwrap();
    for groups in [
        vec![],
        // Another's account, another role's group, a group of another platform.
        vec![in_team("71", "6")],
        vec![in_team("72", "5")],
        vec![Membership { platform: Platform::Slack, ..in_team("71", "5") }],
    ] {
        assert_eq!(said(&mut journal, "eve", approve(request), &groups), lacks("eve", Role::Approver));
    }
    assert_eq!(
        said(&mut journal, "dan", approve(request), &[in_team("71", "5")]),
        lacks("dan", Role::Approver)
    );
    assert_eq!(said(&mut journal, "eve", cutover(), &[in_team("71", "5")]), lacks("eve", Role::Operator));
    said(&mut journal, "eve", approve(request), &[in_team("71", "5")]).unwrap();
}

#[test]
fn what_rests_on_a_group_begins_only_after_a_second_look_at_it() {
    let (mut journal, request) = approved();
    assert_eq!(begin(&mut journal, request), Err(Refusal::RolesUnconfirmed { request }));
    assert_eq!(report(&mut journal, request, &[]).len(), 1);
    // A look that is young is not written twice, and one that is older than a minute counts no more.
    assert_eq!(report(&mut journal, request, &[]).len(), 0);
    journal.wait(61);
    assert_eq!(begin(&mut journal, request), Err(Refusal::RolesUnconfirmed { request }));
    report(&mut journal, request, &[]);
    begin(&mut journal, request).unwrap();
    let report = CommandBody::ReportRoles { request, lost: Vec::new() };
    assert_eq!(journal.give(executor(), report.clone()), Err(Refusal::NotTheBot));
    assert_eq!(journal.give(person("ana"), report), Err(Refusal::NotTheBot));
}

#[test]
fn what_rests_on_no_group_needs_no_look_at_one() {
    let mut journal = Journal::under(&plan());
    journal.live(Operation::Start);
    let request = said(&mut journal, "ana", cutover(), &[]).unwrap();
    said(&mut journal, "ana", approve(request), &[]).unwrap();
    said(&mut journal, "ben", approve(request), &[in_team("71", "5")]).unwrap();
    begin(&mut journal, request).unwrap();
}

#[test]
fn who_left_a_group_before_the_beginning_has_said_nothing() {
    let (mut journal, request) = approved();
    // Of what no word rests on nothing is lost.
    assert!(
        matches!(&report(&mut journal, request, &[in_team("72", "6")])[..], [Fact::RolesConfirmed { lost, .. }] if lost.is_empty())
    );
    let gone = in_team("71", "5");
    report(&mut journal, request, std::slice::from_ref(&gone));
    assert_eq!(begin(&mut journal, request), Err(Refusal::NoQuorum { have: 1, need: 2 }));
    // Back again, the person may say it again.
    said(&mut journal, "eve", approve(request), &[gone]).unwrap();
    report(&mut journal, request, &[]);
    begin(&mut journal, request).unwrap();
}

#[test]
fn who_asked_by_a_group_and_left_it_has_asked_for_nothing() {
    let mut journal = Journal::under(&plan());
    journal.live(Operation::Start);
    let request = said(&mut journal, "fay", cutover(), &[in_team("72", "6")]).unwrap();
    for who in ["ana", "ben"] {
        said(&mut journal, who, approve(request), &[]).unwrap();
    }
    assert_eq!(begin(&mut journal, request), Err(Refusal::RolesUnconfirmed { request }));
    report(&mut journal, request, &[in_team("72", "6")]);
    let left = VoidReason::RoleLost { person: PersonId::new("fay").unwrap() };
    assert_eq!(journal.state.requests[&request].status, RequestStatus::Void(left));
}

#[test]
fn a_person_who_leaves_a_group_after_the_beginning_changes_nothing() {
    let (mut journal, request) = approved();
    report(&mut journal, request, &[]);
    begin(&mut journal, request).unwrap();
    assert_eq!(report(&mut journal, request, &[in_team("71", "5")]), []);
}
