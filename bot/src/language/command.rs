//! What can be said: commands, their verbs, and how they are written.

use std::fmt;

use journal::{Operation, PhaseName, Position, RequestOptions, State};

use super::PREFIX;

/// A command as it was said. Each has a [`Verb`], and each verb has its help: one without does not compile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `<phase> start | cutover | failback | complete | verify | retire`: asks for an operation.
    Request {
        /// The phase.
        phase: PhaseName,
        /// The operation.
        operation: Operation,
        /// What goes with it.
        options: RequestOptions,
    },
    /// `<phase> abort`: undoes the operation that runs.
    Abort {
        /// The phase.
        phase: PhaseName,
        /// Why.
        reason: Option<String>,
    },
    /// `<phase> pause`: stops the operation between two steps.
    Pause {
        /// The phase.
        phase: PhaseName,
    },
    /// `<phase> resume`: lets it go on.
    Resume {
        /// The phase.
        phase: PhaseName,
    },
    /// `<phase> retry`: tries a blocked step again.
    Retry {
        /// The phase.
        phase: PhaseName,
    },
    /// `<phase> history`: what happened to a phase.
    History {
        /// The phase.
        phase: PhaseName,
    },
    /// `approve #N`.
    Approve {
        /// The request.
        request: Position,
        /// Why, if it is said.
        reason: Option<String>,
    },
    /// `deny #N --reason "…"`.
    Deny {
        /// The request.
        request: Position,
        /// Why.
        reason: Option<String>,
    },
    /// `break-glass #N --reason "…"`: gives a request its quorum alone.
    BreakGlass {
        /// The request.
        request: Position,
        /// Why.
        reason: Option<String>,
    },
    /// `revoke #N`: takes one's own approval back.
    Revoke {
        /// The request.
        request: Position,
    },
    /// `hold [phase] --reason "…"`: no new operation begins.
    Hold {
        /// The phase, or all.
        phase: Option<PhaseName>,
        /// Why.
        reason: Option<String>,
    },
    /// `release [phase]`: ends a hold.
    Release {
        /// The phase, or all.
        phase: Option<PhaseName>,
    },
    /// `status [phase]`.
    Status {
        /// The phase, or all.
        phase: Option<PhaseName>,
    },
    /// `plan [phase]`: the plan, and what would happen.
    Plan {
        /// The phase, or all.
        phase: Option<PhaseName>,
    },
    /// `help [command]`.
    Help {
        /// The command.
        topic: Option<Verb>,
    },
    /// `whoami`: the person, and what they may do.
    Whoami,
    /// `audit`: the journal's size and root.
    Audit,
}

/// What a verb is said of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Object {
    /// A phase, named before the verb.
    Phase,
    /// A phase or all of them, named after the verb.
    MaybePhase,
    /// A request's number, after the verb.
    Request,
    /// A verb, or none.
    MaybeVerb,
    /// Nothing.
    Nothing,
}

