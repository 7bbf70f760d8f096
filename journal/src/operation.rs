//! Operations and the steps they are made of.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::effect::Side;

/// What a person asks for a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Load, verify and replicate the phase; the source stays the writer.
    Start,
    /// Move the application's writes to the target.
    Cutover,
    /// Move the application's writes back to the source.
    Failback,
    /// Give up the way back: the target stays the writer for ever.
    Complete,
    /// Compare the whole phase, row by row.
    Verify,
    /// Give up a phase whose writer is the source.
    Retire,
    /// Open the source although the target is lost, at the loss that was shown.
    FailbackTargetLost,
    /// Give up the way back although the source is lost: nothing is asked of it.
    CompleteSourceLost,
}

impl Operation {
    /// All of them, in the order people meet them.
    pub const ALL: [Self; 8] = [
        Self::Start,
        Self::Cutover,
        Self::Failback,
        Self::Complete,
        Self::Verify,
        Self::Retire,
        Self::FailbackTargetLost,
        Self::CompleteSourceLost,
    ];

    /// The word for it in commands, events and messages.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Cutover => "cutover",
            Self::Failback => "failback",
            Self::Complete => "complete",
            Self::Verify => "verify",
            Self::Retire => "retire",
            Self::FailbackTargetLost => "failback --target-lost",
            Self::CompleteSourceLost => "complete --source-lost",
        }
    }

    /// Its steps in their order.
    #[must_use]
    pub const fn steps(self) -> &'static [Step] {
        use Step as S;
        match self {
            Self::Start => &[
                S::Preflight,
                S::PrepareSource,
                S::PrepareTarget,
                S::Load,
                S::CatchUp,
                S::VerifyLoad,
                S::FinalizeSchema,
                S::Replicate,
            ],
            Self::Cutover => &[
                S::PrepareSwitch,
                S::StopTraffic,
                S::FenceSource,
                S::Drain,
                S::VerifyDelta,
                S::SwitchTraffic,
            ],
            Self::Failback => &[
                S::PrepareSwitch,
                S::StopTraffic,
                S::FenceTarget,
                S::DrainFailback,
                S::VerifyDelta,
                S::SwitchTrafficBack,
            ],
            Self::Complete => &[S::DrainFailback, S::StopFailback, S::CleanUp],
            Self::CompleteSourceLost => &[S::StopFailback, S::CleanUp],
            Self::Verify => &[S::VerifyFull],
            Self::Retire => &[S::CleanUp],
            Self::FailbackTargetLost => {
                &[S::StopTraffic, S::DrainAvailable, S::DeclareLoss, S::SwitchTrafficBack]
            }
        }
    }

    /// The side whose gate the operation opens, if it opens one.
    #[must_use]
    pub const fn opens(self) -> Option<Side> {
        match self {
            Self::Cutover => Some(Side::Target),
            Self::Failback | Self::FailbackTargetLost => Some(Side::Source),
            Self::Start | Self::Complete | Self::CompleteSourceLost | Self::Verify | Self::Retire => None,
        }
    }

    /// Approvals it needs unless the plan says more.
    #[must_use]
    pub const fn default_approvals(self) -> u8 {
        match self {
            Self::Start | Self::Verify => 0,
            Self::Cutover
            | Self::Failback
            | Self::Complete
            | Self::Retire
            | Self::FailbackTargetLost
            | Self::CompleteSourceLost => 2,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One unit of an operation, run by an executor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Everything that can be known to fail is found before anything is touched.
    Preflight,
    /// Our schema, gate (open) and publication on the source.
    PrepareSource,
    /// Our schema, tables, keys, gate (closed) and fence on the target.
    PrepareTarget,
    /// The slot, and the rows under its snapshot.
    Load,
    /// The stream applied up to the newest snapshot used.
    CatchUp,
    /// Proof that the copy equals the source.
    VerifyLoad,
    /// Indexes, unique constraints, checks, foreign keys.
    FinalizeSchema,
    /// Both streams run: forward applies, failback guards.
    Replicate,
    /// Before the window: all that can wait for strangers, and a rehearsal.
    PrepareSwitch,
    /// The lever holds the application's traffic. Downtime begins with its intent.
    StopTraffic,
    /// The source refuses the application's writes.
    FenceSource,
    /// The target refuses the application's writes.
    FenceTarget,
    /// Forward replication has applied up to the barrier.
    Drain,
    /// Failback replication has applied up to the barrier.
    DrainFailback,
    /// What changed since the last proof is compared again.
    VerifyDelta,
    /// Streams, sequences, route, gate, resume: the target becomes the writer.
    SwitchTraffic,
    /// The same towards the source.
    SwitchTrafficBack,
    /// The failback stream and its slot are given up.
    StopFailback,
    /// What the phase leaves behind is removed.
    CleanUp,
    /// The whole phase is compared.
    VerifyFull,
    /// What can still be had of a lost target is applied.
    DrainAvailable,
    /// The loss is written down.
    DeclareLoss,
    /// An unfinished operation is undone, newest first. No operation lists it; any may come to it.
    Undo,
}

impl Step {
    /// The word for it in events, files and messages.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Preflight => "preflight",
            Self::PrepareSource => "prepare_source",
            Self::PrepareTarget => "prepare_target",
            Self::Load => "load",
            Self::CatchUp => "catch_up",
            Self::VerifyLoad => "verify_load",
            Self::FinalizeSchema => "finalize_schema",
            Self::Replicate => "replicate",
            Self::PrepareSwitch => "prepare_switch",
            Self::StopTraffic => "stop_traffic",
            Self::FenceSource => "fence_source",
            Self::FenceTarget => "fence_target",
            Self::Drain => "drain",
            Self::DrainFailback => "drain_failback",
            Self::VerifyDelta => "verify_delta",
            Self::SwitchTraffic => "switch_traffic",
            Self::SwitchTrafficBack => "switch_traffic_back",
            Self::StopFailback => "stop_failback",
            Self::CleanUp => "clean_up",
            Self::VerifyFull => "verify_full",
            Self::DrainAvailable => "drain_available",
            Self::DeclareLoss => "declare_loss",
            Self::Undo => "undo",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Where a phase rests between operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhaseStatus {
    /// Nothing was done yet, or all of it was undone.
    New,
    /// Loaded, proven, replicated forward; the source is the writer.
    Replicating,
    /// The target is the writer; failback replication runs.
    OnTarget,
    /// The target is the writer for ever.
    Completed,
    /// Given up; the source is the writer.
    Retired,
    /// The source was opened although the target was lost.
    Quarantined,
}

impl PhaseStatus {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Replicating => "replicating",
            Self::OnTarget => "on_target",
            Self::Completed => "completed",
            Self::Retired => "retired",
            Self::Quarantined => "quarantined",
        }
    }
}

impl fmt::Display for PhaseStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Operation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|operation| operation.word() == text).ok_or_else(|| text.to_owned())
    }
}
