//! The help, made from the verbs: a verb without its help does not compile.

use std::fmt::Write as _;

use crate::language::{Object, Verb};

struct Entry {
    /// How it is said, after `/migrate `.
    usage: &'static str,
    /// One line.
    summary: &'static str,
    /// More.
    detail: &'static str,
    /// A whole line to paste.
    example: &'static str,
}

#[expect(clippy::too_many_lines, reason = "a table: one entry a verb")]
const fn entry(verb: Verb) -> Entry {
    match verb {
        Verb::Start => Entry {
            usage: "PHASE start [--plan HASH]",
            summary: "load, prove and replicate a phase; the source stays the writer",
            detail: "Checks everything that can be checked, copies the phase's tables, compares them, and keeps them \
                     following. The application notices nothing. Undo: abort, while it runs.",
            example: "/migrate region-a start",
        },
        Verb::Cutover => Entry {
            usage: "PHASE cutover [--plan HASH]",
            summary: "make the target the writer",
            detail: "Holds the application's traffic, waits until the target has every write, compares what changed, \
                     and opens the target. If it is not done within the plan's max_downtime it undoes by itself. \
                     The source follows afterwards, so that failback leads back without a loss.",
            example: "/migrate region-a cutover --plan 1a2b3c4d",
        },
        Verb::Failback => Entry {
            usage: "PHASE failback [--plan HASH] [--target-lost --confirm LOSS-WORD]",
            summary: "make the source the writer again",
            detail: "The mirror of cutover. With --target-lost it opens the source although the target cannot be \
                     reached: said alone it shows what is known of the loss and the word that confirms it, said with \
                     that word it asks for it. It takes the place of a failback that cannot go on.",
            example: "/migrate region-a failback",
        },
        Verb::Complete => Entry {
            usage: "PHASE complete [--plan HASH] [--source-lost]",
            summary: "give up the way back: the target stays the writer for ever",
            detail: "Stops the replication back to the source and removes what the move left behind. The source's gate \
                     stays closed. It cannot be undone. With --source-lost nothing is asked of a source that cannot be \
                     reached any more, and what stays on it is named; it takes the place of a complete that cannot go on.",
            example: "/migrate region-a complete",
        },
        Verb::Verify => Entry {
            usage: "PHASE verify [--plan HASH]",
            summary: "compare the whole phase, row by row, while the application goes on",
            detail: "A difference is named by table and key.",
            example: "/migrate region-a verify",
        },
        Verb::Retire => Entry {
            usage: "PHASE retire [--plan HASH]",
            summary: "give up a phase whose writer is the source",
            detail: "Removes streams, slots and fences, and the tables that its start made on the target. Started again, the phase is \
                     loaded anew. It cannot be undone.",
            example: "/migrate region-a retire",
        },
        Verb::Abort => Entry {
            usage: "PHASE abort --reason \"…\"",
            summary: "undo the operation that runs, newest first",
            detail: "Possible until the other side begins to open; from then on failback leads back.",
            example: "/migrate region-a abort --reason \"the release was stopped\"",
        },
        Verb::Pause => Entry {
            usage: "PHASE pause",
            summary: "stop the operation before its next step",
            detail: "Not while the application's traffic is stopped.",
            example: "/migrate region-a pause",
        },
        Verb::Resume => Entry {
            usage: "PHASE resume",
            summary: "let a paused operation go on",
            detail: "",
            example: "/migrate region-a resume",
        },
        Verb::Retry => Entry {
            usage: "PHASE retry",
            summary: "try a blocked step again",
            detail: "A step is blocked when it found something that needs a person; `status` says what, and what to do.",
            example: "/migrate region-a retry",
        },
        Verb::History => Entry {
            usage: "PHASE history",
            summary: "what happened to a phase, and who did it",
            detail: "`switchyard journal show` has every single effect.",
            example: "/migrate region-a history",
        },
        Verb::Approve => Entry {
            usage: "approve #N",
            summary: "approve a request",
            detail: "An approval is for one request and one plan; it ends with either. A person counts once. It may say why: --reason \"…\". After an \
                     operation under broken glass it is the review.",
            example: "/migrate approve #41",
        },
        Verb::Deny => Entry {
            usage: "deny #N --reason \"…\"",
            summary: "deny a request: it is void, or, if it runs and the other side is not opening yet, it is undone",
            detail: "After an operation under broken glass it is a review that disapproves.",
            example: "/migrate deny #41 --reason \"not on a Friday\"",
        },
        Verb::Revoke => Entry {
            usage: "revoke #N",
            summary: "take your own approval back",
            detail: "Before the other side begins to open this undoes a running operation.",
            example: "/migrate revoke #41",
        },
        Verb::BreakGlass => Entry {
            usage: "break-glass #N --reason \"…\"",
            summary: "give a request its quorum alone, in an emergency; another person has to review it",
            detail: "For who has the plan's break_glass role, with a reason of 20 characters or more. It also opens the plan's windows. It does not overrule a \
                     denial, a hold, the plan, the expiry, or what must be proven before a side opens. Everybody is told \
                     until another person approves or denies the request afterwards; until then nothing new begins in the \
                     phase but a failback.",
            example: "/migrate break-glass #41 --reason \"the source is failing and nobody else answers\"",
        },
        Verb::Hold => Entry {
            usage: "hold [PHASE] --reason \"…\"",
            summary: "let no new operation begin, in one phase or in all",
            detail: "What runs goes on.",
            example: "/migrate hold --reason \"freeze until Monday\"",
        },
        Verb::Release => {
            Entry { usage: "release [PHASE]", summary: "end a hold", detail: "", example: "/migrate release" }
        }
        Verb::Status => Entry {
            usage: "status [PHASE]",
            summary: "who may write, what runs, what is next, what is wrong, how long the way back is",
            detail: "",
            example: "/migrate status region-a",
        },
        Verb::Plan => Entry {
            usage: "plan [PHASE]",
            summary: "the plan, its hash, what could be done next and in which steps",
            detail: "Nothing is changed. Where a phase could be started, both databases and its lever are asked what its preflight \
                     would find now.",
            example: "/migrate plan region-a",
        },
        Verb::Help => Entry {
            usage: "help [COMMAND]",
            summary: "this list, or one command in full",
            detail: "",
            example: "/migrate help cutover",
        },
        Verb::Whoami => Entry {
            usage: "whoami",
            summary: "who you are here, and what you may do",
            detail: "",
            example: "/migrate whoami",
        },
        Verb::Audit => Entry {
            usage: "audit",
            summary: "the journal's size and root hash, to be kept elsewhere as a witness",
            detail: "",
            example: "/migrate audit",
        },
    }
}