macro_rules! words {
    ($(#[$about:meta])* $enum:ident { $($(#[$doc:meta])* $name:ident => $word:literal,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $enum {
            $($(#[$doc])* $name,)*
        }

        impl $enum {
            /// All of them, in the order of the help.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word for it.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }

            /// The one that this word, in lower case, names.
            #[must_use]
            pub fn named(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|each| each.word() == word)
            }
        }
    };
}

words! {
    /// The word that says what to do.
    Verb {
        /// Load, verify, replicate.
        Start => "start",
        /// Make the target the writer.
        Cutover => "cutover",
        /// Make the source the writer again.
        Failback => "failback",
        /// Give up the way back.
        Complete => "complete",
        /// Compare everything.
        Verify => "verify",
        /// Give up the phase.
        Retire => "retire",
        /// Undo what runs.
        Abort => "abort",
        /// Stop between steps.
        Pause => "pause",
        /// Go on.
        Resume => "resume",
        /// Try a blocked step again.
        Retry => "retry",
        /// What happened.
        History => "history",
        /// Yes.
        Approve => "approve",
        /// No.
        Deny => "deny",
        /// Yes, taken back.
        Revoke => "revoke",
        /// Yes, alone.
        BreakGlass => "break-glass",
        /// Let nothing begin.
        Hold => "hold",
        /// End a hold.
        Release => "release",
        /// How things are.
        Status => "status",
        /// What would happen.
        Plan => "plan",
        /// What can be said.
        Help => "help",
        /// Who one is.
        Whoami => "whoami",
        /// The journal's root.
        Audit => "audit",
    }
}

words! {
    /// A named option.
    Opt {
        /// Why.
        Reason => "--reason",
        /// The plan that was seen.
        Plan => "--plan",
        /// The target is gone.
        TargetLost => "--target-lost",
        /// The source is gone.
        SourceLost => "--source-lost",
        /// The loss that was shown.
        Confirm => "--confirm",
        /// When to begin.
        At => "--at",
        /// How long to wait for a good moment.
        Within => "--within",
    }
}

impl Verb {
    /// What it is said of.
    #[must_use]
    pub const fn object(self) -> Object {
        match self {
            Self::Start
            | Self::Cutover
            | Self::Failback
            | Self::Complete
            | Self::Verify
            | Self::Retire
            | Self::Abort
            | Self::Pause
            | Self::Resume
            | Self::Retry
            | Self::History => Object::Phase,
            Self::Approve | Self::Deny | Self::Revoke | Self::BreakGlass => Object::Request,
            Self::Hold | Self::Release | Self::Status | Self::Plan => Object::MaybePhase,
            Self::Help => Object::MaybeVerb,
            Self::Whoami | Self::Audit => Object::Nothing,
        }
    }

    /// The options it takes.
    #[must_use]
    pub const fn options(self) -> &'static [Opt] {
        match self {
            Self::Start | Self::Cutover | Self::Verify | Self::Retire => {
                &[Opt::Plan, Opt::At, Opt::Within, Opt::Reason]
            }
            Self::Complete => &[Opt::Plan, Opt::SourceLost, Opt::At, Opt::Within, Opt::Reason],
            Self::Failback => &[Opt::Plan, Opt::TargetLost, Opt::Confirm, Opt::At, Opt::Within, Opt::Reason],
            Self::Abort | Self::Approve | Self::Deny | Self::BreakGlass | Self::Hold => &[Opt::Reason],
            Self::Pause
            | Self::Resume
            | Self::Retry
            | Self::History
            | Self::Revoke
            | Self::Release
            | Self::Status
            | Self::Plan
            | Self::Help
            | Self::Whoami
            | Self::Audit => &[],
        }
    }

    /// The operation it asks for, if it asks for one.
    #[must_use]
    pub const fn operation(self) -> Option<Operation> {
        match self {
            Self::Start => Some(Operation::Start),
            Self::Cutover => Some(Operation::Cutover),
            Self::Failback => Some(Operation::Failback),
            Self::Complete => Some(Operation::Complete),
            Self::Verify => Some(Operation::Verify),
            Self::Retire => Some(Operation::Retire),
            Self::Abort
            | Self::Pause
            | Self::Resume
            | Self::Retry
            | Self::History
            | Self::Approve
            | Self::Deny
            | Self::Revoke
            | Self::BreakGlass
            | Self::Hold
            | Self::Release
            | Self::Status
            | Self::Plan
            | Self::Help
            | Self::Whoami
            | Self::Audit => None,
        }
    }
}

impl Opt {
    /// Whether a value follows.
    #[must_use]
    pub const fn takes_value(self) -> bool {
        match self {
            Self::Reason | Self::Plan | Self::Confirm | Self::At | Self::Within => true,
            Self::TargetLost | Self::SourceLost => false,
        }
    }
}

impl Command {
    /// The phase that it is about, by its request if it names one. None: it is about all, or about none.
    #[must_use]
    pub fn phase(&self, state: &State) -> Option<PhaseName> {
        match self {
            Self::Request { phase, .. }
            | Self::Abort { phase, .. }
            | Self::Pause { phase }
            | Self::Resume { phase }
            | Self::Retry { phase }
            | Self::History { phase } => Some(phase.clone()),
            Self::Hold { phase, .. }
            | Self::Release { phase }
            | Self::Status { phase }
            | Self::Plan { phase } => phase.clone(),
            Self::Approve { request, .. }
            | Self::Deny { request, .. }
            | Self::BreakGlass { request, .. }
            | Self::Revoke { request } => state.requests.get(request).map(|asked| asked.phase.clone()),
            Self::Help { .. } | Self::Whoami | Self::Audit => None,
        }
    }

