//! What a person says becomes what the journal is asked; what the journal answers becomes what the person reads.
//!
//! A text may hold several commands. They are done in their order, each under an id made from the one that the caller
//! gave to the text before its first try, so that a repeated text does nothing twice. The first that is refused stops
//! the rest.

use std::collections::BTreeMap;
use std::sync::Arc;

use journal::{
    Actor, Command as JournalCommand, CommandBody, CommandId, Group, Origin, PersonId, PhaseName, Position,
    Refusal, Role, State, merkle,
};
use journal_store::{BEHIND, ExecuteError, Store, StoreError, each_event, each_stored};

use crate::groups::{Groups, Seen};
use crate::language::{Command, Dialect, Heard, read};
use crate::metrics;
use crate::preflight::Preflight;
use crate::proof::Proof;
use crate::status::Report;
use crate::words::{self, Narrator, World};

/// How many lines of a phase's history are told.
const HISTORY: usize = 40;

/// What a person says, somewhere.
#[derive(Debug, Clone)]
pub struct Utterance<'u> {
    /// Who, known to be who they are.
    pub person: &'u PersonId,
    /// The caller's name of it, made before the first try: a repeat under it does nothing twice.
    pub id: &'u str,
    /// The text.
    pub text: &'u str,
    /// What it is written in.
    pub dialect: Dialect,
    /// Where it was said; none for a terminal.
    pub origin: Option<Origin>,
}

/// The answer to a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Whether everything was done.
    pub ok: bool,
    /// What a person reads.
    pub text: String,
    /// The code of what was refused.
    pub code: Option<String>,
    /// The operation that the last command was about, for those who want to follow it, also where it needed nothing more.
    pub follow: Option<Follow>,
    /// The request that the text made, if it said nothing else: the reply is where its operation shows itself.
    pub made: Option<Position>,
}

/// An operation to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follow {
    /// Its request.
    pub request: Position,
    /// Whether its undo is what was asked for.
    pub wants_undo: bool,
    /// The last event that the reply has told.
    pub after: Position,
}

/// Why a command was not done.
#[derive(Debug)]
struct No {
    text: String,
    code: String,
}

impl No {
    fn refused(refusal: &Refusal, command: &Command, world: World<'_>) -> Self {
        let text = words::refusal(refusal, Some(command), world);
        Self { text: words::aloud(text, command, world), code: refusal.code() }
    }
}

impl From<StoreError> for No {
    fn from(error: StoreError) -> Self {
        Self { text: words::store_failed(&error), code: words::STORE_FAILED.to_owned() }
    }
}

/// A command that was done.
#[derive(Debug)]
struct Yes {
    text: String,
    follow: Option<Follow>,
    made: Option<Position>,
}

/// Counts a command and what came of it.
fn measured(utterance: &Utterance<'_>, command: Option<&Command>, no: Option<&No>) {
    let platform = utterance.origin.as_ref().map_or("terminal", |origin| metrics::word(origin.platform));
    let outcome = match (command, no) {
        (_, None) => "done",
        (_, Some(no)) if no.code == words::STORE_FAILED => "failed",
        (None, Some(_)) => "misread",
        (Some(_), Some(_)) => "refused",
    };
    let verb = command.map_or("none", |command| command.verb().word());
    metrics::count(&metrics::names::COMMANDS, &[platform, verb, outcome]);
}

/// Executes what people say.
#[derive(Debug, Clone)]
pub struct Conversation {
    store: Arc<dyn Store>,
    proof: Option<Proof>,
    groups: Option<Arc<Groups>>,
    preflight: Option<Arc<Preflight>>,
}

