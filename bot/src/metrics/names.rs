//! What is measured: the one list that the program, its documents and its dashboard go by. Labels have few values: platforms,
//! verbs, outcomes, and the plan's phases.

/// What kind of number it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, from 0 at the process's start.
    Counter,
    /// It is what it is now.
    Gauge,
}

impl Kind {
    /// As Prometheus's text format writes it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

/// A measured thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub help: &'static str,
    /// What kind of number.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
}

macro_rules! families {
    ($($name:ident: $kind:ident $text:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $name: Family =
                Family { name: $text, help: $help, kind: Kind::$kind, labels: &[$($label),*] };
        )*

        /// All of them.
        pub const ALL: &[&Family] = &[$(&$name),*];
    };
}

families! {
    REFUSED: Counter "switchyard_requests_refused_total" ["platform", "cause"]
        "Requests that were not believed: bad_signature, stale (the signed time is too far from ours), bad_header.";
    LETTERS: Counter "switchyard_letters_total" ["platform", "receipt"]
        "Messages that were believed: new, duplicate (it was there already), or not_kept (the platform was told 503).";
    MESSAGES: Counter "switchyard_messages_total" ["platform", "outcome"]
        "Tries to send a message: sent, later (it is tried again), or given_up.";
    COMMANDS: Counter "switchyard_commands_total" ["platform", "verb", "outcome"]
        "Commands of people: done, refused, misread, or failed (the journal did not do its part).";
    JOURNAL_UP: Gauge "switchyard_journal_up" []
        "Whether the journal answered just now: 1 or 0. Without it, what follows is not there.";
    JOURNAL_POSITION: Gauge "switchyard_journal_position" []
        "The newest event's position.";
    CLOCK_DIFFERENCE: Gauge "switchyard_clock_difference_seconds" []
        "The journal database's clock less this machine's.";
    INBOX_WAITING: Gauge "switchyard_inbox_waiting" []
        "Messages of people that were received and not answered yet.";
    INBOX_OLDEST: Gauge "switchyard_inbox_oldest_seconds" []
        "The age of the oldest of them; 0 if there is none.";
    OUTBOX_WAITING: Gauge "switchyard_outbox_waiting" []
        "Messages to people that were written and not sent yet.";
    OUTBOX_OLDEST: Gauge "switchyard_outbox_oldest_seconds" []
        "The age of the oldest of them; 0 if there is none.";
    PHASE_STATUS: Gauge "switchyard_phase_status" ["phase", "status"]
        "1 for the status that a phase has, as `switchyard status` names it.";
    PHASE_WRITER: Gauge "switchyard_phase_writer" ["phase", "writer"]
        "1 for the side that accepts the application's writes to a phase: source, target or none.";
    PHASE_LAG: Gauge "switchyard_phase_lag_seconds" ["phase"]
        "The lag of a phase's applying stream; not there if none was reported lately.";
    PHASE_REPORT_AGE: Gauge "switchyard_phase_report_age_seconds" ["phase"]
        "How long ago an executor reported on a phase; not there if none ever did.";
    PHASE_BLOCKED: Gauge "switchyard_phase_blocked" ["phase"]
        "1 if a step of a phase waits for a person.";
    PHASE_HELD: Gauge "switchyard_phase_held" ["phase"]
        "1 if a hold of a phase, or of the migration, keeps new operations from beginning.";
    PHASE_REQUESTS: Gauge "switchyard_phase_open_requests" ["phase"]
        "Requests of a phase that wait.";
    PHASE_DEADLINE: Gauge "switchyard_phase_deadline_seconds" ["phase"]
        "How long a phase's traffic may still be stopped before the operation undoes by itself, or calls a person; not there if it is not stopped.";
    PHASE_GLASS: Gauge "switchyard_phase_unreviewed_glass" ["phase"]
        "Operations of a phase that ran under broken glass which nobody has reviewed.";
}