    /// Its verb.
    #[must_use]
    pub const fn verb(&self) -> Verb {
        match self {
            Self::Request { operation, .. } => match operation {
                Operation::Start => Verb::Start,
                Operation::Cutover => Verb::Cutover,
                Operation::Failback | Operation::FailbackTargetLost => Verb::Failback,
                Operation::Complete | Operation::CompleteSourceLost => Verb::Complete,
                Operation::Verify => Verb::Verify,
                Operation::Retire => Verb::Retire,
            },
            Self::Abort { .. } => Verb::Abort,
            Self::Pause { .. } => Verb::Pause,
            Self::Resume { .. } => Verb::Resume,
            Self::Retry { .. } => Verb::Retry,
            Self::History { .. } => Verb::History,
            Self::Approve { .. } => Verb::Approve,
            Self::Deny { .. } => Verb::Deny,
            Self::Revoke { .. } => Verb::Revoke,
            Self::BreakGlass { .. } => Verb::BreakGlass,
            Self::Hold { .. } => Verb::Hold,
            Self::Release { .. } => Verb::Release,
            Self::Status { .. } => Verb::Status,
            Self::Plan { .. } => Verb::Plan,
            Self::Help { .. } => Verb::Help,
            Self::Whoami => Verb::Whoami,
            Self::Audit => Verb::Audit,
        }
    }
}

/// A text in double quotes, as the parser reads it back.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The line that says it: parsed again, it is the same command.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = self.verb().word();
        write!(f, "{PREFIX} ")?;
        match self {
            Self::Request { phase, operation, options } => {
                write!(f, "{phase} {operation}")?;
                if let Some(plan) = &options.plan {
                    write!(f, " --plan {plan}")?;
                }
                if let Some(loss) = &options.confirmed_loss {
                    write!(f, " --confirm {}", quoted(loss))?;
                }
                if let Some(at) = &options.not_before {
                    write!(f, " --at {at}")?;
                }
                if let Some(within) = &options.within {
                    write!(f, " --within {}s", within.as_secs())?;
                }
                because(f, options.reason.as_deref())
            }
            Self::Abort { phase, reason } => {
                write!(f, "{phase} {verb}")?;
                because(f, reason.as_deref())
            }
            Self::Pause { phase }
            | Self::Resume { phase }
            | Self::Retry { phase }
            | Self::History { phase } => write!(f, "{phase} {verb}"),
            Self::Revoke { request } => write!(f, "{verb} #{request}"),
            Self::Approve { request, reason }
            | Self::Deny { request, reason }
            | Self::BreakGlass { request, reason } => {
                write!(f, "{verb} #{request}")?;
                because(f, reason.as_deref())
            }
            Self::Hold { phase, reason } => {
                f.write_str(verb)?;
                of(f, phase.as_ref())?;
                because(f, reason.as_deref())
            }
            Self::Release { phase } | Self::Status { phase } | Self::Plan { phase } => {
                f.write_str(verb)?;
                of(f, phase.as_ref())
            }
            Self::Help { topic } => {
                f.write_str(verb)?;
                topic.map_or(Ok(()), |topic| write!(f, " {}", topic.word()))
            }
            Self::Whoami | Self::Audit => f.write_str(verb),
        }
    }
}

fn because(f: &mut fmt::Formatter<'_>, reason: Option<&str>) -> fmt::Result {
    reason.map_or(Ok(()), |reason| write!(f, " --reason {}", quoted(reason)))
}

fn of(f: &mut fmt::Formatter<'_>, phase: Option<&PhaseName>) -> fmt::Result {
    phase.map_or(Ok(()), |phase| write!(f, " {phase}"))
}