impl Conversation {
    /// A conversation about the migration of a journal.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, proof: None, groups: None, preflight: None }
    }

    /// The same, with log checkpoints in its answers.
    #[must_use]
    pub fn proven_by(self, proof: Option<Proof>) -> Self {
        Self { proof, ..self }
    }

    /// The same, asking the groups that the plan lets stand for roles. At a terminal nobody has an account that a group could
    /// hold, and only the plan's own roles count.
    #[must_use]
    pub fn asking(self, groups: Arc<Groups>) -> Self {
        Self { groups: Some(groups), ..self }
    }

    /// The same, with what the databases say in the answer to `plan`.
    #[must_use]
    pub fn looking(self, preflight: Arc<Preflight>) -> Self {
        Self { preflight: Some(preflight), ..self }
    }

    /// Does what a text says.
    ///
    /// Dropped at any await, a command is done or not; the same text under the same id tells.
    pub async fn hear(&self, utterance: &Utterance<'_>) -> Reply {
        let heard = read(utterance.text, utterance.dialect);
        if heard.is_empty() {
            let (text, code) = (words::NOTHING_SAID.to_owned(), Some(words::NOTHING_SAID_CODE.to_owned()));
            return Reply { ok: false, text, code, follow: None, made: None };
        }
        let several = heard.len() > 1;
        let mut told = Vec::new();
        let (mut follow, mut made) = (None, None);
        for (index, Heard { line, said }) in heard.iter().enumerate() {
            let ended = match said {
                Ok(command) => self.one(utterance, index, command).await,
                Err(problem) => match self.world().await {
                    Ok((state, now)) => Err(No {
                        text: words::problem(problem, World { state: &state, now }),
                        code: problem.code().to_owned(),
                    }),
                    Err(error) => Err(error.into()),
                },
            };
            measured(utterance, said.as_ref().ok(), ended.as_ref().err());
            match ended {
                Ok(yes) => {
                    told.push(yes.text);
                    follow = yes.follow;
                    made = yes.made;
                }
                Err(no) if several => {
                    told.push(words::stopped_at(*line, &no.text, heard.len() - index - 1));
                    let (text, code) = (told.join("\n\n"), Some(no.code));
                    return Reply { ok: false, text, code, follow: None, made: None };
                }
                Err(No { text, code }) => {
                    let follow = match said {
                        Ok(command) => self.runs_already(command, &code).await,
                        Err(_) => None,
                    };
                    return Reply { ok: false, text, code: Some(code), follow, made: None };
                }
            }
        }
        Reply { ok: true, text: told.join("\n\n"), code: None, follow, made: made.filter(|_| !several) }
    }

    /// The operation that an approval came too late for, or came twice for: whoever wants to see it through still can.
    async fn runs_already(&self, command: &Command, code: &str) -> Option<Follow> {
        let Command::Approve { request, .. } = command else { return None };
        let state = self.store.state().await.ok().filter(|_| matches!(code, "SW-0117" | "SW-0120"))?;
        let asked = state.requests.get(request).filter(|asked| asked.is_live())?;
        Some(Follow { request: asked.position, wants_undo: false, after: state.head })
    }

    async fn world(&self) -> Result<(Arc<State>, journal::Timestamp), StoreError> {
        Ok((self.store.state().await?, self.store.now().await?))
    }

    async fn one(&self, said: &Utterance<'_>, index: usize, command: &Command) -> Result<Yes, No> {
        let person = said.person;
        let Some(body) = body(command) else {
            let text = self.told(said, command).await?;
            return Ok(Yes { text, follow: None, made: None });
        };
        if rests_on_the_past(command) {
            if let Some(text) = self.contradiction() {
                return Err(No { text, code: words::CONTRADICTED.to_owned() });
            }
            if let Some(seen) = self.behind().await? {
                return Err(No { text: words::journal_is_behind(&seen), code: words::BEHIND.to_owned() });
            }
        }
        let id = CommandId::new(format!("{}.{index}", said.id))
            .map_err(|error| No { text: error.to_string(), code: words::MALFORMED.to_owned() })?;
        let seen = self.seen(said).await?;
        let (actor, groups) = (Actor::Person(person.clone()), seen.memberships);
        let origin = said.origin.clone().map(|origin| Origin { groups, ..origin });
        let asked = JournalCommand { origin, ..JournalCommand::new(actor, body) };
        let events = match self.store.execute(id, None, asked).await {
            Ok(events) => events,
            Err(ExecuteError::Refused(refusal)) => {
                let (state, now) = self.world().await?;
                let mut no = No::refused(&refusal, command, World { state: &state, now });
                if let Refusal::LacksRole { role, .. } = &refusal {
                    no.text.push_str(&of_groups(said, &state, *role, &seen.unread));
                }
                return Err(no);
            }
            Err(ExecuteError::Store(error)) => return Err(error.into()),
            Err(error @ (ExecuteError::LeaseLost { .. } | ExecuteError::IdReused(_))) => {
                return Err(No {
                    text: words::id_reused(&error.to_string()),
                    code: words::ID_REUSED.to_owned(),
                });
            }
        };
        let (state, now) = self.world().await?;
        let world = World { state: &state, now };
        // A request's number is the position of its own event; requests that it makes void come before it.
        let request = events.iter().find(|event| matches!(event.body, journal::Fact::Requested { .. }));
        let at = request.or(events.first()).map_or(state.head, |event| event.envelope.position);
        let after = events.last().map_or(state.head, |event| event.envelope.position);
        let follow = followed(command, at, &state).map(|request| Follow {
            request,
            wants_undo: matches!(
                command,
                Command::Abort { .. } | Command::Deny { .. } | Command::Revoke { .. }
            ),
            after,
        });
        let mut text = words::aloud(words::done(person, command, at, world), command, world);
        if let Some(line) = self.witnessed(command, after).await {
            text = format!("{text}\n{line}");
        }
        Ok(Yes { text, follow, made: request.map(|event| event.envelope.position) })
    }

    /// What the groups that stand for roles say of whoever speaks.
    async fn seen(&self, said: &Utterance<'_>) -> Result<Seen, StoreError> {
        let (Some(groups), Some(_)) = (&self.groups, &said.origin) else { return Ok(Seen::default()) };
        let state = self.store.state().await?;
        let Some((plan, _)) = &state.plan else { return Ok(Seen::default()) };
        Ok(groups.of(plan, said.person).await)
    }

    /// Why the journal cannot be believed, if a log checkpoint contradicts it.
    fn contradiction(&self) -> Option<String> {
        self.proof.as_ref()?.contradiction()
    }

    /// What a database shows of the journal's age, where it shows it to be an old copy.
    async fn behind(&self) -> Result<Option<String>, StoreError> {
        let reported = self.store.reported().await?;
        Ok(reported.into_values().find_map(|mut reported| reported.progress.observed.remove(BEHIND)))
    }

    /// The log checkpoint that goes with an answer about an approval or a switch: so whoever keeps the answer is a witness.
    async fn witnessed(&self, command: &Command, after: Position) -> Option<String> {
        let proof = self.proof.as_ref()?;
        let newest = match command {
            Command::Approve { .. } | Command::BreakGlass { .. } => proof.covering(after).await,
            Command::Deny { .. } | Command::Revoke { .. } => proof.newest(),
            Command::Request { operation, .. } if operation.opens().is_some() => proof.newest(),
            _ => None,
        };
        newest.map(|newest| words::checkpoint_line(&newest.checkpoint))
    }

    /// The answer to a command that changes nothing.
    async fn told(&self, said: &Utterance<'_>, command: &Command) -> Result<String, No> {
        let (state, now) = self.world().await?;
        let world = World { state: &state, now };
        let Some((plan, _)) = &state.plan else { return Err(No::refused(&Refusal::NoPlan, command, world)) };
        let named = match command {
            Command::Status { phase } | Command::Plan { phase } => phase.as_ref(),
            Command::History { phase } => Some(phase),
            _ => None,
        };
        if let Some(phase) =
            named.filter(|phase| !state.phases.contains_key(*phase) && plan.phase(phase).is_none())
        {
            let known = plan.phases.iter().map(|phase| phase.name.clone()).collect();
            return Err(No::refused(&Refusal::NoPhase { phase: phase.clone(), known }, command, world));
        }
        let text = match command {
            Command::Status { phase } => {
                let reported = self.store.reported().await?;
                let contradicted = self.contradiction();
                Report::new(&state, &reported, now, phase.as_ref())
                    .map_or_else(String::new, |report| words::status(&Report { contradicted, ..report }))
            }
            Command::Plan { phase } => {
                let only = phase.as_ref();
                let outlook = match &self.preflight {
                    Some(preflight) => preflight.outlook(plan, &state, only).await,
                    None => BTreeMap::new(),
                };
                words::plan_next(plan, only, &outlook, world)
            }
            Command::Help { topic: Some(topic) } => words::about(*topic),
            Command::Help { topic: None } => words::overview(),
            Command::Whoami => {
                let (person, seen) = (said.person, self.seen(said).await?);
                let has = |role: &Role| plan.has_role(person, *role, &seen.memberships);
                let roles = [Role::Operator, Role::Approver].into_iter().filter(has).collect();
                let unread = |role| of_groups(said, &state, role, &seen.unread);
                words::whoami(person, &roles, plan) + &unread(Role::Operator) + &unread(Role::Approver)
            }
            Command::History { phase } => self.history(phase).await?,
            Command::Audit => self.audit().await?,
            Command::Request { .. }
            | Command::Abort { .. }
            | Command::Pause { .. }
            | Command::Resume { .. }
            | Command::Retry { .. }
            | Command::Approve { .. }
            | Command::Deny { .. }
            | Command::BreakGlass { .. }
            | Command::Revoke { .. }
            | Command::Hold { .. }
            | Command::Release { .. } => String::new(),
        };
        // The status has a line of its own for it.
        let is_status = matches!(command, Command::Status { .. });
        Ok(if is_status { text } else { words::aloud(text, command, world) })
    }

    async fn history(&self, phase: &PhaseName) -> Result<String, No> {
        let mut narrator = Narrator::default();
        let mut lines = std::collections::VecDeque::new();
        let mut older = 0_usize;
        each_event(self.store.as_ref(), Position::default(), |event| {
            if event.envelope.phase.as_ref() == Some(phase)
                && let Some(line) = narrator.headline(&event)
            {
                lines.push_back(line);
                if lines.len() > HISTORY {
                    lines.pop_front();
                    older += 1;
                }
            }
        })
        .await?;
        Ok(words::history(phase, &Vec::from(lines), older))
    }

    async fn audit(&self) -> Result<String, No> {
        if let Some(proof) = &self.proof
            && let Some(newest) = proof.newest()
        {
            return Ok(words::audit_proven(proof, &newest));
        }
        let mut tree = merkle::Tree::default();
        each_stored(self.store.as_ref(), Position::default(), |_, bytes| {
            tree.push(merkle::leaf(bytes));
            Ok::<_, StoreError>(())
        })
        .await?;
        Ok(words::audit(tree.size(), &hex::encode(tree.root())))
    }
}

