//! What `switchyard people check` says.

use std::fmt::Write as _;
use std::path::Path;

use journal::plan::key;
use journal::{Operation, PersonId, PlanProblem};

use super::groups::group;
use super::plan::{block, role};
use super::{list, place};
use crate::people::{Alone, Level, Odd, OperationReport, PersonReport, Report, Unasked};

fn keys(operations: &[Operation]) -> String {
    list(operations.iter().copied().map(key))
}

const fn needs(operations: &[Operation]) -> &'static str {
    if operations.len() == 1 { "needs" } else { "need" }
}

/// One of them, or each of several.
fn who(persons: &[PersonId]) -> String {
    match persons {
        [one] => one.to_string(),
        several => format!("each of {}", list(several)),
    }
}

/// Something odd about the people of a plan, and what to do.
#[must_use]
pub fn people_odd(odd: &Odd) -> String {
    match odd {
        Odd::Unknowable(person) => format!(
            "{person} has a role and can be known nowhere: give them an account of a platform that the bot hears, or a \
             token (`switchyard token new`)"
        ),
        Odd::Unmapped(person) => format!(
            "{person} has no account on any platform that the bot hears: what they say there is nobody's word; they are \
             known at the terminal alone"
        ),
        Odd::Unheard(person, platform) => format!(
            "{person}'s account of {0} is never heard: the bot's file has no section for {0}",
            place(*platform)
        ),
        Odd::OtherTeam(person) => format!(
            "{person}'s account is of another workspace than the bot's: it is heard only where a channel is shared with it"
        ),
        Odd::OneUser(one, other) => format!(
            "{one} and {other} have one user's id under two teams: in an organisation of several workspaces that is one \
             human, who could approve as both"
        ),
        Odd::Unfilled(unfilled) => {
            format!("nobody who can be known has the role {}", role(*unfilled))
        }
        Odd::OneOperator(person) => format!(
            "{person} is the only operator: while they are away nobody else can ask, pause, resume, retry, abort or hold"
        ),
        Odd::Unasked(operations, why) => unasked(operations, *why),
        Odd::Unapproved { operations, have, need, role: with, without_requester } => {
            let mut told = format!(
                "{} {} {need} persons with the role {}, and {have} can be known",
                keys(operations),
                needs(operations),
                role(*with)
            );
            if *without_requester {
                told.push_str("; with `exclude_requester` whoever may ask for it leaves too few");
            }
            told
        }
        Odd::Alone(operations, Alone::NoApproval, persons) => format!(
            "{} {} no approval: {} begins it by asking for it",
            keys(operations),
            needs(operations),
            who(persons)
        ),
        Odd::Alone(operations, Alone::OwnApproval, persons) => format!(
            "{} {} one approval, and {} may ask for it and approve it alone: `exclude_requester = true` or `required = 2` \
             wants a second person",
            keys(operations),
            needs(operations),
            who(persons)
        ),
        Odd::NoAuthors(operations) => format!(
            "`exclude_author` of {} excludes nobody: who wrote a plan is known from pull requests alone, and the bot's file \
             has no [github]",
            keys(operations)
        ),
        Odd::AuthorsTight(operations) => format!(
            "{} {} the word of everybody who may approve: as soon as one of them has written the plan, `exclude_author` \
             leaves too few",
            keys(operations),
            needs(operations)
        ),
        Odd::NeedsBot(operations) => format!(
            "{}: `bind_commit` and `exclude_author` need a bot that hears GitHub; give --bot FILE to hold them against it",
            keys(operations)
        ),
        Odd::GlassWhole(with) => format!(
            "nobody who can be known has the role {}, which may break the glass in an emergency",
            role(*with)
        ),
        Odd::Unreviewable(operations, person) => format!(
            "if {person} broke the glass for {}, nobody else could review it, and nothing but a failback could begin in the \
             phase any more",
            keys(operations)
        ),
        Odd::GroupUnheard(one) => format!(
            "{} gives its role to nobody: the bot's file has no section for {}",
            group(one),
            place(one.platform)
        ),
        Odd::ByGroup(with, persons) => format!(
            "the role {} of {} is not known until a group is asked, when it is used; they are counted here as if they had it",
            role(*with),
            list(persons)
        ),
        Odd::Glass(persons) => format!(
            "{} may break the glass: alone, loudly, and with another's review afterwards",
            who(persons)
        ),
    }
}

fn unasked(operations: &[Operation], why: Unasked) -> String {
    let operations = keys(operations);
    match why {
        Unasked::Operator => format!("nobody can ask for {operations}: no operator can be known anywhere"),
        Unasked::Github => format!(
            "nobody can ask for {operations}: with `bind_commit` it is asked for in a pull request alone, and the bot's file \
             has no [github]"
        ),
        Unasked::GithubAccount => format!(
            "nobody can ask for {operations}: with `bind_commit` it is asked for in a pull request alone, and no operator \
             has an account of GitHub"
        ),
    }
}

const fn mark(level: Level) -> &'static str {
    match level {
        Level::Problem => "problem: ",
        Level::Warning => "warning: ",
        Level::Note => "note: ",
    }
}

fn person(told: &mut String, person: &PersonReport, width: usize) {
    let roles: Vec<&str> = person.roles.iter().map(|each| role(*each)).collect();
    let may = person.roles_by_groups.iter().map(|each| format!("{}?", role(*each)));
    let roles: Vec<String> = roles.into_iter().map(str::to_owned).chain(may).collect();
    let roles = if roles.is_empty() { "no role".to_owned() } else { roles.join(", ") };
    let known = if person.known_at.is_empty() {
        "known nowhere".to_owned()
    } else {
        format!("known at {}", person.known_at.join(", "))
    };
    let _written = writeln!(told, "{:<width$}  {roles:<18}  {known}", person.id.as_str());
}

fn operation(told: &mut String, operation: &OperationReport) {
    let approvals = match operation.required {
        0 => "no approval".to_owned(),
        some => format!(
            "{some} of {}{}",
            list(&operation.may_approve),
            if operation.exclude_requester { ", not who asked" } else { "" }
        ),
    };
    let place = if operation.bind_commit { " in a pull request" } else { "" };
    let name = key(operation.operation);
    let _written =
        writeln!(told, "{name:<20}  {approvals}; asked for by {}{place}", list(&operation.may_ask));
}

/// The people of a plan: who can be known where, who may what, and what is odd.
#[must_use]
pub fn people(file: &Path, text: &str, report: &Report) -> String {
    let mut told = String::new();
    match &report.platforms {
        Some(platforms) => {
            let _written =
                writeln!(told, "heard: the terminal, {}\n", list(platforms.iter().copied().map(place)));
        }
        None => told
            .push_str("heard: the terminal, and every platform, as far as is known without --bot FILE\n\n"),
    }
    let width = report.persons.iter().map(|person| person.id.as_str().len()).max().unwrap_or(0);
    for each in &report.persons {
        person(&mut told, each, width);
    }
    told.push('\n');
    for each in &report.operations {
        operation(&mut told, each);
    }
    told.push('\n');
    for finding in &report.findings {
        let problem = PlanProblem {
            line: finding.line,
            column: finding.column,
            what: finding.what.clone(),
            suggestion: None,
        };
        told.push_str(&block(file, text, &problem, mark(finding.level)));
    }
    let count = |level| report.findings.iter().filter(|finding| finding.level == level).count();
    let counted =
        |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let _written = write!(
        told,
        "{}: {}, {}, {}.",
        file.display(),
        counted(report.persons.len(), "person"),
        counted(count(Level::Problem), "problem"),
        counted(count(Level::Warning), "warning")
    );
    told
}