/// What every operation may be asked with.
const SCHEDULE: &str = "\nMore options: --at 2026-12-01T22:00+01:00 begins no earlier, --within 30m no later than that after \
                        it, --reason \"…\" tells why.";

/// A verb in one line.
#[must_use]
pub const fn summary(verb: Verb) -> &'static str {
    entry(verb).summary
}

/// All verbs, one a line.
#[must_use]
pub fn overview() -> String {
    let mut text = String::from("What can be said (PHASE is a phase of the plan, N a request's number):\n");
    let mut section = |title: &str, fits: &dyn Fn(Object) -> bool| {
        // Writing to a String cannot fail.
        let _written = writeln!(text, "\n{title}");
        for verb in Verb::ALL.iter().filter(|verb| fits(verb.object())) {
            let Entry { usage, summary, .. } = entry(*verb);
            let usage = usage.split(" [--plan").next().unwrap_or(usage);
            let _written = writeln!(text, "  /migrate {usage:<24} {summary}");
        }
    };
    section("A phase:", &|object| object == Object::Phase);
    section("A request:", &|object| object == Object::Request);
    section("Everything:", &|object| !matches!(object, Object::Phase | Object::Request));
    text.push_str("\nMore of one: /migrate help COMMAND. In the terminal `/migrate` may be left out.");
    text
}

/// One verb in full.
#[must_use]
pub fn about(verb: Verb) -> String {
    let Entry { usage, summary, detail, example } = entry(verb);
    let mut text = format!("/migrate {usage}\n{}: {summary}.", verb.word());
    if !detail.is_empty() {
        let _written = write!(text, "\n{detail}");
    }
    if let Some(operation) = verb.operation() {
        text.push_str(SCHEDULE);
        let steps: Vec<&str> = operation.steps().iter().map(|step| step.word()).collect();
        let _written = write!(text, "\nSteps: {}.", steps.join(", "));
        if operation.default_approvals() > 0 {
            let _written = write!(
                text,
                "\nIt needs {} persons' approvals, or more if the plan says so.",
                operation.default_approvals()
            );
        }
    }
    let _written = write!(text, "\nExample: {example}");
    text
}