/// Why no group gives a role, where one could.
fn of_groups(said: &Utterance<'_>, state: &State, role: Role, unread: &[(Group, String)]) -> String {
    match (&said.origin, &state.plan) {
        (None, Some((plan, _))) => words::groups_elsewhere(plan, said.person, role),
        _ => words::groups_unread(role, unread),
    }
}

/// Whether a command lets something begin or go on, which is right only if the past is as the journal tells it. What stops
/// or takes back is heard always.
const fn rests_on_the_past(command: &Command) -> bool {
    matches!(
        command,
        Command::Request { .. }
            | Command::Approve { .. }
            | Command::BreakGlass { .. }
            | Command::Resume { .. }
            | Command::Retry { .. }
            | Command::Release { .. }
    )
}

/// What the journal is asked; none if the command changes nothing.
fn body(command: &Command) -> Option<CommandBody> {
    let given = |reason: &Option<String>| reason.clone().unwrap_or_default();
    Some(match command {
        Command::Request { phase, operation, options } => {
            CommandBody::Request { phase: phase.clone(), operation: *operation, options: options.clone() }
        }
        Command::Abort { phase, reason } => {
            CommandBody::Abort { phase: phase.clone(), reason: given(reason) }
        }
        Command::Pause { phase } => CommandBody::Pause { phase: phase.clone() },
        Command::Resume { phase } => CommandBody::Resume { phase: phase.clone() },
        Command::Retry { phase } => CommandBody::Retry { phase: phase.clone() },
        Command::Approve { request, reason } => {
            CommandBody::Approve { request: *request, reason: reason.clone() }
        }
        Command::Deny { request, reason } => CommandBody::Deny { request: *request, reason: given(reason) },
        Command::BreakGlass { request, reason } => {
            CommandBody::BreakGlass { request: *request, reason: given(reason) }
        }
        Command::Revoke { request } => CommandBody::Revoke { request: *request },
        Command::Hold { phase, reason } => CommandBody::Hold { phase: phase.clone(), reason: given(reason) },
        Command::Release { phase } => CommandBody::Release { phase: phase.clone() },
        Command::History { .. }
        | Command::Status { .. }
        | Command::Plan { .. }
        | Command::Help { .. }
        | Command::Whoami
        | Command::Audit => return None,
    })
}

/// The request whose operation a command is about.
fn followed(command: &Command, at: Position, state: &State) -> Option<Position> {
    match command {
        Command::Request { .. } => Some(at),
        Command::Approve { request, .. }
        | Command::Deny { request, .. }
        | Command::BreakGlass { request, .. }
        | Command::Revoke { request } => Some(*request),
        Command::Abort { phase, .. }
        | Command::Pause { phase }
        | Command::Resume { phase }
        | Command::Retry { phase } => state.operation(phase).map(|run| run.request),
        Command::Hold { .. }
        | Command::Release { .. }
        | Command::History { .. }
        | Command::Status { .. }
        | Command::Plan { .. }
        | Command::Help { .. }
        | Command::Whoami
        | Command::Audit => None,
    }
}

/// What roles are called.
#[must_use]
pub const fn role_word(role: Role) -> &'static str {
    match role {
        Role::Operator => "operator",
        Role::Approver => "approver",
    }
}
