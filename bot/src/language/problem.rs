//! Why a line is not a command, as data. The sentences are in `words`.

use journal::PhaseName;

use super::command::{Opt, Verb};

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// A word that is no verb where one should be.
    UnknownWord {
        /// The word.
        given: String,
        /// The phase that was named with it.
        phase: Option<String>,
        /// The nearest verb.
        near: Option<Verb>,
    },
    /// One word that may be a phase, and no verb.
    NeedsVerb {
        /// The word.
        given: String,
        /// The nearest verb, if the word is no phase.
        near: Option<Verb>,
    },
    /// A verb that needs its phase.
    NeedsPhase {
        /// The verb.
        verb: Verb,
    },
    /// The phase behind the verb that it belongs before.
    PhaseFirst {
        /// The verb.
        verb: Verb,
        /// The phase.
        phase: PhaseName,
    },
    /// A phase before a verb that is not said of phases.
    NotOfAPhase {
        /// The verb.
        verb: Verb,
    },
    /// A word that cannot be a phase's name.
    BadPhase {
        /// The word.
        given: String,
    },
    /// A verb that needs a request's number.
    NeedsRequest {
        /// The verb.
        verb: Verb,
    },
    /// A word that is no request's number.
    BadRequest {
        /// The verb.
        verb: Verb,
        /// The word.
        given: String,
    },
    /// No such option.
    UnknownOption {
        /// The word.
        given: String,
        /// The nearest option.
        near: Option<Opt>,
    },
    /// An option of other verbs.
    ForeignOption {
        /// The verb.
        verb: Verb,
        /// The option.
        option: Opt,
    },
    /// An option without its value.
    NeedsValue {
        /// The option.
        option: Opt,
    },
    /// A flag with a value.
    TakesNoValue {
        /// The option.
        option: Opt,
    },
    /// The same option twice.
    GivenTwice {
        /// The option.
        option: Opt,
    },
    /// Not the digits of a plan's hash.
    BadHash {
        /// The word.
        given: String,
    },
    /// More words than the verb takes.
    ExtraWords {
        /// The verb.
        verb: Verb,
        /// The words.
        given: String,
    },
    /// A quote without its end.
    OpenQuote,
    /// Not a moment.
    BadTime {
        /// The word.
        given: String,
    },
    /// A moment without its zone, or without its date.
    NoZone {
        /// The word.
        given: String,
    },
    /// Not a length of time.
    BadDuration {
        /// The word.
        given: String,
    },
    /// More commands than a text may hold.
    TooMany,
}

impl Problem {
    /// Its stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownWord { .. } => "SW-0601",
            Self::NeedsVerb { .. } => "SW-0602",
            Self::NeedsPhase { .. } | Self::PhaseFirst { .. } => "SW-0603",
            Self::NotOfAPhase { .. } | Self::ExtraWords { .. } => "SW-0604",
            Self::BadPhase { .. } => "SW-0605",
            Self::NeedsRequest { .. } | Self::BadRequest { .. } => "SW-0606",
            Self::UnknownOption { .. } | Self::ForeignOption { .. } => "SW-0607",
            Self::NeedsValue { .. } | Self::TakesNoValue { .. } | Self::GivenTwice { .. } => "SW-0608",
            Self::BadHash { .. } => "SW-0609",
            Self::OpenQuote => "SW-0610",
            Self::BadTime { .. } | Self::NoZone { .. } | Self::BadDuration { .. } => "SW-0611",
            Self::TooMany => "SW-0612",
        }
    }
}
