//! Why a command was not done: what, why, and what to do next, with the code.

mod machine;

use journal::{
    Direction, Finding, Operation, PhaseName, PhaseStatus, PlanHash, Position, Refusal, RequestStatus, Role,
    Timestamp, approvers,
};

use super::{
    World, able, commit, holder, instant, list, moment, named, possible_lines, resting, standing, still,
    unconfirmed, waiting,
};
use crate::language::{Command, nearest};
use machine::{of_executors, of_the_publisher};

/// The sentence for a refusal of a command, or of something that no person said.
#[must_use]
pub fn refusal(refusal: &Refusal, command: Option<&Command>, world: World<'_>) -> String {
    format!("{} ({})", Told { world, command }.sentence(refusal), refusal.code())
}

struct Told<'w> {
    world: World<'w>,
    command: Option<&'w Command>,
}

impl Told<'_> {
    #[expect(clippy::too_many_lines, reason = "a table: one sentence a refusal")]
    fn sentence(&self, refusal: &Refusal) -> String {
        match refusal {
            Refusal::NoPlan => "No plan was adopted yet, so there is nothing to command. `switchyard serve --plan FILE` \
                 adopts the file."
                .to_owned(),
            Refusal::BadPlan(problems) => {
                format!("The plan is wrong, nothing was adopted:\n{problems}\nCorrect the file and adopt it again.")
            }
            Refusal::OtherMigration => format!(
                "The journal belongs to the migration {}, and this plan is another's. Give this migration a journal \
                 of its own ([journal] url), or use the right plan.",
                self.world.state.migration.as_ref().map_or("?", |name| name.as_str()),
            ),
            Refusal::PhaseFrozen { phase } => self.frozen(phase),
            Refusal::PhasesLive { phases } => self.left_out(phases),
            Refusal::SamePlan => "This very plan is the adopted one. There is nothing to do.".to_owned(),
            Refusal::OtherPlan { current } => self.other_plan(current),
            Refusal::NoPhase { phase, known } => no_phase(phase, known),
            Refusal::UnknownPerson { person } => format!(
                "{person} is no person of the plan, so what they say does not count. Add a [[person]] to the plan and \
                 adopt it."
            ),
            Refusal::LacksRole { person, role } => self.lacks_role(person.as_str(), *role),
            Refusal::NotAPerson => {
                "Only a person of the plan can do this. Say who you are: `switchyard chat --as PERSON`.".to_owned()
            }
            Refusal::NotAnExecutor => {
                "Only an executor that holds the phase's lease can do this. Executors run in `switchyard serve`."
                    .to_owned()
            }
            Refusal::WrongStatus { operation, status } => self.wrong_status(*operation, *status),
            Refusal::Busy { operation, request } => format!(
                "{operation} (request #{request}) runs in {}, and a phase does one thing at a time. Wait for its end \
                 (`/migrate status {0}`), or undo it: `/migrate {0} abort --reason \"…\"`.",
                self.phase(Some(*request))
            ),
            Refusal::AskedAlready { request } => {
                let next = self.request(*request, |asked| waiting(self.world, asked));
                format!("Request #{request} asks for this already. {next}")
            }
            Refusal::Held { reason } => self.held(reason),
            Refusal::StreamDown { direction, finding } => self.stream_down(*direction, finding),
            Refusal::NoRequest { request } => format!("There is no request #{request}. {}", self.open_requests()),
            Refusal::RequestClosed { request } => self.closed(*request),
            Refusal::RequestExpired { request } => self.request(*request, |asked| {
                format!(
                    "Request {} expired at {}. Ask anew: `/migrate {} {}`.",
                    named(asked),
                    moment(asked.expires_at, self.world.now),
                    asked.phase,
                    asked.operation
                )
            }),
            Refusal::BindingChanged { request } => self.request(*request, |asked| {
                format!(
                    "Request {} was made for plan {}, and another plan was adopted since: no approval of it counts. \
                     Ask anew: `/migrate {} {}`.",
                    named(asked),
                    asked.plan_hash.short(),
                    asked.phase,
                    asked.operation
                )
            }),
            pull_request @ (Refusal::NotTheBot
            | Refusal::CommitNeeded { .. }
            | Refusal::OtherCommit { .. }
            | Refusal::RolesUnconfirmed { .. }
            | Refusal::Unconfirmed { .. }) => self.of_pull_requests(pull_request),
            approval @ (Refusal::RequesterExcluded
            | Refusal::AuthorExcluded
            | Refusal::SaidAlready
            | Refusal::NothingToRevoke
            | Refusal::NoApprovalNeeded { .. }
            | Refusal::NoQuorum { .. }) => self.approval(approval),
            time @ (Refusal::TooEarly { .. }
            | Refusal::OutsideWindow { .. }
            | Refusal::PhasesFirst { .. }
            | Refusal::SchedulePast { .. }
            | Refusal::ScheduleTooFar { .. }
            | Refusal::NeverInWindow { .. }
            | Refusal::BeginMissed { .. }
            | Refusal::NoTimeToBegin) => self.time(time),
            glass @ (Refusal::GlassUnreviewed { .. }
            | Refusal::GlassBroken { .. }
            | Refusal::GlassNotNeeded { .. }
            | Refusal::OwnReview { .. }
            | Refusal::ReviewTooEarly { .. }) => self.glass(glass),
            running @ (Refusal::NothingRuns { .. }
            | Refusal::InTheWindow
            | Refusal::PointOfNoReturn
            | Refusal::NotPaused
            | Refusal::PausedAlready
            | Refusal::NotBlocked
            | Refusal::NotHeld
            | Refusal::HeldAlready
            | Refusal::Undoing
            | Refusal::LossUnconfirmed { .. }
            | Refusal::TargetNotLost
            | Refusal::LossUnknown
            | Refusal::SourceNotLost
            | Refusal::ReasonNeeded
            | Refusal::ReasonTooShort { .. }) => self.running(running),
            executors @ (Refusal::StepNotDue { .. }
            | Refusal::StepOpen { .. }
            | Refusal::EffectNotOpen { .. }
            | Refusal::EffectOpen { .. }
            | Refusal::ForeignEffect { .. }
            | Refusal::OpeningUnproven { .. }
            | Refusal::OldEpoch { .. }) => of_executors(executors),
            publisher @ (Refusal::NotThePublisher
            | Refusal::CheckpointAhead { .. }
            | Refusal::CheckpointDiffers { .. }
            | Refusal::LeftNowhere) => of_the_publisher(publisher),
        }
    }

    /// What a pull request has to do with it.
    fn of_pull_requests(&self, refusal: &Refusal) -> String {
        match refusal {
            Refusal::NotTheBot => "Only the program itself tells what it saw in a pull request. Nothing has to be \
                                   said: the bot looks by itself."
                .to_owned(),
            Refusal::CommitNeeded { operation } => format!(
                "The plan lets {operation} be asked for in a pull request alone (`bind_commit`), so that it is bound to \
                 a commit. Write the same line as a comment in the pull request that carries the plan."
            ),
            Refusal::OtherCommit { request, bound } => self.request(*request, |asked| {
                format!(
                    "Request {} is bound to commit {}, and this word was said about another one, so it does not count. \
                     Look at that commit, and say `/migrate approve #{request}` if it is what you mean.",
                    named(asked),
                    commit(bound)
                )
            }),
            Refusal::RolesUnconfirmed { request } => format!(
                "Request #{request} rests on roles that come from groups, and the bot has not asked them again since the \
                 last word. It does so by itself, as soon as they answer."
            ),
            Refusal::Unconfirmed { request } => format!(
                "Request #{request} is bound to a pull request, and the bot has not looked at it again since the last \
                 word. It does so by itself, as soon as GitHub answers."
            ),
            _ => String::new(),
        }
    }

    /// What cannot begin yet, or no more.
    fn time(&self, refusal: &Refusal) -> String {
        let now = self.world.now;
        let opens = |until: &Option<Timestamp>| match until {
            Some(until) => format!("The plan's windows let it begin at {}", moment(*until, now)),
            None => "No window of the plan lets it begin within a year".to_owned(),
        };
        match refusal {
            Refusal::TooEarly { request, at } => {
                format!("Request #{request} begins at {}, by itself. Wait until then.", moment(*at, now))
            }
            Refusal::OutsideWindow { request, until } => format!(
                "{}. Request #{request} waits for that by itself; in an emergency: `/migrate break-glass #{request} \
                 --reason \"…\"`.",
                opens(until)
            ),
            Refusal::PhasesFirst { phases } => format!(
                "The plan says that {} must be on the target before this phase is cut over. Cut over {} first: `/migrate \
                 {} cutover`.",
                list(phases),
                list(phases.first()),
                phases.first().map_or("PHASE", PhaseName::as_str)
            ),
            Refusal::SchedulePast { at } => format!(
                "{} is past: it is {} now. Ask for a later time, or without --at for now.",
                instant(*at),
                instant(now)
            ),
            Refusal::ScheduleTooFar { latest } => format!(
                "Nothing is scheduled for more than a year ahead. Ask for a time before {}, or ask later.",
                instant(*latest)
            ),
            Refusal::NeverInWindow { not_after, until } => format!(
                "It would have to begin before {}, and no window opens by then. {}. Ask for a time inside a window, or \
                 without --at and --within, which waits for the next.",
                moment(*not_after, now),
                opens(until)
            ),
            Refusal::BeginMissed { request } => self.request(*request, |asked| {
                format!(
                    "Request {} had to begin by {} and did not. Ask anew: `/migrate {} {}`.",
                    named(asked),
                    asked.not_after.map_or_else(|| "its last moment".to_owned(), |last| moment(last, now)),
                    asked.phase,
                    asked.operation
                )
            }),
            Refusal::NoTimeToBegin => {
                "`--within` of no time leaves no moment to begin at. Say how late it may begin: `--within 30m`.".to_owned()
            }
            _ => String::new(),
        }
    }

    fn glass(&self, refusal: &Refusal) -> String {
        match refusal {
            Refusal::GlassUnreviewed { request } => self.request(*request, |asked| {
                let who = asked.glass.as_ref().map_or("somebody", |glass| glass.person.as_str());
                format!(
                    "Request {} ran under broken glass of {who}, and nobody has reviewed it. Until somebody else does, nothing \
                     begins in {} but a failback: `/migrate approve #{request}`, or `/migrate deny #{request} --reason \"…\"`.",
                    named(asked),
                    asked.phase
                )
            }),
            Refusal::GlassBroken { request } => format!(
                "The glass of request #{request} is broken already: it has its quorum. See `/migrate status {}`.",
                self.phase(Some(*request))
            ),
            Refusal::GlassNotNeeded { request } => self.request(*request, |asked| {
                format!("Request #{request} can do without it. {}", waiting(self.world, asked))
            }),
            Refusal::OwnReview { request } => format!(
                "You broke the glass of request #{request} yourself, and only another person can review that. Ask {}.",
                self.request(*request, |asked| {
                    let broke = asked.glass.as_ref().map(|glass| glass.person.clone());
                    self.plan(|plan| {
                        let role = plan.policy(asked.operation).role;
                        let able = plan.people.values().filter(|known| known.roles.contains(&role));
                        list(able.map(|known| known.id.clone()).filter(|id| Some(id) != broke.as_ref()))
                    })
                })
            ),
            Refusal::ReviewTooEarly { request } => format!(
                "The operation of request #{request} is not over; review it when it is (`/migrate status {0}`). While it can \
                 still be stopped: `/migrate deny #{request} --reason \"…\"`.",
                self.phase(Some(*request))
            ),
            _ => String::new(),
        }
    }

    fn approval(&self, refusal: &Refusal) -> String {
        match refusal {
            Refusal::RequesterExcluded => {
                let others = self.said_request().map_or_else(
                    || "the others".to_owned(),
                    |asked| self.request(asked, |asked| self.plan(|plan| list(able(plan, asked)))),
                );
                format!(
                    "You asked for this yourself, and the plan counts only other persons' approvals of it. Ask {others}."
                )
            }
            Refusal::AuthorExcluded => {
                "You wrote this plan, and it counts only other persons' approvals of this operation. Ask them."
                    .to_owned()
            }
            Refusal::SaidAlready => {
                let next = self.said_request().map_or_else(String::new, |asked| {
                    self.request(asked, |asked| waiting(self.world, asked))
                });
                format!("You approved this already, and a person counts once, from whatever account. {next}")
                    .trim_end()
                    .to_owned()
            }
            Refusal::NothingToRevoke => {
                let who = self.said_request().map_or_else(String::new, |asked| {
                    self.request(asked, |asked| {
                        format!(" Approved by: {}.", self.plan(|plan| list(approvers(plan, asked))))
                    })
                });
                format!(
                    "There is no approval of yours to take back.{who} To stop it all the same, deny it: \
                     `/migrate deny #{} --reason \"…\"`.",
                    self.said_request().map_or_else(|| "N".to_owned(), |asked| asked.to_string())
                )
            }
            Refusal::NoApprovalNeeded { request } => {
                format!("Request #{request} needs no approval: it begins as soon as an executor is free.")
            }
            Refusal::NoQuorum { have, need } => format!(
                "There are {have} of {need} approvals that count. The others were revoked or denied, or their persons \
                 no longer have the role. Have it approved again: `/migrate approve #N`."
            ),
            _ => String::new(),
        }
    }

    fn running(&self, refusal: &Refusal) -> String {
        let phase = self.phase(None);
        match refusal {
            Refusal::NothingRuns { phase } => {
                let status =
                    self.world.state.phases.get(phase).map_or(PhaseStatus::New, |phase| phase.status);
                format!(
                    "No operation runs in {phase}: it is {}. From here: {}.",
                    resting(status),
                    possible_lines(phase, status)
                )
            }
            Refusal::InTheWindow => {
                let at = self
                    .said_phase()
                    .and_then(|phase| self.world.state.operation(&phase))
                    .and_then(|run| run.stopped.as_ref())
                    .map(|(_, undo)| format!(" (its time is over at {})", instant(undo.at)))
                    .unwrap_or_default();
                format!(
                    "The application's traffic is stopped: a pause would only make the downtime longer. Let it \
                     end{at}, or undo it now: `/migrate {phase} abort --reason \"…\"`."
                )
            }
            Refusal::PointOfNoReturn if self.gives_the_target_up() => format!(
                "The loss was confirmed, and there is no target to return to: it is carried through until the source is \
                 open. What blocks it is told by `/migrate status {phase}`; see to that, then say `/migrate {phase} retry`."
            ),
            Refusal::PointOfNoReturn => format!(
                "The point of no return is passed: nothing is undone any more. Wait until the operation has ended \
                 (`/migrate status {phase}`); after a cutover `/migrate {phase} failback` leads back."
            ),
            Refusal::NotPaused => format!("{phase} is not paused. See `/migrate status {phase}`."),
            Refusal::PausedAlready => {
                format!("{phase} is paused already. To let it go on: `/migrate {phase} resume`.")
            }
            Refusal::NotBlocked => format!(
                "No step is blocked in {phase}, so there is nothing to try again. See `/migrate status {phase}`."
            ),
            Refusal::NotHeld => "No hold stands here. A hold of one phase is released by that phase's name: \
                 `/migrate release PHASE`; see `/migrate status`."
                .to_owned(),
            Refusal::HeldAlready => {
                let reason = match self.said_phase() {
                    Some(phase) => self.world.state.phases.get(&phase).and_then(|phase| phase.hold.as_ref()),
                    None => self.world.state.hold.as_ref(),
                };
                let reason = reason.map_or("", |hold| hold.reason.as_str());
                format!("It is held already: “{reason}”. To end that: `{}`.", self.release_line())
            }
            Refusal::Undoing => format!(
                "The operation is being undone already, newest first. Wait until it is: `/migrate status {phase}`."
            ),
            Refusal::LossUnconfirmed { loss, given } => {
                unconfirmed(&phase, loss, given.as_deref(), self.world.now)
            }
            Refusal::TargetNotLost => format!(
                "The target is not lost: the failback stream is not down. `/migrate {phase} failback` leads back without a \
                 loss. Should the target die, this can be said once its stream is known to be broken, some seconds later; \
                 where a side came back on another timeline, say `/migrate {phase} verify` first."
            ),
            Refusal::SourceNotLost => format!(
                "The source is not known to be lost: the stream back to it is not down. `/migrate {phase} complete` ends the move \
                 and leaves nothing behind. Should the source die, this can be said once its stream is known to be broken, some \
                 seconds later."
            ),
            Refusal::LossUnknown => format!(
                "The failback stream is down, and how far it had come is not known, since the source did not say so when it \
                 went down. The source has to answer before it can be opened: see that it does, restart `switchyard serve`, \
                 and see `/migrate status {phase}`."
            ),
            Refusal::ReasonNeeded => match self.command {
                Some(command) => {
                    format!("Say why, for those who read the journal: `{command} --reason \"…\"`.")
                }
                None => "Say why, for those who read the journal: `--reason \"…\"`.".to_owned(),
            },
            Refusal::ReasonTooShort { least } => format!(
                "Say in {least} characters or more why: everybody is told, and another person reviews it by that. Nothing was done."
            ),
            _ => String::new(),
        }
    }

    fn plan(&self, tell: impl Fn(&journal::Plan) -> String) -> String {
        self.world.state.plan.as_ref().map_or_else(String::new, |(plan, _)| tell(plan))
    }

    fn gives_the_target_up(&self) -> bool {
        let run =
            self.said_phase().and_then(|phase| self.world.state.operation(&phase).map(|run| run.operation));
        run == Some(journal::Operation::FailbackTargetLost)
    }

    fn said_phase(&self) -> Option<PhaseName> {
        self.command?.phase(self.world.state)
    }

    const fn said_request(&self) -> Option<Position> {
        match self.command {
            Some(
                Command::Approve { request, .. }
                | Command::Deny { request, .. }
                | Command::BreakGlass { request, .. }
                | Command::Revoke { request },
            ) => Some(*request),
            _ => None,
        }
    }

    fn phase(&self, request: Option<Position>) -> String {
        let of_request = || Some(self.world.state.requests.get(&request?)?.phase.clone());
        self.said_phase().or_else(of_request).map_or_else(|| "PHASE".to_owned(), |phase| phase.to_string())
    }

    fn request(&self, number: Position, tell: impl Fn(&journal::Request) -> String) -> String {
        self.world
            .state
            .requests
            .get(&number)
            .map_or_else(|| format!("Request #{number} is not known. See `/migrate status`."), tell)
    }

    fn frozen(&self, phase: &PhaseName) -> String {
        let running = self.world.state.operation(phase).map_or_else(
            || "an operation".to_owned(),
            |run| format!("its {} (request #{})", run.operation, run.request),
        );
        format!(
            "This plan changes {phase}, and {running} runs by the plan it began with. Wait until it has ended \
             (`/migrate status {phase}`), or abort it; then adopt the plan again."
        )
    }

    fn left_out(&self, phases: &[PhaseName]) -> String {
        let phases: Vec<String> = phases.iter().map(|phase| still(self.world.state, phase)).collect();
        format!(
            "This plan leaves out what is live: {}. Nobody would serve it any more: its streams would stop, and what they \
             have not read would fill a server's disk. Leave it in the plan, or let it end first: `retire` where the \
             source is the writer, `complete` where the target is; then adopt the plan again.",
            phases.join("; ")
        )
    }

    fn other_plan(&self, current: &PlanHash) -> String {
        let again = match self.command {
            Some(Command::Request { phase, operation, .. }) => {
                format!("`/migrate {phase} {operation} --plan {}`", current.short())
            }
            _ => format!("--plan {}", current.short()),
        };
        format!(
            "The plan is not the one you named: its hash is {} now. Look at it (`/migrate plan {}`), then say: {again}.",
            current.short(),
            self.phase(None)
        )
    }

    fn lacks_role(&self, person: &str, role: Role) -> String {
        let (word, may) = match role {
            Role::Operator => ("operator", "ask for operations, pause, abort, hold"),
            Role::Approver => ("approver", "approve or deny this"),
        };
        let others = self.plan(|plan| {
            let may = plan.people.values().filter(|known| plan.may_have_role(known, role));
            list(may.filter(|known| known.id.as_str() != person).map(|known| holder(plan, known, role)))
        });
        format!("{person} does not have the role {word}, and only an {word} may {may}. Ask {others}.")
    }

    fn wrong_status(&self, operation: Operation, status: PhaseStatus) -> String {
        match self.said_phase() {
            Some(phase) => format!(
                "{operation} cannot begin: {phase} is {}. From here: {}.",
                resting(status),
                possible_lines(&phase, status)
            ),
            None => format!("{operation} cannot begin: the phase is {}.", resting(status)),
        }
    }

    fn stream_down(&self, direction: Direction, finding: &Finding) -> String {
        format!(
            "This cannot begin while the {direction} stream is down: {finding} See `/migrate status {}`.",
            self.phase(None)
        )
    }

    fn held(&self, reason: &str) -> String {
        let whole = self.world.state.hold.as_ref().is_some_and(|hold| hold.reason == reason);
        let line = match self.said_phase() {
            Some(phase) if !whole => format!("/migrate release {phase}"),
            _ => "/migrate release".to_owned(),
        };
        let breached = self.said_phase().and_then(|phase| self.world.state.phases.get(&phase));
        if breached.is_some_and(|phase| phase.breaches.iter().any(|breach| !breach.is_acknowledged)) {
            let phase = self.phase(None);
            return format!(
                "No operation but verify begins now: “{reason}”. Find out who wrote there, compare both sides with \
                 `/migrate {phase} verify`, which a hold lets pass, and when they are equal: `{line}`."
            );
        }
        format!(
            "No operation but verify begins now, somebody holds it: “{reason}”. When that is over: `{line}`."
        )
    }

    fn release_line(&self) -> String {
        match self.said_phase() {
            Some(phase) => format!("/migrate release {phase}"),
            None => "/migrate release".to_owned(),
        }
    }

    fn open_requests(&self) -> String {
        let open: Vec<String> = self
            .world
            .state
            .requests
            .values()
            .filter(|asked| asked.status == RequestStatus::Open)
            .map(named)
            .collect();
        if open.is_empty() { "No request is open.".to_owned() } else { format!("Open: {}.", open.join(", ")) }
    }

    fn closed(&self, request: Position) -> String {
        self.request(request, |asked| {
            let next = match asked.status {
                RequestStatus::Running | RequestStatus::Consumed => {
                    format!("See `/migrate status {}`.", asked.phase)
                }
                RequestStatus::Open | RequestStatus::Finished(_) | RequestStatus::Void(_) => {
                    format!("Ask anew if it is still wanted: `/migrate {} {}`.", asked.phase, asked.operation)
                }
            };
            format!("Request {} is not open: {}. {next}", named(asked), standing(asked))
        })
    }
}

/// A phase that was asked for by its name and has no events.
pub fn no_phase_in_the_journal(phase: &PhaseName, known: &[PhaseName]) -> String {
    if known.is_empty() {
        return format!("The journal knows no phase {phase}, since no plan was adopted yet.");
    }
    unknown_phase("The journal knows", phase, "It knows", known)
}

fn no_phase(phase: &PhaseName, known: &[PhaseName]) -> String {
    unknown_phase("The plan has", phase, "Its phases", known)
}

fn unknown_phase(who: &str, phase: &PhaseName, others: &str, known: &[PhaseName]) -> String {
    let near = nearest(phase.as_str(), known.iter().map(|each| (each, each.as_str())));
    let guess = near.map_or_else(String::new, |near| format!(" Did you mean {near}?"));
    format!("{who} no phase {phase}.{guess} {others}: {}.", list(known))
}
